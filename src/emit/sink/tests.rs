//! The sink thread with a journal that cannot be read for a while.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use super::*;
use crate::clock::SystemClock;
use crate::emit::journal::Journal;
use crate::emit::journal::erasure::Erasure;
use crate::emit::journal::retention::Retention;
use crate::policy::facts::Register;
use crate::policy::refused::testing::refused;
use crate::policy::refused::{RefusedUse, refused_uses};

/// Cannot be read until it is mended: too many open files, say.
struct Flaky {
    source: Arc<dyn JournalSource>,
    mended: AtomicBool,
}

impl Flaky {
    fn check(&self) -> io::Result<()> {
        if self.mended.load(SeqCst) { Ok(()) } else { Err(io::Error::other("injected failure to read")) }
    }
}

impl JournalSource for Flaky {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        self.check()?;
        self.source.numbers()
    }
    fn read(&self, number: u64, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.source.read(number, offset, into)
    }
}

struct Nobody;

impl Sink for Nobody {
    fn name(&self) -> &'static str {
        "nobody"
    }
    fn deliver(&mut self, _record: &Record) -> Result<(), SinkError> {
        Ok(())
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let (begun, pause) = (Instant::now(), Shutdown::new());
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited 30 s for: {what}");
        pause.wait(Duration::from_millis(2));
    }
}

#[test]
fn what_came_of_a_refused_use_is_delivered_to_nobody_though_it_is_in_the_journal_still() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (mut journal, _) = Journal::open(directory.path(), 1).expect("journal");
    let mut lines = Vec::new();
    for (id, purpose) in [("first", "crime-prevention:7"), ("second", "missing-person:mp-7"), ("third", "crime-prevention:7")] {
        let json = format!(r#"{{"id":"{id}","stream":"gate","purpose":"{purpose}","decided_at":"2026-11-11T00:00:00Z"}}"#);
        crate::emit::journal::line::seal(json.as_bytes(), &mut lines);
    }
    journal.append(&lines).expect("writes");
    let ((given, asked), (take, takes)) = (crossbeam::channel::unbounded(), crossbeam::channel::unbounded());
    let (shutdown, list) = (Shutdown::new(), Arc::new(Mutex::new(Arc::<Vec<RefusedUse>>::default())));
    let in_force = Arc::clone(&list);
    let settings = SinkSettings {
        directory: directory.path().to_owned(),
        source: Journal::source(directory.path()),
        head: journal.head(),
        refused: Arc::new(move || Arc::clone(&in_force.lock())),
        pauses: Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(5) },
        clock: SystemClock::shared(),
        shutdown: shutdown.clone(),
    };
    let mut thread = SinkThread::start(Box::new(Told { given, takes }), settings).expect("a thread");
    let next = || asked.recv_timeout(Duration::from_secs(30)).expect("asked");
    assert_eq!(next(), "first");
    // The webhook is down; meanwhile the use is refused, and nothing of it is erased yet.
    let purpose = "crime-prevention:7".parse().expect("a purpose");
    let register = Register { authorisations: vec![refused("u-1", &purpose)], ..Register::default() };
    *list.lock() = Arc::new(refused_uses(&register));
    take.send(false).expect("listens");
    assert_eq!(next(), "second", "another purpose");
    take.send(true).expect("listens");
    wait_until("it is read to its end", || thread.counters.withheld.get() == 2);
    assert_eq!(thread.counters.delivered.get(), 1);
    shutdown.request();
    drop(take);
    thread.join();
    assert!(asked.try_recv().is_err(), "nothing else was told");
}

#[test]
fn an_idle_sink_is_called_failing_only_while_it_fails() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (journal, _) = Journal::open(directory.path(), 1).expect("journal");
    let source = Arc::new(Flaky { source: Journal::source(directory.path()), mended: AtomicBool::new(false) });
    let shutdown = Shutdown::new();
    let settings = SinkSettings {
        directory: directory.path().to_owned(),
        source: Arc::clone(&source) as Arc<dyn JournalSource>,
        head: journal.head(),
        refused: Retention::default().refused,
        pauses: Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(5) },
        clock: SystemClock::shared(),
        shutdown: shutdown.clone(),
    };
    let mut thread = SinkThread::start(Box::new(Nobody), settings).expect("a thread");
    wait_until("the sink notices", || thread.counters.failing.get() == 1);
    assert!(thread.counters.last_error().is_some_and(|e| e.contains("injected")));
    source.mended.store(true, SeqCst);
    // No event comes: being able to read the journal to its end is enough.
    wait_until("the sink recovers", || thread.counters.failing.get() == 0 && thread.counters.last_error().is_none());
    shutdown.request();
    thread.join();
}

/// Says what it is given, and takes it over or not, as it is told.
struct Told {
    given: crossbeam::channel::Sender<String>,
    takes: crossbeam::channel::Receiver<bool>,
}

impl Sink for Told {
    fn name(&self) -> &'static str {
        "told"
    }
    fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        self.given.send(record.id.clone()).expect("somebody listens");
        match self.takes.recv() {
            Ok(true) => Ok(()),
            _ => Err(SinkError::Unavailable("not now".to_owned())),
        }
    }
}

#[test]
fn an_event_that_was_read_and_not_told_yet_is_told_to_nobody_once_it_is_erased() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (mut journal, _) = Journal::open(directory.path(), 1).expect("journal");
    let mut lines = Vec::new();
    for id in ["first", "second", "third"] {
        let json = format!(r#"{{"id":"{id}","stream":"gate","more":"long enough to be an event"}}"#);
        crate::emit::journal::line::seal(json.as_bytes(), &mut lines);
    }
    journal.append(&lines).expect("writes");
    let ((given, asked), (take, takes)) = (crossbeam::channel::unbounded(), crossbeam::channel::unbounded());
    let shutdown = Shutdown::new();
    let settings = SinkSettings {
        directory: directory.path().to_owned(),
        source: Journal::source(directory.path()),
        head: journal.head(),
        refused: Retention::default().refused,
        pauses: Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(5) },
        clock: SystemClock::shared(),
        shutdown: shutdown.clone(),
    };
    let mut thread = SinkThread::start(Box::new(Told { given, takes }), settings).expect("a thread");
    let next = || asked.recv_timeout(Duration::from_secs(30)).expect("asked");
    assert_eq!(next(), "first");
    take.send(false).expect("listens");
    assert_eq!(next(), "first", "tried again");
    // Read into memory long ago, all of them.
    let chosen = |json: &[u8]| ["first", "second"].iter().any(|id| String::from_utf8_lossy(json).contains(id));
    let mut erasure = Erasure { chosen: &chosen, note: &mut |_, _| Ok(()), pace: &|| {} };
    assert!(journal.erase(0, &mut erasure).expect("erased").is_some());
    take.send(false).expect("listens");
    assert_eq!(next(), "third");
    take.send(true).expect("listens");
    wait_until("it is delivered", || thread.counters.delivered.get() == 1);
    shutdown.request();
    drop(take);
    thread.join();
    assert_eq!(thread.counters.corrupt_lines.get(), 0);
}
