//! The vault's file anew: what is in force, and nothing else.

use redb::ReadableTable;

use super::generations::HEADS;
use super::{HEADED, IMPORTS, KEYS, MARKS, TEMPLATES, VERSIONS, Vault, VaultError, there};
use crate::gallery::file::rewrite;
use crate::gallery::keyring;

impl Vault {
    /// Writes the file anew, with what is in force and nothing else: no page of it holds what was deleted before. Whoever waits for the
    /// vault finds the new file.
    pub fn rewrite(self) -> Result<(), VaultError> {
        self.settle()?;
        rewrite(self.database, &self.path, |read, write| {
            let (mut templates, held) = (write.open_table(TEMPLATES)?, read.open_table(KEYS)?);
            for row in read.open_table(TEMPLATES)?.iter()? {
                let (key, record) = row?;
                // A row whose key is gone is what a deletion left that was cut short.
                if held.get(key.value().1)?.is_none() {
                    continue;
                }
                templates.insert(key.value(), record.value())?;
            }
            let mut keys = write.open_table(KEYS)?;
            for row in read.open_table(KEYS)?.iter()? {
                let (subject, wrapped) = row?;
                keys.insert(subject.value(), wrapped.value())?;
            }
            let mut versions = write.open_table(VERSIONS)?;
            for row in read.open_table(VERSIONS)?.iter()? {
                let (purpose, version) = row?;
                versions.insert(purpose.value(), version.value())?;
            }
            keyring::copy(read, write)?;
            let mut imports = write.open_table(IMPORTS)?;
            if let Some(old) = there(read.open_table(IMPORTS))? {
                for row in old.iter()? {
                    let (import, done) = row?;
                    imports.insert(import.value(), done.value())?;
                }
            }
            if there(read.open_table(HEADED))?.is_some_and(|old| old.get(HEADS).is_ok_and(|there| there.is_some())) {
                write.open_table(HEADED)?.insert(HEADS, &[][..])?;
            }
            let mut marks = write.open_table(MARKS)?;
            if let Some(old) = there(read.open_table(MARKS))? {
                for row in old.iter()? {
                    let (purpose, mark) = row?;
                    marks.insert(purpose.value(), mark.value())?;
                }
            }
            Ok(())
        })
    }
}
