//! Time, with the clock in the type.
//!
//! Two clocks exist: [`Monotonic`] (`CLOCK_MONOTONIC`: leases, latencies, back-off) and [`Utc`] (`CLOCK_REALTIME`: what is
//! printed, and what an RTP/NTP sender reports). A stamp of one cannot be subtracted from a stamp of the other. Latencies are
//! *signed*: a camera's clock may run ahead of ours, and a negative latency that is shown is a fault that is found.
//!
//! Units: nanoseconds in `i64` (292 years). Everything that needs the time takes a [`SharedClock`], so tests inject
//! [`SimulatedClock`] and never sleep.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

/// Marker: `CLOCK_MONOTONIC`, nanoseconds since an arbitrary origin (boot).
pub enum Monotonic {}
/// Marker: Unix time in UTC, nanoseconds since 1970-01-01T00:00:00Z.
pub enum Utc {}

/// An instant on clock `C`, in nanoseconds.
pub struct Stamp<C> {
    ns: i64,
    clock: PhantomData<fn() -> C>,
}

impl<C> Stamp<C> {
    pub const fn from_ns(ns: i64) -> Self {
        Self { ns, clock: PhantomData }
    }
    pub const fn ns(self) -> i64 {
        self.ns
    }
    /// `self − earlier`, signed, saturating.
    pub const fn since_ns(self, earlier: Self) -> i64 {
        self.ns.saturating_sub(earlier.ns)
    }
    /// The instant `duration` later, saturating at the end of the clock's range.
    pub fn plus(self, duration: Duration) -> Self {
        let ns = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self::from_ns(self.ns.saturating_add(ns))
    }
}
impl<C> Clone for Stamp<C> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C> Copy for Stamp<C> {}
impl<C> PartialEq for Stamp<C> {
    fn eq(&self, other: &Self) -> bool {
        self.ns == other.ns
    }
}
impl<C> Eq for Stamp<C> {}
impl<C> PartialOrd for Stamp<C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<C> Ord for Stamp<C> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ns.cmp(&other.ns)
    }
}
impl<C> fmt::Debug for Stamp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.ns)
    }
}

/// When a frame's light was captured, and by whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureTime {
    /// The driver's stamp (V4L2 `V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`).
    Driver(Stamp<Monotonic>),
    /// The sender's wall clock (RTCP sender reports; RFC 3550 §6.4).
    Sender(Stamp<Utc>),
    /// Nobody stamped it: when its last packet reached us. Latency from here omits the camera and the network.
    Arrival(Stamp<Monotonic>),
    /// The schedule of a benchmark or a replayed file: when the frame was *due* (open loop), whether or not it was ready.
    Scheduled(Stamp<Monotonic>),
}

impl CaptureTime {
    /// Signed nanoseconds from capture to `now`. Negative where the capturing clock runs ahead of ours.
    pub fn latency_ns(self, now: Now) -> i64 {
        match self {
            Self::Driver(t) | Self::Arrival(t) | Self::Scheduled(t) => now.monotonic.since_ns(t),
            Self::Sender(t) => now.utc.since_ns(t),
        }
    }
    /// Which clock the stamp was taken on, as events and metrics name it.
    pub const fn clock_name(self) -> &'static str {
        match self {
            Self::Driver(_) => "driver",
            Self::Sender(_) => "sender",
            Self::Arrival(_) => "arrival",
            Self::Scheduled(_) => "scheduled",
        }
    }
    /// A replay that runs ahead of its clip's pace gives frames before they were due: nothing is told as captured after `now`. Clocks that
    /// somebody really read are left as they are.
    pub fn not_after(self, now: Now) -> Self {
        match self {
            Self::Scheduled(t) => Self::Scheduled(t.min(now.monotonic)),
            other => other,
        }
    }
    /// The capture instant on our own wall clock, for printing: `now.utc − latency`.
    pub fn utc(self, now: Now) -> Stamp<Utc> {
        match self {
            Self::Sender(t) => t,
            other => Stamp::from_ns(now.utc.ns().saturating_sub(other.latency_ns(now))),
        }
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    pub monotonic: Stamp<Monotonic>,
    pub utc: Stamp<Utc>,
}

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    fn monotonic(&self) -> Stamp<Monotonic>;
    fn utc(&self) -> Stamp<Utc>;
    fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), utc: self.utc() }
    }
}

pub type SharedClock = Arc<dyn Clock>;

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

fn read_ns(id: nix::time::ClockId) -> i64 {
    // Both clocks exist on every Linux; a failure here cannot happen short of a seccomp filter that forbids time itself.
    id.now().map_or(0, |t| t.tv_sec().saturating_mul(1_000_000_000).saturating_add(t.tv_nsec()))
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Stamp<Monotonic> {
        Stamp::from_ns(read_ns(nix::time::ClockId::CLOCK_MONOTONIC))
    }
    fn utc(&self) -> Stamp<Utc> {
        Stamp::from_ns(read_ns(nix::time::ClockId::CLOCK_REALTIME))
    }
}

/// A clock that moves only when told to. Both hands can be set apart, so a test can turn the wall clock back.
#[derive(Debug)]
pub struct SimulatedClock {
    monotonic_ns: AtomicI64,
    utc_ns: AtomicI64,
}

impl SimulatedClock {
    pub fn starting_at(utc: Stamp<Utc>) -> Arc<Self> {
        Arc::new(Self { monotonic_ns: AtomicI64::new(1_000_000_000), utc_ns: AtomicI64::new(utc.ns()) })
    }
    /// Moves both hands forward.
    pub fn advance(&self, by: Duration) {
        let ns = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.monotonic_ns.fetch_add(ns, SeqCst);
        self.utc_ns.fetch_add(ns, SeqCst);
    }
    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_utc(&self, utc: Stamp<Utc>) {
        self.utc_ns.store(utc.ns(), SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn monotonic(&self) -> Stamp<Monotonic> {
        Stamp::from_ns(self.monotonic_ns.load(SeqCst))
    }
    fn utc(&self) -> Stamp<Utc> {
        Stamp::from_ns(self.utc_ns.load(SeqCst))
    }
}

/// `2026-11-21T20:16:58.123Z` (RFC 3339, milliseconds).
pub fn format_utc(stamp: Stamp<Utc>) -> String {
    let ms = stamp.ns().div_euclid(1_000_000);
    let (days, ms_of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms_of_day % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_prints_as_rfc_3339() {
        assert_eq!(format_utc(Stamp::from_ns(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_utc(Stamp::from_ns(951_782_400_000_000_000)), "2000-02-29T00:00:00.000Z");
        assert_eq!(format_utc(Stamp::from_ns(1_795_292_218_123_999_999)), "2026-11-21T20:16:58.123Z");
        assert_eq!(format_utc(Stamp::from_ns(-1)), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_made_up_capture_time_never_lies_ahead() {
        let now = Now { monotonic: Stamp::from_ns(1_000), utc: Stamp::from_ns(9_000) };
        let ahead = Stamp::from_ns(1_500);
        assert_eq!(CaptureTime::Scheduled(ahead).not_after(now).latency_ns(now), 0);
        assert_eq!(CaptureTime::Scheduled(Stamp::from_ns(400)).not_after(now).latency_ns(now), 600);
        assert_eq!(CaptureTime::Driver(ahead).not_after(now).latency_ns(now), -500, "a camera's clock that runs ahead is to be seen");
    }

    #[test]
    fn latency_is_signed_and_uses_the_stamp_s_own_clock() {
        let now = Now { monotonic: Stamp::from_ns(100), utc: Stamp::from_ns(1_000) };
        assert_eq!(CaptureTime::Driver(Stamp::from_ns(130)).latency_ns(now), -30);
        assert_eq!(CaptureTime::Sender(Stamp::from_ns(900)).latency_ns(now), 100);
        assert_eq!(CaptureTime::Arrival(Stamp::from_ns(60)).utc(now), Stamp::from_ns(960));
    }
}
