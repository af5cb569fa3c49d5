//! Keys and sealed bytes: the site's key, and what is derived from it. Everything of the gallery that touches a disk goes through here.
//!
//! ```text
//! site key (32 bytes, keys/site.key or a systemd credential)
//!    ├─ HKDF-SHA-256 "placard/1/vault"       wraps each subject's own random key
//!    │      └─ subject key                   seals that subject's templates
//!    ├─ HKDF-SHA-256 "placard/1/identities"  seals names
//!    ├─ HKDF-SHA-256 "placard/1/shards"      seals a shard's counts and root (`gallery/shard/`)
//!    ├─ HKDF-SHA-256 "placard/1/heads"       seals the newest generations (`gallery/heads.rs`); "placard/1/deleted" makes digests of ids there
//!    ├─ HKDF-SHA-256 "placard/1/gallery-proof" Ed25519: signs what an auditor compares (`commands/gallery/proof.rs`)
//!    ├─ HKDF-SHA-256 "placard/1/signs"       Ed25519: signs the codes on the site's signs (`signs/code.rs`)
//!    └─ HKDF-SHA-256 "placard/1/register"    Ed25519: signs the founding of the register (`policy/store/site.rs`)
//! ```
//!
//! Sealed bytes are `nonce (12) | ciphertext | tag (16)`, AES-256-GCM, nonce random. The nonce is safe by count: a subject key seals a
//! handful of templates, a derived key far fewer than 2³² values. Plain keys are wiped when they go away.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::{hkdf, rand};
use zeroize::Zeroizing;

use crate::state::{StateDirectory, replace_file};

pub const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("site key {path}: {error}; `placard commission` makes one")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("site key {path} has mode {mode:04o}, so others than its owner can read it: `chmod 0600 {path}`, then consider it disclosed")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("site key {path}: {found} bytes; it must be 32 random bytes, raw or as 64 hexadecimal digits")]
    Malformed { path: PathBuf, found: usize },
    #[error("site key {path} exists already: replacing it would make every enrolled template unreadable")]
    Exists { path: PathBuf },
    #[error("the gallery was re-keyed, and {path} is not the key that it is under: put that key back; nothing opens without it")]
    GalleryKey { path: PathBuf },
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
    #[error("sealed value cannot be opened: it was altered, belongs elsewhere, or was sealed with another key")]
    NotAuthentic,
}

/// Of every derived key.
struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// The root of a site's gallery keys. Wiped on drop.
pub struct SiteKey(Zeroizing<[u8; KEY_BYTES]>);

impl SiteKey {
    pub fn load(state: &StateDirectory) -> Result<Self, SealError> {
        Self::read_in(state.site_key(), |path| path.starts_with(state.root()))
    }

    /// A key of the state directory's own, for its owner alone.
    pub(crate) fn read(path: PathBuf) -> Result<Self, SealError> {
        Self::read_in(path, |_| true)
    }

    fn read_in(path: PathBuf, own: impl Fn(&Path) -> bool) -> Result<Self, SealError> {
        let read = |error| SealError::Read { path: path.clone(), error };
        let mut file = std::fs::File::open(&path).map_err(read)?;
        let mode = file.metadata().map_err(read)?.permissions().mode() & 0o7777;
        // systemd hands a credential to the service's user by an access list, whose mask shows as group bits (0440) though the group
        // itself has no access, in a directory nobody else can enter.
        let forbidden = if own(&path) { 0o077 } else { 0o037 };
        if mode & forbidden != 0 {
            return Err(SealError::Exposed { path, mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(128));
        file.by_ref().take(127).read_to_end(&mut text).map_err(read)?;
        Self::parse(&text).ok_or(SealError::Malformed { path, found: text.len() })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        if let Ok(raw) = <[u8; KEY_BYTES]>::try_from(text) {
            return Some(Self(Zeroizing::new(raw)));
        }
        let digits = text.trim_ascii();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(Self(key))
    }

    /// Makes the site's key: once, when the site is commissioned. Refuses where one exists.
    pub fn create(state: &StateDirectory) -> Result<Self, SealError> {
        let path = state.site_key();
        if path.exists() {
            return Err(SealError::Exists { path });
        }
        let key = random_key()?;
        let written = (|| {
            if let Some(directory) = path.parent() {
                make_private_directory(directory)?;
            }
            replace_file(&path, &key[..], 0o600)
        })();
        written.map_err(|error| SealError::Read { path, error })?;
        Ok(Self(key))
    }

    /// [`load`](Self::load), or [`create`](Self::create) where there is none: for demonstration sites.
    pub fn load_or_create(state: &StateDirectory) -> Result<Self, SealError> {
        match Self::load(state) {
            Err(SealError::Read { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Self::create(state),
            other => other,
        }
    }

    /// The root that this key and `own` give together; neither does alone.
    pub(crate) fn with(&self, own: &Self) -> Result<Self, SealError> {
        let mut root = Zeroizing::new([0; KEY_BYTES]);
        let both = hkdf::Salt::new(hkdf::HKDF_SHA256, &own.0[..]).extract(&self.0[..]);
        let filled = both.expand(&[b"placard/1/gallery-root"], Length).and_then(|okm| okm.fill(&mut root[..]));
        filled.map_err(|_| SealError::Library("derive a key"))?;
        Ok(Self(root))
    }

    /// Names this key, and says nothing about it.
    pub(crate) fn id(&self) -> Result<[u8; 16], SealError> {
        let seed = self.derive_seed("placard/1/key-id")?;
        Ok(std::array::from_fn(|i| seed[i]))
    }

    /// A key for one use, independent of the keys for other uses.
    pub(crate) fn derive(&self, label: &'static str) -> Result<SealingKey, SealError> {
        SealingKey::new(&*self.derive_seed(label)?)
    }

    /// The key that the codes on this site's signs are signed with. Whoever has the site's key has it; nobody else can make such a code.
    pub fn sign_pair(&self) -> Result<Ed25519KeyPair, SealError> {
        let seed = self.derive_seed("placard/1/signs")?;
        Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| SealError::Library("set up Ed25519"))
    }

    /// The key that proofs of what a gallery holds are signed with (`placard gallery export-proof`).
    pub fn gallery_proof_pair(&self) -> Result<Ed25519KeyPair, SealError> {
        let seed = self.derive_seed("placard/1/gallery-proof")?;
        Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| SealError::Library("set up Ed25519"))
    }

    /// 32 secret bytes for one use, independent of those for other uses: a seed for keys of another kind.
    pub(crate) fn derive_seed(&self, label: &'static str) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"placard").extract(&self.0[..]);
        let filled = root.expand(&[label.as_bytes()], Length).and_then(|okm| okm.fill(&mut derived[..]));
        filled.map_err(|_| SealError::Library("derive a key"))?;
        Ok(derived)
    }
}

pub(crate) fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut key[..]).map_err(|_| SealError::Library("give random bytes"))?;
    Ok(key)
}

/// Seals and opens with one key.
pub(crate) struct SealingKey(LessSafeKey);

impl SealingKey {
    pub fn new(key: &[u8; KEY_BYTES]) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::Library("set up AES-256-GCM"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// `nonce | ciphertext | tag`. `bound` is not stored: it must be the same when the value is opened.
    pub fn seal(&self, bound: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Library("give random bytes"))?;
        // Encrypted in place in its final allocation: no second plain copy is made.
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut sealed[NONCE_LEN..]);
        sealed.extend_from_slice(tag.map_err(|_| SealError::Library("seal"))?.as_ref());
        Ok(sealed)
    }

    pub fn open(&self, bound: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::NotAuthentic)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound), &mut plain);
        let length = opened.map_err(|_| SealError::NotAuthentic)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// A directory that its owner alone can enter; an existing one is left as it is.
pub(crate) fn make_private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path());
        (directory, state)
    }

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let (_directory, state) = state();
        assert!(matches!(SiteKey::load(&state), Err(SealError::Read { .. })));
        let made = SiteKey::load_or_create(&state).expect("made");
        assert_eq!(SiteKey::load(&state).expect("read").0, made.0);
        assert_eq!(std::fs::metadata(state.site_key()).expect("exists").permissions().mode() & 0o777, 0o600);
        assert!(matches!(SiteKey::create(&state), Err(SealError::Exists { .. })));
    }

    #[test]
    fn keys_others_can_read_and_malformed_keys_are_refused() {
        let (_directory, state) = state();
        SiteKey::create(&state).expect("made");
        let path = state.site_key();
        for mode in [0o640, 0o604, 0o620, 0o700 | 0o001] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(SiteKey::load(&state), Err(SealError::Exposed { .. })), "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        for (text, good) in [(&b"short"[..], false), (&[b'a'; 64], true), (&[b'g'; 64], false), (&[0; 200], false), (&[0; 32], true)] {
            std::fs::write(&path, text).expect("write");
            assert_eq!(SiteKey::load(&state).is_ok(), good, "{} bytes", text.len());
        }
        std::fs::write(&path, format!("{}\n", "0f".repeat(32))).expect("write");
        assert_eq!(*SiteKey::load(&state).expect("hex").0, [0x0f; 32]);
    }

    #[test]
    fn what_is_bound_must_come_back_and_labels_give_other_keys() {
        let site = SiteKey(Zeroizing::new([9; 32]));
        let (a, b) = (site.derive("one").expect("key"), site.derive("two").expect("key"));
        let sealed = a.seal(b"bound", b"secret").expect("sealed");
        assert_eq!(**a.open(b"bound", &sealed).expect("opens"), *b"secret");
        assert_ne!(sealed, a.seal(b"bound", b"secret").expect("sealed"), "the nonce is new each time");
        assert!(a.open(b"other", &sealed).is_err());
        assert!(b.open(b"bound", &sealed).is_err());
        assert!(a.open(b"bound", &sealed[..20]).is_err());
        assert!(a.open(b"bound", &[]).is_err());
        for byte in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[byte] ^= 1;
            assert!(a.open(b"bound", &altered).is_err(), "byte {byte}");
        }
    }
}
