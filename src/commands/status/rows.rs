//! Lines and columns that `status` and `top` share: at most 100 columns wide, free of control characters whatever a camera says.

use crate::console::view::{NetworkView, StatusView, StepView, StreamView};

/// Columns of a screen.
pub(in crate::commands) const WIDTH: usize = 100;

/// A table of fixed columns: (title, width, right-aligned).
pub(in crate::commands) struct Table<const N: usize>(pub [(&'static str, usize, bool); N]);

pub(in crate::commands) const STREAMS: Table<9> = Table([
    ("STREAM", 20, false),
    ("STATE", 12, false),
    ("SOURCE", 10, false),
    ("FPS IN", 6, true),
    ("FPS DET", 7, true),
    ("PICTURE", 9, true),
    ("DROPS", 8, true),
    ("PEOPLE", 8, true),
    ("HITS", 7, true),
]);

pub(in crate::commands) const STEPS: Table<7> = Table([
    ("STEP", 20, false),
    ("COUNT", 12, true),
    ("P50 MS", 9, true),
    ("P90 MS", 9, true),
    ("P99 MS", 9, true),
    ("P99.9 MS", 9, true),
    ("MAX MS", 9, true),
]);

pub(in crate::commands) const NETWORKS: Table<4> =
    Table([("MODEL", 28, false), ("TASK", 16, false), ("WORKERS", 7, true), ("RUNS ON", 44, false)]);

impl<const N: usize> Table<N> {
    /// The line of titles.
    pub fn line(&self) -> String {
        self.row(&self.0.map(|(title, ..)| title.to_owned()))
    }
    pub fn row(&self, cells: &[String; N]) -> String {
        let mut line = String::new();
        for (cell, (_, width, right)) in cells.iter().zip(self.0) {
            if !line.is_empty() {
                line.push(' ');
            }
            let cell = cut(cell, width);
            let pad = " ".repeat(width - cell.chars().count());
            line += &if right { pad + &cell } else { cell + &pad };
        }
        line
    }
}

pub(in crate::commands) fn network(network: &NetworkView) -> [String; 4] {
    [plain(&network.model), plain(&network.task), network.workers.to_string(), plain(&network.runs_on)]
}

pub(in crate::commands) fn stream(stream: &StreamView) -> [String; 9] {
    let picture = if stream.width == 0 { "–".to_owned() } else { format!("{}×{}", stream.width, stream.height) };
    [
        plain(&stream.name),
        plain(&stream.state),
        plain(&stream.health),
        format!("{:.1}", stream.fps_in),
        format!("{:.1}", stream.fps_detected),
        picture,
        count(stream.overwritten),
        count(stream.tracks),
        count(stream.hits),
    ]
}

pub(in crate::commands) fn step(step: &StepView) -> [String; 7] {
    let ms = |value: f64| match value {
        _ if step.count == 0 => "–".to_owned(),
        ..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    };
    let [p50, p90, p99, p999, max] = [step.p50_ms, step.p90_ms, step.p99_ms, step.p999_ms, step.max_ms].map(ms);
    [plain(&step.name), count(step.count), p50, p90, p99, p999, max]
}

/// The steps as a frame meets them; what spans several stands last.
pub(in crate::commands) fn in_journey_order(steps: &[StepView]) -> Vec<&StepView> {
    const JOURNEY: [&str; 9] = ["batch", "detect", "track", "align", "embed", "match", "decide", "emit", "capture-to-done"];
    let mut ordered: Vec<&StepView> = steps.iter().collect();
    ordered.sort_by_key(|step| JOURNEY.iter().position(|name| *name == step.name).unwrap_or(JOURNEY.len()));
    ordered
}

/// Why a stream is in its state, what would change it, and what its source complains of.
pub(in crate::commands) fn why(stream: &StreamView) -> String {
    let mut parts = vec![plain(&stream.reason)];
    // Some reasons name the instant themselves.
    if !stream.next_change.is_empty() && !stream.reason.contains(&stream.next_change) {
        parts.push(format!("until {}", minute(&stream.next_change)));
    }
    if stream.withheld > 0 {
        parts.push(format!("{} frames released unread", count(stream.withheld)));
    }
    if stream.reconnects > 0 {
        parts.push(format!("reconnected {} times", count(stream.reconnects)));
    }
    if !stream.health_detail.is_empty() {
        parts.push(format!("source: {}", plain(&stream.health_detail)));
    }
    parts.retain(|p| !p.is_empty());
    parts.join("; ")
}

/// The lines above the tables.
pub(in crate::commands) fn header(status: &StatusView) -> Vec<String> {
    let site = if status.site.is_empty() { "no site" } else { &status.site };
    let up = duration(status.uptime_s);
    let first = format!("{} · {site} · {} · up {up} · placard {} (pid {})", status.name, status.mode, status.version, status.pid);
    let approvals = match (status.policy.stand_ins, status.policy.waiting) {
        (true, _) => "approvals: by stand-ins, which is nobody's".to_owned(),
        (false, 0) => String::new(),
        (false, waiting) => format!("approvals: {waiting} proposals wait for signatures (placard approve list)"),
    };
    let policy = if status.policy.alive {
        format!("policy thread: alive, last round {:.0} ms ago", status.policy.heartbeat_age_ms)
    } else {
        format!("policy thread: SILENT for {:.0} ms, every stream goes dark", status.policy.heartbeat_age_ms)
    };
    let galleries = status.galleries.iter().map(|g| format!("{} {} (version {})", g.purpose, count(g.templates), g.version));
    let galleries = galleries.collect::<Vec<_>>().join(", ");
    let gallery = if galleries.is_empty() { "gallery: empty".to_owned() } else { format!("gallery: {galleries}") };
    [first, plain(&status.pipeline), policy, approvals, gallery].iter().filter(|l| !l.is_empty()).map(|l| cut(&plain(l), WIDTH)).collect()
}

/// `text` in lines of at most `width` columns, each indented.
pub(in crate::commands) fn wrapped(text: &str, indent: usize, width: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(8);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, room);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines.into_iter().map(|line| " ".repeat(indent) + &line).collect()
}

/// What a camera or a file said, without anything that a terminal would obey.
pub(in crate::commands) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `2026-12-01T00:00:00.000Z` → `2026-12-01 00:00 UTC`; anything else as it is.
fn minute(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(minute)) if time.ends_with('Z') => plain(&format!("{day} {minute} UTC")),
        _ => plain(time),
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width - 1).chain(['…']).collect() }
}

/// 1 234 567, in six columns at most: 12.3 M from ten million up.
fn count(n: u64) -> String {
    match n {
        0..10_000_000 => n.to_string(),
        10_000_000..1_000_000_000 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.1e}", n as f64),
    }
}

fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an uptime is neither negative nor beyond 2^63 s")]
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}
