//! Whether the vault is the newest there was. Its witness (`gallery/heads.rs`) knows the newest generation of every purpose, and a shard is made from the vault, so
//! neither is ever of a later generation: where one is, somebody put an older vault back, or a disk lost what it said it had. Who was deleted since would be
//! found again, so nothing is searched, enrolled or made until somebody decides.
//!
//! A purpose's generation is its version and its mark: the version grows with every change, and the mark is random, so two of one version and two marks
//! are of two histories. (A deletion changes shards before the vault, and is owed from before that on: it is ended first, `vault/owed.rs`.)
//!
//! The witness is written after the vault's own commit and before anything is acknowledged: a cut in between leaves it one behind, which the next opening
//! makes good, and never ahead. It only grows: a vault that was put back changes nothing of what it says of generations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use redb::ReadableTable;

use super::shards::{Mark, random_mark};
use super::{HEADED, MARKS, TEMPLATES, VERSIONS, Vault, VaultError, durable_write, set_version, there};
use crate::clock::{Stamp, Utc};
use crate::gallery::SubjectId;
use crate::gallery::heads::{Found, Head};
use crate::gallery::record::Record;

pub(super) const HEADS: &str = "heads";

/// What is said of each.
const CLOSED: &str = "Nothing of it is searched and nobody is enrolled, because who was deleted since may be back. Put the newer vault back; where there is none, \
                      `placard gallery compact --older-vault` says who was deleted and who is lost, takes this one, and deletes again whoever was deleted";

/// A vault that is not the newest there was, or of which nobody can say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutBack {
    #[error(
        "{} is of generation {vault} for {purpose}, {} of {}generation {later}: an older vault was put back, or its disk lost what it had acknowledged. {CLOSED}",
        path.display(), file.display(), if vault == later { "another " } else { "" }
    )]
    Older {
        path: PathBuf,
        purpose: String,
        /// Generation of the vault.
        vault: u64,
        /// The witness, or a shard.
        file: PathBuf,
        /// Its generation.
        later: u64,
    },
    #[error("{} is a vault from before the gallery was re-keyed: it is not under keys/gallery.key. {CLOSED}", path.display())]
    BeforeRekeying { path: PathBuf },
    #[error("{} {what}, so nobody can say whether {} is the newest vault there was. {CLOSED}", file.display(), path.display())]
    Unwitnessed { path: PathBuf, file: PathBuf, what: &'static str },
}

/// What becomes of a vault that was put back once it is taken as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// To be deleted again.
    pub deleted: BTreeSet<SubjectId>,
    /// Enrolled since, and not in this vault.
    pub lost: BTreeSet<SubjectId>,
}

impl Vault {
    /// Version and mark of a purpose, by its text.
    pub(super) fn generation(&self, purpose: &str) -> Result<(u64, Option<Mark>), VaultError> {
        self.read(|read| {
            let version = read.open_table(VERSIONS)?.get(purpose)?.map_or(0, |v| v.value());
            let mark = match there(read.open_table(MARKS))? {
                Some(marks) => marks.get(purpose)?.and_then(|mark| mark.value().try_into().ok()),
                None => None,
            };
            Ok((version, mark))
        })
    }

    /// Of every purpose that ever had a subject, by its text.
    fn generations(&self) -> Result<BTreeMap<String, (u64, Option<Mark>)>, VaultError> {
        let purposes = self.read(|read| {
            let mut all = BTreeSet::new();
            for row in read.open_table(VERSIONS)?.iter()? {
                all.insert(row?.0.value().to_owned());
            }
            Ok(all)
        })?;
        purposes.into_iter().map(|purpose| Ok((purpose.clone(), self.generation(&purpose)?))).collect()
    }

    /// Reads what the witness says.
    pub(super) fn recall(&mut self) -> Result<(), VaultError> {
        let found = self.heads.read().map_err(|error| VaultError::File { path: self.heads.path().to_owned(), error })?;
        let (heads, unwitnessed) = match found {
            Found::These { heads, damaged } => {
                if let Some(copy) = damaged {
                    tracing::error!(path = %self.heads.path().display(), copy, "one of two copies of the newest generations is damaged; the other is used, and the next change of the gallery makes both anew");
                }
                (Some(heads), None)
            }
            Found::Absent if self.is_headed()? => (None, Some("is gone")),
            Found::Absent => (Some(crate::gallery::heads::Heads::default()), None),
            Found::Unreadable => (None, Some("does not open: it is damaged in both its copies, or another site's")),
        };
        self.heads.suppose(heads);
        self.unwitnessed = unwitnessed;
        Ok(())
    }

    /// Whether the vault was ever witnessed.
    fn is_headed(&self) -> Result<bool, VaultError> {
        self.read(|read| {
            Ok(there(read.open_table(HEADED))?.map(|table| table.get(HEADS).map(|h| h.is_some())).transpose()?.unwrap_or(false))
        })
    }

    /// Makes good what a crash left out, and gives a witness to a vault that had none. What cannot be written now is tried again with the next change.
    pub(super) fn be_witnessed(&self) -> Result<(), VaultError> {
        if self.put_back.is_some() {
            return Ok(());
        }
        if let Err(error) = self.witness(BTreeMap::new(), None) {
            tracing::error!(%error, "the newest generations could not be written down beside the vault: an older vault that is put back may not be known");
        }
        Ok(())
    }

    /// Tells the witness how far the vault is, and who is `gone` (digests, and the ends of their templates). Durable when it returns.
    pub(super) fn witness(&self, gone: BTreeMap<[u8; 16], i64>, now: Option<Stamp<Utc>>) -> Result<(), VaultError> {
        // Where it says nothing, it is not made to say that this is the newest.
        let Some(known) = self.heads.known() else { return Ok(()) };
        let mut heads = known.clone();
        for (purpose, (version, mark)) in self.generations()? {
            let Some(mark) = mark else { continue };
            if heads.purposes.get(&purpose).is_none_or(|head| head.version < version) {
                heads.purposes.insert(purpose, Head { version, mark });
            }
        }
        heads.gone.extend(gone);
        if let Some(now) = now {
            heads.gone.retain(|_, until_ns| *until_ns > now.ns());
        }
        if heads != known {
            self.heads.write(&heads).map_err(|error| VaultError::File { path: self.heads.path().to_owned(), error })?;
        }
        if !heads.purposes.is_empty() && !self.is_headed()? {
            durable_write(&self.database, &self.path, |write| Ok(write.open_table(HEADED)?.insert(HEADS, &[][..]).map(drop)?))?;
        }
        Ok(())
    }

    /// Digests of `subjects`, and when the last template of each ends: that of a damaged one never.
    pub(super) fn ends_of(&self, subjects: &BTreeSet<SubjectId>) -> Result<BTreeMap<[u8; 16], i64>, VaultError> {
        self.read(|read| {
            let mut ends = BTreeMap::new();
            for row in read.open_table(TEMPLATES)?.iter()? {
                let (key, record) = row?;
                let Some(subject) = subjects.get(key.value().1) else { continue };
                let until_ns = Record::parse(record.value(), key.value()).map_or(i64::MAX, |record| record.header.expires_at_ns);
                let end: &mut i64 = ends.entry(self.heads.digest(subject)).or_insert(until_ns);
                *end = until_ns.max(*end);
            }
            Ok(ends)
        })
    }

    /// By what it is known that this vault is not the newest there was.
    pub(super) fn out_of_step(&self) -> Result<Option<PutBack>, VaultError> {
        let path = || self.path.clone();
        if let Some(older) = self.later_head()?.or(self.later_shards()?.into_iter().next()) {
            return Ok(Some(older));
        }
        if self.overtaken.is_some() {
            return Ok(Some(PutBack::BeforeRekeying { path: path() }));
        }
        Ok(self.unwitnessed.map(|what| PutBack::Unwitnessed { path: path(), file: self.heads.path().to_owned(), what }))
    }

    /// Where the witness knows a later generation.
    pub(super) fn later_head(&self) -> Result<Option<PutBack>, VaultError> {
        for (purpose, Head { version: later, mark: own }) in self.heads.known().unwrap_or_default().purposes {
            let (vault, mark) = self.generation(&purpose)?;
            if later > vault || (later == vault && Some(own) != mark) {
                return Ok(Some(PutBack::Older { path: self.path.clone(), purpose, vault, file: self.heads.path().to_owned(), later }));
            }
        }
        Ok(None)
    }

    /// The shards that are not of this vault's past.
    fn later_shards(&self) -> Result<Vec<PutBack>, VaultError> {
        let mut all = Vec::new();
        for head in self.shelf.heads()?.iter() {
            let (vault, mark) = self.generation(&head.header.purpose)?;
            let later = head.state.version;
            if later > vault || (later == vault && Some(head.state.mark) != mark) {
                let purpose = head.header.purpose.clone();
                all.push(PutBack::Older { path: self.path.clone(), purpose, vault, file: head.path.clone(), later });
            }
        }
        Ok(all)
    }

    /// Fails where a deletion that is owed cannot be ended, and in a vault that was put back.
    pub fn in_step(&self) -> Result<(), VaultError> {
        self.settle()?;
        self.put_back.clone().map_or(Ok(()), |put_back| Err(put_back.into()))
    }

    /// What taking a vault that was put back will come to; changes nothing. To be deleted again is whom the witness knows to have been deleted, and whom a later
    /// shard does not have any more; refused where such a shard is damaged, because then it does not say who that is. Lost is whom such a shard has and
    /// this vault has not, and whoever of `named` is in the file of names alone.
    pub fn weigh_older(&self, named: &BTreeSet<SubjectId>) -> Result<Accepted, VaultError> {
        self.settle()?;
        let mut weighed = Accepted::default();
        if self.put_back.is_none() {
            return Ok(weighed);
        }
        let gone = self.heads.known().unwrap_or_default().gone;
        let was_deleted = |subject: &&SubjectId| gone.contains_key(&self.heads.digest(subject));
        for later in self.later_shards()? {
            let PutBack::Older { purpose, file, .. } = later else { continue };
            let Some((_, shard)) = self.shelf.all()?.into_iter().find(|(path, _)| *path == file) else { continue };
            let shard = shard?;
            shard.whole()?;
            let there: BTreeSet<SubjectId> = shard.subjects().into_iter().map(|subject| SubjectId(subject.into())).collect();
            let here = self.subjects_with(&purpose, &shard.header().model_sha256)?;
            weighed.deleted.extend(here.difference(&there).cloned());
            weighed.lost.extend(there.difference(&here).cloned());
        }
        let here = self.subjects()?;
        weighed.deleted.extend(here.iter().filter(was_deleted).cloned());
        weighed.lost.extend(named.difference(&here).filter(|subject| !was_deleted(subject)).cloned());
        Ok(weighed)
    }

    /// Takes a vault that was put back as the newest there is, and deletes again whom it was [weighed](Self::weigh_older) to have lost.
    pub fn accept_older(&mut self, Accepted { deleted, .. }: &Accepted) -> Result<(), VaultError> {
        self.settle()?;
        // Under the wrong key the witness would be made one of another site.
        self.all_open(None)?;
        let mut versions: BTreeMap<String, u64> =
            self.generations()?.into_iter().map(|(purpose, (version, _))| (purpose, version)).collect();
        let heads = self.heads.known().unwrap_or_default().purposes.into_iter().map(|(purpose, head)| (purpose, head.version));
        let shards: Vec<(String, u64)> = self.shelf.heads()?.iter().map(|h| (h.header.purpose.clone(), h.state.version)).collect();
        for (purpose, version) in heads.chain(shards) {
            let most: &mut u64 = versions.entry(purpose).or_default();
            *most = version.max(*most);
        }
        if let Some(root) = &self.overtaken {
            self.wrap_under(root)?;
            self.wrapping = root.derive("placard/1/vault")?;
            self.overtaken = None;
        }
        self.delete(deleted)?;
        let mut next = Vec::new();
        for (purpose, version) in versions {
            // Re-keying has added one.
            next.push((purpose, version + 2, random_mark()?));
        }
        durable_write(&self.database, &self.path, |write| {
            next.iter().try_for_each(|(purpose, version, mark)| set_version(write, purpose, *version, mark))
        })?;
        if self.unwitnessed.take().is_some() {
            self.heads.suppose(Some(crate::gallery::heads::Heads::default()));
        }
        self.put_back = None;
        self.witness(BTreeMap::new(), None)?;
        self.put_back = self.out_of_step()?;
        Ok(())
    }

    /// Who has a row for a purpose, made with a model.
    fn subjects_with(&self, purpose: &str, model_sha256: &str) -> Result<BTreeSet<SubjectId>, VaultError> {
        self.read(|read| {
            let mut all = BTreeSet::new();
            for row in read.open_table(TEMPLATES)?.range((purpose, "", 0)..=(purpose, super::AFTER_ALL_SUBJECTS, u8::MAX))? {
                let (key, record) = row?;
                let of_model = Record::parse(record.value(), key.value()).is_ok_and(|record| record.header.model_sha256 == *model_sha256);
                if of_model {
                    all.insert(SubjectId(key.value().1.into()));
                }
            }
            Ok(all)
        })
    }
}
