//! Histories of a site whose regime's profile changes under it: a later version, one that ends, one that was altered, one that a stranger
//! signed, none; with time, the clock and the policy thread as in `histories.rs`, and the same oracle, which knows what the file was good for.
//!
//! A failure prints its seed. The longer run: `PLACARD_REGIMES=1000 cargo test --release --test law regime::full -- --ignored --nocapture`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use placard::clock::{Clock, Stamp, format_utc};
use placard::policy::facts::{Governance, Register};
use placard::policy::lease::StreamState;
use placard::policy::profile::signature::{TrustedKey, digest, sign};
use placard::policy::rules::Rule;

use crate::histories::fresh;
use crate::history::{History, Word};
use crate::states::Random;
use crate::{NORTH, register_text};

/// Whose file changes.
pub const PROFILE: &str = "cn-pipl";
const VALUES: &str = include_str!("../../profiles/cn-pipl/profile.toml");
const POLICIES: &str = include_str!("../../profiles/cn-pipl/policies.cedar");
/// Of keys that sign nothing but tests.
const SEED: &str = "7e577e577e577e577e577e577e577e577e577e577e577e577e577e577e577e57";
const STRANGERS_SEED: &str = "0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e0b5e";
const S: i64 = 1_000_000_000;
const D: i64 = 86_400 * S;

/// The key that a history's profiles are signed with.
pub fn trusted() -> TrustedKey {
    let (_, public) = sign(&[0; 32], "history", SEED.as_bytes()).expect("a key");
    let pair = |i: usize| u8::from_str_radix(&public[i..i + 2], 16).expect("hex");
    TrustedKey { id: "history".to_owned(), public: (0..public.len()).step_by(2).map(pair).collect() }
}

fn directory(history: &History) -> PathBuf {
    history.path.with_file_name("profiles").join(PROFILE)
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).expect("written");
    std::fs::rename(&fresh, path).expect("renamed");
}

/// Version `number` of the profile, with further lines of its `[regime]`. Written so that no half of it is ever there.
fn put(history: &History, number: u32, more: &str, seed: &str) {
    let values = VALUES.replacen("version = \"2026.1\"", &format!("version = \"2026.{number}\"\n{more}"), 1).replacen(
        "signed_by = \"placard-2026\"",
        "signed_by = \"history\"",
        1,
    );
    let (line, _) = sign(&digest(&values, POLICIES), "history", seed.as_bytes()).expect("signed");
    let (path, staged) = (directory(history), directory(history).with_extension("staged"));
    std::fs::create_dir_all(&staged).expect("made");
    for (file, text) in [("profile.toml", &*values), ("policies.cedar", POLICIES), ("signature", &*line)] {
        std::fs::write(staged.join(file), text).expect("written");
    }
    let _none = std::fs::remove_dir_all(&path);
    std::fs::rename(&staged, &path).expect("renamed");
}

fn governed(register: &mut Register, history: &History) {
    register.rules.profiles = vec![PROFILE.to_owned()];
    register.governance = vec![Governance {
        id: "g-1".to_owned(),
        zones: vec!["hall".to_owned(), "yard".to_owned()],
        document_sha256: "ab".repeat(32),
        decided_on: history.when(-30 * D),
        decided_by: "board".to_owned(),
        votes_for: None,
        votes_total: None,
    }];
}

/// Everything as it should be, under the profile.
fn in_order(history: &mut History) {
    history.found_anew_if_ahead();
    history.edit(|register, history| {
        let original: Register = toml::from_str(&register_text()).expect("a register");
        *register = Register { people: register.people.clone(), ..original };
        fresh(register, history.clock.utc());
        governed(register, history);
    });
    history.reload();
}

impl History {
    /// From now on the profile's file is good for this.
    fn profile_is(&mut self, word: Word) {
        self.word = word;
        let register = self.known().map(std::sync::Arc::new);
        self.learn_as(register);
    }

    fn profile_changes(&mut self, r: &mut Random, number: u32) -> &'static str {
        // What a file is good for between its being taken away and another's being there counts as good: a look in between finds the
        // bundled one, whose word is the same.
        match r.below(6) {
            0 | 1 => {
                put(self, number, "", SEED);
                self.profile_is(Word::Holds);
                "a later version"
            }
            2 => {
                let end = self.clock.utc().ns() + r.of(&[-D, S / 10, S, 61 * S, D]);
                put(self, number, &format!("valid_until = {}", format_utc(Stamp::from_ns(end))), SEED);
                // Written to the millisecond.
                self.profile_is(Word::HoldsUntil(end));
                "one that ends"
            }
            3 => {
                put(self, number, "", SEED);
                replace(&directory(self).join("policies.cedar"), &format!("{POLICIES}\n// all is well\n"));
                self.profile_is(Word::IsNone);
                "altered"
            }
            4 => {
                put(self, number, "", STRANGERS_SEED);
                self.profile_is(Word::IsNone);
                "signed by a stranger"
            }
            _ => {
                let _none = std::fs::remove_dir_all(directory(self));
                self.profile_is(Word::Holds);
                "none of the site's own"
            }
        }
    }

    fn live_under_a_regime(&mut self, seed: u64, events: u32) -> Result<(), String> {
        let mut r = Random(seed);
        in_order(self);
        for number in 0..events {
            let event = match r.below(10) {
                0..=4 => self.profile_changes(&mut r, 2 + number),
                5 => self.thread_suffers(&mut r),
                6 => {
                    let to = self.clock.utc().ns() + r.of(&[-59 * S, -61 * S, 61 * S, 3 * D]);
                    self.clock.set_utc(Stamp::from_ns(to));
                    let register = self.known().map(std::sync::Arc::new);
                    self.learn_as(register);
                    "clock jumps"
                }
                _ => {
                    in_order(self);
                    "everything in order again"
                }
            };
            *self.tally.events.entry(event).or_default() += 1;
            let told = |fault| format!("seed {seed}, event {number} ({event}): {fault}");
            self.look().map_err(told)?;
            self.reload();
            self.look().map_err(told)?;
            self.pass(&mut r);
            self.look().map_err(told)?;
            self.reload();
            self.look().map_err(told)?;
        }
        Ok(())
    }
}

const FIRST_SEED: u64 = 0x0001_c817_0000;

fn run(seeds: std::ops::Range<u64>, events: u32) -> (u64, u64, std::collections::BTreeMap<&'static str, u64>) {
    let (mut lit, mut dark, mut all) = (0, 0, std::collections::BTreeMap::new());
    for seed in seeds {
        let mut history = History::new();
        history.live_under_a_regime(seed, events).unwrap_or_else(|fault| panic!("{fault}"));
        (lit, dark) = (lit + history.tally.embeddings, dark + history.tally.dark);
        history.tally.events.iter().for_each(|(event, n)| *all.entry(*event).or_default() += n);
    }
    (lit, dark, all)
}

#[test]
fn whatever_happens_to_a_profile_s_file_nobody_is_embedded_without_its_word() {
    let (lit, dark, events) = run(FIRST_SEED..FIRST_SEED + 5, 40);
    let _nobody_reads = writeln!(std::io::stdout(), "seeds from {FIRST_SEED:#x}: {lit} lit, {dark} dark, {events:?}");
    assert!(lit > 50 && dark > 50, "{lit} lit, {dark} dark");
    for event in ["a later version", "one that ends", "altered", "signed by a stranger", "none of the site's own"] {
        assert!(events.contains_key(event), "{events:?}");
    }
}

#[test]
#[ignore = "minutes: the full run"]
fn full() {
    let count: u64 = std::env::var("PLACARD_REGIMES").map_or(500, |text| text.parse().expect("PLACARD_REGIMES is a number"));
    let (lit, dark, events) = run(FIRST_SEED..FIRST_SEED + count, 40);
    let _nobody_reads = writeln!(std::io::stderr(), "{count} histories: {lit} streams lit, {dark} dark, no fault; {events:?}");
}

#[test]
fn each_thing_that_happens_to_a_profile_s_file_darkens_and_a_later_signed_version_lights_again() {
    let mut history = History::new();
    in_order(&mut history);
    let state = |history: &History| {
        history.reload();
        let reason = history.policy.as_ref().expect("there is one").snapshot()[0].reason.rule;
        (history.table.state(NORTH, history.clock.monotonic()), reason)
    };
    let dark = (StreamState::Off, Rule::ProfileKnown);
    assert_eq!(state(&history).0, StreamState::Recognise, "under the bundled profile");
    put(&history, 2, "", SEED);
    assert_eq!(state(&history).0, StreamState::Recognise, "under a later one");
    replace(&directory(&history).join("policies.cedar"), &format!("{POLICIES}\n// all is well\n"));
    assert_eq!(state(&history), dark, "altered");
    put(&history, 3, "", STRANGERS_SEED);
    assert_eq!(state(&history), dark, "signed by a stranger");
    put(&history, 1, "", SEED);
    assert_eq!(state(&history), dark, "an earlier version");
    let end = format_utc(Stamp::from_ns(history.clock.utc().ns() + S));
    put(&history, 4, &format!("valid_until = {end}"), SEED);
    assert_eq!(state(&history).0, StreamState::Recognise);
    history.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(state(&history), dark, "its time is over");
    std::fs::remove_dir_all(directory(&history)).expect("removed");
    assert_eq!(state(&history), dark, "the bundled one is not later than what was in force");
    put(&history, 5, "", SEED);
    assert_eq!(state(&history).0, StreamState::Recognise);
}
