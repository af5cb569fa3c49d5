//! Re-keying: every subject's key is unwrapped and wrapped anew, in one transaction; no template is opened or sealed again. Names, which are sealed under
//! the root itself, are sealed anew.
//!
//! ```text
//! 1 keys/gallery.key.new · 2 names, one transaction · 3 shards erased · 4 keys, one transaction · 5 gallery.key.new → gallery.key · 6 files anew
//! ```
//!
//! Nothing is begun unless every key and every name opens. Cut short anywhere, everything opens, and doing it again ends it; step 6 is owed from steps 2 and 4
//! on, and done at the next opening. Copies of the files from before open with the key from before, and with no other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redb::ReadableTable;

use super::{KEYS, VERSIONS, Vault, VaultError, bound_to_key, durable_write, random_mark, set_version};
use crate::clock::{Stamp, Utc};
use crate::gallery::file::owe_rewrite;
use crate::gallery::identities::Identities;
use crate::gallery::keyring;
use crate::gallery::seal::SiteKey;
use crate::shutdown::Shutdown;
use crate::state::StateDirectory;

/// For another process that has the vault meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

impl Vault {
    /// Answers how many keys were wrapped anew. `names`: the file of names, where there is one.
    pub fn rekey(self, state: &StateDirectory, site: &SiteKey, names: Option<Identities>, now: Stamp<Utc>) -> Result<usize, VaultError> {
        self.settle()?;
        // With the wrong key nothing would be wrapped, and nothing that was open after: looked at before anything is changed.
        self.all_open(names.as_ref())?;
        self.in_step()?;
        let next = keyring::next(state, site)?;
        let id = next.id()?;
        if let Some(names) = names {
            names.rekey(&next)?.rewrite()?;
        }
        let mut count = 0;
        if keyring::named(&self.database).map_err(|e| VaultError::storage(&self.path, e))? != Some(id) {
            self.shelf.empty()?;
            count = self.wrap_under(&next)?;
            self.witness(BTreeMap::new(), Some(now))?;
        }
        keyring::finish(state)?;
        self.rewrite()?;
        let vault = Self::open_patiently(state, site, PATIENCE, &Shutdown::new())?;
        vault.refresh_shards(now)?;
        Ok(count)
    }

    /// Wraps every subject's key under `next`, in one transaction that names it. Every purpose is of another generation then: a vault from before is known by
    /// that. Answers how many keys there are.
    pub(super) fn wrap_under(&self, next: &SiteKey) -> Result<usize, VaultError> {
        let (wrapping, id) = (next.derive("placard/1/vault")?, next.id()?);
        let mut wrapped = Vec::new();
        for subject in self.subjects()? {
            let old = self.read(|read| Ok(read.open_table(KEYS)?.get(&*subject.0)?.map(|key| key.value().to_vec())))?;
            let Some(old) = old else { continue };
            let plain = self.wrapping.open(&bound_to_key(&subject.0), &old)?;
            wrapped.push((subject.clone(), wrapping.seal(&bound_to_key(&subject.0), &plain)?));
        }
        let mark = random_mark()?;
        durable_write(&self.database, &self.path, |write| {
            let mut keys = write.open_table(KEYS)?;
            for (subject, key) in &wrapped {
                keys.insert(&*subject.0, key.as_slice())?;
            }
            let versions: BTreeSet<(String, u64)> = {
                let table = write.open_table(VERSIONS)?;
                let rows = table.iter()?.map(|row| row.map(|(purpose, version)| (purpose.value().to_owned(), version.value())));
                rows.collect::<Result<_, _>>()?
            };
            for (purpose, version) in versions {
                set_version(write, &purpose, version + 1, &mark)?;
            }
            owe_rewrite(write)?;
            keyring::name(write, &id)
        })?;
        Ok(wrapped.len())
    }

    /// Whether every key, and every name, opens; else how many do not.
    pub(super) fn all_open(&self, names: Option<&Identities>) -> Result<(), VaultError> {
        let subjects = self.subjects()?;
        let closed = self.read(|read| {
            let keys = read.open_table(KEYS)?;
            let mut closed = 0;
            for subject in &subjects {
                let opens = |key: &[u8]| self.wrapping.open(&bound_to_key(&subject.0), key).is_ok();
                closed += usize::from(keys.get(&*subject.0)?.is_some_and(|key| !opens(key.value())));
            }
            Ok(closed)
        })?;
        if closed > 0 {
            return Err(VaultError::OtherKey { path: self.path.clone(), closed, of: subjects.len() });
        }
        names.map_or(Ok(()), Identities::all_open)
    }
}
