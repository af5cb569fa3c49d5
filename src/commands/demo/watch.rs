//! Watching the running service from outside: live lines, the withdrawn sign, the deletion; what happened, for the summary and the report.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::findings::short;
use super::judge::{self, SETTLE_FRAMES};
use super::media::Media;
use super::stage::{WITHDRAWN_SIGN, WITHDRAWN_STREAM};
use super::told::{self, Told};
use super::{Demo, Subjects};
use crate::clock::{Clock, Stamp, SystemClock, Utc};
use crate::console::client::Client;
use crate::console::view::{CurveView, SignView, StatusView, StreamView, TransitionView};
use crate::ingest::rendered::FPS;
use crate::shutdown::Shutdown;
use crate::state::StateDirectory;

/// A machine that also compiles may take this long to draw the scene of a stream.
const READY_WITHIN: Duration = Duration::from_secs(180);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// One instant, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub monotonic_ms: f64,
    pub utc: Stamp<Utc>,
}

impl Moment {
    fn now() -> Self {
        Self { monotonic_ms: SystemClock.monotonic().ns() as f64 / 1e6, utc: SystemClock.utc() }
    }
}

/// What happened when the sign was withdrawn.
pub struct Withdrawal {
    pub asked: Moment,
    /// Frames of the stream that had arrived.
    pub frames: u64,
    /// Frames of it that had been looked at when it was dark.
    pub detected_then: u64,
}

/// What happened when somebody was deleted.
pub struct Deletion {
    pub subject: String,
    pub identity: String,
    pub purpose: &'static str,
    pub asked: Moment,
    pub done: Moment,
    /// Frames of each stream that had arrived by then.
    frames: BTreeMap<String, u64>,
    /// What `placard delete --json` said.
    pub said: String,
}

impl Deletion {
    pub fn frames_of(&self, stream: &str) -> u64 {
        self.frames.get(stream).copied().unwrap_or(0)
    }
}

/// Everything that was seen from outside.
pub struct Account {
    pub subjects: Subjects,
    pub begun: Moment,
    pub ended: Moment,
    begun_frames: BTreeMap<String, u64>,
    pub withdrawal: Withdrawal,
    pub deletion: Option<Deletion>,
    pub status: StatusView,
    pub curves: Vec<CurveView>,
    pub transitions: Vec<TransitionView>,
    pub told: Vec<Told>,
}

impl Account {
    pub fn stream(&self, name: &str) -> StreamView {
        stream(&self.status, name).cloned().unwrap_or_default()
    }
    /// Numbers of the stream's frames from the beginning of watching to its end.
    pub fn frames_seen(&self, name: &str) -> Range<u64> {
        self.begun_frames.get(name).copied().unwrap_or(0)..self.stream(name).frames
    }
}

fn stream<'a>(status: &'a StatusView, name: &str) -> Option<&'a StreamView> {
    status.streams.iter().find(|s| s.name == name)
}

fn frames(status: &StatusView) -> BTreeMap<String, u64> {
    status.streams.iter().map(|s| (s.name.clone(), s.frames)).collect()
}

/// Runs for `seconds`, withdraws the sign half-way, deletes somebody, and gathers what was told.
pub fn watch(demo: &Demo, media: &Media, subjects: Subjects, seconds: u64, service: u32) -> anyhow::Result<Account> {
    let client = Client::new(StateDirectory::new(demo.state()).control_socket())?;
    let patience = Shutdown::new();
    let first = wait_until_live(&client, media, &patience, &demo.site.join("service.log"))?;
    demo.say(&format!("· the service is up (process {service}); watching for {seconds} s, the sign of `{WITHDRAWN_STREAM}` goes half-way"));
    let begun = Moment::now();
    let (mut withdrawal, mut deletion, mut painted) = (None, None, 0);
    let mut status = first.clone();
    let elapsed_s = |begun: &Moment| ((Moment::now().monotonic_ms - begun.monotonic_ms) / 1e3) as u64;
    while elapsed_s(&begun) < seconds {
        patience.wait(Duration::from_secs(1));
        let second = elapsed_s(&begun).min(seconds);
        if withdrawal.is_none() && second >= seconds / 2 {
            withdrawal = Some(withdraw(demo, &client, &patience)?);
            // What was said since stays on the screen.
            painted = 0;
            deletion = delete(demo, media, &client, &subjects, seconds.saturating_sub(elapsed_s(&begun)))?;
        }
        status = client.get("/v1/status").context("asking the service for its status")?;
        painted = paint(demo, &status, second, seconds, painted)?;
    }
    let Some(withdrawal) = withdrawal else { bail!("the sign was never withdrawn") };
    Ok(Account {
        subjects,
        begun,
        ended: Moment::now(),
        begun_frames: frames(&first),
        withdrawal,
        deletion,
        status,
        curves: client.get("/v1/latency/curves")?,
        transitions: client.get("/v1/policy/timeline?limit=1000")?,
        told: told::read(&StateDirectory::new(demo.state()).journal())?,
    })
}

/// Ready when every stream is looked at and delivers.
fn wait_until_live(client: &Client, media: &Media, patience: &Shutdown, log: &Path) -> anyhow::Result<StatusView> {
    let mut last = String::from("it does not answer");
    for _ in 0..READY_WITHIN.as_millis() / ASK_EVERY.as_millis() {
        if let Ok(status) = client.get::<StatusView>("/v1/status") {
            let waiting = media.staged.iter().filter_map(|staged| {
                let (name, wanted) = (staged.show.stream, if staged.show.identifies() { "recognise" } else { "detect" });
                match stream(&status, name) {
                    Some(s) if s.state == wanted && s.detected > 0 => None,
                    Some(s) => Some(format!("{name}: {} {} {} {}", s.state, s.health, s.reason, s.health_detail)),
                    None => Some(format!("{name}: unknown")),
                }
            });
            last = waiting.collect::<Vec<_>>().join("; ");
            if last.is_empty() {
                return Ok(status);
            }
        }
        patience.wait(ASK_EVERY);
    }
    let tail = std::fs::read_to_string(log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(15).collect();
    let words = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    bail!("the service is not ready after {} s ({last}); its last words:\n{words}", READY_WITHIN.as_secs())
}

fn withdraw(demo: &Demo, client: &Client, patience: &Shutdown) -> anyhow::Result<Withdrawal> {
    demo.say(&format!("$ placard sign withdraw {WITHDRAWN_SIGN} --by demonstration --reason 'taken down'"));
    let status: StatusView = client.get("/v1/status")?;
    let asked = Moment::now();
    let _answer: SignView = client
        .post(&format!("/v1/signs/{WITHDRAWN_SIGN}/withdraw?by=demonstration&reason=taken%20down"))
        .context("withdrawing the sign")?;
    // A second later whatever was in flight has come out; from then on the count must not move.
    patience.wait(Duration::from_secs(1));
    let frames = stream(&status, WITHDRAWN_STREAM).map_or(0, |s| s.frames);
    let status: StatusView = client.get("/v1/status")?;
    let dark = stream(&status, WITHDRAWN_STREAM).with_context(|| format!("stream `{WITHDRAWN_STREAM}` is gone"))?;
    if dark.state == "recognise" || dark.state == "detect" {
        bail!("stream `{WITHDRAWN_STREAM}` is still `{}` a second after its sign was withdrawn", dark.state);
    }
    demo.say(&format!("· `{WITHDRAWN_STREAM}` is {}: {}", dark.state, dark.reason));
    Ok(Withdrawal { asked, frames, detected_then: dark.detected })
}

/// Deletes somebody who was found already and will come by again, or, had nobody been found yet, somebody who will come by.
fn delete(demo: &Demo, media: &Media, client: &Client, subjects: &Subjects, seconds_left: u64) -> anyhow::Result<Option<Deletion>> {
    let status: StatusView = client.get("/v1/status")?;
    let ahead = seconds_left * u64::from(FPS);
    let told = told::read(&StateDirectory::new(demo.state()).journal())?;
    let was_found = |subject: &str| told.iter().any(|t| t.subject().is_some_and(|(s, _)| s == subject));
    let comes_again = |identity: &str| {
        media.staged.iter().filter(|s| s.show.stream != WITHDRAWN_STREAM && s.show.identifies()).any(|staged| {
            let now = stream(&status, staged.show.stream).map_or(0, |s| s.frames);
            let wanted = media.person(identity).is_some_and(|p| staged.show.purposes.contains(&p.purpose));
            wanted
                && !judge::passages(&staged.script, identity, now + SETTLE_FRAMES / 2..now + ahead.saturating_sub(SETTLE_FRAMES)).is_empty()
        })
    };
    let mut people: Vec<(&String, &String)> = subjects.iter().filter(|(_, identity)| comes_again(identity)).collect();
    people.sort_by_key(|(subject, identity)| (!was_found(subject), (*identity).clone()));
    let Some((subject, person)) = people.first().and_then(|(subject, identity)| Some((*subject, media.person(identity)?))) else {
        demo.say("· nobody is deleted: the time left is too short for anybody to come by again");
        return Ok(None);
    };
    demo.say(&format!("· {} asks to be forgotten", short(&person.identity)));
    let asked = Moment::now();
    let said = demo.command(&["delete", "--json", "--yes", subject])?;
    let done = Moment::now();
    let frames = frames(&client.get("/v1/status")?);
    Ok(Some(Deletion { subject: subject.clone(), identity: person.identity.clone(), purpose: person.purpose, asked, done, frames, said }))
}

/// Draws the live view; on a terminal over the one before. Returns how many lines it drew.
fn paint(demo: &Demo, status: &StatusView, second: u64, seconds: u64, painted: usize) -> std::io::Result<usize> {
    if demo.json {
        return Ok(0);
    }
    let mut out = std::io::stderr().lock();
    if !std::io::stderr().is_terminal() {
        if second.is_multiple_of(5) {
            let states: Vec<String> = status.streams.iter().map(|s| format!("{} {} {:.0} fps", s.name, s.state, s.fps_in)).collect();
            let hits: u64 = status.streams.iter().map(|s| s.hits).sum();
            writeln!(out, "  {second:>3}/{seconds} s  {}  hits {hits}", states.join("  "))?;
        }
        return Ok(0);
    }
    if painted > 0 {
        write!(out, "\x1b[{painted}A\x1b[J")?;
    }
    writeln!(
        out,
        "  {second:>3}/{seconds} s   {:<10} {:<13} {:>7} {:>10} {:>8} {:>7} {:>6}",
        "stream", "state", "fps in", "fps looked", "missed", "people", "hits"
    )?;
    for s in &status.streams {
        let colour = match s.state.as_str() {
            "recognise" => "\x1b[32m",
            "off" => "\x1b[31m",
            _ => "\x1b[33m",
        };
        writeln!(
            out,
            "             {:<10} {colour}{:<13}\x1b[0m {:>7.1} {:>10.1} {:>8} {:>7} {:>6}",
            s.name, s.state, s.fps_in, s.fps_detected, s.overwritten, s.tracks, s.hits
        )?;
    }
    Ok(1 + status.streams.len())
}
