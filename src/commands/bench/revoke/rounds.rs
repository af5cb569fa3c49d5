//! One round: wait until every step is busy, end the leave to look, watch until nobody is looked at.
//!
//! *Busy* is: people are being embedded, and since the last look the embedder's queue was full, so that shots had to be shed. Whether it was is
//! told of each round; where pictures show too few faces for that, a round begins all the same after [`FILL_S`].
//!
//! *Revoke* is the instant at which the operator asks (a sign) or at which the policy thread is told to stop, die or hang: from then on it
//! renews nothing. *Dark* is when the lease table gives no permit on any of the streams; it is asked every 100 µs by a thread of its own, so
//! that what is measured is what a worker sees, at most a little late. *Last embedding* is when the network made the last embedding of
//! anybody on those streams, whatever became of it afterwards; *last look* is when the last read of their pixels was over. A stream that was
//! not embedded again counts 0 ms. Streams are watched for [`WATCH`] after the revocation, longer than any lease can run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::site::RevokeSite;
use crate::appliance::{Appliance, Plan, Plane, Sources};
use crate::clock::{Clock, Monotonic, Stamp, SystemClock};
use crate::commands::exits::start_failed;
use crate::commands::run::Usage;
use crate::commands::{Exit, Failed};
use crate::console::client::{Client, segment};
use crate::console::view::SignView;
use crate::console::{Addresses, Console};
use crate::emit::record::Record;
use crate::frame::StreamIndex;
use crate::policy::inspection::Inspection;
use crate::policy::lease::{LeaseTable, StreamState};
use crate::policy::worker::TICK;
use crate::shutdown::Shutdown;

/// How long streams are watched after a revocation.
const WATCH: Duration = Duration::from_millis(1_100);
/// A stream that is not dark by then never will be.
const NEVER: Duration = Duration::from_secs(10);
/// How long it may take until people are seen and embedded: a scene has to be drawn first.
const PATIENCE_S: f64 = 180.0;
/// How long the embedder's queue may take to be full.
const FILL_S: f64 = 5.0;
/// Embeddings between two rounds, so that each begins with full queues.
const WARM_EMBEDDINGS: u64 = 8;
const POLL: Duration = Duration::from_micros(100);

/// What ends the leave to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A sign is withdrawn through the control socket.
    Withdrawn,
    /// The policy thread stops between two evaluations.
    Stopped,
    /// The policy thread panics.
    Killed,
    /// The policy thread waits for ever, with a lock in its hand.
    Hung,
}

/// Milliseconds after the revocation.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Whether the embedder's queue was full when it began.
    pub full: bool,
    pub dark: f64,
    pub last_embedding: f64,
    pub last_look: f64,
}

/// What the machine did while it waited for the rounds to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub seconds: f64,
    pub frames: u64,
    pub embeddings: u64,
    pub cpu_s: f64,
}

struct Running {
    appliance: Arc<Appliance>,
    plane: Arc<Plane>,
    client: Client,
    console: Option<Console>,
}

pub struct Rounds {
    // Goes before the directory that it writes to.
    running: Running,
    site: RevokeSite,
    pub work: Work,
    stop: Shutdown,
}

fn start(site: &RevokeSite) -> Result<Running, Failed> {
    let clock = SystemClock::shared();
    let (state, record) = (site.state.clone(), Record::of(&site.state));
    let plan = Plan { loaded: site.loaded.clone(), state, clock, sources: Sources::Configured, record, near_filing: Arc::default() };
    let appliance = Appliance::start(plan).map_err(start_failed)?;
    let plane = appliance.plane().context("the appliance stopped at once")?;
    let socket = site.state.control_socket();
    let console = Console::start(Arc::clone(&appliance) as _, &socket, Addresses::default()).map_err(|e| Failed::new(Exit::Failure, e))?;
    Ok(Running { appliance, plane, client: Client::new(socket)?, console: Some(console) })
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whatever waits for the policy thread is let go before it is joined.
        self.plane.policy.thaw();
        drop(self.console.take());
        self.appliance.stop();
    }
}

impl Rounds {
    pub fn start(site: RevokeSite, stop: Shutdown) -> Result<Self, Failed> {
        let running = start(&site)?;
        let rounds = Self { site, running, work: Work::default(), stop };
        if rounds.lit().is_empty() {
            let reasons: Vec<String> =
                rounds.running.plane.policy.snapshot().iter().map(|s| format!("{}: {} ({})", s.name, s.state.name(), s.reason)).collect();
            return Err(Failed::new(Exit::Refused, anyhow!("no stream recognises, so there is nothing to revoke: {}", reasons.join("; "))));
        }
        Ok(rounds)
    }

    fn table(&self) -> &LeaseTable {
        self.running.plane.policy.table()
    }

    /// Every stream that recognises now.
    fn lit(&self) -> Vec<StreamIndex> {
        let now = SystemClock.monotonic();
        let all = (0..self.running.plane.streams.len()).filter_map(|i| u16::try_from(i).ok().map(StreamIndex));
        all.filter(|s| self.table().state(*s, now) == StreamState::Recognise).collect()
    }

    /// The streams that `case` darkens.
    fn streams(&self, case: Case) -> Vec<StreamIndex> {
        let lit = self.lit().into_iter();
        lit.filter(|s| case != Case::Withdrawn || self.site.under_sign.contains(&s.index())).collect()
    }

    /// Round `number`, begun at another place of the policy thread's period than the one before it.
    pub fn run(&mut self, case: Case, number: u32) -> Result<Round, Failed> {
        let (streams, full) = self.wait_for_work(case)?;
        // The golden ratio spreads any number of rounds evenly over the period.
        let phase = (f64::from(number) * 0.618_033_988_749_895).fract();
        self.pause(TICK.mul_f64(phase))?;
        let round = Round { full, ..self.revoke(case, &streams)? };
        match case {
            Case::Withdrawn => self.post_again()?,
            Case::Stopped | Case::Hung => self.running.plane.policy.thaw(),
            Case::Killed => {
                let site = &self.site;
                // The socket and the journal are free once the old one has gone.
                let Running { appliance, console, .. } = &mut self.running;
                drop(console.take());
                appliance.stop();
                self.running = start(site)?;
            }
        }
        Ok(round)
    }

    fn pause(&self, time: Duration) -> Result<(), Failed> {
        if self.stop.wait(time) { Err(anyhow!("ended by a signal: nothing was measured").into()) } else { Ok(()) }
    }

    fn embeddings(&self, streams: &[StreamIndex]) -> u64 {
        streams.iter().map(|s| self.running.plane.last_look.embeddings(*s)).sum()
    }
    fn frames(&self, streams: &[StreamIndex]) -> u64 {
        streams.iter().map(|s| self.running.plane.last_look.frames(*s)).sum()
    }

    fn shed(&self, streams: &[StreamIndex]) -> u64 {
        let all = &self.running.plane.streams;
        streams.iter().filter_map(|s| all.get(s.index())).map(|stream| stream.track.shots_shed.get()).sum()
    }

    /// Returns the streams that `case` darkens, once people on them are being embedded as fast as they can be; and whether it came to that.
    fn wait_for_work(&mut self, case: Case) -> Result<(Vec<StreamIndex>, bool), Failed> {
        let begun = Usage::now()?;
        loop {
            let streams = self.streams(case);
            let (frames, embeddings, shed) = (self.frames(&streams), self.embeddings(&streams), self.shed(&streams));
            let resumed = Usage::now()?;
            while !streams.is_empty() && self.streams(case) == streams {
                let full = self.shed(&streams) > shed;
                let filled = full || Usage::now()?.wall_s_since(&resumed) > FILL_S;
                if filled && self.embeddings(&streams) >= embeddings + WARM_EMBEDDINGS {
                    self.work.seconds += Usage::now()?.wall_s_since(&resumed);
                    self.work.cpu_s += Usage::now()?.cpu_s_since(&resumed);
                    self.work.frames += self.frames(&streams) - frames;
                    self.work.embeddings += self.embeddings(&streams) - embeddings;
                    return Ok((streams, full));
                }
                if Usage::now()?.wall_s_since(&begun) > PATIENCE_S {
                    return Err(anyhow!("nobody was embedded for {PATIENCE_S} s: are there people in the pictures?").into());
                }
                self.pause(Duration::from_millis(5))?;
            }
            // Not lit again yet, or a lease lapsed: the machine is short of processor time.
            if Usage::now()?.wall_s_since(&begun) > PATIENCE_S {
                return Err(anyhow!("the streams do not become light again: {:?}", self.running.plane.policy.snapshot()).into());
            }
            self.pause(Duration::from_millis(5))?;
        }
    }

    fn revoke(&self, case: Case, streams: &[StreamIndex]) -> Result<Round, Failed> {
        let (watching, table) = (AtomicBool::new(false), self.table());
        let (revoked_at, dark_at) = std::thread::scope(|scope| -> anyhow::Result<_> {
            let watcher = scope.spawn(|| watch(table, streams, &watching));
            while !watching.load(SeqCst) {
                std::thread::yield_now();
            }
            let revoked_at = SystemClock.monotonic();
            let policy = &self.running.plane.policy;
            match case {
                Case::Withdrawn => {
                    let path = format!("/v1/signs/{}/withdraw?by=bench&reason=bench", segment(&self.site.sign));
                    self.running.client.post::<SignView>(&path)?;
                }
                Case::Stopped => policy.freeze()?,
                Case::Killed => policy.break_down(),
                Case::Hung => policy.hang()?,
            }
            let dark_at = watcher.join().map_err(|_panic| anyhow!("the watching thread broke"))?;
            Ok((revoked_at, dark_at))
        })?;
        let Some(dark_at) = dark_at else { return Err(anyhow!("a stream was not dark {} s after {case:?}", NEVER.as_secs()).into()) };
        let watched_ns = i64::try_from(WATCH.as_nanos()).unwrap_or(i64::MAX);
        while SystemClock.monotonic().since_ns(revoked_at) < watched_ns {
            self.pause(Duration::from_millis(10))?;
        }
        let latest = |of: &dyn Fn(StreamIndex) -> Option<Stamp<Monotonic>>| streams.iter().filter_map(|s| of(*s)).max();
        let after = |at: Option<Stamp<Monotonic>>| at.map_or(0.0, |at| (at.since_ns(revoked_at) as f64 / 1e6).max(0.0));
        let looks = &self.running.plane.last_look;
        Ok(Round {
            full: false,
            dark: after(Some(dark_at)),
            last_embedding: after(latest(&|s| looks.embedded_at(s))),
            last_look: after(latest(&|s| looks.at(s))),
        })
    }

    /// The sign hangs again, and somebody has seen it.
    fn post_again(&self) -> anyhow::Result<()> {
        let policy = &self.running.plane.policy;
        policy.post_sign(&self.site.sign, "bench")?;
        let inspection = Inspection::new("bench", None, None, SystemClock.utc())?;
        policy.inspect_sign(&self.site.sign, &inspection)?;
        if self.lit().is_empty() {
            bail!("the sign was posted and inspected again, and no stream recognises: {:?}", policy.snapshot());
        }
        Ok(())
    }
}

/// When the last of `streams` was dark; `None`: one of them is still not, after [`NEVER`].
fn watch(table: &LeaseTable, streams: &[StreamIndex], watching: &AtomicBool) -> Option<Stamp<Monotonic>> {
    let begun_at = SystemClock.monotonic();
    let never = begun_at.plus(NEVER);
    let pause = Shutdown::new();
    watching.store(true, SeqCst);
    loop {
        let now = SystemClock.monotonic();
        if streams.iter().all(|s| table.state(*s, now) == StreamState::Off) {
            return Some(now);
        }
        if now >= never {
            return None;
        }
        pause.wait(POLL);
    }
}
