//! An independent, naive reading of LAW and DESIGN: what may be done on a stream. Tests compare the decision plane with it, state by state.
//!
//! It shares the types of the facts with `rules/` and `cedar/`, and not a line of their code: no merged values (the regimes' numbers stand
//! here again, as the law has them), no reasons, no dates at which something changes. It is slow and looks at pixels as cells of a
//! 10 × 10 grid: areas must be rectangles on that grid. Not used by the product.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::facts::{BasisKind, Order, PurposeFact, Register, Sign, Zone, ZoneKind};
use super::lease::StreamState;
use super::observed::{At, Attested};
use crate::clock::{Monotonic, Stamp};
use crate::purpose::PurposeKind;

const SECOND: i128 = 1_000_000_000;
const HOUR: i128 = 3_600 * SECOND;
const DAY: i128 = 24 * HOUR;
/// 2026-01-01, when the rules that hold everywhere begin.
const BASELINE_FROM: i128 = 1_767_225_600 * SECOND;

/// What the regimes ask for, one after the other; the strictest of each.
struct Demands {
    inspect_days: i128,
    order_hours: i128,
    governance: bool,
    majority: bool,
    authorisation: bool,
    consent_alone: bool,
    public_safety_alone: bool,
    /// What signs must be written in.
    tongues: BTreeSet<&'static str>,
    valid_from: i128,
}

fn demands(names: &[String]) -> Option<Demands> {
    let mut d = Demands {
        inspect_days: 90,
        order_hours: 720,
        governance: false,
        majority: false,
        authorisation: false,
        consent_alone: false,
        public_safety_alone: false,
        tongues: BTreeSet::new(),
        valid_from: BASELINE_FROM,
    };
    for name in names {
        match name.as_str() {
            "baseline" => continue,
            "cn-pipl" => (d.majority, d.public_safety_alone) = (true, true),
            "eu-ai-act" => d.authorisation = true,
            "uk-ico" => {}
            "us-bipa" => d.consent_alone = true,
            _ => return None,
        }
        (d.inspect_days, d.order_hours, d.governance) = (30, 168, true);
        d.tongues.insert(if name == "cn-pipl" { "zh" } else { "en" });
    }
    Some(d)
}

/// What may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub state: StreamState,
    pub purposes: BTreeSet<String>,
    /// Cells of the picture that may be looked at, bit `10 y + x`.
    pub cells: u128,
}

impl Verdict {
    fn off() -> Self {
        Self { state: StreamState::Off, purposes: BTreeSet::new(), cells: 0 }
    }
}

/// The facts at an instant: nanoseconds since 1970 UTC, and on the monotonic clock.
pub struct Oracle<'a> {
    pub register: &'a Register,
    pub utc_ns: i64,
    pub monotonic_ns: i64,
    pub heard: &'a BTreeMap<Arc<str>, Stamp<Monotonic>>,
    /// What each stream's camera last saw of its sign.
    pub seen: &'a BTreeMap<Arc<str>, At<Attested>>,
}

/// Cells whose middle lies in a rectangle.
pub fn cells(polygon: &[[f64; 2]]) -> u128 {
    let (xs, ys) = (polygon.iter().map(|v| v[0]), polygon.iter().map(|v| v[1]));
    let (x0, x1) = (xs.clone().fold(f64::MAX, f64::min), xs.fold(f64::MIN, f64::max));
    let (y0, y1) = (ys.clone().fold(f64::MAX, f64::min), ys.fold(f64::MIN, f64::max));
    let mut bits = 0;
    for cell in 0..100_u32 {
        let (x, y) = (f64::from(cell % 10) / 10.0 + 0.05, f64::from(cell / 10) / 10.0 + 0.05);
        if x0 < x && x < x1 && y0 < y && y < y1 {
            bits |= 1 << cell;
        }
    }
    bits
}

impl Oracle<'_> {
    fn utc(&self) -> i128 {
        self.utc_ns.into()
    }

    /// Dated no later than a minute from now.
    fn has_happened(&self, at: i64) -> bool {
        i128::from(at) <= self.utc() + 60 * SECOND
    }

    fn sign_counts(&self, d: &Demands, sign: &Sign) -> bool {
        let days = d.inspect_days.min(self.register.rules.sign_inspect_max_days.into());
        let (Some(posted), Some(inspected), Some(photo)) = (&sign.posted_on, &sign.inspected_at, &sign.photo_sha256) else { return false };
        let (posted, inspected) = (posted.at().ns(), inspected.at().ns());
        let taken = photo.chars().any(|c| c != '0') || self.register.rules.placeholder_photographs;
        sign.withdrawn.is_none()
            && taken
            && sign.inspected_by.is_some()
            && self.has_happened(posted)
            && self.has_happened(inspected)
            && inspected >= posted
            && sign.inspected_text_sha256.as_deref() == Some(Self::digest(&sign.text).as_str())
            && self.utc() < i128::from(inspected) + days * DAY
    }

    fn digest(text: &str) -> String {
        use sha2::Digest as _;
        sha2::Sha256::digest(text.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// Whether whoever reads the sign in `tongue` is told of this kind of purpose, by words that are the sign's and tell of nothing else.
    fn tells_in(sign: &Sign, kind: PurposeKind, tongue: &str) -> bool {
        for told in &sign.announces {
            let letters = told.words.chars().filter(|c| c.is_alphanumeric()).count();
            let mut clear = told.purpose == kind && told.language == tongue && letters > 3 && sign.text.find(&told.words).is_some();
            for other in &sign.announces {
                let joined = other.words.find(&told.words).is_some() || told.words.find(&other.words).is_some();
                clear &= other.purpose == kind || !joined;
            }
            if clear {
                return true;
            }
        }
        false
    }

    fn tells(d: &Demands, sign: &Sign, kind: PurposeKind) -> bool {
        for who in [&sign.controller, &sign.contact] {
            match who {
                Some(who) if who.chars().any(|c| !c.is_whitespace()) && sign.text.find(who.as_str()).is_some() => {}
                _ => return false,
            }
        }
        let some = sign.languages.iter().any(|l| Self::tells_in(sign, kind, l));
        some && d.tongues.iter().all(|t| sign.languages.iter().any(|l| l == t) && Self::tells_in(sign, kind, t))
    }

    /// Whether people are told of the purpose: by a sign of the zone that counts, and by the one that the stream's camera reads there.
    fn told(&self, d: &Demands, stream: &str, zone: &str, kind: PurposeKind) -> bool {
        let read = self.register.views.iter().find(|v| v.stream == stream).map(|v| &v.sign);
        let silent = self.register.signs.iter().any(|s| Some(&s.id) == read && s.zone == zone && !Self::tells(d, s, kind));
        !silent && self.register.signs.iter().any(|s| s.zone == zone && self.sign_counts(d, s) && Self::tells(d, s, kind))
    }

    fn somebody_decided(&self, d: &Demands, zone: &str) -> bool {
        !d.governance
            || self.register.governance.iter().any(|g| {
                let majority = match (g.votes_for, g.votes_total) {
                    (None, None) => true,
                    (Some(yes), Some(all)) if d.majority => yes <= all && 2 * u64::from(yes) > u64::from(all),
                    (Some(yes), Some(all)) => yes <= all && yes > 0,
                    _ => false,
                };
                g.zones.iter().any(|z| z == zone) && g.document_sha256.len() == 64 && self.has_happened(g.decided_on.at().ns()) && majority
            })
    }

    fn order_counts(&self, d: &Demands, order: &Order, zone: &str) -> bool {
        let mut numbers = vec![order.id.clone()];
        let mut spans = vec![(i128::from(order.from.at().ns()), i128::from(order.until.at().ns()))];
        for r in &order.renewals {
            if r.number.trim().is_empty() || numbers.contains(&r.number) {
                return false;
            }
            numbers.push(r.number.clone());
            spans.push((r.from.at().ns().into(), r.until.at().ns().into()));
        }
        let first = spans.iter().map(|s| s.0).min().unwrap_or(0);
        let last = spans.iter().map(|s| s.1).max().unwrap_or(0);
        let people: BTreeSet<&String> = order.approved_by.iter().filter(|p| !p.trim().is_empty()).collect();
        order.zones.iter().any(|z| z == zone)
            && order.ended.is_none()
            && people.len() >= 2
            && self.prolonged(order, first, last, d.order_hours * HOUR)
            && spans.iter().any(|(from, until)| *from <= self.utc() && self.utc() < *until)
    }

    /// Whether the order, and the orders that it follows on, are two renewals and `cap` ns at most. Grown from each order that came before,
    /// a step at a time: an order that begins while another lasts, or less than a day after, is one emergency with it.
    fn prolonged(&self, order: &Order, first: i128, last: i128, cap: i128) -> bool {
        let spans: Vec<(i128, i128, usize, bool)> = self
            .register
            .orders
            .iter()
            .map(|o| {
                let mut ends = vec![(i128::from(o.from.at().ns()), i128::from(o.until.at().ns()))];
                ends.extend(o.renewals.iter().map(|r| (i128::from(r.from.at().ns()), i128::from(r.until.at().ns()))));
                let begins = ends.iter().map(|e| e.0).min().unwrap_or(0);
                (begins, ends.iter().map(|e| e.1).max().unwrap_or(0), o.renewals.len(), o.zones.iter().any(|z| order.zones.contains(z)))
            })
            .collect();
        let me = self.register.orders.iter().position(|o| o.id == order.id).unwrap_or(0);
        let mut joined = vec![me];
        for _ in &spans {
            let begins = joined.iter().map(|i| spans[*i].0).min().unwrap_or(first);
            for (i, (from, until, _, near)) in spans.iter().enumerate() {
                let before = *from < first || (*from == first && i < me);
                if *near && before && !joined.contains(&i) && begins - until < DAY {
                    joined.push(i);
                }
            }
        }
        let begins = joined.iter().map(|i| spans[*i].0).min().unwrap_or(first);
        let times: usize = joined.iter().map(|i| spans[*i].2 + 1).sum::<usize>() - 1;
        times <= 2 && last - begins <= cap
    }

    fn authorised(&self, d: &Demands, fact: &PurposeFact, zone: &str) -> bool {
        !d.authorisation
            || self.register.authorisations.iter().any(|a| {
                let pending = a.pending_since.as_ref().is_none_or(|since| {
                    let since = since.at().ns();
                    self.has_happened(since) && self.utc() < i128::from(since) + 48 * HOUR
                });
                a.purpose == fact.purpose
                    && a.zones.iter().any(|z| z == zone)
                    && a.refused.is_none()
                    && !a.assessment.trim().is_empty()
                    && !a.registration.trim().is_empty()
                    && i128::from(a.from.at().ns()) <= self.utc()
                    && self.utc() < i128::from(a.until.at().ns())
                    && pending
            })
    }

    fn another_way_in(&self, zone: &Zone) -> bool {
        zone.kind != ZoneKind::Access
            || self.register.alternatives.iter().filter(|a| a.zone == zone.id).any(|a| {
                let allowed = i128::from(a.heartbeat_s).min(300) * SECOND;
                self.heard.get(a.id.as_str()).is_some_and(|at| i128::from(self.monotonic_ns) - i128::from(at.ns()) < allowed)
            })
    }

    fn objected(&self, stream: &str, fact: Option<&PurposeFact>) -> bool {
        self.register.objections.iter().filter(|o| o.settled.is_none()).any(|o| {
            let here = o.stream.as_ref().is_none_or(|s| s == stream);
            here && o.purpose.as_ref() == fact.map(|f| &f.purpose)
        })
    }

    fn within_cap(&self, stream: &str, fact: &PurposeFact) -> bool {
        let Some(cap) = fact.area_cap else { return true };
        let mut looked_at = 0;
        for area in self.register.areas.iter().filter(|a| a.stream == stream) {
            if self.register.purposes.iter().any(|p| p.purpose == fact.purpose && p.zones.contains(&area.zone)) {
                looked_at |= cells(&area.polygon);
            }
        }
        f64::from(looked_at.count_ones()) / 100.0 <= cap + 1e-6
    }

    fn purpose_counts(&self, d: &Demands, stream: &str, zone: &Zone, fact: &PurposeFact) -> bool {
        let Some(basis) = &fact.basis else { return false };
        let (Some(from), Some(until), Some(review), Some(_)) = (&basis.from, &basis.until, &fact.review_on, &fact.assessment) else {
            return false;
        };
        let in_time = i128::from(from.at().ns()) <= self.utc()
            && self.utc() < i128::from(until.at().ns())
            && self.utc() < i128::from(review.at().ns());
        let in_place = fact.zones.contains(&zone.id)
            && basis.scope.iter().all(|z| fact.zones.contains(z))
            && (basis.scope.is_empty() || basis.scope.contains(&zone.id));
        let lawful = match (fact.purpose.kind(), basis.kind) {
            (PurposeKind::CrimePrevention | PurposeKind::MissingPerson, BasisKind::PublicSafety) => !d.consent_alone,
            (PurposeKind::CrimePrevention | PurposeKind::MissingPerson, BasisKind::StatutoryDuty) => {
                !d.consent_alone && !d.public_safety_alone
            }
            (PurposeKind::Emergency, BasisKind::Emergency) => {
                let id = fact.purpose.reference().unwrap_or_default();
                !d.consent_alone && self.register.orders.iter().any(|o| o.id == id && self.order_counts(d, o, &zone.id))
            }
            (PurposeKind::MaskCheck, BasisKind::Emergency) => {
                !d.consent_alone && self.register.orders.iter().any(|o| self.order_counts(d, o, &zone.id))
            }
            (PurposeKind::AccessVerification, BasisKind::SeparateConsent) => zone.kind == ZoneKind::Access,
            _ => false,
        };
        let looks_for_people =
            matches!(fact.purpose.kind(), PurposeKind::CrimePrevention | PurposeKind::MissingPerson | PurposeKind::Emergency);
        in_time
            && in_place
            && lawful
            && (!looks_for_people || self.authorised(d, fact, &zone.id))
            && self.another_way_in(zone)
            && !self.objected(stream, Some(fact))
            && self.within_cap(stream, fact)
    }

    /// State and purposes of one zone by itself.
    fn zone_allows(&self, d: &Demands, stream: &str, id: &str) -> (StreamState, Vec<String>) {
        let nothing = (StreamState::Off, Vec::new());
        let Some(zone) = self.register.zones.iter().find(|z| z.id == id) else { return nothing };
        let signed = self.register.signs.iter().any(|s| s.zone == id && self.sign_counts(d, s));
        if zone.kind == ZoneKind::Private || !signed || !self.somebody_decided(d, id) || self.objected(stream, None) {
            return nothing;
        }
        let mut purposes: Vec<String> = Vec::new();
        for fact in &self.register.purposes {
            let name = fact.purpose.to_string();
            let told = self.told(d, stream, id, fact.purpose.kind());
            if told && self.purpose_counts(d, stream, zone, fact) && !purposes.contains(&name) {
                purposes.push(name);
            }
        }
        let state = if purposes.iter().any(|p| p != "mask-check") {
            StreamState::Recognise
        } else if purposes.is_empty() {
            StreamState::CaptureOnly
        } else {
            StreamState::Detect
        };
        (state, purposes)
    }

    /// A camera that is to read its sign has read it lately, where it may look for it at all.
    fn reads_its_sign(&self, stream: &str) -> bool {
        let own: Vec<&str> = self.register.areas.iter().filter(|a| a.stream == stream).map(|a| a.zone.as_str()).collect();
        let private = |id: &&str| !self.register.zones.iter().any(|z| z.id == *id && z.kind != ZoneKind::Private);
        let Some(view) = self.register.views.iter().find(|v| v.stream == stream) else { return !self.register.rules.attested_signs_only };
        let hangs = |s: &Sign| s.id == view.sign && own.contains(&s.zone.as_str()) && s.posted_on.is_some() && s.withdrawn.is_none();
        let lately = self.seen.get(stream).is_some_and(|last| {
            let age = i128::from(self.monotonic_ns) - i128::from(last.at.ns());
            last.what == Attested::Seen && age >= -SECOND && age <= (i128::from(view.attest_every_s) + 1) * SECOND
        });
        lately && !own.iter().any(private) && self.register.signs.iter().any(hangs)
    }

    /// What may be done on `stream`.
    pub fn permits(&self, stream: &str) -> Verdict {
        if !self.reads_its_sign(stream) {
            return Verdict::off();
        }
        let Some(d) = demands(&self.register.rules.profiles) else { return Verdict::off() };
        if self.utc() < d.valid_from {
            return Verdict::off();
        }
        let own: Vec<_> = self.register.areas.iter().filter(|a| a.stream == stream).collect();
        let allowed: Vec<(StreamState, Vec<String>)> = own.iter().map(|a| self.zone_allows(&d, stream, &a.zone)).collect();
        let shown: Vec<u128> = own.iter().map(|a| cells(&a.polygon)).collect();
        // An area stays if every zone that shares a pixel with it allows all that it does.
        let stays = |i: usize| {
            (0..own.len()).all(|j| {
                let apart = own[i].zone == own[j].zone || shown[i] & shown[j] == 0;
                apart || (allowed[j].0 >= allowed[i].0 && allowed[i].1.iter().all(|p| allowed[j].1.contains(p)))
            })
        };
        let open: Vec<usize> = (0..own.len()).filter(|&i| allowed[i].0 > StreamState::Off && stays(i)).collect();
        let Some(state) = open.iter().map(|&i| allowed[i].0).max() else { return Verdict::off() };
        let Some(&lead) = open.iter().find(|&&i| allowed[i].0 == state) else { return Verdict::off() };
        let together = open.iter().filter(|&&i| allowed[i] == allowed[lead]);
        let cells = together.fold(0, |all, &i| all | shown[i]);
        let mut purposes: BTreeSet<String> = allowed[lead].1.iter().cloned().collect();
        if state == StreamState::Recognise {
            purposes.remove("mask-check");
        }
        Verdict { state, purposes, cells }
    }
}
