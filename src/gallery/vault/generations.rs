//! Whether the vault is the newest there was. A shard is made from the vault, so none is ever of a later generation: where one is, somebody put an older vault
//! back, or a disk lost what it said it had. Who was deleted since would be found again, so nothing is searched, enrolled or made until somebody decides.
//!
//! A purpose's generation is its version and its mark: the version grows with every change, and the mark is random, so two of one version and two marks
//! are of two histories. (A deletion changes shards before the vault, and is owed from before that on: it is ended first, `vault/owed.rs`.)

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::shards::{Mark, random_mark};
use super::{MARKS, TEMPLATES, VERSIONS, Vault, VaultError, durable_write, set_version, there};
use crate::gallery::SubjectId;
use crate::gallery::record::Record;

/// A vault that is not the newest there was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is of generation {vault} for {purpose}, its shard {} of {}generation {later}: an older vault was put back, or its disk lost what it had acknowledged. \
     Nothing of it is searched and nobody is enrolled, because who was deleted since may be back. Put the newer vault back; where there is none, \
     `placard gallery compact --older-vault` takes this one, deletes again whoever the shard shows to have been deleted, and says who was enrolled since and is lost",
    path.display(), file.display(), if vault == later { "another " } else { "" }
)]
pub struct PutBack {
    pub path: PathBuf,
    pub purpose: String,
    /// Generation of the vault.
    pub vault: u64,
    pub file: PathBuf,
    /// Generation of the shard.
    pub later: u64,
}

/// What became of a vault that was put back and taken as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Deleted again.
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

    /// The first shard that is not of this vault's past.
    pub(super) fn later_shard(&self) -> Result<Option<PutBack>, VaultError> {
        Ok(self.later_shards()?.into_iter().next())
    }

    fn later_shards(&self) -> Result<Vec<PutBack>, VaultError> {
        let mut later = Vec::new();
        for head in self.shelf.heads()?.iter() {
            let (version, mark) = self.generation(&head.header.purpose)?;
            let of = &head.state;
            if of.version > version || (of.version == version && Some(of.mark) != mark) {
                let purpose = head.header.purpose.clone();
                later.push(PutBack { path: self.path.clone(), purpose, vault: version, file: head.path.clone(), later: of.version });
            }
        }
        Ok(later)
    }

    /// Fails where a deletion that is owed cannot be ended, and in a vault that was put back.
    pub fn in_step(&self) -> Result<(), VaultError> {
        self.settle()?;
        self.put_back.clone().map_or(Ok(()), |put_back| Err(put_back.into()))
    }

    /// Takes a vault that was put back as the newest there is. Whoever a later shard does not have any more was deleted, and is deleted again; refused
    /// where such a shard is damaged, because then it does not say who that is.
    pub fn accept_older(&mut self) -> Result<Accepted, VaultError> {
        self.settle()?;
        let (mut accepted, mut versions) = (Accepted::default(), BTreeMap::new());
        for PutBack { purpose, file, later, .. } in self.later_shards()? {
            let Some((_, shard)) = self.shelf.all()?.into_iter().find(|(path, _)| *path == file) else { continue };
            let shard = shard?;
            shard.whole()?;
            let there: BTreeSet<SubjectId> = shard.subjects().into_iter().map(|subject| SubjectId(subject.into())).collect();
            let here = self.subjects_with(&purpose, &shard.header().model_sha256)?;
            accepted.deleted.extend(here.difference(&there).cloned());
            accepted.lost.extend(there.difference(&here).cloned());
            let most: &mut u64 = versions.entry(purpose).or_default();
            *most = later.max(*most);
        }
        self.delete(&accepted.deleted)?;
        for (purpose, later) in versions {
            let mark = random_mark()?;
            durable_write(&self.database, &self.path, |write| set_version(write, &purpose, later + 1, &mark))?;
        }
        self.put_back = self.later_shard()?;
        Ok(accepted)
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
