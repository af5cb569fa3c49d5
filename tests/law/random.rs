//! Random registers: the rules never open more than an independent, naive reading of the same facts does, and taking any fact away that
//! grants something never opens more than before, unless the register asks two approvers for it (`narrowing.rs` looks at those).

use std::collections::BTreeSet;

use placard::area::Vertex;
use placard::clock::{Stamp, Utc};
use placard::policy::cedar::CedarPlane;
use placard::policy::facts::{AreaFact, Basis, BasisKind, Order, PurposeFact, Register, Rules, Sign, Withdrawal, Zone, ZoneKind};
use placard::policy::lease::StreamState;
use placard::policy::observed::Moment;
use placard::policy::oracle::cells;
use placard::policy::rules::{Decision, DecisionPlane};
use placard::policy::store::{Needs, Proposal, difference};
use placard::policy::when::When;
use proptest::prelude::*;
use proptest::sample::select;

const DAY_NS: i64 = 86_400_000_000_000;
const KINDS: [&str; 5] = ["missing-person", "crime-prevention", "emergency", "mask-check", "access-verification"];
const ZONES: [&str; 4] = ["a", "b", "c", "nowhere"];

fn now() -> Stamp<Utc> {
    super::at("2026-11-21T12:00:00Z")
}

/// Mostly sound dates, some absent, some on the wrong side of now.
fn date(good: &'static str) -> impl Strategy<Value = Option<When>> {
    let some = |text: &str| Some(text.parse().expect("date"));
    prop_oneof![8 => Just(some(good)), 1 => Just(None), 1 => select(vec![some("2026-10-01"), some("2026-11-21"), some("2027-05-01")])]
}

fn zone_name() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just("a"), 3 => Just("b"), 2 => Just("c"), 1 => Just("nowhere")].prop_map(str::to_owned)
}

fn kind() -> impl Strategy<Value = ZoneKind> {
    prop_oneof![5 => Just(ZoneKind::Public), 1 => Just(ZoneKind::Access), 1 => Just(ZoneKind::Staff), 1 => Just(ZoneKind::Private)]
}

/// Rectangles on a 10 × 10 grid, so that borders are often shared and overlaps frequent.
fn area() -> impl Strategy<Value = AreaFact> {
    (zone_name(), 0..9_u8, 0..9_u8, 1..6_u8, 1..6_u8).prop_map(|(zone, x, y, w, h)| {
        let f = |v: u8| f64::from(v.min(10)) / 10.0;
        let (x0, y0, x1, y1) = (f(x), f(y), f(x + w), f(y + h));
        AreaFact { stream: "north".to_owned(), zone, polygon: vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]] }
    })
}

fn sign() -> impl Strategy<Value = Sign> {
    let withdrawal = Withdrawal { at: "2026-11-20".parse().expect("date"), by: "x".to_owned(), reason: String::new() };
    let withdrawn = prop_oneof![6 => Just(None), 1 => Just(Some(withdrawal))];
    let inspector = prop_oneof![9 => Just(Some("w".to_owned())), 1 => Just(None)];
    let photo = prop_oneof![8 => Just(Some("5e1f".repeat(16))), 1 => Just(Some("0".repeat(64))), 1 => Just(None)];
    // What it has words for; whether the inspection was of another text.
    let said = (prop_oneof![5 => Just(5_usize), 2 => 0..5_usize], prop::bool::weighted(0.1));
    (zone_name(), photo, date("2026-11-01"), date("2026-11-19"), inspector, withdrawn, said).prop_map(
        |(zone, photo_sha256, posted_on, inspected_at, inspected_by, withdrawn, (kinds, other_text))| {
            let text = format!("id = 's'\nzone = 'z'\nposition = 'here'\n{}", include_str!("../support/sign-words.toml"));
            let mut sign =
                Sign { zone, photo_sha256, posted_on, inspected_at, inspected_by, withdrawn, ..toml::from_str(&text).expect("a sign") };
            // In two languages, a kind after the other.
            sign.announces.retain(|a| KINDS.iter().take(kinds).any(|k| *k == a.purpose.name()));
            sign.inspected_text_sha256 = sign.inspected_text_sha256.filter(|_| !other_text);
            sign
        },
    )
}

fn purpose() -> impl Strategy<Value = PurposeFact> {
    let name = select(vec!["missing-person:1", "crime-prevention:2", "emergency:3", "mask-check", "access-verification"]);
    let kinds =
        [BasisKind::StatutoryDuty, BasisKind::PublicSafety, BasisKind::PublicSafety, BasisKind::Emergency, BasisKind::SeparateConsent];
    let basis_kind = select(kinds.to_vec());
    let basis = (basis_kind, date("2026-11-01"), date("2026-12-24")).prop_map(|(kind, from, until)| Basis {
        kind,
        statute: "s".to_owned(),
        authority: "a".to_owned(),
        scope: Vec::new(),
        from,
        until,
    });
    let assessment = prop_oneof![9 => Just(Some("pia".to_owned())), 1 => Just(None)];
    let cap = prop_oneof![3 => Just(None), 1 => select(vec![Some(0.06), Some(0.12), Some(0.25)])];
    (name, prop::collection::vec(zone_name(), 1..3), prop::option::weighted(0.9, basis), assessment, date("2027-01-01"), cap).prop_map(
        |(purpose, zones, basis, assessment, review_on, area_cap)| PurposeFact {
            purpose: purpose.parse().expect("purpose"),
            zones,
            basis,
            assessment,
            review_on,
            gallery_cap: None,
            area_cap,
        },
    )
}

fn register(max_areas: usize) -> impl Strategy<Value = Register> {
    let zones = prop::collection::vec(kind(), 3);
    let signs = prop::collection::vec(sign(), 1..6);
    let purposes = prop::collection::vec(purpose(), 1..5);
    let areas = prop::collection::vec(area(), 1..=max_areas);
    let rules =
        (prop_oneof![3 => Just(30_u32), 1 => Just(1)], any::<bool>()).prop_map(|(sign_inspect_max_days, placeholder_photographs)| Rules {
            sign_inspect_max_days,
            placeholder_photographs,
            ..Rules::default()
        });
    (zones, areas, signs, purposes, rules).prop_map(|(kinds, areas, mut signs, purposes, rules)| {
        signs.iter_mut().enumerate().for_each(|(i, s)| s.id = format!("s{i}"));
        let zones = ZONES.iter().zip(kinds).map(|(id, kind)| Zone { id: (*id).to_owned(), kind }).collect();
        let date = |text: &str| text.parse().expect("date");
        let order = Order {
            id: "3".to_owned(),
            issuer: "i".to_owned(),
            zones: vec!["a".to_owned(), "b".to_owned()],
            from: date("2026-11-20"),
            until: date("2026-11-24"),
            renewals: Vec::new(),
            approved_by: vec!["l".to_owned(), "w".to_owned()],
            ended: None,
        };
        Register { rules, zones, areas, signs, purposes, orders: vec![order], ..Register::default() }
    })
}

/// What may be done in a zone, read off the facts without any of the product's rules: a set of capabilities.
fn allowed(r: &Register, zone: &str) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    let t = now().ns();
    let ns = |w: &Option<When>| w.as_ref().map(|w| w.at().ns());
    let looked_at = r.zones.iter().any(|z| z.id == zone && z.kind != ZoneKind::Private);
    let sign_ok = |s: &Sign| {
        let (Some(posted), Some(inspected)) = (ns(&s.posted_on), ns(&s.inspected_at)) else { return false };
        let fresh = t < inspected + i64::from(r.rules.sign_inspect_max_days) * DAY_NS;
        let shown = s.photo_sha256.as_ref().is_some_and(|p| r.rules.placeholder_photographs || p.chars().any(|c| c != '0'));
        let documented = shown && s.inspected_by.is_some() && s.inspected_text_sha256.is_some();
        s.zone == zone && s.withdrawn.is_none() && documented && posted <= inspected && inspected <= t && fresh
    };
    if !looked_at || !r.signs.iter().any(sign_ok) {
        return set;
    }
    set.insert("capture".to_owned());
    for p in r.purposes.iter().filter(|p| p.zones.iter().any(|z| z == zone)) {
        let Some(b) = &p.basis else { continue };
        let name = p.purpose.to_string();
        let kind = name.split(':').next().unwrap_or_default();
        if !r.signs.iter().any(|s| sign_ok(s) && s.announces.iter().any(|a| a.purpose.name() == kind)) {
            continue;
        }
        let in_force = ns(&b.from).is_some_and(|f| f <= t) && ns(&b.until).is_some_and(|u| t < u);
        let assessed = p.assessment.is_some() && ns(&p.review_on).is_some_and(|d| t < d);
        let kind_fits = (name.starts_with("emergency") || name == "mask-check") == (b.kind == BasisKind::Emergency);
        let consented = b.kind != BasisKind::SeparateConsent;
        // The one order reaches these two; nothing lets people in by another way, so no face is checked at a gate.
        let ordered = b.kind != BasisKind::Emergency || ["a", "b"].contains(&zone);
        let no_gate = r.zones.iter().any(|z| z.id == zone && z.kind != ZoneKind::Access);
        let meant = |a: &&AreaFact| r.purposes.iter().any(|q| q.purpose == p.purpose && q.zones.contains(&a.zone));
        let looked_at = r.areas.iter().filter(meant).fold(0, |all, a| all | cells(&a.polygon));
        let capped = p.area_cap.is_some_and(|cap| f64::from(looked_at.count_ones()) / 100.0 > cap + 1e-6);
        if !capped && ordered && no_gate && in_force && assessed && kind_fits && consented && name != "access-verification" {
            set.insert("detect".to_owned());
            if name != "mask-check" {
                set.insert(name);
            }
        }
    }
    set
}

fn opened(decision: &Decision) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for (least, name) in [(StreamState::CaptureOnly, "capture"), (StreamState::Detect, "detect")] {
        if decision.state >= least {
            set.insert(name.to_owned());
        }
    }
    if decision.state == StreamState::Recognise {
        set.extend(decision.grants.iter().map(|g| g.purpose.to_string()).filter(|p| p != "mask-check"));
    }
    set
}

fn within(p: Vertex, polygon: &[Vertex]) -> bool {
    let (min, max) = (polygon[0], polygon[2]);
    min[0] < p[0] && p[0] < max[0] && min[1] < p[1] && p[1] < max[1]
}

/// Registers with one granting fact less. (Withdrawals and private areas take leave away by being there: they are not removed here.)
fn with_one_fact_less(r: &Register) -> Vec<Register> {
    let mut all = Vec::new();
    let mut without = |edit: &dyn Fn(&mut Register)| {
        let mut copy = r.clone();
        edit(&mut copy);
        all.push(copy);
    };
    (0..r.zones.len()).for_each(|i| without(&|r| drop(r.zones.remove(i))));
    (0..r.areas.len()).for_each(|i| without(&|r| drop(r.areas.remove(i))));
    for i in 0..r.signs.len() {
        without(&|r| drop(r.signs.remove(i)));
        without(&|r| r.signs[i].photo_sha256 = None);
        without(&|r| r.rules.placeholder_photographs = false);
        without(&|r| r.signs[i].posted_on = None);
        without(&|r| r.signs[i].inspected_at = None);
        without(&|r| r.signs[i].inspected_by = None);
        without(&|r| r.signs[i].inspected_text_sha256 = None);
        without(&|r| r.signs[i].announces.truncate(3));
        without(&|r| r.signs[i].languages.truncate(1));
        without(&|r| r.signs[i].contact = None);
    }
    for i in 0..r.purposes.len() {
        without(&|r| drop(r.purposes.remove(i)));
        without(&|r| r.purposes[i].basis = None);
        without(&|r| r.purposes[i].basis.iter_mut().for_each(|b| b.from = None));
        without(&|r| r.purposes[i].basis.iter_mut().for_each(|b| b.until = None));
        without(&|r| r.purposes[i].assessment = None);
        without(&|r| r.purposes[i].review_on = None);
        without(&|r| drop(r.purposes[i].zones.pop()));
    }
    all
}

/// Whether two approvers must sign, because what goes may keep something else dark: another zone, or a cap.
fn asks_for_two(before: &Register, after: &Register) -> bool {
    let proposal = Proposal::new(difference(before, after), "anybody", "", "2026-11-21".parse().expect("date")).expect("random bytes");
    match proposal.applied_to(before) {
        Ok((_, needs)) => needs == Needs::ApproversForWhatItOpens || (needs == Needs::TwoApprovers && before.areas != after.areas),
        // A purpose without a zone makes no register.
        Err(_) => true,
    }
}

fn decide(r: &Register) -> Decision {
    let plane = CedarPlane::bundled();
    let decision = plane.decide(r, "north", Moment::unobserved(now())).expect("decides");
    assert_eq!(plane.disagreements(), 0, "{}", decision.reason);
    decision
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_zone_opens_exactly_what_the_facts_say(register in register(1)) {
        prop_assert_eq!(opened(&decide(&register)), allowed(&register, &register.areas[0].zone));
    }

    #[test]
    fn with_one_area_a_fact_less_never_opens_more(register in register(1)) {
        let before = opened(&decide(&register));
        for less in with_one_fact_less(&register).into_iter().filter(|less| !asks_for_two(&register, less)) {
            let after = opened(&decide(&less));
            prop_assert!(after.is_subset(&before), "{:?} ⊄ {:?} with {:#?}", after, before, less);
        }
    }

    /// No pixel is opened for anything that one of the zones it lies in does not allow; a fact less keeps it so, measured by what was
    /// allowed *before*.
    #[test]
    fn no_pixel_is_opened_beyond_what_all_its_zones_allow(register in register(5)) {
        let less = with_one_fact_less(&register).into_iter().filter(|less| !asks_for_two(&register, less));
        let all: Vec<Register> = std::iter::once(register.clone()).chain(less).collect();
        for (number, r) in all.iter().enumerate() {
            let decision = decide(r);
            let open = opened(&decision);
            let Some(area) = decision.area else { prop_assert!(open.is_empty()); continue };
            for (i, j) in (0..10_u8).flat_map(|i| (0..10_u8).map(move |j| (i, j))) {
                let p = [(f64::from(i) + 0.5) / 10.0, (f64::from(j) + 0.5) / 10.0];
                if area.polygons().iter().any(|polygon| within(p, polygon)) {
                    for zone in r.areas.iter().filter(|a| within(p, &a.polygon)).map(|a| &a.zone) {
                        let may = allowed(&register, zone);
                        prop_assert!(open.is_subset(&may), "variant {}, zone {}: {:?} ⊄ {:?}", number, zone, open, may);
                    }
                }
            }
        }
    }
}
