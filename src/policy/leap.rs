//! Whether the wall clock has leapt ahead. Erasing what has expired cannot be taken back, so a clock that was set wrong must not erase a gallery.
//!
//! Within one boot the wall clock may gain [`TOLERANCE`] on the monotonic one, counted from the first look, so that many small leaps do not add up. Across boots
//! nobody knows how long a machine was off: up to [`OFF`] is believed, once for each boot: at the first look, or in the leap by which the clock is
//! set right after it, as of a machine without a battery or one that went on from a saved time. Such a leap comes within [`SETTLING`] of the boot,
//! or else from a time that is known to be over; from then on the boot's first look is that one. Beyond that nothing is erased, and nobody is enrolled with an end that a wrong
//! clock chose, until the clock is right or somebody says that it is, by removing the file `clock.json` of the state directory. What such a clock
//! takes for expired is not searched meanwhile: closed both ways. Nor does the register take anything meanwhile that two people sign for: it would be
//! dated ahead for good. (A clock that was set back erases nothing, and is the policy thread's business: `wall_clock.rs`.)
//!
//! Owner: whoever holds the vault writes; anybody may ask.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wall_clock::earliest;
use crate::clock::{Clock as _, Monotonic, Now, Stamp, SystemClock, Utc, format_utc};
use crate::state::{StateDirectory, replace_file};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// How far the wall clock may run ahead of what the monotonic one has counted since the first look after the boot.
pub const TOLERANCE: Duration = DAY;
/// How long a machine is believed to have been off.
pub const OFF: Duration = Duration::from_secs(14 * 24 * 3_600);

/// How long after a boot a clock may still be set right that was not behind what is known.
pub const SETTLING: Duration = Duration::from_secs(3_600);

/// The kernel's name for this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The same, where a service sees nothing of `/proc` but processes (`ProcSubset=pid`): systemd says it.
const BOOT_VARIABLE: &str = "PLACARD_BOOT_ID";

/// What is kept between looks: Unix time and time since the boot, ns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Believed {
    boot: String,
    /// The first look after this boot, or after the clock was set right.
    first_utc_ns: i64,
    first_monotonic_ns: i64,
    /// The last look before this boot, if there was one, as long as the clock may be set right by what is believed of that.
    before_ns: Option<i64>,
    /// The last look.
    last_ns: i64,
}

/// Why the clock is not believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Disbelief {
    #[error(
        "the wall clock says {}, {days} days later than can be explained: expired templates stay on the disk (unsearched), and nobody is enrolled. Set the clock (NTP); \
         if it is right, and the machine was off for long, remove {}",
        format_utc(*.says),
        path.display()
    )]
    Leapt { says: Stamp<Utc>, days: i64, path: PathBuf },
    #[error("{}: {reason}: without it nobody can tell whether the clock has leapt, and nothing is erased. If the clock is right, remove that file", path.display())]
    File { path: PathBuf, reason: String },
    #[error(
        "neither {BOOT_ID} nor {BOOT_VARIABLE} says which boot this is: without it nobody can tell whether the clock has leapt, and nothing is erased. Start the service by its \
         unit, which says it (`Environment={BOOT_VARIABLE}=%b`)"
    )]
    Boot,
}

/// Asks, and remembers the answer. The caller holds the vault.
pub fn believe(state: &StateDirectory, now: Now) -> Result<(), Disbelief> {
    believe_in(state, now, &boot()?)
}

/// Asks only.
pub fn standing(state: &StateDirectory, now: Now) -> Result<(), Disbelief> {
    judge(state, now, &boot()?).map(|_| ())
}

/// As [`standing`], where the wall clock says `utc`: by the kernel's own count since the boot, which is the one that the file holds.
pub fn standing_at(state: &StateDirectory, utc: Stamp<Utc>) -> Result<(), Disbelief> {
    standing(state, Now { utc, monotonic: SystemClock.monotonic() })
}

/// Which boot this is. Never an empty name: all boots would be one.
fn boot() -> Result<String, Disbelief> {
    let said = [std::fs::read_to_string(BOOT_ID).ok(), std::env::var(BOOT_VARIABLE).ok()];
    said.iter().flatten().find_map(|id| name_of_boot(id)).ok_or(Disbelief::Boot)
}

/// 128 bits; the kernel writes them with hyphens, systemd without.
fn name_of_boot(id: &str) -> Option<String> {
    let name: String = id.trim().chars().filter(|c| *c != '-').collect();
    (name.len() == 32 && name.chars().all(|c| c.is_ascii_hexdigit())).then(|| name.to_ascii_lowercase())
}

fn believe_in(state: &StateDirectory, now: Now, boot: &str) -> Result<(), Disbelief> {
    let Some(next) = judge(state, now, boot)? else { return Ok(()) };
    let path = state.clock();
    let failed = |reason: String| Disbelief::File { path: path.clone(), reason };
    let text = serde_json::to_vec(&next).map_err(|error| failed(error.to_string()))?;
    replace_file(&path, &text, 0o600).map_err(|error| failed(error.to_string()))
}

/// What is to be remembered. `None`: nothing, of a clock that was never set.
fn judge(state: &StateDirectory, now: Now, boot: &str) -> Result<Option<Believed>, Disbelief> {
    let path = state.clock();
    let failed = |reason: String| Disbelief::File { path: path.clone(), reason };
    let kept: Option<Believed> = match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error.to_string())),
    };
    let (utc_ns, monotonic_ns) = (now.utc.ns(), now.monotonic.ns());
    let Some(kept) = kept else {
        // Nothing is known. What is enrolled from now on does not end before this software was made.
        let first = first_look(boot, now, None);
        return Ok((now.utc >= earliest()).then_some(first));
    };
    // An earlier version kept the kernel's hyphens.
    let same_boot = kept.boot.replace('-', "") == boot && monotonic_ns >= kept.first_monotonic_ns;
    let believed = if same_boot {
        kept.clone()
    } else {
        first_look(boot, Now { monotonic: Stamp::from_ns(monotonic_ns), utc: Stamp::from_ns(utc_ns) }, Some(kept.last_ns))
    };
    let since_first = since(now.monotonic, believed.first_monotonic_ns);
    // A clock that starts wrong (no battery) and is set right once the network is there has run ahead of its own first look, not of the last boot's.
    let settled = since(now.monotonic, 0) > SETTLING;
    let may_be_set_right = |before: &i64| !same_boot || !settled || believed.first_utc_ns < *before;
    let before = believed.before_ns.filter(may_be_set_right);
    let off = before.map(|before| Stamp::<Utc>::from_ns(before).plus(OFF).plus(since(now.monotonic, 0)));
    let steady = same_boot.then(|| Stamp::<Utc>::from_ns(believed.first_utc_ns).plus(TOLERANCE).plus(since_first));
    let latest = off.into_iter().chain(steady).max().unwrap_or(now.utc);
    if now.utc > latest {
        let days = now.utc.since_ns(latest) / i64::try_from(DAY.as_nanos()).unwrap_or(i64::MAX);
        return Err(Disbelief::Leapt { says: now.utc, days, path });
    }
    let set_right = steady.is_some_and(|steady| now.utc > steady);
    if set_right {
        // Once: from here on it is as steady as any.
        return Ok(Some(Believed { last_ns: believed.last_ns.max(utc_ns), ..first_look(boot, now, None) }));
    }
    let before_ns = before.filter(|before| !settled || utc_ns < *before);
    Ok(Some(Believed { last_ns: believed.last_ns.max(utc_ns), before_ns, ..believed }))
}

fn first_look(boot: &str, now: Now, before_ns: Option<i64>) -> Believed {
    let utc_ns = now.utc.ns();
    let last_ns = before_ns.map_or(utc_ns, |before| before.max(utc_ns));
    Believed { boot: boot.to_owned(), first_utc_ns: utc_ns, first_monotonic_ns: now.monotonic.ns(), before_ns, last_ns }
}

fn since(now: Stamp<Monotonic>, earlier_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now.since_ns(Stamp::from_ns(earlier_ns))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SimulatedClock};

    const NOW: Stamp<Utc> = Stamp::from_ns(1_795_292_218_000_000_000);

    struct Bench {
        _directory: tempfile::TempDir,
        state: StateDirectory,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().expect("temporary directory");
        Bench { state: StateDirectory::new(directory.path()), _directory: directory }
    }

    fn days(count: u32) -> Duration {
        DAY * count
    }

    #[test]
    fn a_leap_ahead_is_not_believed_until_the_clock_is_right_again() {
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
        clock.advance(days(100));
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()), "time that has passed is believed");
        let right = clock.utc();
        clock.set_utc(right.plus(days(365)));
        let error = believe_in(&site.state, clock.now(), "a").expect_err("leapt");
        assert!(matches!(error, Disbelief::Leapt { days: 364, .. }), "{error}");
        assert!(error.to_string().contains("clock.json") && error.to_string().contains("Set the clock"), "{error}");
        assert!(judge(&site.state, clock.now(), "a").is_err(), "asking says the same");
        clock.set_utc(right);
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
    }

    #[test]
    fn a_boot_has_one_name_however_it_is_written_and_never_none() {
        let name = name_of_boot("0B55ee60-22ae-4b0e-8d3a-1f0c6c1f7a52\n").expect("the kernel's");
        assert_eq!(Some(&*name), name_of_boot("0b55ee6022ae4b0e8d3a1f0c6c1f7a52").as_deref(), "systemd's");
        for none in ["", "\n", "%b", "0b55ee60", "0b55ee6022ae4b0e8d3a1f0c6c1f7a5g", "0b55ee6022ae4b0e8d3a1f0c6c1f7a521"] {
            assert_eq!(name_of_boot(none), None, "{none:?}");
        }
        let unit = include_str!("../../systemd/placard.service");
        assert!(!unit.contains("ProcSubset=pid") || unit.contains(&format!("Environment={BOOT_VARIABLE}=%b")), "the unit hides {BOOT_ID}");
        assert!(Disbelief::Boot.to_string().contains(BOOT_VARIABLE));
    }

    /// What an earlier version remembered goes on: with hyphens, or with no name at all where it could not see one.
    #[test]
    fn a_boot_that_was_remembered_by_an_earlier_version_is_the_same_one() {
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), "a-a"), Ok(()));
        clock.set_utc(NOW.plus(days(13)));
        assert!(believe_in(&site.state, clock.now(), "aa").is_err(), "the same boot");
        clock.set_utc(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), ""), Ok(()));
        clock.set_utc(NOW.plus(days(13)));
        assert_eq!(believe_in(&site.state, clock.now(), "aa"), Ok(()), "another one");
    }

    #[test]
    fn many_small_leaps_do_not_slip_through() {
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        let believed = (0..10).filter(|i| {
            clock.set_utc(NOW.plus(Duration::from_secs(i * 8 * 3_600)));
            believe_in(&site.state, clock.now(), "a").is_ok()
        });
        assert_eq!(believed.count(), 4, "0, 8, 16 and 24 h");
    }

    #[test]
    fn a_machine_may_have_been_off_for_two_weeks_and_for_longer_if_somebody_says_so() {
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
        clock.set_utc(NOW.plus(days(13)));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
        clock.set_utc(NOW.plus(days(40)));
        assert!(matches!(believe_in(&site.state, clock.now(), "c"), Err(Disbelief::Leapt { .. })));
        std::fs::remove_file(site.state.clock()).expect("removed");
        assert_eq!(believe_in(&site.state, clock.now(), "c"), Ok(()));
        assert_eq!(believe_in(&site.state, clock.now(), "c"), Ok(()));
    }

    #[test]
    fn a_clock_without_a_battery_is_set_right_after_the_boot() {
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
        clock.set_utc(Stamp::from_ns(0));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()), "1970 erases nothing");
        clock.set_utc(NOW.plus(days(2)));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
        clock.set_utc(NOW.plus(days(200)));
        assert!(believe_in(&site.state, clock.now(), "b").is_err());
        clock.set_utc(NOW.plus(days(4)));
        assert!(believe_in(&site.state, clock.now(), "b").is_err(), "it was set right once");
        clock.set_utc(NOW.plus(days(3)));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
    }

    #[test]
    fn within_a_boot_nothing_leaps_by_as_much_as_a_machine_may_have_been_off() {
        for (days_off, hours) in [(0, 2), (1, 2), (13, 30)] {
            let site = bench();
            let clock = SimulatedClock::starting_at(NOW);
            assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
            clock.set_utc(NOW.plus(days(days_off)));
            assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
            clock.advance(Duration::from_secs(hours * 3_600));
            assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
            let right = clock.utc();
            clock.set_utc(right.plus(days(2)));
            assert!(believe_in(&site.state, clock.now(), "b").is_err(), "off for {days_off} days, then {hours} h");
            clock.set_utc(right.plus(Duration::from_secs(23 * 3_600)));
            assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
        }
        // Behind what is known, and right by itself after an hour: nothing is left to be set right.
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
        clock.set_utc(Stamp::from_ns(NOW.ns() - 1_000_000_000));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
        clock.advance(Duration::from_secs(2 * 3_600));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
        clock.set_utc(clock.utc().plus(days(2)));
        assert!(believe_in(&site.state, clock.now(), "b").is_err());
    }

    #[test]
    fn a_machine_that_goes_on_from_a_saved_time_is_set_right_once_and_soon() {
        let site = bench();
        let clock = SimulatedClock::starting_at(NOW);
        assert_eq!(believe_in(&site.state, clock.now(), "a"), Ok(()));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()));
        clock.set_utc(NOW.plus(days(5)));
        assert_eq!(believe_in(&site.state, clock.now(), "b"), Ok(()), "the network is there");
        clock.set_utc(NOW.plus(days(7)));
        assert!(believe_in(&site.state, clock.now(), "b").is_err(), "well within two weeks, and the second leap");
    }

    #[test]
    fn a_damaged_file_is_no_leave_to_erase() {
        let site = bench();
        std::fs::write(site.state.clock(), "{").expect("written");
        let error = believe_in(&site.state, SimulatedClock::starting_at(NOW).now(), "a").expect_err("damaged");
        assert!(matches!(&error, Disbelief::File { .. }) && error.to_string().contains("remove that file"), "{error}");
    }
}
