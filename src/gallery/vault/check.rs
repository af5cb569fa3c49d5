//! Looking for damage: in the vault's own file, row by row, and in every shard, digest by digest. Changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use redb::ReadableTable;

use super::{KEYS, PutBack, TEMPLATES, Vault, VaultError};
use crate::gallery::heads::Found as HeadsFound;
use crate::gallery::record::Record;
use crate::gallery::shard::{Finding, Problem, ShardFile};

const REBUILD: &str = "`placard gallery compact` makes the shard anew from the vault";
const ACCEPT: &str = "put the newer vault back; where there is none, `placard gallery compact --older-vault` takes this one";
const DELETE: &str = "`placard delete` the subject and enrol it anew, or put a backup of the vault back";

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    pub file: PathBuf,
    /// Part of the file: table and key of the vault; block and slot of a shard.
    pub place: String,
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// False: as it should be, or mended by itself.
    pub damage: bool,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    pub subjects: usize,
    pub rows: usize,
    pub shards: usize,
    pub shard_rows: usize,
    pub found: Vec<Found>,
}

impl Checked {
    pub fn damaged(&self) -> bool {
        self.found.iter().any(|found| found.damage)
    }
}

impl Vault {
    /// Every page's checksum, every key, every row, every shard. Mends what redb itself can mend of its own file, and says so.
    pub fn check(&mut self) -> Result<Checked, VaultError> {
        let mut checked = Checked::default();
        let whole = self.database.check_integrity().map_err(|e| VaultError::storage(&self.path, e.into()))?;
        if !whole {
            let (what, remedy) =
                ("the file's own bookkeeping was damaged and has been mended", "run this again; if it comes back, the disk fails");
            checked.found.push(self.of_vault("pages", what, remedy, true));
        }
        let subjects = self.check_rows(&mut checked)?;
        self.check_all_shards(&subjects, &mut checked)?;
        self.check_heads(&mut checked)?;
        Ok(checked)
    }

    /// The witness, and what it says beside the vault.
    fn check_heads(&self, checked: &mut Checked) -> Result<(), VaultError> {
        let file = self.heads.path().to_owned();
        let found = |place: &str, what: String, remedy: &str| Found {
            file: file.clone(),
            place: place.to_owned(),
            what,
            remedy: remedy.to_owned(),
            damage: true,
        };
        if let Ok(HeadsFound::These { damaged: Some(copy), .. }) = self.heads.read() {
            let what = "is damaged; the other is used".to_owned();
            checked.found.push(found(
                &format!("copy {copy}"),
                what,
                "the next enrolment or deletion makes both anew; if it comes back, the disk fails",
            ));
        }
        // What a shard tells was named beside it.
        match self.later_head()?.or(self.put_back.clone()) {
            Some(PutBack::Older { purpose, vault, file: by, later, .. }) if by == file => {
                let what =
                    format!("knows generation {later} of {purpose}, the vault is of generation {vault}: an older vault was put back");
                checked.found.push(found("generations", what, ACCEPT));
            }
            Some(PutBack::BeforeRekeying { .. }) => {
                checked.found.push(self.of_vault(
                    "key-1",
                    "is from before the gallery was re-keyed: an older vault was put back",
                    ACCEPT,
                    true,
                ));
            }
            Some(PutBack::Unwitnessed { what, .. }) => {
                checked.found.push(found("file", format!("{what}: whether the vault is the newest nobody can say"), ACCEPT))
            }
            _ => {}
        }
        Ok(())
    }

    fn of_vault(&self, place: impl Into<String>, what: impl Into<String>, remedy: &str, damage: bool) -> Found {
        Found { file: self.path.clone(), place: place.into(), what: what.into(), remedy: remedy.to_owned(), damage }
    }

    /// Answers who has a key.
    fn check_rows(&self, checked: &mut Checked) -> Result<BTreeSet<String>, VaultError> {
        self.read(|read| {
            let (templates, keys) = (read.open_table(TEMPLATES)?, read.open_table(KEYS)?);
            let (mut all, mut with_rows) = (BTreeSet::new(), BTreeSet::new());
            for row in keys.iter()? {
                let (subject, wrapped) = row?;
                let subject = subject.value().to_owned();
                if self.unwrap(&subject, wrapped.value()).is_err() {
                    let what = "its key does not open: it was altered, or wrapped under another site key";
                    checked.found.push(self.of_vault(format!("keys-1 {subject}"), what, DELETE, true));
                }
                all.insert(subject);
            }
            for row in templates.iter()? {
                let (key, record) = row?;
                let (purpose, subject, ordinal) = key.value();
                checked.rows += 1;
                with_rows.insert(subject.to_owned());
                let place = || format!("templates-1 ({purpose}, {subject}, {ordinal})");
                let Some(wrapped) = keys.get(subject)? else {
                    let remedy = "nothing can open it; `placard delete` the subject removes it";
                    checked.found.push(self.of_vault(place(), "is left of a subject that was deleted: it has no key", remedy, false));
                    continue;
                };
                // A key that does not open was named already.
                let Ok(sealing) = self.unwrap(subject, wrapped.value()) else { continue };
                if Record::parse(record.value(), key.value()).and_then(|record| record.open(&sealing)).is_err() {
                    checked.found.push(self.of_vault(place(), "does not open: it was altered or moved", DELETE, true));
                }
            }
            for subject in all.difference(&with_rows) {
                let what = "a key without templates: an enrolment or a deletion was cut short";
                checked.found.push(self.of_vault(format!("keys-1 {subject}"), what, "`placard delete` the subject", false));
            }
            checked.subjects = all.len();
            Ok(all)
        })
    }

    fn check_all_shards(&self, subjects: &BTreeSet<String>, checked: &mut Checked) -> Result<(), VaultError> {
        for (file, looked) in self.check_shards()? {
            checked.shards += 1;
            let found = |place: String, what: String, damage| Found { file: file.clone(), place, what, remedy: REBUILD.to_owned(), damage };
            let (shard, findings) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    checked.found.push(found("header".to_owned(), error.to_string(), true));
                    continue;
                }
            };
            checked.shard_rows += shard.state().live_slots as usize;
            let text = |Finding { place, problem }: Finding| {
                let damage = problem != Problem::KeyErased;
                found(place.to_string(), problem.to_string(), damage)
            };
            checked.found.extend(findings.into_iter().map(text));
            let strangers = shard.subjects().into_iter().filter(|subject| !subjects.contains(subject));
            let stranger = |subject| {
                let what = format!(
                    "holds the key of subject {subject}, who is not in the vault: the vault was put back, or has lost what it acknowledged"
                );
                Found {
                    remedy: "find out which, from the log and the backups, before you compact".to_owned(),
                    ..found("keys".to_owned(), what, true)
                }
            };
            checked.found.extend(strangers.map(stranger));
            checked.found.extend(self.compared(&shard)?.map(|(what, damage)| {
                let remedy = if damage { ACCEPT } else { REBUILD };
                Found { remedy: remedy.to_owned(), ..found("state".to_owned(), what, damage) }
            }));
        }
        Ok(())
    }

    /// What the shard's version and mark say beside the vault's.
    fn compared(&self, shard: &ShardFile) -> Result<Option<(String, bool)>, VaultError> {
        let purpose = shard.header().purpose.as_str();
        let (version, mark) = self.generation(purpose)?;
        let own = shard.state();
        let same = mark == Some(own.mark);
        Ok(if own.version > version || (own.version == version && !same) {
            let what = format!(
                "is of generation {}, the vault of {}generation {version}: an older vault was put back, or its disk lost what it said was synced",
                own.version,
                if own.version == version { "another " } else { "" }
            );
            Some((what, true))
        } else if !same {
            Some((format!("is of version {}, the vault of version {version}: it is not used until it is made anew", own.version), false))
        } else {
            None
        })
    }
}
