//! Whether the wall clock can be believed. Dates decide what is lawful, so a clock that was set back must not bring an ended basis or
//! an aged inspection back to life (C06, C14, C26).
//!
//! Three tests, on every evaluation: the time is not before the software was made; it is not before the last change of the register that
//! took two people ([`not_before`]); and it has not fallen behind what the monotonic clock has counted since the service started by more than
//! [`TOLERANCE`]. Once it falls behind, everything is off until the clock catches up or the service is started anew. Steps forward
//! are believed: they make facts older (and what is dated ahead begin). A clock that is set back while the service is stopped is found out
//! as far as the register reaches: to its last change that took two people, and no further.

use std::time::Duration;

use crate::clock::{Now, Stamp, Utc, format_utc};

use super::rules::{Reason, Rule};

/// How far back the wall clock may be corrected.
pub const TOLERANCE: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z: before this source was written. A package builder's `SOURCE_DATE_EPOCH`, if later, takes its place.
const SOURCE_WRITTEN_S: i64 = 1_767_225_600;

/// The earliest time that can be true.
pub fn earliest() -> Stamp<Utc> {
    let built_s = option_env!("SOURCE_DATE_EPOCH").and_then(|s| s.parse::<i64>().ok()).unwrap_or(0);
    Stamp::from_ns(built_s.max(SOURCE_WRITTEN_S).saturating_mul(1_000_000_000))
}

/// Either that `now` is not before `signed_at`, when two people last signed a change of the register, or the reason why everything is
/// off: a clock that says less is wrong, or was wrong then.
pub fn not_before(now: Stamp<Utc>, signed_at: Option<Stamp<Utc>>) -> Result<(), Reason> {
    let Some(signed_at) = signed_at.filter(|signed| *signed > now.plus(TOLERANCE)) else { return Ok(()) };
    let fact = format!(
        "the wall clock says {}, which is before {}, when two people last signed a change of the register",
        format_utc(now),
        format_utc(signed_at)
    );
    let remedy = "set the clock (NTP): what ended meanwhile must not begin again; if it is right, that change was recorded by a clock that ran \
                  ahead: wait until then, or, where the site is not operational, found it anew (`placard commission SITE_FILE --force`)";
    Err(Reason::new(Rule::ClockBelievable, fact, remedy))
}

/// Remembers how far ahead of the monotonic clock the wall clock has been.
#[derive(Debug, Default)]
pub struct WallClockGuard {
    /// Greatest `utc − monotonic` seen, ns.
    greatest_offset_ns: Option<i64>,
}

impl WallClockGuard {
    /// `Err` with the reason when the wall clock cannot be believed now.
    pub fn check(&mut self, now: Now) -> Result<(), Reason> {
        let refused = |fact: String, remedy: &str| Err(Reason::new(Rule::ClockBelievable, fact, remedy));
        if now.utc < earliest() {
            let fact = format!("the wall clock says {}, which is before this software was made", format_utc(now.utc));
            return refused(fact, "set the clock (NTP), then start the service again");
        }
        let offset_ns = now.utc.ns().saturating_sub(now.monotonic.ns());
        let greatest_ns = self.greatest_offset_ns.map_or(offset_ns, |g| g.max(offset_ns));
        self.greatest_offset_ns = Some(greatest_ns);
        let behind_ns = greatest_ns.saturating_sub(offset_ns);
        if i128::from(behind_ns) > i128::try_from(TOLERANCE.as_nanos()).unwrap_or(i128::MAX) {
            // Minutes, so that the reason does not change with every evaluation.
            let fact = format!("the wall clock was set back by about {} min", behind_ns / 60_000_000_000);
            return refused(fact, "set it right; if it was wrong before and is right now, start the service again");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SimulatedClock};

    const NOW: Stamp<Utc> = Stamp::from_ns(1_795_292_218_000_000_000);

    #[test]
    fn small_corrections_pass_and_a_clock_set_back_does_not_until_it_catches_up() {
        let clock = SimulatedClock::starting_at(NOW);
        let mut guard = WallClockGuard::default();
        assert_eq!(guard.check(clock.now()), Ok(()));
        clock.set_utc(Stamp::from_ns(NOW.ns() - 59_000_000_000));
        assert_eq!(guard.check(clock.now()), Ok(()));
        clock.set_utc(Stamp::from_ns(NOW.ns() - 600_000_000_000));
        assert_eq!(guard.check(clock.now()).map_err(|r| r.rule), Err(Rule::ClockBelievable));
        clock.advance(Duration::from_secs(3_600));
        assert!(guard.check(clock.now()).is_err(), "time passing does not mend it");
        clock.set_utc(NOW.plus(Duration::from_secs(3_600)));
        assert_eq!(guard.check(clock.now()), Ok(()));
    }

    #[test]
    fn many_small_steps_back_do_not_slip_through() {
        let clock = SimulatedClock::starting_at(NOW);
        let mut guard = WallClockGuard::default();
        let believed = (0..10).filter(|i| {
            clock.set_utc(Stamp::from_ns(NOW.ns() - i * 30_000_000_000));
            guard.check(clock.now()).is_ok()
        });
        assert_eq!(believed.count(), 3, "0, 30 and 60 s");
    }

    #[test]
    fn a_clock_from_before_the_register_s_last_signed_change_is_not_believed() {
        let after = |ns: i64| Some(Stamp::from_ns(NOW.ns() + ns));
        assert_eq!(not_before(NOW, None), Ok(()));
        assert_eq!(not_before(NOW, after(-1)), Ok(()));
        assert_eq!(not_before(NOW, after(60_000_000_000)), Ok(()), "two readings of one clock");
        let reason = not_before(NOW, after(60_000_000_001)).expect_err("before");
        assert!(
            reason.rule == Rule::ClockBelievable && reason.fact.contains("two people last signed") && reason.remedy.contains("NTP"),
            "{reason}"
        );
    }

    #[test]
    fn a_clock_from_before_the_software_is_not_believed() {
        let clock = SimulatedClock::starting_at(Stamp::from_ns(0));
        let reason = WallClockGuard::default().check(clock.now()).expect_err("1970");
        assert!(reason.to_string().contains("1970-01-01"), "{reason}");
    }
}
