//! What regimes ask for in numbers and lists, and how several are merged: the strictest of each value wins (C12).
//!
//! [`Values`] form a lattice. [`Values::strictest`] is its meet: commutative, associative, idempotent, and never looser than either
//! side ([`Values::is_within`]). [`Values::loosest`] is its identity. Caps merge by minimum, counts of people by maximum, lists of what is
//! allowed by intersection, lists of what is required by union. A value that no profile sets is the loosest.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::facts::{BasisKind, ZoneKind};
use crate::purpose::PurposeKind;

/// Hours, days and people are whole numbers; shares are thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// On what each kind of purpose may rest.
    pub bases: BTreeMap<PurposeKind, BTreeSet<BasisKind>>,
    /// On what looking for people among passers-by may rest (1:N). Empty: it is off.
    pub live_1n: BTreeSet<BasisKind>,
    /// On what verifying one person's claim may rest (1:1).
    pub one_to_one: BTreeSet<BasisKind>,
    pub inspect_max_days: u32,
    /// The texts that signs are printed from, one a profile.
    pub text_templates: BTreeSet<String>,
    pub on_device: bool,
    pub no_egress: bool,
    /// `None`: the purpose's basis alone bounds it.
    pub templates_max_days: Option<u32>,
    /// Zones in which a face is checked only beside a way in that reads nobody's body.
    pub alternative_for: BTreeSet<ZoneKind>,
    /// A way in that has been silent for longer does not count.
    pub heartbeat_s: u32,
    /// Below this age a guardian consents.
    pub minor_age: u32,
    pub guardian: bool,
    pub order_max_hours: u32,
    pub order_renewals: u32,
    pub order_approvers: u32,
    pub purge_at_end: bool,
    /// People who must confirm a match before anybody acts on it.
    pub confirmations: u32,
    /// Distinct persons that may be stored before a filing is needed; `None`: no such limit.
    pub filing_persons: Option<u32>,
    pub filing_warn_pct: u32,
    /// Hours for which live 1:N may go on while its authorisation is pending; `None`: no authorisation is needed.
    pub pending_hours: Option<u32>,
    pub governance: bool,
    /// A recorded vote must exceed this share, thousandths.
    pub vote_permille: u32,
    /// Zones whose governance record must be a vote.
    pub vote_for: BTreeSet<ZoneKind>,
}

/// The lesser of two caps; none is no cap.
fn lesser(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn common<T: Ord + Copy>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> BTreeSet<T> {
    a & b
}

impl Values {
    /// Nothing is asked for. What holds everywhere is the profile `baseline`, not this.
    pub fn loosest() -> Self {
        let all: BTreeSet<BasisKind> = BasisKind::ALL.into();
        Self {
            bases: PurposeKind::ALL.into_iter().map(|k| (k, all.clone())).collect(),
            live_1n: all.clone(),
            one_to_one: all,
            inspect_max_days: u32::MAX,
            text_templates: BTreeSet::new(),
            on_device: false,
            no_egress: false,
            templates_max_days: None,
            alternative_for: BTreeSet::new(),
            heartbeat_s: u32::MAX,
            minor_age: 0,
            guardian: false,
            order_max_hours: u32::MAX,
            order_renewals: u32::MAX,
            order_approvers: 0,
            purge_at_end: false,
            confirmations: 0,
            filing_persons: None,
            filing_warn_pct: 100,
            pending_hours: None,
            governance: false,
            vote_permille: 0,
            vote_for: BTreeSet::new(),
        }
    }

    /// The strictest of each value.
    #[must_use]
    pub fn strictest(&self, other: &Self) -> Self {
        let none = BTreeSet::new();
        let of = |v: &Self, kind| v.bases.get(&kind).unwrap_or(&none).clone();
        Self {
            bases: PurposeKind::ALL.into_iter().map(|k| (k, common(&of(self, k), &of(other, k)))).collect(),
            live_1n: common(&self.live_1n, &other.live_1n),
            one_to_one: common(&self.one_to_one, &other.one_to_one),
            inspect_max_days: self.inspect_max_days.min(other.inspect_max_days),
            text_templates: &self.text_templates | &other.text_templates,
            on_device: self.on_device || other.on_device,
            no_egress: self.no_egress || other.no_egress,
            templates_max_days: lesser(self.templates_max_days, other.templates_max_days),
            alternative_for: &self.alternative_for | &other.alternative_for,
            heartbeat_s: self.heartbeat_s.min(other.heartbeat_s),
            minor_age: self.minor_age.max(other.minor_age),
            guardian: self.guardian || other.guardian,
            order_max_hours: self.order_max_hours.min(other.order_max_hours),
            order_renewals: self.order_renewals.min(other.order_renewals),
            order_approvers: self.order_approvers.max(other.order_approvers),
            purge_at_end: self.purge_at_end || other.purge_at_end,
            confirmations: self.confirmations.max(other.confirmations),
            filing_persons: lesser(self.filing_persons, other.filing_persons),
            filing_warn_pct: self.filing_warn_pct.min(other.filing_warn_pct),
            pending_hours: lesser(self.pending_hours, other.pending_hours),
            governance: self.governance || other.governance,
            vote_permille: self.vote_permille.max(other.vote_permille),
            vote_for: &self.vote_for | &other.vote_for,
        }
    }

    /// The languages of the signs' texts: the second part of a template's name, as in `cn-zh-1`, if it has two small letters.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        let two = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_lowercase());
        self.text_templates.iter().filter_map(move |name| name.split('-').nth(1).filter(two))
    }

    /// Whether nothing here is looser than in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.strictest(other) == *self
    }

    /// On what a purpose of this kind may rest.
    pub fn bases_for(&self, kind: PurposeKind) -> BTreeSet<BasisKind> {
        let allowed = self.bases.get(&kind).cloned().unwrap_or_default();
        if kind.searches() {
            common(&allowed, &self.live_1n)
        } else if kind.identifies() {
            common(&allowed, &self.one_to_one)
        } else {
            allowed
        }
    }

    /// Every value by the name that a profile's file gives it, for people to read and for `policy diff`.
    pub fn rows(&self) -> Vec<(String, String)> {
        fn names<T>(set: &BTreeSet<T>, name: impl Fn(&T) -> &str) -> String {
            let words: Vec<&str> = set.iter().map(name).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        }
        let bases = |set: &BTreeSet<BasisKind>| names(set, |b| b.name());
        let zones = |set: &BTreeSet<ZoneKind>| names(set, |z| z.name());
        let cap = |v: Option<u32>| v.map_or_else(|| "no limit".to_owned(), |v| v.to_string());
        let number = |v: u32| cap((v != u32::MAX).then_some(v));
        let yes = |v: bool| if v { "yes" } else { "no" }.to_owned();
        let mut rows: Vec<(String, String)> = self.bases.iter().map(|(k, set)| (format!("basis.{}", k.name()), bases(set))).collect();
        let mut row = |key: &str, value: String| rows.push((key.to_owned(), value));
        row("mode.live_1n", bases(&self.live_1n));
        row("mode.one_to_one", bases(&self.one_to_one));
        row("sign.inspect_max_days", number(self.inspect_max_days));
        row("sign.text_template", names(&self.text_templates, |t| t));
        row("storage.on_device", yes(self.on_device));
        row("storage.no_egress", yes(self.no_egress));
        row("storage.templates_max_days", cap(self.templates_max_days));
        row("alt_path.required_for", zones(&self.alternative_for));
        row("alt_path.heartbeat_s", number(self.heartbeat_s));
        row("minor.age", self.minor_age.to_string());
        row("minor.guardian", yes(self.guardian));
        row("emergency.max_hours", number(self.order_max_hours));
        row("emergency.renewals", number(self.order_renewals));
        row("emergency.approvers", self.order_approvers.to_string());
        row("emergency.purge_at_end", yes(self.purge_at_end));
        row("match.human_confirmations", self.confirmations.to_string());
        row("count.distinct_persons_filing", cap(self.filing_persons));
        row("count.warn_pct", self.filing_warn_pct.to_string());
        row("authorisation.required", yes(self.pending_hours.is_some()));
        row("authorisation.post_rbi_hours", cap(self.pending_hours));
        row("governance.required", yes(self.governance));
        row("governance.vote_ratio", format!("{:.3}", f64::from(self.vote_permille) / 1_000.0));
        row("governance.vote_for", zones(&self.vote_for));
        rows
    }
}

#[cfg(test)]
mod tests;
