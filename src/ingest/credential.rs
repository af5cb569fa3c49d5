//! `user:password` of a camera, from a file.
//!
//! Invariants: the file belongs to us alone (or systemd vouches for it, under `$CREDENTIALS_DIRECTORY`); the type never prints what it
//! holds and wipes it when dropped; errors name the file, never its contents.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A line longer than this is no credential.
const MAX_BYTES: u64 = 4_096;

/// A user name and a password. `Debug` shows neither.
pub struct Credential {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("credential file {path}: {reason}")]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("credential file {path} has mode {mode:04o}: others can read it; run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("credential file {path}: the first line must be `user:password`")]
    Malformed { path: PathBuf },
}

impl Credential {
    /// Reads the first line of `path`.
    pub fn read(path: &Path) -> Result<Self, CredentialError> {
        Self::read_trusting(path, systemd_s().as_deref())
    }

    /// As [`Credential::read`]; files below `trusted` (systemd's credential directory) may have any mode.
    fn read_trusting(path: &Path, trusted: Option<&Path>) -> Result<Self, CredentialError> {
        let text = read_trusting(path, trusted)?;
        Self::parse(&text).ok_or_else(|| CredentialError::Malformed { path: path.to_owned() })
    }

    /// The first line, `user:password`; the password may hold colons.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.lines().next()?.split_once(':')?;
        if user.is_empty() {
            return None;
        }
        Some(Self { user: Zeroizing::new(user.to_owned()), password: Zeroizing::new(password.to_owned()) })
    }

    /// For the one place that hands it to the RTSP client or server.
    pub fn user(&self) -> &str {
        &self.user
    }
    pub fn password(&self) -> &str {
        &self.password
    }
}

/// systemd's credential directory, where there is one.
fn systemd_s() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The beginning of a file that holds a secret of any form; refused where others can read it, as [`Credential::read`] does.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, CredentialError> {
    read_trusting(path, systemd_s().as_deref())
}

fn read_trusting(path: &Path, trusted: Option<&Path>) -> Result<Zeroizing<String>, CredentialError> {
    let unreadable = |reason| CredentialError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(unreadable)?;
    // The mode of the file that was opened, not of whatever the name points to by now.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 && !trusted.is_some_and(|directory| path.starts_with(directory)) {
        return Err(CredentialError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(•••)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(contents: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("camera");
        std::fs::write(&path, contents).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        (directory, path)
    }

    #[test]
    fn a_private_file_is_read_and_never_printed() {
        let (_keep, path) = file("admin:hunter2:with:colons\nsecond line\n", 0o600);
        let credential = Credential::read_trusting(&path, None).expect("private and well formed");
        assert_eq!((credential.user(), credential.password()), ("admin", "hunter2:with:colons"));
        assert_eq!(format!("{credential:?}"), "Credential(•••)");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_unless_systemd_made_it() {
        let (keep, path) = file("admin:hunter2\n", 0o640);
        let error = Credential::read_trusting(&path, None).expect_err("group may read").to_string();
        assert!(error.contains("0640") && error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
        assert!(Credential::read_trusting(&path, Some(keep.path())).is_ok());
    }

    #[test]
    fn what_is_no_credential_is_refused_without_being_repeated() {
        for text in ["", "hunter2", ":hunter2"] {
            let (_keep, path) = file(text, 0o600);
            let error = Credential::read_trusting(&path, None).expect_err(text).to_string();
            assert!(error.contains("user:password") && !error.contains("hunter2"), "{error}");
        }
        assert!(matches!(Credential::read(Path::new("/no/such")), Err(CredentialError::Unreadable { .. })));
    }
}
