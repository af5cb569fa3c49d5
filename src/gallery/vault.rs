//! The vault: every enrolled template, sealed, in `gallery/vault.redb`. The truth that scans are loaded from.
//!
//! ```text
//! templates-1  (purpose, subject, ordinal) → record (record.rs)
//! keys-1       subject → its key, wrapped: nonce (12) | key (32) | tag (16), bound to the subject
//! key-1        which key the others are wrapped under, by id; absent: the site's (keyring.rs)
//! versions-1   purpose → version, grows with every change to that purpose
//! imports-1    digest of what is imported → how many people were dealt with; the highest bit: all of them
//! owed-1       what a crash must not make anybody forget: a deletion under way, a rewriting (vault/owed.rs)
//! marks-1      purpose → 16 random bytes, others after every change: by them a shard is known to be of this vault as it is
//! zones-1      purpose → the zones that its templates name, JSON: what fits into one gallery (vault/room.rs)
//! headed-1     that there is a witness of this vault's generations beside it (heads.rs)
//! ```
//!
//! Invariants: what a call acknowledged is on the disk (`Durability::Immediate`). A subject without a key is gone, whatever rows are left
//! of it: deletion is written down as owed, then destroys the key, in every shard first (`vault/owed.rs`), then here, in a commit of its own. redb writes to new pages, so a freed page may hold the
//! *wrapped* key until it is used again (it opens nothing without the site key), or until the file is written anew
//! ([`Vault::rewrite`]; `placard delete` does so, and whoever opens the vault next where that was cut short).
//! A vault that is older than its witness, or than one of its shards, was put back: nothing of it is searched (`vault/generations.rs`).
//! One process at a time may have the file open: open, do the work, drop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use zeroize::Zeroizing;

use super::file::{OWED, durable_write, open_database, owes_rewrite};
use super::heads::HeadsFile;
use super::keyring;
pub use super::record::Channel;
use super::record::{FORMAT, Header, Record};
use super::scan::{self, Refused};
use super::seal::{KEY_BYTES, SealError, SealingKey, SiteKey, random_key};
use super::shard::disk::RealDisk;
use super::shard::{NAME_BYTES, ShardError, Shelf, ZONE_BYTES};
use super::zones::{MAX_ZONES, Shared};
use super::{SubjectId, TemplateModel};
use crate::clock::{Stamp, Utc};
use crate::embedding::Embedding;
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;
use crate::state::StateDirectory;

mod check;
mod generations;
mod owed;
mod people;
mod rekey;
mod rewrite;
mod room;
mod shards;

pub use check::{Checked, Found};
pub use generations::{Accepted, PutBack};

pub(crate) use people::OwnTemplate;
pub use people::{Enrolled, NewSubject, PurposeTemplates, Template, Traces};
pub(crate) use shards::Source;
use shards::random_mark;
pub use shards::{Mark, Progress, ShardFacts};

const TEMPLATES: TableDefinition<(&str, &str, u8), &[u8]> = TableDefinition::new("templates-1");
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("keys-1");
const VERSIONS: TableDefinition<&str, u64> = TableDefinition::new("versions-1");
const IMPORTS: TableDefinition<&[u8], u64> = TableDefinition::new("imports-1");
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks-1");
const ZONES: TableDefinition<&str, &[u8]> = TableDefinition::new("zones-1");
const HEADED: TableDefinition<&str, &[u8]> = TableDefinition::new("headed-1");

/// Templates one subject may have for one purpose.
pub const MAX_TEMPLATES: usize = 5;
/// Bytes that say where a template file came from.
pub const MAX_SOURCE: usize = 256;
/// Sorts after every subject id: ids are hexadecimal digits.
const AFTER_ALL_SUBJECTS: &str = "~";

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{path} is in use by another process; try again in a moment")]
    Busy { path: PathBuf },
    #[error("{path}: {error}")]
    Storage { path: PathBuf, error: Box<redb::Error> },
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error(
        "{closed} of {of} in {} do not open with this site's key, so nothing was re-keyed or taken for the newest: it is another key than theirs (put the right one back), or \
         they are damaged (`placard gallery check` names them; delete those subjects)",
        path.display()
    )]
    OtherKey { path: PathBuf, closed: usize, of: usize },
    #[error("subject {subject} exists already")]
    SubjectExists { subject: SubjectId },
    #[error(transparent)]
    PutBack(#[from] PutBack),
    #[error(
        "{}: a deletion was begun and cannot be ended, because what was written down of it cannot be read ({problem}): put a backup of the vault back",
        path.display()
    )]
    Owed { path: PathBuf, problem: String },
    #[error("{count} zones for one subject: {MAX_ZONES} are told apart; name fewer (`--zone`)")]
    Zones { count: usize },
    #[error(
        "{purpose} is full of zones: with these its templates would name {count} zones, {bytes} bytes of names, and {MAX_ZONES} zones, {ZONE_BYTES} bytes, fit into \
         one gallery. Nobody was enrolled. Name fewer zones for them (`--zone`), give zones shorter names, or let the case have a purpose of its own"
    )]
    PurposeZones { purpose: String, count: usize, bytes: usize },
    #[error("{what} `{name}` has {} bytes: {NAME_BYTES} fit into a gallery; give it a shorter name", name.len())]
    LongName { what: &'static str, name: String },
    #[error("where templates come from is told in 1 to {MAX_SOURCE} bytes of text on one line, not in {bytes}")]
    Source { bytes: usize },
    #[error("{count} templates for one subject: 1 to {MAX_TEMPLATES} are allowed")]
    TemplateCount { count: usize },
    #[error("template {ordinal} has {found} values, model `{model}` makes {dim}")]
    Dimension { ordinal: usize, found: usize, model: String, dim: usize },
    #[error("template {ordinal} {refused}; take another picture")]
    Template { ordinal: usize, refused: Refused },
}

impl VaultError {
    pub(super) fn storage(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Busy { path: path.to_owned() },
            error => Self::Storage { path: path.to_owned(), error: Box::new(error) },
        }
    }
}

pub struct Vault {
    database: Database,
    path: PathBuf,
    wrapping: SealingKey,
    shelf: Shelf,
    heads: HeadsFile,
    /// What the gallery was re-keyed to, where this vault is from before.
    overtaken: Option<SiteKey>,
    /// Why its witness says nothing, though there was one.
    unwitnessed: Option<&'static str>,
    /// By what it is known that this vault is not the newest.
    put_back: Option<PutBack>,
}

/// A row that opened; `values` are plain.
struct Opened {
    header: Header,
    values: Zeroizing<Vec<f32>>,
}

impl Vault {
    /// Opens or makes the file, and ends what a crash has left owing. One process at a time: [`VaultError::Busy`] while another has it.
    pub fn open(state: &StateDirectory, key: &SiteKey) -> Result<Self, VaultError> {
        let vault = Self::open_as_it_is(state, key)?;
        if !owes_rewrite(&vault.database, &vault.path)? {
            return Ok(vault);
        }
        if let Err(error) = vault.rewrite() {
            tracing::error!(%error, "freed pages of the vault hold what was deleted, and it could not be written anew: it is tried again at the next opening");
        }
        Self::open_as_it_is(state, key)
    }

    fn open_as_it_is(state: &StateDirectory, key: &SiteKey) -> Result<Self, VaultError> {
        let path = state.vault();
        let database = open_database(&path, || keyring::for_new(state, key), make_tables)?;
        let id = keyring::named(&database).map_err(|e| VaultError::storage(&path, e))?;
        let root = keyring::root(state, key, id)?;
        let overtaken = if id.is_none() { keyring::in_force(state, key)? } else { None };
        let newest: &SiteKey = overtaken.as_ref().unwrap_or(&root);
        let shelf = Shelf::new(Arc::new(RealDisk), state.shards(), newest.derive("placard/1/shards")?);
        let heads = HeadsFile::new(Arc::new(RealDisk), state.heads(), key)?;
        Self::over(database, path, (shelf, heads), &root, overtaken)
    }

    fn over(
        database: Database,
        path: PathBuf,
        (shelf, heads): (Shelf, HeadsFile),
        key: &SiteKey,
        overtaken: Option<SiteKey>,
    ) -> Result<Self, VaultError> {
        let wrapping = key.derive("placard/1/vault")?;
        let mut vault = Self { database, path, wrapping, shelf, heads, overtaken, unwitnessed: None, put_back: None };
        vault.recall()?;
        vault.settle()?;
        vault.put_back = vault.out_of_step()?;
        vault.be_witnessed()?;
        Ok(vault)
    }

    /// [`open`](Self::open), waiting up to `patience` for another process to be done with it.
    pub fn open_patiently(state: &StateDirectory, key: &SiteKey, patience: Duration, shutdown: &Shutdown) -> Result<Self, VaultError> {
        const PAUSE: Duration = Duration::from_millis(50);
        let mut pauses_left = patience.as_millis() / PAUSE.as_millis();
        loop {
            match Self::open(state, key) {
                Err(VaultError::Busy { .. }) if pauses_left > 0 && !shutdown.wait(PAUSE) => pauses_left -= 1,
                other => return other,
            }
        }
    }

    /// Enrols all of `subjects` or none. Durable when it returns.
    pub fn enrol(&self, subjects: &[NewSubject<'_>]) -> Result<(), VaultError> {
        self.enrol_with(subjects, None)
    }

    /// [`enrol`](Self::enrol), and how far an import is, in one transaction.
    pub fn enrol_part(&self, subjects: &[NewSubject<'_>], progress: &Progress) -> Result<(), VaultError> {
        self.enrol_with(subjects, Some(progress))
    }

    fn enrol_with(&self, subjects: &[NewSubject<'_>], progress: Option<&Progress>) -> Result<(), VaultError> {
        self.in_step()?;
        let mut rows = Vec::with_capacity(subjects.len());
        let mut ids = BTreeSet::new();
        for new in subjects {
            if !ids.insert(&new.subject) {
                return Err(VaultError::SubjectExists { subject: new.subject.clone() });
            }
            let key = random_key()?;
            let wrapped = self.wrapping.seal(&bound_to_key(&new.subject.0), &key[..])?;
            rows.push((new, wrapped, seal_templates(&SealingKey::new(&key)?, new)?));
        }
        let zones = self.room_for(subjects)?;
        let marks: BTreeMap<&String, Mark> = zones.keys().map(|purpose| Ok((purpose, random_mark()?))).collect::<Result<_, SealError>>()?;
        let taken = durable_write(&self.database, &self.path, |write| {
            let (mut templates, mut keys) = (write.open_table(TEMPLATES)?, write.open_table(KEYS)?);
            for new in subjects {
                if keys.get(&*new.subject.0)?.is_some() {
                    return Ok(Some(new.subject.clone()));
                }
            }
            for (new, wrapped, records) in &rows {
                keys.insert(&*new.subject.0, wrapped.as_slice())?;
                let purpose = new.purpose.to_string();
                for (ordinal, record) in (0_u8..).zip(records) {
                    templates.insert((purpose.as_str(), &*new.subject.0, ordinal), record.as_slice())?;
                }
            }
            for (purpose, mark) in &marks {
                let version = write.open_table(VERSIONS)?.get(purpose.as_str())?.map_or(0, |v| v.value());
                set_version(write, purpose, version + 1, mark)?;
            }
            room::write(write, &zones)?;
            if let Some(Progress { import, done }) = progress {
                write.open_table(IMPORTS)?.insert(&import[..], done)?;
            }
            Ok(None)
        })?;
        // Acknowledged once its witness knows.
        self.witness(BTreeMap::new(), subjects.iter().map(|s| s.enrolled_at).max())?;
        taken.map_or(Ok(()), |subject| Err(VaultError::SubjectExists { subject }))
    }

    /// Every subject that has a key.
    pub fn subjects(&self) -> Result<BTreeSet<SubjectId>, VaultError> {
        self.read(|read| {
            let mut all = BTreeSet::new();
            for row in read.open_table(KEYS)?.iter()? {
                all.insert(SubjectId(row?.0.value().into()));
            }
            Ok(all)
        })
    }

    /// Purposes that ever had a subject, with their versions.
    pub fn purposes(&self) -> Result<Vec<(Purpose, u64)>, VaultError> {
        self.read(|read| {
            let mut all = Vec::new();
            for row in read.open_table(VERSIONS)?.iter()? {
                let (purpose, version) = row?;
                // Written from a `Purpose`; one that no longer exists in the product is never searched.
                all.extend(purpose.value().parse().ok().map(|p| (p, version.value())));
            }
            Ok(all)
        })
    }

    /// Grows with every change to the purpose's subjects; 0 if it never had one.
    pub fn version(&self, purpose: &Purpose) -> Result<u64, VaultError> {
        self.read(|read| Ok(read.open_table(VERSIONS)?.get(purpose.to_string().as_str())?.map_or(0, |v| v.value())))
    }

    /// Who is enrolled, for one purpose or for all. Rows that do not open are not listed.
    pub fn list(&self, purpose: Option<&Purpose>) -> Result<Vec<Enrolled>, VaultError> {
        let purposes = match purpose {
            Some(purpose) => vec![purpose.clone()],
            None => self.purposes()?.into_iter().map(|(purpose, _)| purpose).collect(),
        };
        let mut all: Vec<Enrolled> = Vec::new();
        for purpose in purposes {
            self.open_rows(&purpose, None, &mut |_, opened| {
                let Ok(Opened { header, .. }) = opened else { return };
                match all.last_mut().filter(|e| e.subject == header.subject && e.purpose == purpose) {
                    Some(entry) => entry.templates += 1,
                    None => all.push(Enrolled {
                        subject: header.subject,
                        purpose: header.purpose,
                        templates: 1,
                        model: header.model,
                        channel: header.channel,
                        consent: header.consent,
                        zones: header.zones,
                        enrolled_at: Stamp::from_ns(header.enrolled_at_ns),
                        expires_at: Stamp::from_ns(header.expires_at_ns),
                    }),
                }
            })?;
        }
        Ok(all)
    }

    /// What there is of `subject`: its key, and rows for every purpose, opened or not.
    pub fn traces(&self, subject: &SubjectId) -> Result<Traces, VaultError> {
        self.read(|read| {
            let mut traces = Traces { key: read.open_table(KEYS)?.get(&*subject.0)?.is_some(), ..Traces::default() };
            for row in read.open_table(TEMPLATES)?.iter()? {
                let (key, _) = row?;
                let (purpose, of, _) = key.value();
                if *of == *subject.0 {
                    *traces.rows.entry(purpose.to_owned()).or_default() += 1;
                }
            }
            Ok(traces)
        })
    }

    /// The subject's own templates, those that open: to look for it by them once it is deleted.
    pub(crate) fn own_templates(&self, subject: &SubjectId) -> Result<Vec<OwnTemplate>, VaultError> {
        let mut own = Vec::new();
        for (purpose, _) in self.purposes()? {
            self.open_rows(&purpose, Some(subject), &mut |_, opened| {
                let Ok(Opened { header, mut values }) = opened else { return };
                let Ok(embedding) = Embedding::normalised(&mut values) else { return };
                let model = TemplateModel { name: header.model.into(), sha256: header.model_sha256.into(), dim: header.dim };
                own.push(OwnTemplate { purpose: purpose.clone(), model, embedding });
            })?;
        }
        Ok(own)
    }

    /// [`load_purpose`](Self::load_purpose) from the vault's own rows.
    pub(super) fn load_rows(&self, purpose: &Purpose, model: &TemplateModel, now: Stamp<Utc>) -> Result<PurposeTemplates, VaultError> {
        // Read before the rows: a change in between makes the next reload look again.
        let (mut loaded, mut zones) =
            (PurposeTemplates { version: self.version(purpose)?, ..PurposeTemplates::default() }, Shared::default());
        self.open_rows(purpose, None, &mut |subject, opened| match opened {
            Err(_) => loaded.damaged.push(SubjectId(subject.into())),
            Ok(Opened { header, .. }) if header.expires_at_ns <= now.ns() => loaded.expired += 1,
            Ok(Opened { header, .. }) if !header.is_of(model) => loaded.other_model += 1,
            Ok(Opened { header, values }) => loaded.templates.push(Template::opened(header, values, &mut zones)),
        })?;
        // As a shard has them.
        loaded.templates.sort_by(|a, b| a.zones.cmp(&b.zones));
        Ok(loaded)
    }

    /// Visits every row of `purpose` whose subject still has a key, in the order of subjects and ordinals; of one subject, if it is named.
    fn open_rows(
        &self,
        purpose: &Purpose,
        of: Option<&SubjectId>,
        each: &mut dyn FnMut(&str, Result<Opened, SealError>),
    ) -> Result<(), VaultError> {
        let purpose = purpose.to_string();
        let (first, last) = of.map_or(("", AFTER_ALL_SUBJECTS), |subject| (&*subject.0, &*subject.0));
        self.read(|read| {
            let (templates, keys) = (read.open_table(TEMPLATES)?, read.open_table(KEYS)?);
            // A subject's rows lie side by side, so its key is unwrapped once.
            let mut unwrapped: Option<(String, Result<SealingKey, SealError>)> = None;
            for row in templates.range((purpose.as_str(), first, 0)..=(purpose.as_str(), last, u8::MAX))? {
                let (key, record) = row?;
                let (_, subject, _) = key.value();
                if unwrapped.as_ref().is_none_or(|(of, _)| of != subject) {
                    let Some(wrapped) = keys.get(subject)? else { continue };
                    unwrapped = Some((subject.to_owned(), self.unwrap(subject, wrapped.value())));
                }
                let Some((_, Ok(subject_key))) = &unwrapped else {
                    each(subject, Err(SealError::NotAuthentic));
                    continue;
                };
                let opened = Record::parse(record.value(), key.value())
                    .and_then(|record| Ok(Opened { values: record.open(subject_key)?, header: record.header }));
                each(subject, opened);
            }
            Ok(())
        })
    }

    fn unwrap(&self, subject: &str, wrapped: &[u8]) -> Result<SealingKey, SealError> {
        let plain = self.wrapping.open(&bound_to_key(subject), wrapped)?;
        let key: &[u8; KEY_BYTES] = plain.as_slice().try_into().map_err(|_| SealError::NotAuthentic)?;
        SealingKey::new(key)
    }

    fn read<T>(&self, work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, VaultError> {
        let attempt = || work(&self.database.begin_read()?);
        attempt().map_err(|error: redb::Error| VaultError::storage(&self.path, error))
    }
}

fn bound_to_key(subject: &str) -> Vec<u8> {
    format!("placard/1/subject-key/{subject}").into_bytes()
}

fn seal_templates(key: &SealingKey, new: &NewSubject<'_>) -> Result<Vec<Vec<u8>>, VaultError> {
    if !(1..=MAX_TEMPLATES).contains(&new.templates.len()) {
        return Err(VaultError::TemplateCount { count: new.templates.len() });
    }
    if let Some(source) = new.source.filter(|s| s.is_empty() || s.len() > MAX_SOURCE || s.contains(char::is_control)) {
        return Err(VaultError::Source { bytes: source.len() });
    }
    let mut zones: Vec<String> = new.zones.iter().map(|zone| (*zone).to_owned()).collect();
    zones.sort();
    zones.dedup();
    if zones.len() > MAX_ZONES {
        return Err(VaultError::Zones { count: zones.len() });
    }
    let one = |(ordinal, template): (u8, &&Embedding)| {
        if template.dim() != new.model.dim {
            let (ordinal, found, dim) = (usize::from(ordinal), template.dim(), new.model.dim);
            return Err(VaultError::Dimension { ordinal, found, model: new.model.name.to_string(), dim });
        }
        // What a scan would refuse must not get in: it would keep the whole gallery from being loaded.
        scan::check(template.as_slice()).map_err(|refused| VaultError::Template { ordinal: ordinal.into(), refused })?;
        let header = Header {
            format: FORMAT,
            subject: new.subject.clone(),
            purpose: new.purpose.clone(),
            ordinal,
            model: new.model.name.to_string(),
            model_sha256: new.model.sha256.to_string(),
            dim: new.model.dim,
            enrolled_at_ns: new.enrolled_at.ns(),
            expires_at_ns: new.expires_at.ns(),
            channel: new.channel,
            consent: new.consent.map(str::to_owned),
            source: new.source.map(str::to_owned),
            zones: Some(zones.clone()),
        };
        Ok(header.seal(key, template.as_slice())?)
    };
    (0..).zip(&new.templates).map(one).collect()
}

fn make_tables(write: &WriteTransaction) -> Result<(), redb::TableError> {
    write.open_table(TEMPLATES)?;
    write.open_table(KEYS)?;
    write.open_table(MARKS)?;
    write.open_table(ZONES)?;
    write.open_table(HEADED)?;
    write.open_table(OWED)?;
    write.open_table(IMPORTS)?;
    write.open_table(VERSIONS).map(drop)
}

/// A table that vaults of an earlier version do not have.
fn there<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

fn set_version(write: &WriteTransaction, purpose: &str, version: u64, mark: &Mark) -> Result<(), redb::Error> {
    write.open_table(VERSIONS)?.insert(purpose, version)?;
    write.open_table(MARKS)?.insert(purpose, &mark[..])?;
    Ok(())
}

#[cfg(test)]
mod tests;
