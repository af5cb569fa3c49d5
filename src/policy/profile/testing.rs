//! Profiles made by tests: a directory, and a key that its library trusts.

use std::path::{Path, PathBuf};

use super::Library;
use super::signature::{self, TrustedKey};

/// Of a key that signs nothing but tests.
const SEED: &str = "7e577e577e577e577e577e577e577e577e577e577e577e577e577e577e577e57";

/// Permits everything that the schema knows.
pub(crate) fn permissive(id: &str) -> String {
    format!("@id(\"{id}\") permit (principal, action, resource);\n@id(\"{id}-2\") forbid (principal, action, resource) when {{ false }};\n")
}

/// Of the key that the shelf signs with, hex.
pub(crate) fn public_key() -> String {
    signature::sign(&[0; 32], "tests", SEED.as_bytes()).expect("a key").1
}

/// A directory of profiles.
pub(crate) struct Shelf {
    directory: tempfile::TempDir,
}

impl Shelf {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
    pub fn library(&self) -> Library {
        let public = public_key();
        let public = public.as_bytes().chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).expect("hex"), 16).expect("hex"));
        Library::with_directory(self.directory.path().to_owned(), vec![TrustedKey { id: "tests".to_owned(), public: public.collect() }])
    }
    /// As a register names it: with the digest that it has now.
    pub fn named(&self, name: &str) -> String {
        let text = |file: &str| std::fs::read_to_string(self.path(name).join(file)).expect("readable");
        format!("{name}@{}", crate::hex::of(&signature::digest(&text("profile.toml"), &text("policies.cedar"))))
    }
    /// Writes and signs a profile; `dates`: further lines of `[regime]` and tables after it.
    pub fn put(&self, name: &str, version: &str, dates: &str, policies: &str) {
        let values = format!("[regime]\nid = \"{name}\"\nversion = \"{version}\"\nsupervisor = \"s\"\nsigned_by = \"tests\"\n{dates}\n");
        let (line, _) = signature::sign(&signature::digest(&values, policies), "tests", SEED.as_bytes()).expect("signed");
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("made");
        for (file, text) in [("profile.toml", &*values), ("policies.cedar", policies), ("signature", &*line)] {
            replace(&path.join(file), text);
        }
    }
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).expect("written");
    std::fs::rename(&fresh, path).expect("renamed");
}
