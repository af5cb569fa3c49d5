//! The code on a sign: that this sign, with these words, in this zone, is this site's.
//!
//! ```text
//! PLACARD1: base45( site (8) | words (6) | day issued (2) | n (1) | sign (n) | zone (the rest) | Ed25519 signature (64) )
//! ```
//!
//! `site`: first bytes of the SHA-256 of the site's public key. `words`: first bytes of the SHA-256 of the sign's text as the register has
//! it: a sign that was printed before its words changed is not this sign. The day counts from 1970-01-01, UTC. The signature covers everything before it, with the
//! tag, and is made with a key that only the site's own key leads to (`gallery/seal.rs`), so nobody can print another's sign; whoever photographs one and hangs the
//! copy elsewhere is caught by where a camera expects it.
//!
//! Base45 (RFC 9285) is what a QR code's alphanumeric mode holds in 5½ bits a character: about 41 by 41 modules, level M or better.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use qrcode::{Color, EcLevel, QrCode, Version};
use sha2::{Digest, Sha256};

use crate::clock::{Stamp, Utc};
use crate::gallery::seal::{SealError, SiteKey};

/// Says what it is to whoever scans it, and which version.
const TAG: &str = "PLACARD1:";
const SITE_BYTES: usize = 8;
const WORDS_BYTES: usize = 6;
const SIGNATURE_BYTES: usize = 64;
/// Before the ids.
const HEAD_BYTES: usize = SITE_BYTES + WORDS_BYTES + 2 + 1;
const DAY_NS: i64 = 86_400_000_000_000;
/// No code has more than 49 by 49 modules.
const LARGEST: i16 = 8;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error(
        "the ids of sign `{sign}` and zone `{zone}` together are too long for a code that a camera can read: shorten them to about 55 characters"
    )]
    TooLong { sign: String, zone: String },
    #[error("the code could not be drawn: {0}")]
    NotDrawn(String),
}

/// Why a text that was read is no code of this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    #[error("it is no sign's code")]
    NoCode,
    #[error("it is another site's code")]
    OtherSite,
    #[error("it claims this site, but this site did not sign it")]
    Unsigned,
}

/// What a code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub sign: String,
    pub zone: String,
    /// Of the words on the sign: see [`words_digest`].
    pub words: [u8; WORDS_BYTES],
    /// Days from 1970-01-01.
    pub issued_day: u16,
}

/// What a code holds of a sign's text.
pub fn words_digest(text: &str) -> [u8; WORDS_BYTES] {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    std::array::from_fn(|i| digest[i])
}

/// Who can make this site's codes.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    pub fn of(key: &SiteKey) -> Result<Self, SealError> {
        key.sign_pair().map(Self)
    }

    /// Whoever has it recognises this site's codes; it is no secret.
    pub fn public(&self) -> PublicKey {
        // An Ed25519 public key has 32 bytes.
        let bytes = self.0.public_key().as_ref();
        PublicKey(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or_default()))
    }

    /// The text of a code for a sign with these words.
    pub fn issue(&self, sign: &str, zone: &str, text: &str, at: Stamp<Utc>) -> Result<String, CodeError> {
        let too_long = || CodeError::TooLong { sign: sign.to_owned(), zone: zone.to_owned() };
        let mut bytes = Vec::with_capacity(160);
        bytes.extend(self.public().site());
        bytes.extend(words_digest(text));
        bytes.extend(u16::try_from(at.ns().div_euclid(DAY_NS)).unwrap_or(0).to_be_bytes());
        bytes.push(u8::try_from(sign.len()).map_err(|_| too_long())?);
        bytes.extend(sign.as_bytes());
        bytes.extend(zone.as_bytes());
        let signature = self.0.sign(&[TAG.as_bytes(), &bytes].concat());
        bytes.extend(signature.as_ref());
        let text = format!("{TAG}{}", base45(&bytes));
        modules(&text).map_err(|_| too_long())?;
        Ok(text)
    }
}

/// A site's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// First bytes of its SHA-256.
    pub fn site(&self) -> [u8; SITE_BYTES] {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        std::array::from_fn(|i| digest[i])
    }

    pub fn hex(&self) -> String {
        crate::hex::of(&self.0)
    }

    /// What `text` says, if this site signed it.
    pub fn read(&self, text: &str) -> Result<Code, NotOurs> {
        let bytes = text.strip_prefix(TAG).and_then(from_base45).ok_or(NotOurs::NoCode)?;
        let said = bytes.len().checked_sub(SIGNATURE_BYTES).filter(|said| *said > HEAD_BYTES).ok_or(NotOurs::NoCode)?;
        let (said, signature) = bytes.split_at(said);
        if said[..SITE_BYTES] != self.site() {
            return Err(NotOurs::OtherSite);
        }
        let signed = [TAG.as_bytes(), said].concat();
        UnparsedPublicKey::new(&ED25519, self.0).verify(&signed, signature).map_err(|_| NotOurs::Unsigned)?;
        let (head, ids) = said.split_at(HEAD_BYTES);
        let (sign, zone) = ids.split_at_checked(usize::from(head[HEAD_BYTES - 1])).ok_or(NotOurs::NoCode)?;
        let id = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| NotOurs::NoCode);
        let day = [head[SITE_BYTES + WORDS_BYTES], head[SITE_BYTES + WORDS_BYTES + 1]];
        Ok(Code {
            sign: id(sign)?,
            zone: id(zone)?,
            words: std::array::from_fn(|i| head[SITE_BYTES + i]),
            issued_day: u16::from_be_bytes(day),
        })
    }
}

/// Rows of dark (true) and light modules, without the quiet border: the smallest code that holds `text` at level M, at the best level that
/// fits into the same size.
pub fn modules(text: &str) -> Result<Vec<Vec<bool>>, CodeError> {
    let drawn = |e: &dyn std::fmt::Display| CodeError::NotDrawn(e.to_string());
    let smallest = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|e| drawn(&e))?;
    let version = match smallest.version() {
        Version::Normal(version) if version <= LARGEST => Version::Normal(version),
        _ => return Err(CodeError::NotDrawn("more than 49 by 49 modules".to_owned())),
    };
    let better = [EcLevel::H, EcLevel::Q].into_iter().find_map(|level| QrCode::with_version(text, version, level).ok());
    let code = better.unwrap_or(smallest);
    let width = code.width();
    Ok(code.to_colors().chunks(width).map(|row| row.iter().map(|c| *c == Color::Dark).collect()).collect())
}

const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// RFC 9285: two bytes in three characters, a last single one in two; least significant first.
fn base45(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(2) * 3);
    for pair in bytes.chunks(2) {
        let mut value = pair.iter().fold(0_usize, |v, b| v << 8 | usize::from(*b));
        for _ in 0..=pair.len() {
            text.push(char::from(ALPHABET[value % 45]));
            value /= 45;
        }
    }
    text
}

/// `None`: that is no base45.
fn from_base45(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.bytes().map(|c| ALPHABET.iter().position(|a| *a == c).and_then(|p| u32::try_from(p).ok())).collect::<Option<_>>()?;
    let mut bytes = Vec::with_capacity(digits.len() / 3 * 2 + 1);
    for group in digits.chunks(3) {
        let value = group.iter().rev().fold(0, |v, d| v * 45 + d);
        match group.len() {
            3 => bytes.extend(u16::try_from(value).ok()?.to_be_bytes()),
            2 => bytes.push(u8::try_from(value).ok()?),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::state::StateDirectory;

    /// Always the same site: what is drawn with its codes is always the same.
    pub(crate) fn known_signer() -> Signer {
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path());
        SiteKey::load_or_create(&state).expect("a key");
        std::fs::write(state.site_key(), [7; 32]).expect("written");
        Signer::of(&SiteKey::load(&state).expect("a key")).expect("a signer")
    }

    /// A site of its own, made for this call.
    pub(crate) fn signer() -> Signer {
        let directory = tempfile::tempdir().expect("temporary directory");
        let key = SiteKey::load_or_create(&StateDirectory::new(directory.path())).expect("a key");
        Signer::of(&key).expect("a signer")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::signer;
    use super::*;

    const DAY: Stamp<Utc> = Stamp::from_ns(20_779 * DAY_NS + 5);

    #[test]
    fn base45_is_the_rfc_s() {
        assert_eq!(base45(b"AB"), "BB8");
        assert_eq!(base45(b"Hello!!"), "%69 VD92EX0");
        assert_eq!(base45(b"base-45"), "UJCLQE7W581");
        assert_eq!(from_base45("QED8WEX0").as_deref(), Some(&b"ietf!"[..]));
        // Beyond two bytes, a lone character, one outside the alphabet.
        assert!([":::", "GGW", "A", "QED8WEX", "AB_"].iter().all(|t| from_base45(t).is_none()));
    }

    #[test]
    fn a_code_says_what_was_signed_and_is_small() {
        let signer = signer();
        let text = signer.issue("hall-1", "hall", "Face recognition in use", DAY).expect("issued");
        let code = signer.public().read(&text).expect("ours");
        assert_eq!((code.sign.as_str(), code.zone.as_str(), code.issued_day), ("hall-1", "hall", 20_779));
        assert_eq!(code.words, words_digest("Face recognition in use"));
        assert_ne!(code.words, words_digest("Face recognition in use."));
        let modules = modules(&text).expect("drawn");
        assert_eq!((modules.len(), modules[0].len()), (41, 41), "{} characters", text.len());
        assert!(text.bytes().all(|c| ALPHABET.contains(&c)));
    }

    #[test]
    fn another_site_s_code_and_an_altered_one_are_foreign() {
        let (ours, theirs) = (signer(), signer());
        assert_ne!(ours.public(), theirs.public());
        let text = theirs.issue("hall-1", "hall", "words", DAY).expect("issued");
        assert_eq!(ours.public().read(&text), Err(NotOurs::OtherSite));
        assert_eq!(ours.public().read("https://example.org/"), Err(NotOurs::NoCode));
        // Theirs, with our site's name put in.
        let mut bytes = from_base45(&text[TAG.len()..]).expect("base45");
        bytes[..SITE_BYTES].copy_from_slice(&ours.public().site());
        assert_eq!(ours.public().read(&format!("{TAG}{}", base45(&bytes))), Err(NotOurs::Unsigned));
        // Ours, with any one bit changed.
        let text = ours.issue("hall-1", "hall", "words", DAY).expect("issued");
        let bytes = from_base45(&text[TAG.len()..]).expect("base45");
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(ours.public().read(&format!("{TAG}{}", base45(&altered))).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(ours.public().read(&format!("{TAG}{}", base45(&bytes[..length]))).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn ids_that_would_need_a_larger_code_are_refused() {
        let (signer, id) = (signer(), "x".repeat(64));
        assert!(signer.issue(&id, "hall", "words", DAY).is_err());
        let error = signer.issue(&id, &id, "words", DAY).expect_err("too long").to_string();
        assert!(error.contains("shorten"), "{error}");
        assert_eq!(modules(&signer.issue(&id[..30], &id[..25], "words", DAY).expect("fits")).expect("drawn").len(), 49);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_survive_base45(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(from_base45(&base45(&bytes)), Some(bytes));
        }

        #[test]
        fn codes_round_trip(sign in "[a-zA-Z0-9._-]{1,20}", zone in "[a-zA-Z0-9._-]{1,20}", words in ".{0,80}", day in 0..60_000_i64) {
            let signer = signer();
            let text = signer.issue(&sign, &zone, &words, Stamp::from_ns(day * DAY_NS)).expect("fits");
            let code = signer.public().read(&text).expect("ours");
            prop_assert_eq!((code.sign, code.zone, code.words, i64::from(code.issued_day)), (sign, zone, words_digest(&words), day));
        }

        #[test]
        fn nothing_that_is_read_breaks_the_reader(text in ".{0,250}") {
            let public = PublicKey([7; 32]);
            prop_assert!(public.read(&text).is_err());
            let tagged = format!("{}{}", TAG, text);
            prop_assert!(public.read(&tagged).is_err());
        }
    }
}
