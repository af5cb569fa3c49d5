//! Whether what is to be enrolled fits into its purpose's gallery: a scan tells [`MAX_ZONES`] zones apart, and a shard's header has
//! [`ZONE_BYTES`] bytes for their names. One too many is refused where it would come in, by the purpose's name, and costs no other purpose anything.
//!
//! The zones that a purpose's templates name are kept in `zones-1`, written in the transaction that enrols. Who leaves does not shorten the list; it is
//! made anew from the rows where somebody would be refused because of it, and where the file was written anew.

use std::collections::{BTreeMap, BTreeSet};

use redb::WriteTransaction;

use super::{NAME_BYTES, NewSubject, TEMPLATES, Vault, VaultError, ZONE_BYTES, ZONES, there};
use crate::gallery::TemplateModel;
use crate::gallery::record::Record;
use crate::gallery::zones::MAX_ZONES;
use crate::purpose::Purpose;

/// By purpose.
pub(super) type ZoneNames = BTreeMap<String, BTreeSet<String>>;

fn bytes(zones: &BTreeSet<String>) -> usize {
    zones.iter().map(|zone| 2 + zone.len()).sum()
}

fn fits(zones: &BTreeSet<String>) -> bool {
    zones.len() <= MAX_ZONES && bytes(zones) <= ZONE_BYTES
}

/// Notes what every purpose's templates name from now on.
pub(super) fn write(write: &WriteTransaction, zones: &ZoneNames) -> Result<(), redb::Error> {
    let mut table = write.open_table(ZONES)?;
    for (purpose, names) in zones {
        // A list that cannot be written is made anew from the rows when it is needed.
        match serde_json::to_vec(names) {
            Ok(text) => drop(table.insert(purpose.as_str(), text.as_slice())?),
            Err(_) => drop(table.remove(purpose.as_str())?),
        }
    }
    Ok(())
}

impl Vault {
    /// An error names the purpose, where its gallery has no room for templates of `model` with these zones.
    pub fn has_room(&self, purpose: &Purpose, model: &TemplateModel, zones: &[&str]) -> Result<(), VaultError> {
        self.with_zones(&purpose.to_string(), model, zones.iter().map(|zone| (*zone).to_owned())).map(drop)
    }

    /// What every purpose of `subjects` will name; an error where one has no room for that.
    pub(super) fn room_for(&self, subjects: &[NewSubject<'_>]) -> Result<ZoneNames, VaultError> {
        let mut added: BTreeMap<String, (&TemplateModel, BTreeSet<String>)> = BTreeMap::new();
        for new in subjects {
            let (_, zones) = added.entry(new.purpose.to_string()).or_insert_with(|| (new.model, BTreeSet::new()));
            zones.extend(new.zones.iter().map(|zone| (*zone).to_owned()));
        }
        added.into_iter().map(|(purpose, (model, zones))| Ok((purpose.clone(), self.with_zones(&purpose, model, zones)?))).collect()
    }

    fn with_zones(
        &self,
        purpose: &str,
        model: &TemplateModel,
        added: impl IntoIterator<Item = String>,
    ) -> Result<BTreeSet<String>, VaultError> {
        if model.name.len() > NAME_BYTES {
            return Err(VaultError::LongName { what: "the model", name: model.name.to_string() });
        }
        let added: BTreeSet<String> = added.into_iter().collect();
        if added.len() > MAX_ZONES {
            return Err(VaultError::Zones { count: added.len() });
        }
        let listed = self.read(|read| {
            let Some(table) = there(read.open_table(ZONES))? else { return Ok(None) };
            Ok(table.get(purpose)?.and_then(|names| serde_json::from_slice::<BTreeSet<String>>(names.value()).ok()))
        })?;
        if let Some(listed) = listed {
            let all: BTreeSet<String> = listed.union(&added).cloned().collect();
            if fits(&all) {
                return Ok(all);
            }
        }
        let all: BTreeSet<String> = self.zones_of_rows(purpose)?.union(&added).cloned().collect();
        if fits(&all) {
            return Ok(all);
        }
        Err(VaultError::PurposeZones { purpose: purpose.to_owned(), count: all.len(), bytes: bytes(&all) })
    }

    fn zones_of_rows(&self, purpose: &str) -> Result<BTreeSet<String>, VaultError> {
        self.read(|read| {
            let mut all = BTreeSet::new();
            for row in read.open_table(TEMPLATES)?.range((purpose, "", 0)..=(purpose, super::AFTER_ALL_SUBJECTS, u8::MAX))? {
                let (key, record) = row?;
                // What does not open is in no shard.
                if let Ok(record) = Record::parse(record.value(), key.value()) {
                    all.extend(record.header.zones.into_iter().flatten());
                }
            }
            Ok(all)
        })
    }
}
