//! What is about streams and the appliance as a whole: what was looked at, what was allowed and why not, how long it took, the figures.

use std::collections::BTreeMap;

use super::super::judge;
use super::super::stage::{MASKS, Show};
use super::Story;
use super::charts::{STATES, timeline};
use super::page::{Page, escape, picture, table, with_code};
use crate::console::view::TransitionView;
use crate::latency::CAPTURE_TO_DONE;
use crate::latency::report::{Axis, Curve, svg};

pub fn streams(page: &mut Page, story: &Story) {
    let cards: String = story.media.staged.iter().map(|staged| card(story, staged.show, &staged.script.areas)).collect();
    let lead = "The picture is a frame of each stream, drawn anew. Pixels outside the marked area, here pale, are replaced before any network reads \
                the picture; only what is inside was looked at.";
    page.section("streams", "The streams", lead, &format!("<div class=\"streams\">{cards}</div>"));
}

fn card(story: &Story, show: &Show, areas: &[crate::render::truth::NamedArea]) -> String {
    let view = story.account.stream(show.stream);
    let still = story.pictures.stills.get(show.stream).map_or_else(String::new, |data| picture(data, show.place, "still"));
    // Everything, and out of it the area: what lies between is covered.
    let mut path = String::from("M0 0H1V1H0Z");
    for area in areas {
        let points: Vec<String> = area.polygon.iter().map(|[x, y]| format!("{x:.4} {y:.4}")).collect();
        path += &format!("M{}Z", points.join("L"));
    }
    let cover =
        format!("<svg class=\"area\" viewBox=\"0 0 1 1\" preserveAspectRatio=\"none\"><path fill-rule=\"evenodd\" d=\"{path}\"/></svg>");
    let purposes: Vec<String> = show.purposes.iter().map(|p| format!("<code>{p}</code>")).collect();
    let nobody = if show.purposes.contains(&MASKS) { " (nobody is identified)" } else { "" };
    let fact = |name: &str, value: &str| format!("<dt>{name}</dt><dd>{value}</dd>");
    let facts = [
        fact("Source", &with_code(&show.shown_source())),
        fact("Looked at for", &format!("{}{nobody}", purposes.join(", "))),
        fact(
            "Frames",
            &format!(
                "{} arrived, {} looked at, {} withheld unread, {} missed",
                view.frames, view.detected, view.withheld, view.overwritten
            ),
        ),
        fact("At the end", &format!("<span class=\"state {}\">{}</span>", escape(&view.state), escape(&view.state))),
    ];
    format!(
        "<article><div class=\"frame\">{still}{cover}</div><h3>{} <small>{}</small></h3><dl>{}</dl></article>",
        escape(show.place),
        show.stream,
        facts.concat()
    )
}

pub fn policy(page: &mut Page, story: &Story) {
    let legend: String = STATES.iter().map(|(_, colour, what)| format!("<li><i style=\"background:{colour}\"></i>{what}</li>")).collect();
    let legend = format!(
        "<ul class=\"legend\">{legend}<li><i class=\"hit\"></i>a hit was told</li><li><i class=\"mask\"></i>a mask check was told</li></ul>"
    );
    let mut rows = vec![["When", "Stream", "Became", "Because of this fact", "Rule", "What would change it"].map(str::to_owned).to_vec()];
    for (at, streams, change) in refusals(story) {
        rows.push(vec![
            at,
            streams,
            format!("<span class=\"state {}\">{}</span>", escape(&change.to), escape(&change.to)),
            with_code(&change.fact),
            format!("<code>{}</code>", escape(&change.rule)),
            if change.remedy.is_empty() { "nothing needs to be done: it changes by itself".to_owned() } else { with_code(&change.remedy) },
        ]);
    }
    let lead = "A policy thread decides several times a second what may be done with each stream, and renews leave for a quarter of a second at most. \
                Every stream begins <i>off</i>. Each time something was taken away, the table says by which rule, from which fact, and what would change it.";
    page.section(
        "policy",
        "What was allowed, and why not",
        lead,
        &format!("<div class=\"wide\">{}</div>{legend}{}", timeline(story), table(&rows, 9)),
    );
}

/// Changes to a lesser state, and how every stream began; streams with the same reason at the same time share a row.
fn refusals<'a>(story: &'a Story) -> Vec<(String, String, &'a TransitionView)> {
    let rank = |state: &str| STATES.iter().rev().position(|s| s.0 == state).unwrap_or(0);
    let mut rows: BTreeMap<(i64, &str, &str), (Vec<&str>, &'a TransitionView)> = BTreeMap::new();
    for change in story.account.transitions.iter().filter(|t| rank(&t.to) <= rank(&t.from) && t.rule != "granted") {
        let second = story.seconds_of(change.at_monotonic_ms).round() as i64;
        rows.entry((second, &change.fact, &change.to)).or_insert((Vec::new(), change)).0.push(&change.stream);
    }
    let all = story.account.status.streams.len();
    let row = |((_, _, _), (streams, change)): (_, (Vec<&str>, &'a TransitionView))| {
        let at = format!("{:.1} s", story.seconds_of(change.at_monotonic_ms));
        (at, if streams.len() == all { "all".to_owned() } else { streams.join(", ") }, change)
    };
    rows.into_iter().map(row).collect()
}

/// In the order of the journey.
fn place(step: &str) -> usize {
    let journey = ["batch", "detect", "track", "embed", "match", "mask-check", "decide", "emit", CAPTURE_TO_DONE];
    journey.iter().position(|s| *s == step).unwrap_or(journey.len())
}

pub fn latency(page: &mut Page, story: &Story) {
    let curve = |c: &crate::console::view::CurveView| Curve { label: c.name.clone(), points: c.points.clone() };
    let mut curves: Vec<_> = story.account.curves.iter().filter(|c| c.points.iter().any(|p| p.1 > 0.0)).collect();
    curves.sort_by_key(|c| place(&c.name));
    let (whole, steps): (Vec<_>, Vec<_>) = curves.into_iter().partition(|c| c.name.starts_with("capture-to-"));
    // The page's own element needs no name space.
    let chart =
        |title: &str, curves: Vec<Curve>| svg(title, Axis::Percentile, &curves).replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    let charts = [
        chart("From a frame's arrival to the last thing done with it", whole.into_iter().map(curve).collect()),
        chart("Step by step", steps.into_iter().map(curve).collect()),
    ];
    let mut rows = vec![["Step", "Frames or faces", "median, ms", "90 %", "99 %", "99.9 %", "longest"].map(str::to_owned).to_vec()];
    let mut steps: Vec<_> = story.account.status.steps.iter().filter(|s| s.count > 0).collect();
    steps.sort_by_key(|s| place(&s.name));
    for s in steps {
        let ms = [s.p50_ms, s.p90_ms, s.p99_ms, s.p999_ms, s.max_ms].map(|ms| format!("{ms:.1}"));
        rows.push([escape(&s.name), s.count.to_string()].into_iter().chain(ms).collect());
    }
    let lead = "Open loop: the clock starts when a frame arrives, whether or not anybody has time for it. To the right of a curve are the slowest \
                frames: one of ten beyond 90 %, one of a thousand beyond 99.9 %.";
    let inner = format!("<div class=\"charts\">{}</div>{}", charts.map(|c| format!("<figure>{c}</figure>")).concat(), table(&rows, 1));
    page.section("latency", "How long it took", lead, &inner);
}

pub fn closing(page: &mut Page, story: &Story) {
    let mut rows = vec![["Stream", "State", "Frames", "Looked at", "Withheld", "Missed", "People", "Hits"].map(str::to_owned).to_vec()];
    for s in &story.account.status.streams {
        let counts = [s.frames, s.detected, s.withheld, s.overwritten, s.tracks, s.hits].map(|n| n.to_string());
        let state = format!("<span class=\"state {0}\">{0}</span>", escape(&s.state));
        rows.push([escape(&s.name), state].into_iter().chain(counts).collect());
    }
    let summary = story.summary;
    let l = &summary.latency_ms;
    let mut facts = vec![
        ("Hits", format!("{} of {} expected, {} false", summary.hits_found, summary.hits_expected, summary.false_hits)),
        ("Masks", format!("{} told, {} right, {} wrong", summary.masks.told, summary.masks.right, summary.masks.wrong)),
        (
            "Dark after",
            format!(
                "{:.1} ms from the withdrawal until leave was gone and the last pixel read; {} frames looked at since",
                summary.dark_after_ms, summary.looked_at_in_the_dark
            ),
        ),
        ("Deleted", format!("{} hits since, in {} passages", summary.after_deletion_hits, summary.after_deletion_passages)),
        ("Latency", format!("median {:.1} ms, 99 % {:.1} ms, 99.9 % {:.1} ms", l.p50, l.p99, l.p999)),
        (
            "Missed",
            format!(
                "{} frames of lit streams in {:.0} s: overwritten by newer ones because the workers were busy",
                summary.missed_frames, summary.seconds
            ),
        ),
    ];
    facts.extend(story.account.status.alarms.iter().map(|alarm| ("Alarm", escape(alarm))));
    let facts: String = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>")).collect();
    page.section(
        "closing",
        "The closing table",
        "As the command prints it.",
        &format!("{}<dl class=\"closing\">{facts}</dl>", table(&rows, 2)),
    );
}

pub fn method(page: &mut Page) {
    let inner = format!(
        "<ul><li>{}</li><li>A hit is right if the person it names is where it says, in the frame it says; a mask check is right if the face there wears one, \
         or does not, as told. Truth comes from the scenes that drew the frames, never from a network.</li>\
         <li>The appliance keeps no frames, and an embedding that matches nobody is wiped in the call that found nobody. The pictures on this page were \
         drawn anew from the scene, at the frame that the event names.</li>\
         <li>Events hold opaque ids. The demonstration knows who is behind them because it enrolled them.</li>\
         <li>The networks were trained on drawn people only, for commissioning and demonstration: no operational site can use them.</li></ul>",
        escape(&judge::rule())
    );
    page.section("method", "How this was counted", "So that nobody has to believe it.", &inner);
}
