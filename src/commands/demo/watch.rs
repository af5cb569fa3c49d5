//! Watching the running service from outside: live lines, the withdrawn sign, the closing table.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::media::Media;
use super::site::{WITHDRAWN_SIGN, WITHDRAWN_STREAM};
use super::{Demo, Subjects};
use crate::clock::{Clock, SystemClock};
use crate::console::client::Client;
use crate::console::view::{SignView, StatusView, StreamView};
use crate::emit::event::Event;
use crate::shutdown::Shutdown;
use crate::state::StateDirectory;

/// `placard demo --json` ends with this object.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// (stream, person) pairs that a perfect appliance reports.
    pub hits_expected: usize,
    pub hits_found: usize,
    /// Events that name somebody who is not there, or come from a stream after it went dark.
    pub false_hits: usize,
    /// Frames of lit streams that arrived and were overwritten because the workers were busy.
    pub missed_frames: u64,
    /// From asking for the sign's withdrawal until its stream's leases were revoked and its last pixel had been read, whichever was later.
    pub dark_after_ms: f64,
    /// How much of that the last pixel took; 0: none was read after asking.
    pub last_pixel_after_ms: f64,
    /// Frames of the dark stream looked at between darkness and the end. Anything but 0 is a defect.
    pub looked_at_in_the_dark: u64,
    /// From capture to the last thing done with a frame.
    pub latency_ms: Latency,
    pub seconds: f64,
    #[serde(skip)]
    missed: Vec<String>,
    #[serde(skip)]
    last: StatusView,
}

#[derive(Debug, Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Summary {
    pub fn all_well(&self) -> bool {
        self.hits_found == self.hits_expected
            && self.false_hits == 0
            && self.looked_at_in_the_dark == 0
            && (0.0..=1_000.0).contains(&self.dark_after_ms)
    }
}

fn monotonic_ms() -> f64 {
    SystemClock.monotonic().ns() as f64 / 1e6
}

fn stream<'a>(status: &'a StatusView, name: &str) -> Option<&'a StreamView> {
    status.streams.iter().find(|s| s.name == name)
}

/// What happened when the sign was withdrawn.
struct Withdrawal {
    asked_at_ms: f64,
    asked_at_utc_ns: i64,
    /// Frames of the stream that had been looked at when it was dark.
    detected_then: u64,
}

/// Runs for `seconds`, withdraws the sign half-way, counts what was found.
pub fn watch(demo: &Demo, media: &Media, subjects: &Subjects, seconds: u64, service: u32) -> anyhow::Result<Summary> {
    let client = Client::new(StateDirectory::new(demo.state()).control_socket())?;
    let patience = Shutdown::new();
    wait_until_live(&client, media, &patience, &demo.site.join("service.log"))?;
    demo.say(&format!("· the service is up (process {service}); watching for {seconds} s, the sign of `{WITHDRAWN_STREAM}` goes half-way"));
    let begun_at_ms = monotonic_ms();
    let mut withdrawal = None;
    let mut painted = 0;
    let mut status = StatusView::default();
    for second in 1..=seconds {
        patience.wait(Duration::from_secs(1));
        if withdrawal.is_none() && second >= seconds / 2 {
            withdrawal = Some(withdraw(demo, &client, &patience)?);
        }
        status = client.get("/v1/status").context("asking the service for its status")?;
        painted = paint(demo, &status, second, seconds, painted)?;
    }
    let Some(withdrawal) = withdrawal else { bail!("the sign was never withdrawn") };
    summarise(demo, media, subjects, status, &withdrawal, begun_at_ms)
}

/// Ready when every stream recognises and delivers.
fn wait_until_live(client: &Client, media: &Media, patience: &Shutdown, log: &Path) -> anyhow::Result<()> {
    let mut last = String::from("it does not answer");
    for _ in 0..300 {
        if let Ok(status) = client.get::<StatusView>("/v1/status") {
            let waiting: Vec<String> = media
                .clips
                .iter()
                .filter_map(|(name, _)| match stream(&status, name) {
                    Some(s) if s.state == "recognise" && s.frames > 0 => None,
                    Some(s) => Some(format!("{name}: {} {} {} {}", s.state, s.health, s.reason, s.health_detail)),
                    None => Some(format!("{name}: unknown")),
                })
                .collect();
            if waiting.is_empty() {
                return Ok(());
            }
            last = waiting.join("; ");
        }
        patience.wait(Duration::from_millis(100));
    }
    let tail = std::fs::read_to_string(log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(15).collect();
    bail!("the service is not ready after 30 s ({last}); its last words:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

fn withdraw(demo: &Demo, client: &Client, patience: &Shutdown) -> anyhow::Result<Withdrawal> {
    demo.say(&format!("$ placard sign withdraw {WITHDRAWN_SIGN} --by demonstration --reason 'taken down'"));
    let (asked_at_ms, asked_at_utc_ns) = (monotonic_ms(), SystemClock.utc().ns());
    let _answer: SignView = client
        .post(&format!("/v1/signs/{WITHDRAWN_SIGN}/withdraw?by=demonstration&reason=taken%20down"))
        .context("withdrawing the sign")?;
    // A second later whatever was in flight has come out; from then on the count must not move.
    patience.wait(Duration::from_secs(1));
    let status: StatusView = client.get("/v1/status")?;
    let dark = stream(&status, WITHDRAWN_STREAM).with_context(|| format!("stream `{WITHDRAWN_STREAM}` is gone"))?;
    if dark.state == "recognise" || dark.state == "detect" {
        bail!("stream `{WITHDRAWN_STREAM}` is still `{}` a second after its sign was withdrawn", dark.state);
    }
    demo.say(&format!("· `{WITHDRAWN_STREAM}` is {}: {}", dark.state, dark.reason));
    Ok(Withdrawal { asked_at_ms, asked_at_utc_ns, detected_then: dark.detected })
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

/// The journal: what was acknowledged.
fn read_events(journal: &Path) -> anyhow::Result<Vec<Event>> {
    let mut files: Vec<_> =
        std::fs::read_dir(journal).with_context(|| format!("reading {}", journal.display()))?.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    let mut events = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            events.push(serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), number + 1))?);
        }
    }
    Ok(events)
}

fn summarise(
    demo: &Demo,
    media: &Media,
    names: &Subjects,
    status: StatusView,
    withdrawal: &Withdrawal,
    begun_at_ms: f64,
) -> anyhow::Result<Summary> {
    let expected: BTreeSet<(String, String)> = media.visible.iter().cloned().collect();
    let mut found = BTreeSet::new();
    let mut false_hits = 0;
    let dark_from = crate::clock::format_utc(crate::clock::Stamp::from_ns(withdrawal.asked_at_utc_ns + 1_000_000_000));
    for event in read_events(&StateDirectory::new(demo.state()).journal())? {
        let Some(best) = event.candidates().first() else { continue };
        let subject = best.subject.as_str();
        let pair = (event.stream.to_string(), names.get(subject).cloned().unwrap_or_else(|| subject.to_owned()));
        let in_the_dark = *event.stream == *WITHDRAWN_STREAM && event.decided_at > dark_from;
        if expected.contains(&pair) && !in_the_dark {
            found.insert(pair);
        } else {
            demo.say(&format!("· false hit: {} on {} (score {:.2})", pair.1, pair.0, best.score));
            false_hits += 1;
        }
    }
    let dark = stream(&status, WITHDRAWN_STREAM).cloned().unwrap_or_default();
    let lit = status.streams.iter().filter(|s| s.name != WITHDRAWN_STREAM);
    let journey = status.steps.iter().find(|s| s.name == crate::latency::CAPTURE_TO_DONE).cloned().unwrap_or_default();
    Ok(Summary {
        hits_expected: expected.len(),
        hits_found: found.len(),
        false_hits,
        missed_frames: lit.map(|s| s.overwritten).sum(),
        dark_after_ms: dark.last_read_monotonic_ms.max(dark.revoked_monotonic_ms) - withdrawal.asked_at_ms,
        last_pixel_after_ms: (dark.last_read_monotonic_ms - withdrawal.asked_at_ms).max(0.0),
        looked_at_in_the_dark: dark.detected.saturating_sub(withdrawal.detected_then),
        latency_ms: Latency { p50: journey.p50_ms, p99: journey.p99_ms, p999: journey.p999_ms },
        seconds: ((monotonic_ms() - begun_at_ms) / 100.0).round() / 10.0,
        missed: expected.difference(&found).map(|(stream, person)| format!("{person} on {stream}")).collect(),
        last: status,
    })
}

/// The closing table, or the JSON object.
pub fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(summary)?)?;
        return Ok(());
    }
    writeln!(out, "\n  {:<10} {:<13} {:>8} {:>8} {:>9} {:>8} {:>6}", "stream", "state", "frames", "looked", "withheld", "missed", "hits")?;
    for s in &summary.last.streams {
        writeln!(
            out,
            "  {:<10} {:<13} {:>8} {:>8} {:>9} {:>8} {:>6}",
            s.name, s.state, s.frames, s.detected, s.withheld, s.overwritten, s.hits
        )?;
    }
    writeln!(out, "\n  hits         {} of {} expected, {} false", summary.hits_found, summary.hits_expected, summary.false_hits)?;
    summary.missed.iter().try_for_each(|m| writeln!(out, "               not found: {m}"))?;
    writeln!(
        out,
        "  dark after   {:.1} ms from `sign withdraw` until leave was gone and the last pixel read; {} frames looked at since",
        summary.dark_after_ms, summary.looked_at_in_the_dark
    )?;
    let l = &summary.latency_ms;
    writeln!(out, "  latency      p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms from capture to done", l.p50, l.p99, l.p999)?;
    writeln!(out, "  missed       {} frames of lit streams, in {:.0} s", summary.missed_frames, summary.seconds)?;
    Ok(())
}
