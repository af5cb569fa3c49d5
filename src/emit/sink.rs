//! Sinks: one thread each, reading the journal from a cursor of its own, delivering in order, at least once, for ever.
//!
//! ```text
//! journal ──▶ reader ──▶ Sink::deliver ──ok──▶ next          cursor saved every 64 events, or after 1 s, or when idle
//!                             └──failed──▶ jittered pause, the same event again
//! ```
//!
//! Invariants: a sink reads nothing that is not acknowledged; its cursor never passes an event it has not delivered (a crash repeats
//! up to 64 events, never skips one); a slow or dead sink holds up nobody, because the journal is all it shares with anyone. Journal
//! files are never deleted here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::backoff::{Backoff, Pauses};
use super::journal::files::JournalSource;
use super::journal::reader::{Item, JournalReader, Record};
use super::journal::retention::{RefusedUses, came_of};
use super::journal::{JournalHead, Position};
use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::counters::{Counter, Counters, Gauge, Reading};
use crate::shutdown::Shutdown;
use crate::state::replace_file;

/// Somebody who is told.
pub trait Sink: Send {
    /// `mqtt`, `webhook`: names thread, cursor file and counters.
    fn name(&self) -> &'static str;
    /// Tells of one event. `Ok` only when the other side has taken it over. May block up to its own time limit.
    fn deliver(&mut self, record: &Record) -> Result<(), SinkError>;
    /// Called about once a second while there is nothing to deliver: keep connections, announce presence.
    fn idle(&mut self) {}
    /// Called once, last.
    fn close(&mut self) {}
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It cannot be reached, or did not answer in time.
    #[error("{0}")]
    Unavailable(String),
    /// It answered, and the answer was no.
    #[error("{0}")]
    Refused(String),
}

const SAVE_EVERY_EVENTS: u32 = 64;
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long an idle sink waits before it looks at the shutdown token again.
const IDLE_WAIT: Duration = Duration::from_millis(250);

/// Counts of one sink; the component is `emit_<sink>`.
#[derive(Debug, Default)]
pub struct SinkCounters {
    component: &'static str,
    pub delivered: Counter,
    pub errors: Counter,
    pub corrupt_lines: Counter,
    pub withheld: Counter,
    /// 1 while the last attempt failed.
    pub failing: Gauge,
    last_error: Mutex<Option<String>>,
}

impl SinkCounters {
    fn new(name: &str) -> Self {
        let component = match name {
            "mqtt" => "emit_mqtt",
            "webhook" => "emit_webhook",
            _ => "emit_sink",
        };
        Self { component, ..Self::default() }
    }
    /// Why the event at the cursor could not be delivered so far.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }
}

impl Counters for SinkCounters {
    fn component(&self) -> &'static str {
        self.component
    }
    fn visit(&self, each: &mut dyn FnMut(Reading<'_>)) {
        let counter = |name, help, value: &Counter| Reading::Counter { name, help, value: value.get() };
        each(counter("delivered", "Events the sink has taken over.", &self.delivered));
        each(counter("errors", "Attempts to deliver that failed and were, or will be, repeated.", &self.errors));
        each(counter("corrupt_lines", "Damaged journal lines that the sink skipped.", &self.corrupt_lines));
        each(counter("withheld", "Events that the sink was not given, because the use that they came of was refused.", &self.withheld));
        each(Reading::Gauge { name: "failing", help: "1 while the last attempt to deliver failed.", value: self.failing.get() });
    }
}

/// What a sink thread needs.
pub struct SinkSettings {
    /// The journal's directory: the cursor lies there too.
    pub directory: PathBuf,
    pub source: Arc<dyn JournalSource>,
    pub head: JournalHead,
    /// What came of these is delivered to nobody, also where it is in the journal still.
    pub refused: RefusedUses,
    pub pauses: Pauses,
    pub clock: SharedClock,
    pub shutdown: Shutdown,
}

/// A running sink.
pub struct SinkThread {
    pub name: &'static str,
    pub counters: Arc<SinkCounters>,
    cursor: Arc<Mutex<Position>>,
    thread: Option<JoinHandle<()>>,
}

impl SinkThread {
    /// Starts the thread `emit-<name>`.
    pub fn start(sink: Box<dyn Sink>, settings: SinkSettings) -> io::Result<Self> {
        let name = sink.name();
        let counters = Arc::new(SinkCounters::new(name));
        let cursor = Arc::new(Mutex::new(Position::START));
        let (shared, place) = (Arc::clone(&counters), Arc::clone(&cursor));
        let thread = std::thread::Builder::new().name(format!("emit-{name}")).spawn(move || {
            let mut runner = Runner {
                cursor_file: settings.directory.join(format!("{name}.cursor")),
                backoff: Backoff::new(settings.pauses),
                saved: Saved { events: 0, at: settings.clock.monotonic(), failing: false },
                sink,
                settings,
                counters: shared,
                cursor: place,
            };
            runner.run();
            runner.sink.close();
        })?;
        Ok(Self { name, counters, cursor, thread: Some(thread) })
    }
    /// Everything before this place was delivered.
    pub fn position(&self) -> Position {
        *self.cursor.lock()
    }
    /// Waits for the thread after shutdown was requested.
    pub fn join(&mut self) {
        if self.thread.take().is_some_and(|t| t.join().is_err()) {
            tracing::error!(sink = self.name, "the sink's thread panicked");
        }
    }
}

enum Delivered {
    Yes,
    No,
    PerhapsErased,
}

struct Saved {
    /// Delivered since the cursor was saved.
    events: u32,
    at: Stamp<Monotonic>,
    /// The last attempt to save failed.
    failing: bool,
}

struct Runner {
    sink: Box<dyn Sink>,
    settings: SinkSettings,
    cursor_file: PathBuf,
    counters: Arc<SinkCounters>,
    cursor: Arc<Mutex<Position>>,
    backoff: Backoff,
    saved: Saved,
}

impl Runner {
    fn run(&mut self) {
        let Some(mut reader) = self.open_reader() else { return };
        let mut erasures = self.settings.head.erasures();
        while !self.settings.shutdown.is_requested() {
            let place = reader.position();
            *self.cursor.lock() = place;
            let so_far = self.settings.head.erasures();
            if std::mem::replace(&mut erasures, so_far) != so_far {
                reader.read_again(place);
            }
            let end = self.settings.head.end();
            match reader.next(end) {
                Ok(Some(Item::Record(record))) => match self.deliver(&record, erasures) {
                    // Shutdown before it was delivered: the cursor stays before it.
                    Delivered::No => break,
                    Delivered::PerhapsErased => reader.read_again(place),
                    Delivered::Yes => {
                        *self.cursor.lock() = record.end;
                        self.saved.events += 1;
                        self.save_if_due();
                    }
                },
                Ok(Some(Item::Erased(_))) => {}
                Ok(Some(Item::Corrupt(corrupt))) => {
                    self.counters.corrupt_lines.increment();
                    tracing::warn!(sink = self.sink.name(), %corrupt, "damaged journal line skipped");
                }
                Ok(None) => {
                    if self.saved.events > 0 {
                        self.save();
                    }
                    // Nothing waits to be delivered, so whatever failed (reading the journal) fails no longer.
                    self.recovered();
                    // Everything before `end` was read, or is not there any more: either way only more of it is of interest.
                    if !self.settings.head.wait_beyond(end.max(reader.position()), IDLE_WAIT) {
                        self.sink.idle();
                    }
                }
                Err(error) => {
                    tracing::warn!(sink = self.sink.name(), %error, "the journal cannot be read; trying again");
                    self.pause(&error.to_string());
                }
            }
        }
        if self.saved.events > 0 {
            self.save();
        }
    }

    /// Takes up at the cursor; retries while the journal cannot be read at all.
    fn open_reader(&mut self) -> Option<JournalReader> {
        let name = self.sink.name();
        let cursor = load_cursor(&self.cursor_file).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let file = self.cursor_file.display();
                tracing::warn!(sink = name, %file, %error, "unreadable cursor: delivering the journal from its beginning");
            }
            Position::START
        });
        loop {
            match JournalReader::resume(Arc::clone(&self.settings.source), cursor) {
                Ok((reader, exact)) => {
                    if !exact {
                        tracing::warn!(sink = name, ?cursor, "the cursor does not fit the journal: delivering again from an earlier place");
                    }
                    return Some(reader);
                }
                Err(error) => {
                    tracing::warn!(sink = name, %error, "the journal cannot be read; trying again");
                    if self.pause(&error.to_string()) {
                        return None;
                    }
                }
            }
        }
    }

    /// Tries until it is delivered, or shutdown is requested, or events were erased since `erasures`: perhaps it is one of them.
    fn deliver(&mut self, record: &Record, erasures: u64) -> Delivered {
        let name = self.sink.name();
        loop {
            // The journal's erasure goes file by file and may have failed: what was delivered could not be taken back.
            if came_of(&record.json, &(self.settings.refused)()).is_some() {
                self.counters.withheld.increment();
                return Delivered::Yes;
            }
            match self.sink.deliver(record) {
                Ok(()) => {
                    self.recovered();
                    self.counters.delivered.increment();
                    return Delivered::Yes;
                }
                Err(error) => {
                    // Once per outage, and once per event that is refused: a broker that is down for a day makes one line.
                    if self.backoff.failures() == 0 {
                        tracing::warn!(sink = name, event = record.id, %error, "not delivered; trying again until it is");
                    }
                    self.counters.errors.increment();
                    if self.pause(&error.to_string()) {
                        return Delivered::No;
                    }
                    if self.settings.head.erasures() != erasures {
                        return Delivered::PerhapsErased;
                    }
                }
            }
        }
    }

    /// Ends a run of failures, if there is one.
    fn recovered(&mut self) {
        if self.backoff.failures() > 0 {
            tracing::info!(sink = self.sink.name(), attempts = self.backoff.failures() + 1, "delivering again");
            self.backoff.succeeded();
            self.counters.failing.set(0);
            *self.counters.last_error.lock() = None;
        }
    }

    /// True when shutdown was requested meanwhile.
    fn pause(&mut self, error: &str) -> bool {
        self.counters.failing.set(1);
        *self.counters.last_error.lock() = Some(error.to_owned());
        if self.saved.events > 0 {
            self.save();
        }
        self.settings.shutdown.wait(self.backoff.failed())
    }

    fn save_if_due(&mut self) {
        let age = self.settings.clock.monotonic().since_ns(self.saved.at);
        if self.saved.events >= SAVE_EVERY_EVENTS || u128::try_from(age).is_ok_and(|age| age >= SAVE_EVERY.as_nanos()) {
            self.save();
        }
    }

    fn save(&mut self) {
        let position = *self.cursor.lock();
        self.saved.at = self.settings.clock.monotonic();
        match save_cursor(&self.cursor_file, position) {
            Ok(()) => {
                self.saved.events = 0;
                self.saved.failing = false;
            }
            // The old cursor stands: a restart would repeat, not skip. Tried again at the next occasion, said once: a disk that is full for
            // a day makes one line.
            Err(error) => {
                if !std::mem::replace(&mut self.saved.failing, true) {
                    tracing::warn!(sink = self.sink.name(), file = %self.cursor_file.display(), %error, "the cursor was not saved");
                }
            }
        }
    }
}

/// Reads `<sink>.cursor`: one JSON object.
pub fn load_cursor(file: &Path) -> io::Result<Position> {
    let bytes = std::fs::read(file)?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

fn save_cursor(file: &Path, position: Position) -> io::Result<()> {
    let mut json = serde_json::to_vec(&position)?;
    json.push(b'\n');
    replace_file(file, &json, 0o600)
}

#[cfg(test)]
mod tests;
