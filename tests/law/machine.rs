//! The state machine off / capture-only / detect / recognise, all of it (C16): every combination of what one stream hangs on, and what each comes
//! to. No state without a sign, a basis and a purpose embeds; none that has all it needs stays dark.
//!
//! What should be is written down here as the law says it, in ten lines, apart from rules, policies and the oracle. A walk through some of the
//! states with the real policy thread shows that its leases give what the state says and nothing else.

use std::collections::BTreeMap;

use placard::clock::{Clock, Monotonic, Now, Stamp};
use placard::policy::cedar::CedarPlane;
use placard::policy::facts::{Alternative, AlternativeKind, BasisKind, Objection, Register, Withdrawal, ZoneKind};
use placard::policy::lease::{Detect, Embed, MAX_LEASE, MaskCheck, StreamState};
use placard::policy::observed::{Moment, Observed};
use placard::policy::rules::DecisionPlane;
use placard::policy::store::put_as_stand_ins;
use placard::purpose::PurposeKind;

use crate::{NORTH, Site, at, register_text, when};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hangs {
    Well,
    Aged,
    Withdrawn,
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    In,
    Over,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Objected {
    Nobody,
    ToTheStream,
    ToThePurpose,
}

/// All that the stream hangs on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    zone: ZoneKind,
    sign: Hangs,
    purpose: Option<&'static str>,
    basis: Time,
    reviewed: bool,
    area: bool,
    objected: Objected,
    /// Another way in, and when it was heard.
    way_in: Time,
}

const KINDS: [ZoneKind; 4] = [ZoneKind::Public, ZoneKind::Access, ZoneKind::Staff, ZoneKind::Private];
const SIGNS: [Hangs; 4] = [Hangs::Well, Hangs::Aged, Hangs::Withdrawn, Hangs::Nowhere];
const PURPOSES: [Option<&str>; 4] = [Some("missing-person:mp-7"), Some("access-verification"), Some("mask-check"), None];
const TIMES: [Time; 3] = [Time::In, Time::Over, Time::Never];
const OBJECTED: [Objected; 3] = [Objected::Nobody, Objected::ToTheStream, Objected::ToThePurpose];

fn all() -> impl Iterator<Item = Facts> {
    let total = KINDS.len() * SIGNS.len() * PURPOSES.len() * TIMES.len() * 2 * 2 * OBJECTED.len() * TIMES.len();
    (0..total).map(|number| {
        let mut left = number;
        let mut pick = |of: usize| {
            let at = left % of;
            left /= of;
            at
        };
        Facts {
            zone: KINDS[pick(4)],
            sign: SIGNS[pick(4)],
            purpose: PURPOSES[pick(4)],
            basis: TIMES[pick(3)],
            reviewed: pick(2) == 0,
            area: pick(2) == 0,
            objected: OBJECTED[pick(3)],
            way_in: TIMES[pick(3)],
        }
    })
}

impl Facts {
    /// What the law says of it.
    fn should_be(self) -> StreamState {
        if !self.area || self.zone == ZoneKind::Private || self.sign != Hangs::Well || self.objected == Objected::ToTheStream {
            return StreamState::Off;
        }
        let another_way = self.zone != ZoneKind::Access || self.way_in == Time::In;
        let pursued = self.basis == Time::In && self.reviewed && self.objected != Objected::ToThePurpose && another_way;
        match self.purpose {
            Some("missing-person:mp-7") if pursued => StreamState::Recognise,
            Some("access-verification") if pursued && self.zone == ZoneKind::Access => StreamState::Recognise,
            Some("mask-check") if pursued => StreamState::Detect,
            _ => StreamState::CaptureOnly,
        }
    }

    fn register(self) -> Register {
        let mut register: Register = toml::from_str(&register_text()).expect("a register");
        register.zones.retain(|z| z.id == "hall");
        register.zones[0].kind = self.zone;
        register.areas.retain(|a| a.zone == "hall" && self.area);
        register.signs.retain(|s| s.zone == "hall" && self.sign != Hangs::Nowhere);
        for sign in &mut register.signs {
            match self.sign {
                Hangs::Aged => sign.inspected_at = Some(when("2026-08-01")),
                Hangs::Withdrawn => {
                    sign.withdrawn = Some(Withdrawal { at: when("2026-11-20"), by: "l".to_owned(), reason: String::new() });
                }
                _ => {}
            }
            sign.posted_on = Some(when("2026-07-01"));
        }
        register.purposes.truncate(1);
        register.purposes.retain(|_| self.purpose.is_some());
        for fact in &mut register.purposes {
            fact.purpose = self.purpose.expect("kept").parse().expect("a purpose");
            let basis = fact.basis.as_mut().expect("there");
            basis.kind = match fact.purpose.kind() {
                PurposeKind::AccessVerification => BasisKind::SeparateConsent,
                PurposeKind::MaskCheck => BasisKind::Emergency,
                _ => BasisKind::PublicSafety,
            };
            match self.basis {
                Time::In => {}
                Time::Over => basis.until = Some(when("2026-11-20")),
                Time::Never => fact.basis = None,
            }
            if !self.reviewed {
                fact.review_on = Some(when("2026-11-20"));
            }
        }
        // What a mask check rests on; its own dates are the basis's.
        register.orders = toml::from_str::<Register>(
            "[[order]]\nid = \"o-1\"\nissuer = \"City\"\nzones = [\"hall\"]\nfrom = 2026-11-20\nuntil = 2026-11-25\napproved_by = [\"l\", \"w\"]\n",
        )
        .expect("an order")
        .orders;
        let (stream, purpose) = match self.objected {
            Objected::Nobody => (None, None),
            Objected::ToTheStream => (Some("north"), None),
            Objected::ToThePurpose => (Some("north"), Some(self.purpose.unwrap_or("missing-person:mp-7"))),
        };
        register.objections.extend(stream.map(|stream| Objection {
            id: "j-1".to_owned(),
            stream: Some(stream.to_owned()),
            purpose: purpose.map(|p| p.parse().expect("a purpose")),
            at: when("2026-11-20"),
            settled: None,
        }));
        let declared = (self.way_in != Time::Never).then(|| Alternative {
            id: "card-1".to_owned(),
            zone: "hall".to_owned(),
            kind: AlternativeKind::Card,
            heartbeat_s: 60,
        });
        register.alternatives.extend(declared);
        register
    }

    /// What was heard by `now`.
    fn observed(self, now: Stamp<Monotonic>) -> Observed {
        let silent_s = if self.way_in == Time::In { 1 } else { 61 };
        let heartbeats = BTreeMap::from([("card-1".into(), Stamp::from_ns(now.ns() - silent_s * 1_000_000_000))]);
        Observed { heartbeats, ..Observed::default() }
    }
}

#[test]
fn every_state_is_what_the_law_says_and_none_without_a_basis_embeds() {
    let plane = CedarPlane::bundled();
    let now = Now { monotonic: Stamp::from_ns(1_000_000_000_000), utc: at("2026-11-21T12:00:00Z") };
    let mut seen: BTreeMap<StreamState, u32> = BTreeMap::new();
    for facts in all() {
        let (register, observed) = (facts.register(), facts.observed(now.monotonic));
        let decision = plane.decide(&register, "north", Moment { now, observed: &observed }).expect("decides");
        let identifies = decision.grants.iter().any(|g| g.purpose.kind().identifies());
        assert_eq!(decision.state, facts.should_be(), "{facts:?}: {}", decision.reason);
        assert_eq!(identifies, decision.state == StreamState::Recognise, "{facts:?}");
        if decision.state == StreamState::Recognise {
            assert!(facts.sign == Hangs::Well && facts.basis == Time::In && facts.reviewed && facts.area, "{facts:?}");
        }
        *seen.entry(decision.state).or_default() += 1;
    }
    assert_eq!(plane.disagreements(), 0, "rules and policies read the same");
    assert_eq!(seen.values().sum::<u32>(), 6_912);
    assert!(seen.len() == 4 && seen.values().all(|count| *count > 5), "each state was there: {seen:?}");
}

#[test]
fn the_policy_thread_walks_from_state_to_state_and_its_leases_give_what_each_says() {
    let site = Site::new(&register_text());
    // A stride that is prime to the number of states, so that neighbours differ in nearly everything.
    let states: Vec<Facts> = all().collect();
    let mut seen: BTreeMap<StreamState, u32> = BTreeMap::new();
    for step in 0..96 {
        let lit = [Hangs::Well, Hangs::Well, Hangs::Aged, Hangs::Withdrawn][step % 4];
        let facts = Facts { sign: lit, area: true, zone: KINDS[step % 3], ..states[step * 1_009 % states.len()] };
        // As stand-ins, who confirm what a change could light: what is looked at here is the state, not who signs.
        put_as_stand_ins(&site.register, &facts.register(), site.clock.utc()).expect("stored");
        if facts.way_in == Time::In {
            site.policy.observations().heartbeat("card-1", site.clock.monotonic());
        } else {
            site.clock.advance(std::time::Duration::from_secs(61));
        }
        site.policy.reload().expect("answers");
        let (now, state) = (site.clock.monotonic(), facts.should_be());
        assert_eq!(site.state(NORTH), state, "step {step}, {facts:?}: {}", site.policy.snapshot()[0].reason);
        let searches = state == StreamState::Recognise && facts.purpose == Some("missing-person:mp-7");
        assert_eq!(site.table.permit::<Detect>(NORTH, now).is_ok(), state >= StreamState::Detect);
        assert_eq!(site.table.permit::<Embed>(NORTH, now).is_ok(), searches, "nobody has claimed anything: {facts:?}");
        assert_eq!(site.table.match_permits(NORTH, now).is_ok_and(|all| !all.is_empty()), searches);
        assert_eq!(site.table.permit::<MaskCheck>(NORTH, now).is_ok(), state == StreamState::Detect);
        *seen.entry(state).or_default() += 1;
        if step % 16 == 0 {
            let held = site.table.permit::<Detect>(NORTH, now);
            site.clock.advance(MAX_LEASE);
            assert!(!held.is_ok_and(|permit| permit.is_live(site.clock.monotonic())), "no state outlives its lease");
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}
