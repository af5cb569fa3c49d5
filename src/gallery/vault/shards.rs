//! The vault and its shards: making them, loading from them, erasing from them first.
//!
//! A shard is loaded where its mark is the vault's and nothing is wrong with it; otherwise the vault's own rows are read, which is slower and
//! always right, and what was wrong is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{KEYS, PurposeTemplates, TEMPLATES, Template, Vault, VaultError, durable_write, set_version, there};
use crate::clock::{Stamp, Utc};
use crate::gallery::TemplateModel;
use crate::gallery::record::Record;
use crate::gallery::seal::SealError;
use crate::gallery::shard::{Finding, Head, Key, Plan, Row, ShardError, ShardFile, State, WRAPPED};
use crate::gallery::zones::{Shared, Zones};
use crate::purpose::Purpose;

/// Of an import: it is over.
const ALL_OF_THEM: u64 = 1 << 63;

/// 16 random bytes, others after every change of a purpose.
pub type Mark = [u8; 16];

/// How far an import is.
pub struct Progress {
    /// Digest of what is imported.
    pub import: [u8; 32],
    /// People who were dealt with.
    pub done: u64,
}

pub(super) fn random_mark() -> Result<Mark, SealError> {
    let mut mark = [0; 16];
    aws_lc_rs::rand::fill(&mut mark).map_err(|_| SealError::Library("give random bytes"))?;
    Ok(mark)
}

/// Where a purpose's templates were loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Shard,
    /// There is no shard, or it is of the vault as it was.
    Rows,
    /// What is wrong with the shard.
    RowsBecause(String),
}

/// What a shard says of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ShardFacts {
    pub file: PathBuf,
    pub purpose: String,
    pub model: String,
    pub model_sha256: String,
    /// Values of a template.
    pub dim: u32,
    pub version: u64,
    pub keys: u32,
    /// In use, of all [`slots`](Self::slots).
    pub templates: u32,
    pub slots: u32,
    pub bytes: u64,
    /// Whether it is of the vault as it is.
    pub fresh: bool,
    /// Lower-case hex.
    pub root: String,
}

/// Name, SHA-256 and dimension.
type ModelKey = (String, String, usize);

/// A file, and what is wrong with the shard in it; or why nothing can be said of it.
type Looked = (PathBuf, Result<(ShardFile, Vec<Finding>), ShardError>);

/// A row of the vault on its way into a shard.
struct Planned {
    subject: String,
    ordinal: u8,
    bytes: u32,
    /// Its subject's: of the first of its rows.
    zones: Zones,
}

/// A subject's id as the 16 bytes it stands for; nobody else's is in a shard.
pub(super) fn bits(subject: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(subject, 16).ok().filter(|_| subject.len() == 32).map(u128::to_be_bytes)
}

impl Vault {
    /// The templates that may be searched for `purpose` at `now` with `model`.
    pub fn load_purpose(&self, purpose: &Purpose, model: &TemplateModel, now: Stamp<Utc>) -> Result<PurposeTemplates, VaultError> {
        let (loaded, source) = self.load_from(purpose, model, now)?;
        if let Source::RowsBecause(why) = source {
            tracing::error!(%purpose, %why, "a shard of the gallery is damaged; its templates were read from the vault. `placard gallery compact` makes it anew");
        }
        Ok(loaded)
    }

    /// [`load_purpose`](Self::load_purpose), and from where.
    pub(crate) fn load_from(
        &self,
        purpose: &Purpose,
        model: &TemplateModel,
        now: Stamp<Utc>,
    ) -> Result<(PurposeTemplates, Source), VaultError> {
        self.in_step()?;
        let source = match self.shelf.open(purpose, model) {
            Ok(Some(shard)) if self.mark(purpose)? == Some(shard.state().mark) => {
                let (loaded, findings) = self.load_shard(&shard, now);
                let Some(first) = findings.first() else {
                    let others = self.other_models(purpose, &shard)?;
                    return Ok((PurposeTemplates { version: self.version(purpose)?, other_model: others, ..loaded }, Source::Shard));
                };
                Source::RowsBecause(format!("{}: {first} ({} findings)", shard.path().display(), findings.len()))
            }
            Ok(_) => Source::Rows,
            Err(error) => Source::RowsBecause(error.to_string()),
        };
        Ok((self.load_rows(purpose, model, now)?, source))
    }

    fn load_shard(&self, shard: &ShardFile, now: Stamp<Utc>) -> (PurposeTemplates, Vec<Finding>) {
        let (mut loaded, mut zones) = (PurposeTemplates::default(), Shared::default());
        let findings = shard.load(&|subject, wrapped| self.unwrap(subject, wrapped), &mut |header, values| {
            if header.expires_at_ns <= now.ns() {
                loaded.expired += 1;
            } else {
                loaded.templates.push(Template::opened(header, values, &mut zones));
            }
        });
        (loaded, findings)
    }

    fn other_models(&self, purpose: &Purpose, own: &ShardFile) -> Result<usize, VaultError> {
        let (purpose, mark) = (purpose.to_string(), own.state().mark);
        let heads = self.shelf.heads()?;
        let others = heads.iter().filter(|h| h.path != own.path() && h.header.purpose == purpose && h.state.mark == mark);
        Ok(others.map(|h| h.state.live_slots as usize).sum())
    }

    /// Unset: the vault never had a subject for it, or is of a version without marks.
    pub fn mark(&self, purpose: &Purpose) -> Result<Option<Mark>, VaultError> {
        Ok(self.generation(&purpose.to_string())?.1)
    }

    /// Makes the shards of every purpose that have not the vault's mark, and removes those that nothing is left of. Answers how many were made.
    /// Where one cannot be made, the vault is read instead, so whoever calls may go on.
    pub fn refresh_shards(&self, now: Stamp<Utc>) -> Result<usize, VaultError> {
        self.in_step()?;
        // Those who would have ended by now need not be known any more.
        self.witness(BTreeMap::new(), Some(now))?;
        let mut made = 0;
        let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
        let mut fresh: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for head in self.shelf.heads()?.iter().filter(|head| head.state.live_slots > 0) {
            if self.generation(&head.header.purpose)?.1 == Some(head.state.mark) {
                fresh.entry(head.header.purpose.clone()).or_default().push(head.path.clone());
            }
        }
        for (purpose, _) in self.purposes()? {
            match fresh.remove(&purpose.to_string()) {
                Some(paths) => wanted.extend(paths),
                None => {
                    let built = self.build_or_tell(&purpose, now)?;
                    made += built.len();
                    wanted.extend(built.into_iter().map(|(path, _)| path));
                }
            }
        }
        self.shelf.retain(&|path| wanted.contains(path))?;
        Ok(made)
    }

    /// [`build_shards`](Self::build_shards); a purpose that no shard has room for (of a vault from before that was refused at enrolment) costs the others nothing.
    fn build_or_tell(&self, purpose: &Purpose, now: Stamp<Utc>) -> Result<Vec<(PathBuf, State)>, VaultError> {
        match self.build_shards(purpose, now) {
            Err(VaultError::Shard(error @ (ShardError::NameTooLong | ShardError::RecordTooLong { .. } | ShardError::TooMany))) => {
                tracing::error!(%purpose, %error, "no shard can be made of this purpose: its templates are read from the vault, which takes longer. Delete some of its subjects and enrol them for fewer zones, or zones of shorter names");
                Ok(Vec::new())
            }
            built => built,
        }
    }

    /// Makes the shards of `purpose` anew, one a model: without whom was deleted, and without the room they left.
    pub(crate) fn build_shards(&self, purpose: &Purpose, now: Stamp<Utc>) -> Result<Vec<(PathBuf, State)>, VaultError> {
        let mark = match self.mark(purpose)? {
            Some(mark) => mark,
            None => self.give_mark(purpose)?,
        };
        let version = self.version(purpose)?;
        let mut built = Vec::new();
        // What is damaged would be missing from a shard that is whole in itself, and nobody would be told: the rows are read instead.
        let Some(planned) = self.planned(purpose)? else { return Ok(Vec::new()) };
        for (model, rows) in planned {
            let mut plan = Plan {
                purpose: purpose.to_string(),
                model: TemplateModel { name: model.0.into(), sha256: model.1.into(), dim: model.2 },
                version,
                mark,
                made_at_ns: now.ns(),
                zones: rows.iter().filter_map(|row| row.zones.as_deref()).flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
                keys: Vec::new(),
                rows: Vec::new(),
            };
            let Some(rows) = self.keyed(rows, &mut plan)? else { return Ok(Vec::new()) };
            let name = purpose.to_string();
            let state = self.read_with(|read| {
                let templates = read.open_table(TEMPLATES).map_err(|e| self.storage(e.into()))?;
                let mut fetch = |row: usize, record: &mut Vec<u8>| -> Result<(), VaultError> {
                    let Planned { subject, ordinal, .. } = &rows[row];
                    let found = templates.get((name.as_str(), subject.as_str(), *ordinal)).map_err(|e| self.storage(e.into()))?;
                    let found = found.ok_or(VaultError::Seal(SealError::NotAuthentic))?;
                    record.extend_from_slice(found.value());
                    Ok(())
                };
                self.shelf.build(purpose, &plan, &mut fetch)
            })?;
            built.push((self.shelf.path(purpose, &plan.model), state));
        }
        Ok(built)
    }

    /// Subjects that have a row for `purpose`, whether or not it opens.
    pub fn list_count(&self, purpose: &Purpose) -> Result<usize, VaultError> {
        let name = purpose.to_string();
        self.read(|read| {
            let (mut count, mut last) = (0, String::new());
            for row in read.open_table(TEMPLATES)?.range((name.as_str(), "", 0)..=(name.as_str(), super::AFTER_ALL_SUBJECTS, u8::MAX))? {
                let (key, _) = row?;
                if key.value().1 != last {
                    last = key.value().1.to_owned();
                    count += 1;
                }
            }
            Ok(count)
        })
    }

    /// How many people an import has dealt with, and whether these are all.
    pub fn import_progress(&self, import: &[u8; 32]) -> Result<(u64, bool), VaultError> {
        self.read(|read| {
            let Some(imports) = there(read.open_table(super::IMPORTS))? else { return Ok((0, false)) };
            let done = imports.get(&import[..])?.map_or(0, |done| done.value());
            Ok((done & !ALL_OF_THEM, done & ALL_OF_THEM != 0))
        })
    }

    /// The import is over: `people` were dealt with.
    pub fn finish_import(&self, import: &[u8; 32], people: u64) -> Result<(), VaultError> {
        durable_write(&self.database, &self.path, |write| {
            Ok(write.open_table(super::IMPORTS)?.insert(&import[..], people | ALL_OF_THEM).map(drop)?)
        })
    }

    /// It is as if it had never been begun.
    pub fn forget_import(&self, import: &[u8; 32]) -> Result<(), VaultError> {
        durable_write(&self.database, &self.path, |write| Ok(write.open_table(super::IMPORTS)?.remove(&import[..]).map(drop)?))
    }

    /// Makes every shard anew, whether or not it is of use. Answers how many there are.
    pub fn rebuild_shards(&self, now: Stamp<Utc>) -> Result<usize, VaultError> {
        self.in_step()?;
        let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
        for (purpose, _) in self.purposes()? {
            wanted.extend(self.build_or_tell(&purpose, now)?.into_iter().map(|(path, _)| path));
        }
        self.shelf.retain(&|path| wanted.contains(path))?;
        Ok(wanted.len())
    }

    /// What every shard that can be opened says of itself.
    pub fn shards(&self) -> Result<Vec<ShardFacts>, VaultError> {
        let mut all = Vec::new();
        for Head { path, header, state } in self.shelf.heads()?.iter() {
            all.push(ShardFacts {
                purpose: header.purpose.clone(),
                model: header.model.clone(),
                model_sha256: header.model_sha256.clone(),
                dim: header.dim,
                version: state.version,
                keys: state.live_keys,
                templates: state.live_slots,
                slots: header.slots,
                bytes: std::fs::metadata(path).map_or(0, |m| m.len()),
                fresh: self.generation(&header.purpose)?.1 == Some(state.mark),
                root: crate::hex::of(&state.root),
                file: path.clone(),
            });
        }
        Ok(all)
    }

    /// [`shards`](Self::shards), once every block of each was found to be what its digest says, up to the root, and each to be of the vault as it is.
    pub fn proven_shards(&self) -> Result<Vec<ShardFacts>, VaultError> {
        self.in_step()?;
        for (_, shard) in self.shelf.all()? {
            shard?.whole()?;
        }
        let all = self.shards()?;
        match all.iter().find(|shard| !shard.fresh) {
            Some(stale) => Err(ShardError::Stale { path: stale.file.clone() }.into()),
            None => Ok(all),
        }
    }

    /// The rows of `purpose` by model, in the order in which they lie in a shard: by zones, subject and ordinal. `None`: a record is damaged.
    fn planned(&self, purpose: &Purpose) -> Result<Option<BTreeMap<ModelKey, Vec<Planned>>>, VaultError> {
        let name = purpose.to_string();
        let mut all: BTreeMap<ModelKey, Vec<Planned>> = BTreeMap::new();
        let (mut hidden, mut shared) = (false, Shared::default());
        self.read(|read| {
            for row in read.open_table(TEMPLATES)?.range((name.as_str(), "", 0)..=(name.as_str(), super::AFTER_ALL_SUBJECTS, u8::MAX))? {
                let (key, record) = row?;
                let (_, subject, ordinal) = key.value();
                let Ok(parsed) = Record::parse(record.value(), key.value()) else {
                    hidden = true;
                    continue;
                };
                let header = parsed.header;
                let rows = all.entry((header.model, header.model_sha256, header.dim)).or_default();
                let bytes = u32::try_from(record.value().len()).unwrap_or(u32::MAX);
                let own = shared.of(header.zones);
                // A subject's rows lie side by side, whatever they say.
                let zones = rows.last().filter(|row: &&Planned| row.subject == subject).map_or(own, |row| row.zones.clone());
                rows.push(Planned { subject: subject.to_owned(), ordinal, bytes, zones });
            }
            Ok(())
        })?;
        // Stable: within the same zones they stay in the order of subjects.
        all.values_mut().for_each(|rows| rows.sort_by(|a, b| a.zones.cmp(&b.zones)));
        Ok((!hidden).then_some(all))
    }

    /// Puts the keys and rows into `plan`; leaves out whoever has no key. Answers what is left; `None`: a key is damaged.
    fn keyed(&self, rows: Vec<Planned>, plan: &mut Plan) -> Result<Option<Vec<Planned>>, VaultError> {
        self.read(|read| {
            let keys = read.open_table(KEYS)?;
            let mut kept: Vec<Planned> = Vec::with_capacity(rows.len());
            for row in rows {
                let known = kept.last().is_some_and(|last| last.subject == row.subject);
                if !known {
                    let Some(wrapped) = keys.get(row.subject.as_str())? else { continue };
                    let (Some(subject), Ok(wrapped)) = (bits(&row.subject), <[u8; WRAPPED]>::try_from(wrapped.value())) else {
                        return Ok(None);
                    };
                    plan.keys.push(Key { subject, wrapped });
                }
                let key = u32::try_from(plan.keys.len() - 1).unwrap_or(u32::MAX);
                plan.rows.push(Row { key, bytes: row.bytes });
                kept.push(row);
            }
            Ok(Some(kept))
        })
    }

    /// Gives a mark to a purpose of a vault of an earlier version.
    fn give_mark(&self, purpose: &Purpose) -> Result<Mark, VaultError> {
        let mark = random_mark()?;
        let version = self.version(purpose)?;
        durable_write(&self.database, &self.path, |write| set_version(write, &purpose.to_string(), version, &mark))?;
        self.witness(BTreeMap::new(), None)?;
        Ok(mark)
    }

    /// Every shard, with what is wrong with it: all digests, and every row opened. `None`: nothing can be said of it but the error.
    pub(crate) fn check_shards(&self) -> Result<Vec<Looked>, VaultError> {
        let looked = |shard: ShardFile| {
            let findings = shard.check(Some(&|subject, wrapped| self.unwrap(subject, wrapped)));
            (shard, findings)
        };
        Ok(self.shelf.all()?.into_iter().map(|(path, shard)| (path, shard.map(looked))).collect())
    }

    fn storage(&self, error: redb::Error) -> VaultError {
        VaultError::storage(&self.path, error)
    }

    fn read_with<T>(&self, work: impl FnOnce(&redb::ReadTransaction) -> Result<T, VaultError>) -> Result<T, VaultError> {
        use redb::ReadableDatabase;
        work(&self.database.begin_read().map_err(|e| self.storage(e.into()))?)
    }
}
