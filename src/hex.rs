//! Bytes as people and files write them: lower-case hexadecimal, two digits a byte, so that one value has one text.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The digits of `bytes`.
pub fn of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of `bytes`, 64 digits.
pub fn sha256(bytes: &[u8]) -> String {
    of(&Sha256::digest(bytes))
}

/// Whether `text` is written as a SHA-256 is.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_sha256sum_writes_it() {
        // FIPS 180-4's example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
        assert_eq!(of(&[0, 0x0f, 0xff]), "000fff");
        assert!(is_sha256(abc));
        assert!(!is_sha256(&abc.to_uppercase()) && !is_sha256(&abc[1..]) && !is_sha256(&abc.replacen('b', "g", 1)));
    }
}
