//! The register as a whole: what is found in it, its digests, and what makes it unusable.

use sha2::{Digest, Sha256};

use super::{AreaFact, MAX_INSPECT_DAYS, Register, Sign, Zone};
use crate::hex::is_sha256;

/// What is wrong with a register that TOML itself has no quarrel with: in which entry (0-based, of which kind), which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub table: &'static str,
    pub entry: usize,
    pub key: &'static str,
    pub problem: String,
}

impl Register {
    pub fn zone(&self, id: &str) -> Option<&Zone> {
        self.zones.iter().find(|z| z.id == id)
    }
    pub fn sign(&self, id: &str) -> Option<&Sign> {
        self.signs.iter().find(|s| s.id == id)
    }
    pub fn sign_mut(&mut self, id: &str) -> Option<&mut Sign> {
        self.signs.iter_mut().find(|s| s.id == id)
    }

    /// The sign's id that `id` was probably meant to be.
    pub fn nearest_sign(&self, id: &str) -> Option<&str> {
        let ids = self.signs.iter().map(|s| s.id.as_str());
        ids.max_by(|a, b| strsim::jaro_winkler(a, id).total_cmp(&strsim::jaro_winkler(b, id)))
    }

    /// SHA-256 of all facts and rules, whatever the file's order of keys, comments and white space.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.to_toml().as_bytes()).into()
    }

    /// SHA-256 of the facts that bear on `stream` alone: what its lease cites. A change elsewhere does not disturb it.
    pub fn hash_for(&self, stream: &str) -> [u8; 32] {
        let areas: Vec<AreaFact> = self.areas.iter().filter(|a| a.stream == stream).cloned().collect();
        let here = |zone: &str| areas.iter().any(|a| a.zone == zone);
        let slice = Self {
            rules: self.rules.clone(),
            zones: self.zones.iter().filter(|z| here(&z.id)).cloned().collect(),
            signs: self.signs.iter().filter(|s| here(&s.zone)).cloned().collect(),
            purposes: self.purposes.iter().filter(|p| p.zones.iter().any(|z| here(z))).cloned().collect(),
            views: self.views.iter().filter(|v| v.stream == stream).cloned().collect(),
            orders: self.orders.iter().filter(|o| o.zones.iter().any(|z| here(z))).cloned().collect(),
            // A consent bears on one subject, not on a stream: who is looked for is the gallery's matter.
            consents: Vec::new(),
            alternatives: self.alternatives.iter().filter(|a| here(&a.zone)).cloned().collect(),
            governance: self.governance.iter().filter(|g| g.zones.iter().any(|z| here(z))).cloned().collect(),
            authorisations: self.authorisations.iter().filter(|a| a.zones.iter().any(|z| here(z))).cloned().collect(),
            objections: self.objections.iter().filter(|o| o.stream.as_deref().is_none_or(|s| s == stream)).cloned().collect(),
            devices: self.devices.iter().filter(|d| d.stream == stream).cloned().collect(),
            // Who may change facts is no fact about a stream.
            people: Vec::new(),
            areas,
        };
        slice.hash()
    }

    /// The canonical text. Every field is a string, number, list or table with string keys, which TOML can always write; were it not so,
    /// the text would be an error message, no register hashes to that, and no lease would ever match it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|e| format!("# unwritable: {e}"))
    }

    /// What makes the register as a whole unusable.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Flaws::default();
        if !(1..=MAX_INSPECT_DAYS).contains(&self.rules.sign_inspect_max_days) {
            flaws.add("rules", 0, "sign_inspect_max_days", format!("must be 1 to {MAX_INSPECT_DAYS}"));
        }
        for (entry, zone) in self.zones.iter().enumerate() {
            flaws.id("zone", entry, &zone.id, self.zones[..entry].iter().any(|z| z.id == zone.id));
        }
        for (entry, area) in self.areas.iter().enumerate() {
            if let Err(e) = crate::area::Area::new(vec![area.polygon.clone()]) {
                flaws.add("area", entry, "polygon", e.to_string());
            }
        }
        for (entry, sign) in self.signs.iter().enumerate() {
            flaws.id("sign", entry, &sign.id, self.signs[..entry].iter().any(|s| s.id == sign.id));
            flaws.filled("sign", entry, "text", &sign.text);
            flaws.filled("sign", entry, "position", &sign.position);
            if sign.languages.is_empty() || sign.languages.iter().any(|l| l.trim().is_empty()) {
                flaws.add("sign", entry, "languages", "name at least one language, such as \"en\"".to_owned());
            }
            if sign.photo_sha256.as_ref().is_some_and(|p| !is_sha256(p)) {
                flaws.add("sign", entry, "photo_sha256", "must be 64 lower-case hex digits (`sha256sum photo.jpg`)".to_owned());
            }
        }
        for (entry, view) in self.views.iter().enumerate() {
            let inside = view.code.iter().flatten().all(|v| (0.0..=1.0).contains(v));
            if !inside || !(0.0..=0.25).contains(&view.tolerance) {
                flaws.add("view", entry, "code", "corners lie within the picture (0 to 1), `tolerance` is 0 to 0.25".to_owned());
            }
            if !(1..=3_600).contains(&view.attest_every_s) {
                flaws.add("view", entry, "attest_every_s", "must be 1 to 3600".to_owned());
            }
            if self.views[..entry].iter().any(|v| v.stream == view.stream) {
                flaws.add("view", entry, "stream", format!("`{}` has two views; one is all it can have", view.stream));
            }
        }
        for (entry, purpose) in self.purposes.iter().enumerate() {
            if purpose.zones.is_empty() {
                flaws.add("purpose", entry, "zones", "name at least one zone".to_owned());
            }
            if let Some(assessment) = &purpose.assessment {
                flaws.filled("purpose", entry, "assessment", assessment);
            }
            if let Some(basis) = &purpose.basis {
                flaws.filled("purpose", entry, "statute", &basis.statute);
                flaws.filled("purpose", entry, "authority", &basis.authority);
            }
        }
        self.flaws_of_records(&mut flaws);
        flaws.0
    }

    /// Of people, of who decided, and of devices.
    fn flaws_of_records(&self, flaws: &mut Flaws) {
        for (entry, person) in self.people.iter().enumerate() {
            let before = &self.people[..entry];
            flaws.id("person", entry, &person.id, before.iter().any(|p| p.id == person.id));
            if !is_sha256(&person.key) {
                flaws.add("person", entry, "key", "must be 64 lower-case hex digits (`placard person key FILE` prints them)".to_owned());
            }
            if before.iter().any(|p| p.key == person.key) {
                flaws.add("person", entry, "key", "is another person's too: one key speaks for one person".to_owned());
            }
            if person.roles.is_empty() {
                flaws.add("person", entry, "roles", "name at least one role, such as \"approver\"".to_owned());
            }
        }
        for (entry, record) in self.governance.iter().enumerate() {
            flaws.filled("governance", entry, "decided_by", &record.decided_by);
            // Left empty it says that there is no document, and counts for nothing where one is needed.
            if !record.document_sha256.is_empty() && !is_sha256(&record.document_sha256) {
                flaws.add("governance", entry, "document_sha256", "must be 64 lower-case hex digits (`sha256sum minutes.pdf`)".to_owned());
            }
        }
        for (entry, device) in self.devices.iter().enumerate() {
            if !(10..=86_400).contains(&device.check_every_s) {
                flaws.add("device", entry, "check_every_s", "must be 10 to 86400".to_owned());
            }
            if device.tls_sha256.as_ref().is_some_and(|pin| !is_sha256(pin)) {
                flaws.add(
                    "device",
                    entry,
                    "tls_sha256",
                    "must be 64 lower-case hex digits (`placard status --json` shows them)".to_owned(),
                );
            }
        }
    }

    /// References to zones that do not exist. Harmless (such an entry grants nothing), hence no flaw; `commission` refuses them.
    pub fn dangling(&self) -> Vec<Flaw> {
        let mut flaws = Flaws::default();
        let areas = self.areas.iter().enumerate().map(|(i, a)| ("area", i, "zone", &a.zone));
        let signs = self.signs.iter().enumerate().map(|(i, s)| ("sign", i, "zone", &s.zone));
        let purposes = self.purposes.iter().enumerate().flat_map(|(i, p)| p.zones.iter().map(move |z| ("purpose", i, "zones", z)));
        for (table, entry, key, zone) in areas.chain(signs).chain(purposes) {
            if self.zone(zone).is_none() {
                flaws.add(table, entry, key, format!("there is no zone `{zone}`"));
            }
        }
        flaws.0
    }
}

#[derive(Default)]
struct Flaws(Vec<Flaw>);

impl Flaws {
    fn add(&mut self, table: &'static str, entry: usize, key: &'static str, problem: String) {
        self.0.push(Flaw { table, entry, key, problem });
    }
    fn filled(&mut self, table: &'static str, entry: usize, key: &'static str, value: &str) {
        if value.trim().is_empty() {
            self.add(table, entry, key, "must not be empty".to_owned());
        }
    }
    fn id(&mut self, table: &'static str, entry: usize, id: &str, taken: bool) {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > 64 || !id.chars().all(good) {
            self.add(table, entry, "id", format!("`{id}`: 1 to 64 letters, digits, `-`, `_`, `.`"));
        }
        if taken {
            self.add(table, entry, "id", format!("`{id}` is used twice"));
        }
    }
}
