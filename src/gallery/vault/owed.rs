//! Deleting, and what a crash must not make anybody forget of it.
//!
//! ```text
//! 1  owed-1 "erase" ← who, and the versions and marks to be      from here on the deletion is ended, by whoever opens the vault next if need be
//! 2  shards: keys, rows, counts (shard/erase.rs)
//! 3  keys, versions, marks; owed-1 "rewrite"                     nothing of theirs opens any more; the witness is told (heads.rs)
//! 4  rows; owed-1 "erase" goes
//! 5  the file is written anew ([`Vault::rewrite`]); owed-1 "rewrite" goes with it
//! ```
//!
//! Each step may be done again: the marks are those of step 1. Nothing else is done to the vault while a deletion is owed.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::shards::{bits, random_mark};
use super::{Enrolled, KEYS, OWED, TEMPLATES, Vault, VaultError, durable_write, set_version, there};
use crate::clock::{Stamp, Utc};
use crate::gallery::SubjectId;
use crate::gallery::file::owe_rewrite;
use crate::gallery::shard::Next;
use crate::policy::enrolment::eligible::{Standing, enrolment_stands};
use crate::policy::facts::Register;

const ERASE: &str = "erase";

/// A deletion under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Debt {
    subjects: BTreeSet<SubjectId>,
    /// By purpose.
    next: BTreeMap<String, Next>,
}

impl Vault {
    /// Deletes subjects from every purpose: first their keys, in the shards and then here, durably, then their rows. True if there was anything to
    /// delete. Where it fails half way it is owed, and ended before anything else is done. Their names are in another file: see
    /// [`Identities::retain`](crate::gallery::identities::Identities::retain).
    pub fn delete(&self, subjects: &BTreeSet<SubjectId>) -> Result<bool, VaultError> {
        self.settle()?;
        if subjects.is_empty() {
            return Ok(false);
        }
        let purposes = self.read(|read| {
            let mut purposes = BTreeSet::new();
            for row in read.open_table(TEMPLATES)?.iter()? {
                let (key, _) = row?;
                if subjects.contains(key.value().1) {
                    purposes.insert(key.value().0.to_owned());
                }
            }
            Ok(purposes)
        })?;
        let debt = Debt { subjects: subjects.clone(), next: self.next(&purposes)? };
        let text = serde_json::to_vec(&debt).map_err(|error| self.unreadable(&error))?;
        durable_write(&self.database, &self.path, |write| {
            write.open_table(OWED)?.insert(ERASE, text.as_slice())?;
            Ok(())
        })?;
        self.carry_out(&debt)
    }

    /// Deletes every subject that is past its end for all its purposes, or for which `register` says that what it rests on is over, and names
    /// them.
    pub fn purge_over(&self, register: &Register, now: Stamp<Utc>) -> Result<BTreeSet<SubjectId>, VaultError> {
        let all = self.list(None)?;
        let over = |e: &Enrolled| enrolment_stands(register, &e.purpose, e.enrolment(), now) == Standing::Over;
        let (past, live): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| e.expires_at <= now || over(e));
        let live: BTreeSet<SubjectId> = live.into_iter().map(|e| e.subject).collect();
        let past: BTreeSet<SubjectId> = past.into_iter().map(|e| e.subject).filter(|s| !live.contains(s)).collect();
        if !past.is_empty() {
            self.delete(&past)?;
        }
        Ok(past)
    }

    /// Ends a deletion that was cut short.
    pub(super) fn settle(&self) -> Result<(), VaultError> {
        let owed = self.read(|read| {
            let Some(table) = there(read.open_table(OWED))? else { return Ok(None) };
            Ok(table.get(ERASE)?.map(|debt| debt.value().to_vec()))
        })?;
        let Some(text) = owed else { return Ok(()) };
        let debt: Debt = serde_json::from_slice(&text).map_err(|error| self.unreadable(&error))?;
        tracing::warn!(subjects = debt.subjects.len(), "a deletion was cut short; it is ended now");
        self.carry_out(&debt).map(drop)
    }

    fn unreadable(&self, error: &serde_json::Error) -> VaultError {
        VaultError::Owed { path: self.path.clone(), problem: error.to_string() }
    }

    /// Steps 2 to 4. True if there was anything to delete.
    fn carry_out(&self, Debt { subjects, next }: &Debt) -> Result<bool, VaultError> {
        self.shelf.erase(&subjects.iter().filter_map(|subject| bits(&subject.0)).collect(), next)?;
        let affected = durable_write(&self.database, &self.path, |write| {
            let mut keys = write.open_table(KEYS)?;
            let mut found = !next.is_empty();
            for subject in subjects {
                found |= keys.remove(&*subject.0)?.is_some();
            }
            for (purpose, Next { version, mark, .. }) in next {
                set_version(write, purpose, *version, mark)?;
            }
            if found {
                owe_rewrite(write)?;
            }
            Ok(found)
        })?;
        self.witness(self.ends_of(subjects)?, None)?;
        durable_write(&self.database, &self.path, |write| {
            write.open_table(OWED)?.remove(ERASE)?;
            Ok(write.open_table(TEMPLATES)?.retain(|key, _| !subjects.contains(key.1))?)
        })?;
        Ok(affected)
    }

    /// What the versions and marks of `purposes` are to be. A vault that was put back keeps its versions: by them it is known.
    fn next(&self, purposes: &BTreeSet<String>) -> Result<BTreeMap<String, Next>, VaultError> {
        let mut next = BTreeMap::new();
        for purpose in purposes {
            let (version, from) = self.generation(purpose)?;
            let mark = random_mark()?;
            // Without a mark no shard is of this vault.
            let version = version + u64::from(self.put_back.is_none());
            next.insert(purpose.clone(), Next { from: from.unwrap_or(mark), mark, version });
        }
        Ok(next)
    }
}
