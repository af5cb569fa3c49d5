//! Random histories of a site: whatever happens, in whatever order, an embedding that could be produced is one that the oracle permits at that
//! instant, give or take one lease.
//!
//! The policy thread is real and runs when it likes; time is simulated and moves only between looks. A look asks the lease table what a
//! worker would ask it, and holds every permit against the oracle, given what the register said during the last lease's length.
//! The longer run: `PLACARD_HISTORIES=1000 cargo test --release --test law histories::full -- --ignored --nocapture`. A failure prints the
//! seed of its history: `PLACARD_HISTORY_SEED=N cargo test --test law histories::one`.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use placard::clock::{Clock, Stamp, Utc};
use placard::policy::facts::{
    Alternative, AlternativeKind, Basis, BasisKind, Objection, Order, PurposeFact, Register, Renewal, View, Withdrawal, ZoneKind,
};
use placard::policy::inspection::Inspection;
use placard::policy::lease::MAX_LEASE;
use placard::policy::observed::Attested;
use placard::policy::when::When;
use placard::policy::worker::PolicyError;

use crate::history::{History, NAMES, Tally};
use crate::register_text;
use crate::states::Random;

const SIGNS: [&str; 2] = ["hall-1", "yard-1"];
const CARD: &str = "card-1";
const S: i64 = 1_000_000_000;
const D: i64 = 86_400 * S;
const CENTURY: i64 = 36_525 * D;

pub fn fresh(register: &mut Register, utc: Stamp<Utc>) {
    let on = |offset_ns: i64| Some(When::from_stamp(Stamp::from_ns(utc.ns().saturating_add(offset_ns))));
    for sign in &mut register.signs {
        (sign.posted_on, sign.inspected_at) = (on(-5 * D), on(-D));
        sign.photo_sha256 = Some("5e1f".repeat(16));
        sign.withdrawn = None;
    }
    for purpose in &mut register.purposes {
        purpose.review_on = on(90 * D);
        if let Some(basis) = &mut purpose.basis {
            (basis.from, basis.until) = (on(-5 * D), on(20 * D));
        }
    }
}

/// The hall is a gate, or is none, with a card reader beside it.
fn has_a_gate(register: &mut Register, kind: ZoneKind, heartbeat_s: u32) {
    register.zones.iter_mut().filter(|z| z.id == "hall").for_each(|z| z.kind = kind);
    let (id, zone) = (CARD.to_owned(), "hall".to_owned());
    register.alternatives = vec![Alternative { id, zone, kind: AlternativeKind::Card, heartbeat_s }];
}

/// That a stream sees its own sign.
fn view_of(nth: usize, attest_every_s: u32) -> View {
    let code = [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.1, 0.2]];
    View { stream: NAMES[nth].to_owned(), sign: SIGNS[nth].to_owned(), code, tolerance: 0.01, attest_every_s, fingerprint: None }
}

impl History {
    /// Somebody takes a sign down while the store cannot be written.
    fn withdraw_while_the_store_fails(&mut self, sign: &str) {
        let lock = self.path.with_file_name(".register.lock");
        let (Some(policy), Some(mut register)) = (self.answering().cloned(), self.known()) else { return };
        let _not_there = std::fs::remove_file(&lock);
        std::fs::create_dir(&lock).expect("obstructed");
        let by = Withdrawal { at: self.when(0), by: "l".to_owned(), reason: String::new() };
        // Otherwise there is no such sign, or it was withdrawn before.
        if let Err(PolicyError::NotRecorded { .. }) = policy.withdraw_sign(sign, "l", "") {
            if let Some(sign) = register.signs.iter_mut().find(|s| s.id == sign) {
                sign.withdrawn = Some(by);
            }
            self.learn_as(Some(Arc::new(register)));
            self.look().unwrap_or_else(|fault| panic!("{fault}"));
        }
        std::fs::remove_dir(&lock).expect("mended");
        policy.reload().expect("answers");
        self.learn();
    }

    /// The file is damaged, looked at, and whole again.
    fn damage(&mut self, r: &mut Random) -> Result<(), String> {
        let Ok(whole) = std::fs::read(&self.path) else { return Ok(()) };
        let mut damaged = whole.clone();
        match r.below(3) {
            0 => damaged.truncate(usize::try_from(r.below(whole.len() as u64)).expect("small")),
            1 => damaged.fill(0),
            _ => damaged[..64].fill(0xa5),
        }
        std::fs::write(&self.path, &damaged).expect("written");
        self.learn_as(None);
        self.pass(r);
        self.look()?;
        std::fs::write(&self.path, &whole).expect("mended");
        self.learn();
        Ok(())
    }

    /// Time passes: none, less than a lease, one, or much.
    pub fn pass(&mut self, r: &mut Random) {
        let lease_ns = i64::try_from(MAX_LEASE.as_nanos()).expect("small");
        let ns = r.of(&[0, 0, S / 100, lease_ns / 2, lease_ns - 1, lease_ns, lease_ns + 1, S, 61 * S, D / 24, D, 6 * D, 31 * D]);
        self.clock.advance(Duration::from_nanos(u64::try_from(ns).expect("positive")));
    }

    fn signs_change(&mut self, r: &mut Random) -> &'static str {
        let sign = usize::try_from(r.below(2)).expect("small");
        match r.below(3) {
            0 => {
                self.edit(|register, _| register.signs.retain(|s| s.id != SIGNS[sign]));
                "sign removed"
            }
            1 => {
                let original: Register = toml::from_str(&register_text()).expect("a register");
                self.edit(|register, _| {
                    register.signs.retain(|s| s.id != SIGNS[sign]);
                    register.signs.push(original.signs[sign].clone());
                });
                "sign added"
            }
            _ => {
                let photo = r.of(&[None, Some("0"), Some("7")]).map(|digit| digit.repeat(64));
                self.edit(|register, _| register.signs.iter_mut().for_each(|s| s.photo_sha256.clone_from(&photo)));
                "photograph altered"
            }
        }
    }

    /// What else a stream hangs on: a gate's other way in, a sign that is read in the picture, a share of the picture.
    fn conditions_change(&mut self, r: &mut Random) -> &'static str {
        let nth = usize::try_from(r.below(2)).expect("small");
        match r.below(6) {
            0 => {
                let gate = r.of(&[ZoneKind::Access, ZoneKind::Access, ZoneKind::Public]);
                let heartbeat_s = r.of(&[1, 60, 300, 900]);
                self.edit(|register, _| has_a_gate(register, gate, heartbeat_s));
                "gate"
            }
            1 => {
                self.edit(|register, _| register.alternatives.clear());
                "way in removed"
            }
            2 | 3 => {
                let (watched, attest_every_s) = (!r.one_in(3), r.of(&[1, 1, 60, 3_600]));
                self.edit(|register, _| {
                    register.views.retain(|v| v.stream != NAMES[nth]);
                    register.views.extend(watched.then(|| view_of(nth, attest_every_s)));
                });
                "view"
            }
            4 => {
                let cap = r.of(&[None, Some(0.0), Some(0.49), Some(0.5), Some(1.0)]);
                self.edit(|register, _| register.purposes.iter_mut().skip(nth).take(1).for_each(|p| p.area_cap = cap));
                "cap"
            }
            _ => {
                let width = r.of(&[0.4, 0.5, 1.0]);
                self.edit(|register, _| {
                    let shown = register.areas.iter_mut().filter(|a| a.stream == NAMES[nth]);
                    shown.for_each(|a| a.polygon = vec![[0.0, 0.0], [width, 0.0], [width, 1.0], [0.0, 1.0]]);
                });
                "area drawn anew"
            }
        }
    }

    /// A card reader is heard, or a camera reads its sign, now or a moment ago.
    fn something_is_observed(&mut self, r: &mut Random) -> &'static str {
        let now = self.clock.monotonic().ns();
        let at = Stamp::from_ns(now - r.of(&[0, 0, 0, S, 59 * S, 299 * S, -S / 2]));
        if r.one_in(3) {
            self.beat(CARD, at);
            return "heartbeat";
        }
        let others = [Attested::Missing, Attested::Foreign, Attested::Moved, Attested::Drifted];
        let what = if r.one_in(4) { r.of(&others) } else { Attested::Seen };
        self.attest(r.of(&NAMES), what, at);
        "sign looked for"
    }

    /// Everything is as it should be: with a gate, signs that are read, and caps, or without.
    fn in_order(&mut self, r: &mut Random) {
        self.found_anew_if_ahead();
        let (gate, views, capped) = (r.one_in(3), r.one_in(3), r.one_in(3));
        self.edit(|register, history| {
            let original: Register = toml::from_str(&register_text()).expect("a register");
            let people = register.people.clone();
            *register = Register { people, ..original };
            fresh(register, history.clock.utc());
            if gate {
                has_a_gate(register, ZoneKind::Access, 300);
            }
            register.views.extend((0..2).filter(|_| views).map(|nth| view_of(nth, 60)));
            register.purposes.iter_mut().filter(|_| capped).for_each(|p| p.area_cap = Some(1.0));
        });
        self.reload();
        let now = self.clock.monotonic();
        self.beat(CARD, now);
        NAMES.iter().for_each(|stream| self.attest(stream, Attested::Seen, now));
        self.reload();
    }

    fn register_changes(&mut self, r: &mut Random) -> &'static str {
        let nth = usize::try_from(r.below(2)).expect("small");
        match r.below(12) {
            0..=2 => self.signs_change(r),
            3 => {
                let until = r.of(&[-1, 0, S / 10, S, 61 * S, D]);
                self.edit(|register, history| {
                    if let Some(basis) = register.purposes.get_mut(nth).and_then(|p| p.basis.as_mut()) {
                        basis.until = Some(history.when(until));
                    }
                });
                "basis expires"
            }
            4 => {
                let until = r.of(&[S / 10, S, D, 29 * D]);
                self.edit(|register, history| emergency(register, history, until));
                "emergency on"
            }
            5 => {
                let (count, days) = (r.below(4), r.of(&[1, 8, 40]));
                self.edit(|register, history| {
                    for order in &mut register.orders {
                        let renewal = |n| Renewal { number: format!("r-{n}"), from: history.when(0), until: history.when(days * D) };
                        order.renewals = (0..count).map(renewal).collect();
                    }
                });
                "emergency renewed"
            }
            6 => {
                self.edit(|register, history| {
                    for order in &mut register.orders {
                        order.ended = Some(Withdrawal { at: history.when(0), by: "l".to_owned(), reason: "over".to_owned() });
                    }
                });
                "emergency off"
            }
            7 => {
                let profiles: &[&str] = [&[][..], &["cn-pipl"], &["eu-ai-act"], &["uk-ico"], &["us-bipa", "uk-ico"], &["atlantis"]]
                    [usize::try_from(r.below(6)).expect("small")];
                self.edit(|register, _| register.rules.profiles = profiles.iter().map(|p| (*p).to_owned()).collect());
                "profiles changed"
            }
            8 => {
                let stream = r.of(&NAMES);
                self.edit(|register, history| {
                    let (id, at) = (format!("j{}", register.objections.len()), history.when(0));
                    register.objections.push(Objection { id, stream: Some(stream.to_owned()), purpose: None, at, settled: None });
                });
                "objection"
            }
            _ => {
                self.in_order(r);
                "everything in order again"
            }
        }
    }

    pub fn thread_suffers(&mut self, r: &mut Random) -> &'static str {
        if self.policy.is_none() {
            self.restart();
            return "policy thread started";
        }
        if self.frozen {
            self.policy.as_ref().inspect(|p| p.thaw());
            self.frozen = false;
            return "policy thread goes on";
        }
        let policy = self.policy.clone().expect("there is one");
        match r.below(5) {
            0 => {
                policy.stop();
                self.policy = None;
                "policy thread stopped"
            }
            1 => {
                policy.break_down();
                self.policy = None;
                "policy thread killed"
            }
            2 => {
                policy.freeze().expect("freezes");
                self.frozen = true;
                "policy thread hung"
            }
            3 => {
                policy.hang().expect("hangs");
                self.frozen = true;
                "policy thread dead-locked"
            }
            _ => {
                self.restart();
                "policy thread replaced"
            }
        }
    }

    fn event(&mut self, r: &mut Random) -> Result<&'static str, String> {
        let sign = r.of(&SIGNS);
        Ok(match r.below(28) {
            20..=23 => self.conditions_change(r),
            24..=27 => self.something_is_observed(r),
            0..=9 => self.register_changes(r),
            10..=13 => self.thread_suffers(r),
            14 => {
                let to = self.clock.utc().ns().saturating_add(r.of(&[CENTURY, -CENTURY, 59 * S, -59 * S, -61 * S, 3 * D, -3 * D]));
                // 1901 to 2260: a register knows no other years, and no machine says less than 1970.
                self.clock.set_utc(Stamp::from_ns(to.clamp(-2_177_452_800 * S, 9_151_488_000 * S)));
                let register = self.known().map(Arc::new);
                self.learn_as(register);
                "clock jumps"
            }
            15 => {
                self.damage(r)?;
                "store damaged"
            }
            16 => {
                self.withdraw_while_the_store_fails(sign);
                "sign withdrawn, store fails"
            }
            17 => {
                if let Some(policy) = self.answering() {
                    let _unknown_or_unreadable = policy.withdraw_sign(sign, "l", "fell");
                }
                self.learn();
                "sign withdrawn"
            }
            18 => {
                if let Some(policy) = self.answering() {
                    let _unknown_or_unreadable = policy.post_sign(sign, "w");
                }
                self.learn();
                "sign posted"
            }
            _ => {
                if let (Some(policy), Ok(seen)) = (self.answering(), Inspection::new("w", None, None, self.clock.utc())) {
                    let _unknown_or_unreadable = policy.inspect_sign(sign, &seen);
                }
                self.learn();
                "sign inspected"
            }
        })
    }

    fn live(&mut self, seed: u64, events: u32) -> Result<(), String> {
        let mut r = Random(seed);
        for number in 0..events {
            let event = self.event(&mut r)?;
            *self.tally.events.entry(event).or_default() += 1;
            let told = |fault| format!("seed {seed}, event {number} ({event}): {fault}");
            self.look().map_err(told)?;
            // Half of the time the thread finds out by itself, when it comes to it.
            if r.one_in(2) {
                self.reload();
                self.look().map_err(told)?;
            }
            self.pass(&mut r);
            self.look().map_err(told)?;
            self.reload();
            self.look().map_err(told)?;
        }
        Ok(())
    }
}

/// `crime-prevention`'s and `missing-person`'s bases stay; the hall gets an emergency of its own beside them.
fn emergency(register: &mut Register, history: &History, until_ns: i64) {
    let basis = Basis {
        kind: BasisKind::Emergency,
        statute: "Emergency Response Law".to_owned(),
        authority: "City".to_owned(),
        scope: Vec::new(),
        from: Some(history.when(-60 * S)),
        until: Some(history.when(until_ns)),
    };
    let purpose = PurposeFact {
        purpose: "emergency:o-1".parse().expect("purpose"),
        zones: vec!["hall".to_owned()],
        basis: Some(basis),
        assessment: Some("pia".to_owned()),
        review_on: Some(history.when(90 * D)),
        gallery_cap: None,
        area_cap: None,
    };
    register.purposes.retain(|p| p.purpose != purpose.purpose);
    register.purposes.push(purpose);
    register.orders = vec![Order {
        id: "o-1".to_owned(),
        issuer: "City".to_owned(),
        zones: vec!["hall".to_owned()],
        from: history.when(-60 * S),
        until: history.when(until_ns),
        renewals: Vec::new(),
        approved_by: vec!["l".to_owned(), "w".to_owned()],
        ended: None,
    }];
}

fn run(seeds: std::ops::Range<u64>, events: u32) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        let mut history = History::new();
        history.live(seed, events).unwrap_or_else(|fault| panic!("{fault}"));
        history.tally.events.iter().for_each(|(event, n)| *all.events.entry(event).or_default() += n);
        all.looks += history.tally.looks;
        all.embeddings += history.tally.embeddings;
        all.dark += history.tally.dark;
        all.by_heartbeat += history.tally.by_heartbeat;
        all.by_sign += history.tally.by_sign;
        all.by_cap += history.tally.by_cap;
    }
    all
}

const FIRST_SEED: u64 = 0x0001_5701_0000;

#[test]
fn whatever_happens_nobody_is_embedded_whom_the_oracle_does_not_permit() {
    let tally = run(FIRST_SEED..FIRST_SEED + 8, 60);
    // A history in the dark would prove nothing.
    assert!(tally.embeddings > 100 && tally.dark > 100, "{} embeddings, {} dark", tally.embeddings, tally.dark);
    assert!(tally.events.len() >= 26, "{:?}", tally.events);
    let (heartbeat, sign, cap) = (tally.by_heartbeat, tally.by_sign, tally.by_cap);
    assert!(
        heartbeat > 2 && sign > 2 && cap > 2,
        "lit by a heartbeat {heartbeat} times, by a sign that was read {sign}, under a cap {cap}"
    );
}

#[test]
fn a_lease_that_the_oracle_does_not_permit_is_found_out() {
    let mut history = History::new();
    // Somebody takes a sign down, and nobody is told.
    let mut register = history.known().expect("readable");
    register.signs[0].withdrawn = Some(Withdrawal { at: history.when(0), by: "l".to_owned(), reason: String::new() });
    history.learn_as(Some(Arc::new(register)));
    history.reload();
    history.look().expect("within a lease");
    history.clock.advance(MAX_LEASE + Duration::from_nanos(1));
    history.reload();
    let fault = history.look().expect_err("found out");
    assert!(fault.contains("`north` recognises for missing-person:mp-7"), "{fault}");
    // Likewise where a smaller area was signed for than is looked at.
    let mut history = History::new();
    let mut register = history.known().expect("readable");
    register.areas[0].polygon = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    history.learn_as(Some(Arc::new(register)));
    history.look().expect("within a lease");
    history.clock.advance(MAX_LEASE + Duration::from_nanos(1));
    history.reload();
    let fault = history.look().expect_err("found out");
    assert!(fault.contains("`north` recognises for missing-person:mp-7 in cells"), "{fault}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn one() {
    let Some(seed) = number("PLACARD_HISTORY_SEED") else { return };
    run(seed..seed + 1, 60);
}

#[test]
#[ignore = "minutes: the full run"]
fn full() {
    let count = number("PLACARD_HISTORIES").unwrap_or(1_000);
    let Tally { events, looks, embeddings, dark, by_heartbeat, by_sign, by_cap } = run(FIRST_SEED..FIRST_SEED + count, 60);
    let _nobody_reads = writeln!(
        std::io::stderr(),
        "{count} histories: {looks} looks, {embeddings} streams lit ({by_heartbeat} by a heartbeat, {by_sign} by a sign that was read, \
             {by_cap} under a cap), {dark} dark, no fault; {events:?}"
    );
}
