//! The closing figures: one JSON object, or a table.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::findings::{Findings, short, times};
use super::stage::WITHDRAWN_STREAM;
use super::watch::Account;
use crate::console::view::StatusView;

/// `placard demo --json` ends with this object.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// (stream, person) pairs that a perfect appliance reports, by the rule that the report states.
    pub hits_expected: usize,
    /// How many of them it reported.
    pub hits_found: usize,
    /// Events that name somebody who is not there, or should not have been told: after the sign's withdrawal, the deletion, for another purpose.
    pub false_hits: usize,
    /// Frames of lit streams that arrived and were overwritten because the workers were busy.
    pub missed_frames: u64,
    /// From asking for the sign's withdrawal until its stream's leases were revoked and its last pixel had been read, whichever was later.
    pub dark_after_ms: f64,
    /// How much of that the last pixel took; 0: none was read after asking.
    pub last_pixel_after_ms: f64,
    /// Frames of the dark stream looked at between darkness and the end. Anything but 0 is a defect.
    pub looked_at_in_the_dark: u64,
    /// Events that name the deleted person after the deletion. Anything but 0 is a defect.
    pub after_deletion_hits: usize,
    /// How often that person came by afterwards, clearly shown.
    pub after_deletion_passages: usize,
    pub masks: Masks,
    /// From capture to the last thing done with a frame.
    pub latency_ms: Latency,
    /// Since the service started, as frames, hits and latencies are counted.
    pub seconds: f64,
    pub report: PathBuf,
    #[serde(skip)]
    not_found: Vec<String>,
    #[serde(skip)]
    last: StatusView,
}

/// Mask checks told, against the truth.
#[derive(Debug, Default, Serialize)]
pub struct Masks {
    pub told: usize,
    pub right: usize,
    pub wrong: usize,
}

#[derive(Debug, Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Summary {
    pub fn new(findings: &Findings, account: &Account, report: &Path) -> Self {
        let status = &account.status;
        let dark = account.stream(WITHDRAWN_STREAM);
        let lit = status.streams.iter().filter(|s| s.name != WITHDRAWN_STREAM);
        let journey = status.steps.iter().find(|s| s.name == crate::latency::CAPTURE_TO_DONE).cloned().unwrap_or_default();
        let asked_ms = account.withdrawal.asked.monotonic_ms;
        let right = findings.masks_right();
        Self {
            hits_expected: findings.expected.len(),
            hits_found: findings.found_as_expected(),
            false_hits: findings.false_hits().count(),
            missed_frames: lit.map(|s| s.overwritten).sum(),
            dark_after_ms: dark.last_read_monotonic_ms.max(dark.revoked_monotonic_ms) - asked_ms,
            last_pixel_after_ms: (dark.last_read_monotonic_ms - asked_ms).max(0.0),
            looked_at_in_the_dark: dark.detected.saturating_sub(account.withdrawal.detected_then),
            after_deletion_hits: findings.after_deletion_hits,
            after_deletion_passages: findings.after_deletion_passages,
            masks: Masks { told: findings.masks.len(), right, wrong: findings.masks.len() - right },
            latency_ms: Latency { p50: journey.p50_ms, p99: journey.p99_ms, p999: journey.p999_ms },
            seconds: (status.uptime_s * 10.0).round() / 10.0,
            report: report.to_owned(),
            not_found: findings.not_found().map(|(stream, identity)| format!("{} on {stream}", short(identity))).collect(),
            last: status.clone(),
        }
    }

    /// Everything promised was kept: who was to be found was found and nobody else, and who was not to be looked at was not. Masks are told,
    /// not promised.
    pub fn all_well(&self) -> bool {
        self.hits_found == self.hits_expected
            && self.false_hits == 0
            && self.looked_at_in_the_dark == 0
            && self.after_deletion_hits == 0
            && (0.0..=1_000.0).contains(&self.dark_after_ms)
    }

    /// The closing table, or the JSON object.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
            return Ok(());
        }
        writeln!(
            out,
            "\n  {:<10} {:<13} {:>8} {:>8} {:>9} {:>8} {:>6}",
            "stream", "state", "frames", "looked", "withheld", "missed", "hits"
        )?;
        for s in &self.last.streams {
            writeln!(
                out,
                "  {:<10} {:<13} {:>8} {:>8} {:>9} {:>8} {:>6}",
                s.name, s.state, s.frames, s.detected, s.withheld, s.overwritten, s.hits
            )?;
        }
        writeln!(out, "\n  hits         {} of {} expected, {} false", self.hits_found, self.hits_expected, self.false_hits)?;
        self.not_found.iter().try_for_each(|m| writeln!(out, "               not found: {m}"))?;
        writeln!(out, "  masks        {} told, {} wrong", self.masks.told, self.masks.wrong)?;
        writeln!(
            out,
            "  dark after   {:.1} ms from `sign withdraw` until leave was gone and the last pixel read; {} frames looked at since",
            self.dark_after_ms, self.looked_at_in_the_dark
        )?;
        let (passages, hits) = (self.after_deletion_passages, self.after_deletion_hits);
        writeln!(out, "  deleted      one person, who came by {} since; {hits} hits", times(passages))?;
        let l = &self.latency_ms;
        writeln!(out, "  latency      p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms from capture to done", l.p50, l.p99, l.p999)?;
        writeln!(out, "  missed       {} frames of lit streams, in {:.0} s", self.missed_frames, self.seconds)?;
        writeln!(out, "\n  The whole story, with pictures: {}", self.report.display())?;
        Ok(())
    }
}
