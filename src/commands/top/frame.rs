//! One frame of `placard top`: header, streams, reasons, steps, events, alarms.
//!
//! Colour repeats what a word already says; nothing is told by colour alone. Everything that may grow is cut or scrolled, so that
//! any size of terminal shows the most important lines first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Wrap};

use super::Shot;
use crate::commands::status::rows;
use crate::console::view::StreamView;

/// Rows of titles and borders around a table.
const TABLE_FRAME: u16 = 2;
/// Most rows that the list of alarms takes from the rest.
const MAX_ALARMS: u16 = 5;
/// Columns before a reason, for the stream's name.
const NAME_COLUMNS: usize = 24;
/// On a terminal that is narrower than this, the streams' table leaves columns out: a cut number would be a wrong number.
const FULL_WIDTH: u16 = 96;

/// The first stream shown.
#[derive(Default)]
pub(super) struct Scroll {
    first: usize,
}

impl Scroll {
    pub fn down(&mut self, by: usize) {
        self.first = self.first.saturating_add(by);
    }
    pub fn up(&mut self, by: usize) {
        self.first = self.first.saturating_sub(by);
    }
    pub fn keep_within(&mut self, streams: usize) {
        self.first = self.first.min(streams.saturating_sub(1));
    }
}

fn rows_of(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX / 8)
}

/// The height at which nothing is cut, for a frame that is printed once.
pub(super) fn height_of(shot: &Shot) -> u16 {
    let streams = rows_of(shot.status.streams.len());
    let reasons: usize = shot.status.streams.iter().map(|s| rows::wrapped(&rows::why(s), NAME_COLUMNS, rows::WIDTH).len().max(1)).sum();
    let lists = rows_of(shot.status.steps.len().max(shot.events.len()));
    let alarms = alarm_rows(shot);
    rows_of(rows::header(&shot.status).len()) + streams + TABLE_FRAME + rows_of(reasons) + 1 + lists + TABLE_FRAME + alarms + 1
}

fn alarm_rows(shot: &Shot) -> u16 {
    if shot.status.alarms.is_empty() { 0 } else { rows_of(shot.status.alarms.len()).min(MAX_ALARMS) + 1 }
}

pub(super) fn draw(frame: &mut Frame<'_>, shot: &Shot, scroll: &Scroll, trouble: Option<&str>) {
    let streams = &shot.status.streams[scroll.first.min(shot.status.streams.len())..];
    let header = rows::header(&shot.status);
    let reasons = reasons(streams, usize::from(frame.area().width));
    let why_rows = rows_of(reasons.len()) + 1;
    let parts = Layout::vertical([
        Constraint::Length(rows_of(header.len())),
        Constraint::Length(alarm_rows(shot)),
        Constraint::Max(rows_of(streams.len()) + TABLE_FRAME),
        Constraint::Max(why_rows),
        Constraint::Min(6),
        Constraint::Length(1),
    ]);
    let [top, alarms, table, why, bottom, foot] = frame.area().layout(&parts);
    draw_header(frame, top, &header, shot.status.policy.alive);
    draw_alarms(frame, alarms, shot);
    draw_streams(frame, table, streams);
    frame.render_widget(Paragraph::new(reasons).block(block("Why ")), why);
    let [steps, events] = bottom.layout(&Layout::horizontal([Constraint::Length(52), Constraint::Min(0)]).spacing(2));
    draw_steps(frame, steps, shot);
    draw_events(frame, events, shot);
    draw_foot(frame, foot, trouble);
}

fn block(title: &str) -> Block<'_> {
    Block::default().borders(Borders::TOP).border_style(Style::new().fg(Color::DarkGray)).title(Span::styled(title, Modifier::BOLD))
}

fn draw_header(frame: &mut Frame<'_>, area: Rect, header: &[String], alive: bool) {
    let style = |i: usize, line: &str| match i {
        0 => Style::new().add_modifier(Modifier::BOLD),
        _ if line.starts_with("policy") && !alive => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        _ => Style::new(),
    };
    let lines: Vec<Line<'_>> = header.iter().enumerate().map(|(i, l)| Line::styled(l.as_str(), style(i, l))).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_alarms(frame: &mut Frame<'_>, area: Rect, shot: &Shot) {
    let style = Style::new().fg(Color::Red);
    let lines: Vec<Line<'_>> = shot.status.alarms.iter().map(|a| Line::styled(format!("! {}", rows::plain(a)), style)).collect();
    frame.render_widget(Paragraph::new(lines).block(block("Alarms ")), area);
}

fn state_style(state: &str) -> Style {
    match state {
        "recognise" => Style::new().fg(Color::Green).add_modifier(Modifier::BOLD),
        "detect" => Style::new().fg(Color::Cyan),
        "capture-only" => Style::new().fg(Color::Yellow),
        "no-detector" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        _ => Style::new().fg(Color::DarkGray),
    }
}

fn health_style(health: &str) -> Style {
    match health {
        "live" => Style::new().fg(Color::Green),
        "ended" => Style::new().fg(Color::DarkGray),
        "failed" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        _ => Style::new().fg(Color::Yellow),
    }
}

/// A ratatui table with the columns of a shared one.
fn table<'a, const N: usize>(columns: &rows::Table<N>, body: Vec<Row<'a>>) -> Table<'a> {
    let titles = columns.0.map(|(title, width, right)| if right { format!("{title:>width$}") } else { title.to_owned() });
    let widths = columns.0.map(|(_, width, _)| Constraint::Length(rows_of(width)));
    Table::new(body, widths).column_spacing(1).header(Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD)))
}

fn aligned<const N: usize>(columns: &rows::Table<N>, cells: [String; N]) -> [String; N] {
    let mut aligned = cells;
    for (cell, (_, width, right)) in aligned.iter_mut().zip(columns.0) {
        if right {
            *cell = format!("{cell:>width$}");
        }
    }
    aligned
}

const NARROW_STREAMS: rows::Table<7> = rows::Table([
    ("STREAM", 18, false),
    ("STATE", 12, false),
    ("SOURCE", 10, false),
    ("FPS IN", 6, true),
    ("FPS DET", 7, true),
    ("DROPS", 8, true),
    ("HITS", 7, true),
]);

fn draw_streams(frame: &mut Frame<'_>, area: Rect, streams: &[StreamView]) {
    let table = if area.width >= FULL_WIDTH {
        let body = streams.iter().map(|s| stream_row(s, &rows::STREAMS, rows::stream(s)));
        table(&rows::STREAMS, body.collect())
    } else {
        let narrow = |s: &StreamView| {
            let [name, state, health, fps_in, fps_detected, _picture, drops, _people, hits] = rows::stream(s);
            stream_row(s, &NARROW_STREAMS, [name, state, health, fps_in, fps_detected, drops, hits])
        };
        table(&NARROW_STREAMS, streams.iter().map(narrow).collect())
    };
    frame.render_widget(table.block(block("Streams ")), area);
}

fn stream_row<const N: usize>(stream: &StreamView, columns: &rows::Table<N>, cells: [String; N]) -> Row<'static> {
    let style = |title: &str| match title {
        "STATE" => state_style(&stream.state),
        "SOURCE" => health_style(&stream.health),
        "DROPS" if stream.overwritten > 0 => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    };
    let cells = aligned(columns, cells).into_iter().zip(columns.0).map(|(cell, (title, ..))| Span::styled(cell, style(title)));
    Row::new(cells.collect::<Vec<_>>())
}

/// Why each stream is in its state, wrapped to `width` columns.
fn reasons(streams: &[StreamView], width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for stream in streams {
        let name = rows::plain(&stream.name);
        for (i, text) in rows::wrapped(&rows::why(stream), NAME_COLUMNS, width).iter().enumerate() {
            let label = if i == 0 { format!("{name:.22}") } else { String::new() };
            lines.push(Line::from(vec![
                Span::styled(format!("{label:<NAME_COLUMNS$}"), state_style(&stream.state)),
                Span::raw(text[NAME_COLUMNS..].to_owned()),
            ]));
        }
    }
    lines
}

const NARROW_STEPS: rows::Table<5> =
    rows::Table([("STEP", 20, false), ("COUNT", 8, true), ("P50 MS", 6, true), ("P99 MS", 7, true), ("MAX MS", 7, true)]);

fn draw_steps(frame: &mut Frame<'_>, area: Rect, shot: &Shot) {
    let row = |step| {
        let [name, count, p50, _p90, p99, _p999, max] = rows::step(step);
        Row::new(aligned(&NARROW_STEPS, [name, count, p50, p99, max]))
    };
    let body = rows::in_journey_order(&shot.status.steps).into_iter().map(row).collect();
    frame.render_widget(table(&NARROW_STEPS, body).block(block("Steps ")), area);
}

/// Time, stream, purpose and score (or a mask check's answer): enough to see that something happens. Who it may be is for the person whose task it is.
fn draw_events(frame: &mut Frame<'_>, area: Rect, shot: &Shot) {
    let text = |event: &serde_json::Value, name: &str| rows::plain(event[name].as_str().unwrap_or_default());
    let line = |event: &serde_json::Value| {
        let at = text(event, "decided_at");
        let clock = at.get(11..19).unwrap_or_default();
        let score = event["candidates"][0]["score"].as_f64().or(event["confidence"].as_f64()).unwrap_or_default();
        let answer = event["mask_worn"].as_bool().map_or("", |worn| if worn { " masked" } else { " bare" });
        Line::from(vec![
            Span::styled(format!("{clock} "), Style::new().fg(Color::DarkGray)),
            Span::raw(format!("{score:.2} {} ", text(event, "stream"))),
            Span::styled(text(event, "purpose"), Style::new().fg(Color::Green)),
            Span::raw(answer),
        ])
    };
    let newest_first: Vec<Line<'_>> = shot.events.iter().rev().map(line).collect();
    let body = if newest_first.is_empty() { vec![Line::styled("none yet", Style::new().fg(Color::DarkGray))] } else { newest_first };
    frame.render_widget(Paragraph::new(body).block(block("Recent events ")), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, trouble: Option<&str>) {
    let line = match trouble {
        Some(trouble) => Line::styled(format!("{trouble}; trying again"), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
        None => Line::styled("q quit · ↑ ↓ scroll", Style::new().fg(Color::DarkGray)),
    };
    frame.render_widget(Paragraph::new(line).wrap(Wrap { trim: true }), area);
}
