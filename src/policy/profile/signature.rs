//! Who answers for a profile: an Ed25519 signature over the digest of its two files, by a key that is trusted.
//!
//! `signature` holds one line, `KEY-ID HEX`. The digest is SHA-256 over a name of this format, then each file with its length before it,
//! so that no byte can move from one file into the other.
//!
//! The keys that are trusted are compiled in ([`trusted_keys`]); the site's people whose role is `legal` are added from its register
//! (`library.rs`).

use crate::hex;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

const FORMAT: &[u8] = b"placard-profile-1\n";
/// Of the profiles that come with the program. The private half was used once and destroyed: a changed profile needs a new key here.
const BUNDLED: (&str, &str) = ("placard-2026", include_str!("../../../profiles/placard-2026.pub"));

/// A key by which a profile may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    pub id: String,
    /// Ed25519, 32 bytes.
    pub public: Vec<u8>,
}

/// The keys compiled in.
pub fn trusted_keys() -> Vec<TrustedKey> {
    let (id, key) = BUNDLED;
    from_hex(key.trim()).map(|public| TrustedKey { id: id.to_owned(), public }).into_iter().collect()
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not signed: there is no file `signature`")]
    Unsigned,
    #[error("its signature is not a line `KEY-ID HEX`")]
    Malformed,
    #[error("it is signed by `{signed}`, but says `signed_by = \"{said}\"`")]
    OtherKey { signed: String, said: String },
    #[error("it is signed by `{0}`, a key that this site does not trust")]
    Unknown(String),
    #[error("its signature does not match its files: one of them was altered")]
    Altered,
    #[error("the key file holds neither 64 hex digits (a seed) nor PKCS#8 in DER (`openssl genpkey -algorithm ed25519 -outform DER`)")]
    BadKey,
}

/// What is signed.
pub fn digest(values: &str, policies: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    for file in [values, policies] {
        hash.update((file.len() as u64).to_le_bytes());
        hash.update(file);
    }
    hash.finalize().into()
}

/// Whether `signature` is one of `digest` by a key of `trusted`, and by the one that the profile says.
pub fn verify(digest: &[u8; 32], signature: &str, said: &str, trusted: &[TrustedKey]) -> Result<(), SignatureError> {
    let (signed, bytes) = signature.trim().split_once(' ').ok_or(SignatureError::Malformed)?;
    let bytes = from_hex(bytes.trim()).ok_or(SignatureError::Malformed)?;
    if signed != said {
        return Err(SignatureError::OtherKey { signed: signed.to_owned(), said: said.to_owned() });
    }
    let mut by_this_name = trusted.iter().filter(|k| k.id == signed).peekable();
    if by_this_name.peek().is_none() {
        return Err(SignatureError::Unknown(signed.to_owned()));
    }
    let good = |key: &TrustedKey| UnparsedPublicKey::new(&ED25519, &key.public).verify(digest, &bytes).is_ok();
    if by_this_name.any(good) { Ok(()) } else { Err(SignatureError::Altered) }
}

/// The line of the file `signature`, and the public key that it verifies with, in hex.
pub fn sign(digest: &[u8; 32], key_id: &str, private: &[u8]) -> Result<(String, String), SignatureError> {
    let seed = std::str::from_utf8(private).ok().and_then(|text| from_hex(text.trim()));
    let key = match seed {
        Some(seed) => Ed25519KeyPair::from_seed_unchecked(&seed),
        None => Ed25519KeyPair::from_pkcs8(private).or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(private)),
    };
    let key = key.map_err(|_| SignatureError::BadKey)?;
    Ok((format!("{key_id} {}\n", hex::of(key.sign(digest).as_ref())), hex::of(key.public_key().as_ref())))
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let plain = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    plain.then(|| digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap_or("0"), 16).unwrap_or(0)).collect())
}
