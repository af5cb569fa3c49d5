//! Nobody lights a stream by taking something away: whatever one person may change alone is held against the decision plane, register before
//! and register after, under every regime, at several moments, with everything observed as it should be and as it happens to be.
//!
//! The registers are random, their areas overlap, share zones and are capped (`states.rs`). The same is asked of what stops at once (a sign
//! withdrawn, an objection, a private zone, an end, a refusal), with what the register holds back beside it (`policy/store/lighting.rs`).

use std::collections::BTreeSet;
use std::io::Write as _;

use placard::clock::{Now, Stamp};
use placard::policy::facts::{AreaFact, Objection, PurposeFact, Register, Withdrawal, ZoneKind};
use placard::policy::lease::StreamState;
use placard::policy::observed::{Moment, Observed};
use placard::policy::oracle::cells;
use placard::policy::rules::{Decision, DecisionPlane, PlainRules};
use placard::policy::store::{Needs, Proposal, difference};
use placard::policy::when::When;

use crate::states::{Random, STREAMS, State, States};

const H: i64 = 3_600_000_000_000;
/// From the state's own instant: the same, and when other facts have begun or ended.
const LATER: [i64; 5] = [0, H, 30 * H, 6 * 24 * H, 26 * 24 * H];
const REGIMES: [&[&str]; 4] = [&[], &["cn-pipl"], &["eu-ai-act"], &["us-bipa"]];

fn one<'a, T>(r: &mut Random, list: &'a mut [T]) -> Option<&'a mut T> {
    let n = list.len() as u64;
    if n == 0 { None } else { list.get_mut(usize::try_from(r.below(n)).expect("small")) }
}

fn drop_one<T>(r: &mut Random, list: &mut Vec<T>) -> &'static str {
    if !list.is_empty() {
        list.remove(usize::try_from(r.below(list.len() as u64)).expect("small"));
    }
    "one removed"
}

/// A purpose's record says less.
fn cut(r: &mut Random, fact: &mut PurposeFact, soon: &When) -> &'static str {
    match r.below(5) {
        0 | 1 if fact.zones.len() > 1 => {
            fact.zones.pop();
            "it left a zone"
        }
        2 => {
            fact.basis = None;
            "its basis went"
        }
        3 => {
            let until = fact.basis.as_mut().and_then(|b| b.until.as_mut());
            until.into_iter().for_each(|until| earlier(until, soon));
            "its basis was shortened"
        }
        4 => {
            (fact.assessment, fact.area_cap) = (None, Some(fact.area_cap.unwrap_or(1.0).min(0.1)));
            "its assessment went"
        }
        _ => {
            fact.area_cap = Some(fact.area_cap.unwrap_or(1.0).min(0.25));
            "its cap was lowered"
        }
    }
}

fn earlier(at: &mut When, soon: &When) {
    if at.at() > soon.at() {
        *at = soon.clone();
    }
}

/// Something is stopped at once; what.
fn stop(r: &mut Random, register: &mut Register, soon: &When) -> &'static str {
    let by = || Withdrawal { at: soon.clone(), by: "anybody".to_owned(), reason: String::new() };
    match r.below(10) {
        0..=2 => {
            one(r, &mut register.signs).into_iter().for_each(|s| s.withdrawn = s.withdrawn.take().or_else(|| Some(by())));
            "sign withdrawn"
        }
        3 => {
            one(r, &mut register.zones).into_iter().for_each(|z| z.kind = ZoneKind::Private);
            "zone private"
        }
        4 => {
            let private = register.zones.iter().find(|z| z.kind == ZoneKind::Private).map(|z| z.id.clone());
            let from = one(r, &mut register.areas).cloned();
            register.areas.extend(private.zip(from).map(|(zone, area)| AreaFact { zone, ..area }));
            "private area"
        }
        5 => {
            one(r, &mut register.orders).into_iter().for_each(|o| o.ended = o.ended.take().or_else(|| Some(by())));
            "order ended"
        }
        6 => {
            one(r, &mut register.authorisations).into_iter().for_each(|a| a.refused = a.refused.take().or_else(|| Some(by())));
            "authorisation refused"
        }
        of => {
            let purpose = one(r, &mut register.purposes).map(|p| p.purpose.clone()).filter(|_| of < 9);
            let stream = (purpose.is_none() || r.one_in(2)).then(|| r.of(&STREAMS).to_owned());
            register.objections.push(Objection { id: "now".to_owned(), stream, purpose, at: soon.clone(), settled: None });
            "objection"
        }
    }
}

/// Something goes, or says less; what.
fn take_away(r: &mut Random, register: &mut Register, soon: &When) -> (&'static str, &'static str) {
    match r.below(17) {
        0..=2 => ("area", drop_one(r, &mut register.areas)),
        3..=5 => ("purpose", drop_one(r, &mut register.purposes)),
        6..=10 => {
            let of = usize::try_from(r.below(4)).expect("small");
            ("purpose", register.purposes.get_mut(of).map_or("none", |fact| cut(r, fact, soon)))
        }
        11 => {
            one(r, &mut register.orders).into_iter().for_each(|o| earlier(&mut o.until, soon));
            ("order", "shortened")
        }
        12 => ("way in", drop_one(r, &mut register.alternatives)),
        13 => {
            one(r, &mut register.alternatives).into_iter().for_each(|a| a.heartbeat_s = a.heartbeat_s.min(60));
            ("way in", "heartbeat shortened")
        }
        14 => ("authorisation", drop_one(r, &mut register.authorisations)),
        15 => {
            register.rules.sign_inspect_max_days = 1;
            ("rules", "inspected more often")
        }
        _ => {
            register.rules.profiles.push(r.of(&["eu-ai-act", "cn-pipl", "uk-ico"]).to_owned());
            ("rules", "profile added")
        }
    }
}

fn seen(decision: &Decision) -> u128 {
    decision.area.iter().flat_map(|a| a.polygons()).fold(0, |all, p| all | cells(p))
}

/// What `after` opens that `before` did not. Where only the signal is looked at no area counts, for nothing in it is read.
fn opened(before: &Decision, after: &Decision) -> Option<String> {
    if after.state > before.state {
        return Some(format!("{} → {}", before.state.name(), after.state.name()));
    }
    if after.state < StreamState::Detect {
        return None;
    }
    let names = |d: &Decision| d.grants.iter().map(|g| g.purpose.to_string()).collect::<BTreeSet<_>>();
    let (was, is) = (names(before), names(after));
    if !is.is_subset(&was) {
        return Some(format!("{was:?} → {is:?}"));
    }
    let more = seen(after) & !seen(before);
    (more != 0).then(|| format!("{} cells more", more.count_ones()))
}

/// The first moment, stream and regime at which `after` opens more.
fn lights(state: &State, before: &Register, after: &Register) -> Option<String> {
    let own: Vec<&str> = before.rules.profiles.iter().map(String::as_str).collect();
    let added = &after.rules.profiles[before.rules.profiles.len()..];
    for regime in REGIMES.into_iter().chain([&own[..]]) {
        let under = |register: &Register, more: &[String]| {
            let mut register = register.clone();
            register.rules.profiles = regime.iter().map(|p| (*p).to_owned()).chain(more.iter().cloned()).collect();
            register
        };
        let (before, after) = (under(before, &[]), under(after, added));
        for observed in [&state.observed, &Observed::all_well(&before)] {
            for later in LATER {
                let utc = Stamp::from_ns(state.now.utc.ns() + later);
                let monotonic = if std::ptr::eq(observed, &state.observed) { state.now.monotonic } else { Stamp::from_ns(0) };
                let moment = Moment { now: Now { utc, monotonic }, observed };
                for stream in STREAMS {
                    let decide = |register: &Register| PlainRules.decide(register, stream, moment).expect("decides");
                    if let Some(what) = opened(&decide(&before), &decide(&after)) {
                        return Some(format!("`{stream}` under {regime:?} {} h later: {what}", later / H));
                    }
                }
            }
        }
    }
    None
}

#[test]
fn what_one_person_may_take_away_alone_never_lights_anything() {
    let (states, mut r) = (States::new(), Random(0x0001_5701_0006));
    let (mut alone, mut with_two, mut would_have_lit) = (0_u32, 0_u32, 0_u32);
    for number in 0..400 {
        let mut state = states.state(&mut r);
        state.register.purposes.retain(|p| !p.zones.is_empty());
        let before = state.register.clone();
        let soon = When::from_stamp(state.now.utc);
        for _ in 0..8 {
            let mut after = before.clone();
            let mut what = vec![take_away(&mut r, &mut after, &soon)];
            if r.one_in(4) {
                what.push(take_away(&mut r, &mut after, &soon));
            }
            let edits = difference(&before, &after);
            if edits.is_empty() {
                continue;
            }
            let proposal = Proposal::new(edits, "anybody", "", soon.clone()).expect("random bytes");
            let (as_judged, needs) = proposal.applied_to(&before).expect("applies");
            assert_eq!(difference(&as_judged, &after), [], "{what:?}");
            let lit = lights(&state, &before, &as_judged);
            match needs.signatures() {
                0 | 1 => {
                    alone += 1;
                    if let Some(lit) = lit {
                        panic!(
                            "state {number}: {what:?} needs {needs:?}, and lights {lit}\n{}\n→ {edits:#?}",
                            before.to_toml(),
                            edits = proposal.edits
                        );
                    }
                }
                _ => {
                    with_two += u32::from(needs == Needs::ApproversForWhatItOpens);
                    would_have_lit += u32::from(needs == Needs::ApproversForWhatItOpens && lit.is_some());
                }
            }
        }
    }
    let tally = format!("{alone} changes by one person; {with_two} by two for what they may open, {would_have_lit} of which would have");
    let _nobody_reads = writeln!(std::io::stderr(), "{tally}");
    // If everything took two people, or nothing could light, this would say nothing.
    assert!(alone > 1_000 && would_have_lit > 20, "{tally}");
}

#[test]
fn what_stops_at_once_never_lights_anything() {
    let (states, mut r) = (States::new(), Random(0x0001_5701_0007));
    let (mut stops, mut held_back, mut would_have_lit) = (0_u32, 0_u32, 0_u32);
    for number in 0..400 {
        let mut state = states.state(&mut r);
        state.register.purposes.retain(|p| !p.zones.is_empty());
        let before = state.register.clone();
        let soon = When::from_stamp(state.now.utc);
        for _ in 0..8 {
            let mut after = before.clone();
            let mut what = vec![stop(&mut r, &mut after, &soon)];
            if r.one_in(4) {
                what.push(stop(&mut r, &mut after, &soon));
            }
            let edits = difference(&before, &after);
            if edits.is_empty() {
                continue;
            }
            let proposal = Proposal::new(edits, "anybody", "", soon.clone()).expect("random bytes");
            let (as_judged, needs) = proposal.applied_to(&before).expect("applies");
            assert_eq!(needs, Needs::Nobody, "{what:?}: {proposal:?}");
            let held = as_judged.objections.len() > after.objections.len();
            if let Some(lit) = lights(&state, &before, &as_judged) {
                panic!("state {number}: {what:?} (held back: {held}) lights {lit}\n{}\n→ {:#?}", before.to_toml(), proposal.edits);
            }
            stops += 1;
            held_back += u32::from(held);
            would_have_lit += u32::from(held && lights(&state, &before, &after).is_some());
        }
    }
    let tally = format!("{stops} stops; {held_back} of them paused a stream, {would_have_lit} of which would have lit something there");
    let _nobody_reads = writeln!(std::io::stderr(), "{tally}");
    // If each paused everything, or nothing could light, this would say nothing.
    assert!(stops > 2_000 && stops - held_back > 500 && would_have_lit > 10, "{tally}");
}
