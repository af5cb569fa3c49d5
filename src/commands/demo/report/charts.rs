//! The policy timeline: a band per stream, coloured by what was allowed, with what was told on it.

use std::fmt::Write;

use super::Story;
use super::page::escape;

const WIDTH: f64 = 1_040.0;
const LEFT: f64 = 108.0;
const RIGHT: f64 = 1_024.0;
const TOP: f64 = 44.0;
const ROW: f64 = 40.0;
const BAND: f64 = 20.0;
/// Shown of the time before anything was granted, seconds.
const BEFORE_S: f64 = 1.0;

/// State, colour, what it means.
pub const STATES: [(&str, &str, &str); 4] = [
    ("recognise", "#3d7a68", "recognise: faces are compared with the list of the stream's purposes"),
    ("detect", "#c9a24b", "detect: people are counted, masks checked, nobody identified"),
    ("capture-only", "#aab4bd", "capture-only: is there a signal at all"),
    ("off", "#39424d", "off: no pixel is read"),
];

fn colour(state: &str) -> &'static str {
    STATES.iter().find(|s| s.0 == state).map_or("#39424d", |s| s.1)
}

/// A time, from when on the stream was in `state`.
struct Span {
    from_s: f64,
    to_s: f64,
    state: String,
}

fn spans(story: &Story, stream: &str, begin_s: f64, end_s: f64) -> Vec<Span> {
    let mut spans = vec![Span { from_s: begin_s, to_s: end_s, state: "off".to_owned() }];
    for change in story.account.transitions.iter().filter(|t| t.stream == stream) {
        let at_s = story.seconds_of(change.at_monotonic_ms).max(begin_s);
        if let Some(last) = spans.last_mut() {
            last.to_s = at_s;
        }
        spans.push(Span { from_s: at_s, to_s: end_s, state: change.to.clone() });
    }
    spans.retain(|s| s.to_s > s.from_s);
    spans
}

/// The chart of all streams.
pub fn timeline(story: &Story) -> String {
    let streams = &story.account.status.streams;
    let (begin_s, end_s) = (-BEFORE_S, story.seconds_of(story.account.ended.monotonic_ms).max(1.0));
    let x = |s: f64| LEFT + (s - begin_s).clamp(0.0, end_s - begin_s) / (end_s - begin_s) * (RIGHT - LEFT);
    let bottom = TOP + ROW * streams.len() as f64;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"states of all streams over time\">", bottom + 46.0);
    for second in ticks(end_s) {
        let _infallible = write!(
            out,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" class=\"grid\"/><text x=\"{0:.1}\" y=\"{1}\" class=\"tick\">{second:.0} s</text>",
            x(second),
            bottom + 18.0
        );
    }
    for (row, stream) in streams.iter().enumerate() {
        let y = TOP + ROW * row as f64 + (ROW - BAND) / 2.0;
        let _infallible =
            write!(out, "<text x=\"{}\" y=\"{:.1}\" class=\"name\">{}</text>", LEFT - 12.0, y + BAND - 5.5, escape(&stream.name));
        for span in spans(story, &stream.name, begin_s, end_s) {
            let (from, to) = (x(span.from_s), x(span.to_s));
            let _infallible = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAND}\" fill=\"{}\"><title>{}: {} from {:.1} s</title></rect>",
                to - from,
                colour(&span.state),
                escape(&stream.name),
                span.state,
                span.from_s
            );
            if span.state == "off" && to - from > 90.0 {
                let _infallible = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" class=\"state\">{}</text>", from + 8.0, y + 14.0, span.state);
            }
        }
        for told in story.account.told.iter().filter(|t| t.stream == stream.name) {
            let class = if told.mask_worn.is_some() { "mask" } else { "hit" };
            let _infallible = write!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" class=\"{class}\"/>",
                x(story.seconds(&told.decided_at)),
                y + BAND / 2.0
            );
        }
    }
    mark(&mut out, x(story.seconds_of(story.account.withdrawal.asked.monotonic_ms)), bottom, "sign withdrawn", 16.0);
    if let Some(deletion) = &story.account.deletion {
        mark(&mut out, x(story.seconds_of(deletion.done.monotonic_ms)), bottom, "person deleted", 32.0);
    }
    out + "</svg>"
}

fn mark(out: &mut String, x: f64, bottom: f64, what: &str, y: f64) {
    // Near the right edge the words stand on the other side of their line.
    let (anchor, dx) = if x > RIGHT - 130.0 { ("end", -6.0) } else { ("start", 6.0) };
    let _infallible = write!(
        out,
        "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom}\" class=\"mark\"/><text x=\"{:.1}\" y=\"{y}\" text-anchor=\"{anchor}\" class=\"marked\">{what}</text>",
        y - 10.0,
        x + dx
    );
}

/// Whole seconds, about eight of them.
fn ticks(end_s: f64) -> impl Iterator<Item = f64> {
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0].into_iter().find(|step| end_s / step <= 9.0).unwrap_or(1_200.0);
    (0..).map(move |i| f64::from(i) * step).take_while(move |s| *s <= end_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_whole() {
        assert_eq!(ticks(31.2).collect::<Vec<_>>(), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert!([6.0, 20.0, 300.0, 3_600.0].into_iter().all(|end| (3..=11).contains(&ticks(end).count())));
    }
}
