//! Where a site's state lies. One place, so that no two parts disagree.
//!
//! ```text
//! STATE/  site.toml             name, mode, controller, contact: written by `commission`
//!         register.redb         every change of the facts the policy thread reads, signed; see `policy/store.rs`
//!         keys/site.key         0600; a systemd credential `placard-site-key` takes its place where there is one
//!         keys/gallery.key    0600; once the gallery was re-keyed: the gallery opens with it and the site's key together
//!         keys/stand-in-N.key   0600; of the two stand-ins of a demonstration or commissioning site
//!         profiles/NAME/        profile.toml, policies.cedar, signature: regimes that do not come with the program
//!         models/NAME/          model.onnx, manifest.toml
//!         gallery/vault.redb    sealed templates          gallery/identities.redb   sealed names, another key
//!         gallery/shards/*.shard  the same templates as the vault, as sealed, a file for each purpose and model: `gallery/shard/mod.rs`
//!         gallery/heads         the newest generation of each purpose, sealed: by it an older vault that was put back is known; `gallery/heads.rs`
//!         journal/              events-NNNNNNNN.jsonl, <sink>.cursor
//!         clock.json            how far the wall clock has been believed; see `policy/leap.rs`
//!         control.sock          unless the state directory is the default: then /run/placard/control.sock
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

pub const DEFAULT: &str = "/var/lib/placard";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn site(&self) -> PathBuf {
        self.root.join("site.toml")
    }
    pub fn register(&self) -> PathBuf {
        self.root.join("register.redb")
    }
    /// Of the two people who stand in for approvers where nothing real hangs on it: `number` 1 or 2.
    pub fn stand_in_key(&self, number: u8) -> PathBuf {
        self.root.join(format!("keys/stand-in-{number}.key"))
    }
    pub fn site_key(&self) -> PathBuf {
        match std::env::var_os("CREDENTIALS_DIRECTORY").map(|d| Path::new(&d).join("placard-site-key")) {
            Some(credential) if credential.exists() => credential,
            _ => self.root.join("keys/site.key"),
        }
    }
    /// Of the gallery alone, together with the site's, once it was re-keyed; see `gallery/keyring.rs`.
    pub fn gallery_key(&self) -> PathBuf {
        self.root.join("keys/gallery.key")
    }
    /// Profiles of the operator's own, each in a directory of its name.
    pub fn profiles(&self) -> PathBuf {
        self.root.join("profiles")
    }
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }
    pub fn vault(&self) -> PathBuf {
        self.root.join("gallery/vault.redb")
    }
    pub fn identities(&self) -> PathBuf {
        self.root.join("gallery/identities.redb")
    }
    /// Made from the vault, by purpose and model; see `gallery/shard/mod.rs`.
    pub fn shards(&self) -> PathBuf {
        self.root.join("gallery/shards")
    }
    /// The witness of how far the vault has come; see `gallery/heads.rs`.
    pub fn heads(&self) -> PathBuf {
        self.root.join("gallery/heads")
    }
    pub fn clock(&self) -> PathBuf {
        self.root.join("clock.json")
    }
    /// What was refused, and what was erased (`emit/record.rs`).
    pub fn record(&self) -> PathBuf {
        self.root.join("record.jsonl")
    }
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }
    pub fn control_socket(&self) -> PathBuf {
        if self.root == Path::new(DEFAULT) { PathBuf::from("/run/placard/control.sock") } else { self.root.join("control.sock") }
    }
}

/// Replaces `path` so that a power cut leaves the old contents or the new, never a mixture: temporary file in the same directory,
/// fsync, rename, fsync of the directory.
pub fn replace_file(path: &Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| std::io::Error::other("path has no file name"))?;
    let temporary = directory.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        // The service's user can write here too: a link it may have laid is not followed.
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode).custom_flags(nix::libc::O_NOFOLLOW);
        let mut file = options.open(&temporary)?;
        // What root writes into somebody's directory is for that user to read and to replace.
        let owner = std::fs::metadata(directory)?;
        if nix::unistd::geteuid().is_root() && owner.uid() != 0 {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The error to report is the first one; a leftover temporary file is harmless and overwritten next time.
        let _leftover = std::fs::remove_file(&temporary);
    }
    written
}
