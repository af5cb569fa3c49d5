//! Sealed shards: a purpose's rows in one file, as a service loads them. Derived from the vault, which is the truth; always to be had again from it.
//!
//! ```text
//! vault.redb ── build (copies what is sealed) ──▶ shards/KIND-DIGEST.shard ── load (opens every row) ──▶ scan
//!                                                        ▲
//!                        delete: erased here first, then in the vault
//! ```
//!
//! Invariants. *No key is in a shard that is not in the vault*: enrolment writes the vault first, deletion the shards first. *A shard counts only while its
//! mark is the vault's*: the mark is random and another one after every change, so a shard that is behind, ahead, or of another vault
//! is not believed. *What is given out was enrolled*: a row opens under its own key and its own header, or it is left out and
//! named, and the vault is asked instead.
//!
//! Files: `layout` the byte map · `build` · `open` reading and checking · `erase` · `shelf` the directory · `wipe` before a file goes · `disk` what is needed of a disk · `crc`.
//! Owner: whoever holds the vault. One process at a time reads or writes these files.

mod build;
mod crc;
pub(crate) mod disk;
mod erase;
mod layout;
mod open;
mod shelf;
mod wipe;

use std::fmt;
use std::path::PathBuf;

pub(crate) use build::{Key, Plan, Row};
pub use layout::{Header, Malformed, State};
pub(crate) use layout::{TEXT as NAME_BYTES, WRAPPED, ZONE_BYTES};
pub(crate) use open::ShardFile;
pub(crate) use shelf::{Head, Shelf};

pub(super) use super::seal::SealError;
use layout::KEYS_A_BLOCK;

#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("{path}: {malformed}; `placard gallery compact` makes it anew from the vault")]
    Malformed { path: PathBuf, malformed: Malformed },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("a record of {bytes} bytes fits into no slot of a shard")]
    RecordTooLong { bytes: u32 },
    #[error(
        "a name of a model or purpose is longer than 126 bytes, or those of the zones together than 3,614, and does not fit into a shard"
    )]
    NameTooLong,
    #[error(
        "{path}: {finding}; nothing is signed or concluded from it. `placard gallery check` names all of it, `placard gallery compact` makes it anew from the vault"
    )]
    Damaged { path: PathBuf, finding: Finding },
    #[error("{path} is not of the vault as it is and could not be made anew: `placard gallery compact` says why")]
    Stale { path: PathBuf },
    #[error("more than a shard can hold")]
    TooMany,
}

/// How the vault's mark of a purpose is about to change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Next {
    pub from: [u8; 16],
    pub mark: [u8; 16],
    pub version: u64,
}

/// Where in a shard's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "part")]
pub enum Place {
    /// 512 keys.
    KeyBlock {
        block: u32,
    },
    /// 32 slots.
    Block {
        block: u32,
    },
    /// `slot` is counted from the file's beginning.
    Slot {
        block: u32,
        slot: u32,
    },
    Counts,
    Root,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyBlock { block } => write!(f, "key block {block}"),
            Self::Block { block } => write!(f, "block {block}"),
            Self::Slot { block, slot } => write!(f, "block {block}, slot {slot}"),
            Self::Counts => f.write_str("counts"),
            Self::Root => f.write_str("root"),
        }
    }
}

/// What is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is damaged: its crc32c differs")]
    Checksum,
    #[error("was altered: its SHA-256 differs")]
    Digest,
    #[error("is torn: what it says of itself cannot be")]
    Torn,
    #[error("does not open: it was altered, or sealed elsewhere")]
    Sealed,
    #[error("does not open: its subject's key is damaged, or wrapped by another site")]
    KeySealed,
    #[error("is left of a subject whose key was erased: a deletion was cut short")]
    KeyErased,
    #[error("is of another subject, purpose, model or zone")]
    Foreign,
    #[error("is there twice: the disk gave what lies elsewhere")]
    Twice,
    #[error("{} keys and {} slots are in use, it says {} and {}", found.0, found.1, want.0, want.1)]
    Counts { found: (usize, usize), want: (usize, usize) },
}

/// One thing that is wrong with a shard's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.problem)
    }
}

#[cfg(test)]
pub(in crate::gallery) mod tests;
