//! `demo-report.html`: one page for people that tells what the demonstration saw, what it did not look at, and why.
//!
//! Self-contained: styles, charts (SVG) and pictures (JPEG as data) are in the file; it refers to nothing outside and runs no script. The
//! appliance keeps no pictures, so those of the report are drawn anew, from the scene and what is true of the frame that an event names.

mod charts;
mod page;
mod people;
mod pictures;
mod sections;

use std::path::Path;

use anyhow::Context as _;

use super::findings::Findings;
use super::media::Media;
use super::summary::Summary;
use super::watch::{Account, Moment};
use crate::policy::when::When;
use page::{Page, escape, figure};
use pictures::Pictures;

/// What every section is written from.
struct Story<'a> {
    media: &'a Media,
    account: &'a Account,
    findings: &'a Findings,
    summary: &'a Summary,
    pictures: Pictures,
    /// Times are told from here on: when the policy thread first granted anything.
    zero: Moment,
}

impl Story<'_> {
    /// Seconds since zero, of a time that an event tells.
    fn seconds(&self, told_utc: &str) -> f64 {
        let at = told_utc.parse::<When>().map_or(self.zero.utc, |when| when.at());
        (at.ns() - self.zero.utc.ns()) as f64 / 1e9
    }
    fn seconds_of(&self, monotonic_ms: f64) -> f64 {
        (monotonic_ms - self.zero.monotonic_ms) / 1e3
    }
}

/// Writes the page.
pub fn write(path: &Path, media: &Media, account: &Account, findings: &Findings, summary: &Summary) -> anyhow::Result<()> {
    let pictures = pictures::draw(media, findings)?;
    let first = account.transitions.iter().find(|t| t.to != "off");
    let granted = first.and_then(|t| Some(Moment { monotonic_ms: t.at_monotonic_ms, utc: t.at.parse::<When>().ok()?.at() }));
    let story = Story { media, account, findings, summary, pictures, zero: granted.unwrap_or(account.begun) };
    let mut page = Page::default();
    head(&mut page, &story);
    sections::streams(&mut page, &story);
    sections::policy(&mut page, &story);
    people::hits(&mut page, &story);
    people::masks(&mut page, &story);
    people::deletion(&mut page, &story);
    sections::latency(&mut page, &story);
    sections::closing(&mut page, &story);
    sections::method(&mut page);
    std::fs::write(path, page.finish("Placard: what the demonstration saw")).with_context(|| format!("writing {}", path.display()))
}

fn head(page: &mut Page, story: &Story) {
    let (summary, status) = (story.summary, &story.account.status);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    page.add(&format!(
        "<header><p class=\"brand\">Placard {} · demonstration report</p>\
         <h1>What the demonstration station saw,<br>and what it did not look at</h1>\
         <p class=\"lead\">{} · {:.0} seconds · {} streams · {} processor core{}. Everybody on this page is drawn by the program: nobody's face \
         was used, and nobody here exists.</p></header>",
        escape(&status.version),
        escape(&crate::clock::format_utc(story.account.begun.utc)[..16].replace('T', ", ")),
        summary.seconds,
        status.streams.len(),
        cores,
        if cores == 1 { "" } else { "s" },
    ));
    let good = |good: bool| if good { "good" } else { "bad" };
    let tiles = [
        figure(
            &format!("{} of {}", summary.hits_found, summary.hits_expected),
            "expected hits were told",
            good(summary.hits_found == summary.hits_expected),
        ),
        figure(&summary.false_hits.to_string(), "false hits", good(summary.false_hits == 0)),
        figure(&format!("{:.1} ms", summary.dark_after_ms), "from a sign's withdrawal to darkness", good(summary.dark_after_ms <= 1_000.0)),
        figure(
            &summary.after_deletion_hits.to_string(),
            &format!("hits after a deletion; the person came by {}", super::findings::times(summary.after_deletion_passages)),
            good(summary.after_deletion_hits == 0),
        ),
        figure(&format!("{} of {}", summary.masks.right, summary.masks.told), "mask checks were right", good(summary.masks.wrong == 0)),
        figure(&format!("{:.0} ms", summary.latency_ms.p99), "from a frame to done, 99 % of frames", "plain"),
    ];
    page.add(&format!("<div class=\"figures\">{}</div>", tiles.concat()));
}
