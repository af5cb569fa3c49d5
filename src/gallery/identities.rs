//! Names of subjects: another file, another key than the templates (C30). The pipeline never opens it; commands that talk to an operator
//! do.
//!
//! Invariant: a row is `subject id → sealed name`, bound to that id. The id is the only thing that joins the two files.

use std::path::PathBuf;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use zeroize::Zeroizing;

use super::SubjectId;
use super::file::{durable_write, open_database, owe_rewrite, owes_rewrite, rewrite};
use super::keyring;
use super::seal::{SealError, SealingKey, SiteKey};
use super::vault::VaultError;
use crate::state::StateDirectory;

const NAMES: TableDefinition<&str, &[u8]> = TableDefinition::new("names-1");

pub struct Identities {
    database: Database,
    path: PathBuf,
    key: SealingKey,
}

impl Identities {
    /// Opens or makes the file, and ends a rewriting that it owes. One process at a time: [`VaultError::Busy`] while another has it.
    pub fn open(state: &StateDirectory, key: &SiteKey) -> Result<Self, VaultError> {
        let names = Self::open_as_it_is(state, key)?;
        if !owes_rewrite(&names.database, &names.path)? {
            return Ok(names);
        }
        if let Err(error) = names.rewrite() {
            tracing::error!(%error, "freed pages of the file of names hold names that were removed, and it could not be written anew: it is tried again at the next opening");
        }
        Self::open_as_it_is(state, key)
    }

    fn open_as_it_is(state: &StateDirectory, key: &SiteKey) -> Result<Self, VaultError> {
        let path = state.identities();
        let database = open_database(&path, || keyring::for_new(state, key), |write| write.open_table(NAMES).map(drop))?;
        let id = keyring::named(&database).map_err(|e| VaultError::storage(&path, e))?;
        let key = keyring::root(state, key, id)?.derive("placard/1/identities")?;
        Ok(Self { database, path, key })
    }

    /// Whether the file is under the site's key alone, as one that was made before the gallery was re-keyed, or beside it.
    pub fn is_under_site_key(&self) -> Result<bool, VaultError> {
        keyring::named(&self.database).map(|id| id.is_none()).map_err(|e| VaultError::storage(&self.path, e))
    }

    /// Whether every name opens; else how many do not.
    pub(super) fn all_open(&self) -> Result<(), VaultError> {
        let subjects = self.subjects()?;
        let mut closed = 0;
        for subject in &subjects {
            match self.name(subject) {
                Ok(_) => {}
                Err(VaultError::Seal(_)) => closed += 1,
                Err(error) => return Err(error),
            }
        }
        if closed > 0 { Err(VaultError::OtherKey { path: self.path.clone(), closed, of: subjects.len() }) } else { Ok(()) }
    }

    /// Seals every name under `root`, in one transaction. Nothing where that was done.
    pub(super) fn rekey(self, root: &SiteKey) -> Result<Self, VaultError> {
        let (id, key) = (root.id()?, root.derive("placard/1/identities")?);
        if keyring::named(&self.database).map_err(|e| VaultError::storage(&self.path, e))? == Some(id) {
            return Ok(self);
        }
        let mut sealed = Vec::new();
        for subject in self.subjects()? {
            if let Some(name) = self.name(&subject)? {
                let name = Zeroizing::new(name);
                sealed.push((subject.clone(), key.seal(&Self::bound(&subject), name.as_bytes())?));
            }
        }
        durable_write(&self.database, &self.path, |write| {
            let mut table = write.open_table(NAMES)?;
            for (subject, name) in &sealed {
                table.insert(&*subject.0, name.as_slice())?;
            }
            owe_rewrite(write)?;
            keyring::name(write, &id)
        })?;
        Ok(Self { key, ..self })
    }

    fn bound(subject: &SubjectId) -> Vec<u8> {
        format!("placard/1/name/{subject}").into_bytes()
    }

    /// Durable when it returns. Written *before* the template: a name without a template is swept by
    /// [`retain`](Self::retain), a template without a name would match without anybody knowing whom.
    pub fn put<'a>(&self, names: impl IntoIterator<Item = (&'a SubjectId, &'a str)>) -> Result<(), VaultError> {
        let mut rows = Vec::new();
        for (subject, name) in names {
            rows.push((subject, self.key.seal(&Self::bound(subject), name.as_bytes())?));
        }
        durable_write(&self.database, &self.path, |write| {
            let mut table = write.open_table(NAMES)?;
            for (subject, sealed) in &rows {
                table.insert(&*subject.0, sealed.as_slice())?;
            }
            Ok(())
        })
    }

    /// `None` where the subject has no name.
    pub fn name(&self, subject: &SubjectId) -> Result<Option<String>, VaultError> {
        let storage = |error: redb::Error| VaultError::storage(&self.path, error);
        let read = self.database.begin_read().map_err(|e| storage(e.into()))?;
        let table = read.open_table(NAMES).map_err(|e| storage(e.into()))?;
        let Some(sealed) = table.get(&*subject.0).map_err(|e| storage(e.into()))? else { return Ok(None) };
        let plain = self.key.open(&Self::bound(subject), sealed.value())?;
        String::from_utf8(plain.to_vec()).map(Some).map_err(|_| SealError::NotAuthentic.into())
    }

    /// Who has a name.
    pub fn subjects(&self) -> Result<Vec<SubjectId>, VaultError> {
        let storage = |error: redb::Error| VaultError::storage(&self.path, error);
        let read = || -> Result<Vec<SubjectId>, redb::Error> {
            let table = self.database.begin_read()?.open_table(NAMES)?;
            table.iter()?.map(|row| Ok(SubjectId(row?.0.value().into()))).collect()
        };
        read().map_err(storage)
    }

    /// Removes one name. True if there was one.
    pub fn remove(&self, subject: &SubjectId) -> Result<bool, VaultError> {
        durable_write(&self.database, &self.path, |write| {
            let found = write.open_table(NAMES)?.remove(&*subject.0)?.is_some();
            if found {
                owe_rewrite(write)?;
            }
            Ok(found)
        })
    }

    /// Writes the file anew: no page of it holds a name that was removed before.
    pub fn rewrite(self) -> Result<(), VaultError> {
        rewrite(self.database, &self.path, |read, write| {
            keyring::copy(read, write)?;
            let mut names = write.open_table(NAMES)?;
            for row in read.open_table(NAMES)?.iter()? {
                let (subject, sealed) = row?;
                names.insert(subject.value(), sealed.value())?;
            }
            Ok(())
        })
    }

    /// Removes every name that `keep` does not want: after deletions, and after an enrolment that was cut short.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), VaultError> {
        if self.subjects()?.iter().all(|subject| keep(&subject.0)) {
            return Ok(());
        }
        durable_write(&self.database, &self.path, |write| {
            owe_rewrite(write)?;
            write.open_table(NAMES)?.retain(|subject, _| keep(subject)).map_err(Into::into)
        })
    }
}
