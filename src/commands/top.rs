//! `placard top`: the running service, live. `q` quits; without a terminal, or with `--once`, one plain frame is printed.

mod frame;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};
use serde::Serialize;

use super::status::rows::WIDTH;
use super::status::{connect, failed};
use super::{Context, Exit, Failed, Outcome};
use crate::console::client::{Client, ClientError};
use crate::console::view::StatusView;

/// Events asked for; more than any screen shows.
const RECENT_EVENTS: usize = 30;

#[derive(clap::Args)]
pub struct Args {
    /// Print one frame and end.
    #[arg(long)]
    once: bool,
    /// Seconds between two frames, 0.2 to 60.
    #[arg(long, default_value_t = 1.0, value_parser = interval)]
    interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.2..=60.0).contains(s)).ok_or_else(|| "0.2 to 60 seconds".to_owned())
}

/// What one frame shows.
#[derive(Serialize)]
struct Shot {
    status: StatusView,
    events: Vec<serde_json::Value>,
}

fn take(client: &Client) -> Result<Shot, ClientError> {
    Ok(Shot { status: client.get("/v1/status")?, events: client.get(&format!("/v1/events/recent?limit={RECENT_EVENTS}"))? })
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let client = connect(context)?;
    let first = take(&client).map_err(failed)?;
    if context.json {
        return stream_json(&client, first, &args);
    }
    if args.once || !std::io::stdout().is_terminal() {
        std::io::stdout().lock().write_all(plain_frame(&first).map_err(Failed::from)?.as_bytes())?;
        return Ok(Exit::Success);
    }
    // Restored also when a panic unwinds: `init` installs a hook.
    let mut terminal = ratatui::try_init()?;
    let watched = watch(&mut terminal, &client, first, Duration::from_secs_f64(args.interval));
    ratatui::restore();
    watched?;
    Ok(Exit::Success)
}

/// One object a line, until the service or the reader goes away.
fn stream_json(client: &Client, first: Shot, args: &Args) -> Outcome {
    let pause = crate::shutdown::Shutdown::new();
    let mut shot = first;
    loop {
        let line = serde_json::to_string(&shot)?;
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() || args.once {
            return Ok(Exit::Success);
        }
        pause.wait(Duration::from_secs_f64(args.interval));
        shot = take(client).map_err(failed)?;
    }
}

/// The same frame as on a terminal, as text.
fn plain_frame(shot: &Shot) -> std::io::Result<String> {
    let width = u16::try_from(WIDTH).unwrap_or(u16::MAX);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, frame::height_of(shot)));
    let Ok(_drawn) = terminal.draw(|f| frame::draw(f, shot, &frame::Scroll::default(), None));
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let lines = (0..buffer.area.height).map(|y| row(y).trim_end().to_owned() + "\n");
    Ok(lines.collect())
}

/// Redraws at each interval and on each key, until `q`. A service that goes away is waited for.
fn watch(terminal: &mut DefaultTerminal, client: &Client, first: Shot, interval: Duration) -> anyhow::Result<()> {
    let mut shot = first;
    let mut scroll = frame::Scroll::default();
    let mut trouble: Option<String> = None;
    let mut due = Instant::now() + interval;
    loop {
        scroll.keep_within(shot.status.streams.len());
        terminal.draw(|f| frame::draw(f, &shot, &scroll, trouble.as_deref()))?;
        if event::poll(due.saturating_duration_since(Instant::now()))? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                    KeyCode::Down | KeyCode::Char('j') => scroll.down(1),
                    KeyCode::Up | KeyCode::Char('k') => scroll.up(1),
                    KeyCode::PageDown => scroll.down(10),
                    KeyCode::PageUp => scroll.up(10),
                    KeyCode::Home => scroll.up(usize::MAX),
                    _ => {}
                }
            }
            continue;
        }
        due = Instant::now() + interval;
        match take(client) {
            Ok(next) => (shot, trouble) = (next, None),
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Appliance;
    use crate::console::fake::Fake;

    fn shot() -> Shot {
        let fake = Fake::new();
        Shot { status: fake.status(), events: fake.recent_events(10) }
    }

    #[test]
    fn one_plain_frame_tells_it_all() {
        let text = plain_frame(&shot()).expect("drawn");
        for part in
            ["Central Station", "north-gate", "recognise", "detect", "P99 MS", "no sign covers", "needs an inspection", "missing-person"]
        {
            assert!(text.contains(part), "{part} is missing from\n{text}");
        }
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn a_narrow_terminal_cuts_no_number() {
        let shot = shot();
        let Ok(mut terminal) = Terminal::new(TestBackend::new(80, 24));
        let Ok(_drawn) = terminal.draw(|f| frame::draw(f, &shot, &frame::Scroll::default(), None));
        let buffer = terminal.backend().buffer();
        let row = |y: u16| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let hall = (0..24).map(row).find(|l| l.starts_with("hall-2 ")).expect("a row");
        assert!(hall.contains(" 17 ") && hall.contains("12.5"), "{hall}");
    }

    #[test]
    fn any_size_of_terminal_can_be_drawn_on() {
        let mut shot = shot();
        for (streams, width, height) in [(4, 1, 1), (4, 80, 24), (0, 100, 30), (60, 200, 60), (60, 40, 10)] {
            let one = shot.status.streams.first().cloned().unwrap_or_default();
            shot.status.streams.resize(streams, one);
            let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
            let mut scroll = frame::Scroll::default();
            scroll.down(1_000);
            scroll.keep_within(streams);
            let Ok(_drawn) = terminal.draw(|f| frame::draw(f, &shot, &scroll, Some("no appliance answers")));
        }
    }
}
