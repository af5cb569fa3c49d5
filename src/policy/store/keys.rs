//! Keys that people sign with (Ed25519, RFC 8032), as files: 64 hexadecimal digits, the secret seed, readable by their owner alone.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::digest::{Digest, unhex};
use crate::hex;

/// Larger than any key file of ours.
const MAX_BYTES: usize = 128;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("key {} exists already: keys are made, never replaced", .0.display())]
    Exists(PathBuf),
    #[error("key {} has mode {mode:04o}, so others than its owner can read it: `chmod 0600` it, and consider it disclosed", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("key {}: it must be 64 hexadecimal digits, as `placard person key` makes them", .0.display())]
    Malformed(PathBuf),
    #[error("the cryptographic library could not {0}")]
    Library(&'static str),
}

/// Somebody's secret key.
pub struct PersonKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

impl PersonKey {
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Library("set up an Ed25519 key"))?;
        Ok(Self { pair, seed: Zeroizing::new(*seed) })
    }

    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(&mut seed[..]).map_err(|_| KeyError::Library("give random bytes"))?;
        Self::from_seed(&seed)
    }

    /// Makes a key in a new file, durably.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::generate()?;
        let file_error = |source| KeyError::File { path: path.to_owned(), source };
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = made.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
            _ => file_error(e),
        })?;
        let text = Zeroizing::new(format!("{}\n", hex::of(&key.seed[..])));
        let written = (|| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // What root makes in somebody's directory is that user's.
            let owner = std::fs::metadata(directory)?;
            if nix::unistd::geteuid().is_root() {
                std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            std::fs::File::open(directory)?.sync_all()
        })();
        written.map_err(file_error)?;
        Ok(key)
    }

    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file_error = |source| KeyError::File { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(file_error)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(file_error)?);
        let seed = std::str::from_utf8(&text).ok().filter(|t| t.len() <= MAX_BYTES).and_then(|t| unhex(t.trim()));
        let seed = Zeroizing::new(seed.ok_or_else(|| KeyError::Malformed(path.to_owned()))?);
        Self::from_seed(&seed)
    }

    pub fn public(&self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        Digest(bytes)
    }

    /// 128 hexadecimal digits.
    pub fn sign(&self, message: &[u8]) -> String {
        hex::of(self.pair.sign(message).as_ref())
    }
}

/// Whether `signature` (hexadecimal) of `message` was made with the secret half of `public`.
pub fn verifies(public: &Digest, message: &[u8], signature: &str) -> bool {
    let Some(signature) = unhex::<64>(signature) else { return false };
    UnparsedPublicKey::new(&ED25519, public.0).verify(message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_made_once_and_read_back() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("w.chen.key");
        let key = PersonKey::create(&path).expect("made");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(PersonKey::create(&path), Err(KeyError::Exists(_))));
        assert_eq!(PersonKey::load(&path).expect("read").public(), key.public());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(PersonKey::load(&path), Err(KeyError::Exposed { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::fs::write(&path, "not a key").expect("written");
        assert!(matches!(PersonKey::load(&path), Err(KeyError::Malformed(_))));
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        // RFC 8032, 7.1, test 2.
        let seed = unhex::<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").expect("hex");
        let key = PersonKey::from_seed(&seed).expect("a key");
        assert_eq!(key.public().to_string(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = key.sign(&[0x72]);
        assert!(signature.starts_with("92a009a9f0d4cab8720e820b5f642540"), "{signature}");
        assert!(verifies(&key.public(), &[0x72], &signature));
        assert!(!verifies(&key.public(), &[0x73], &signature));
        assert!(!verifies(&PersonKey::generate().expect("a key").public(), &[0x72], &signature));
        assert!(!verifies(&key.public(), &[0x72], &signature.to_uppercase()), "one signature has one text");
        assert!(!verifies(&key.public(), &[0x72], ""));
    }
}
