//! The sink thread with a journal that cannot be read for a while.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use super::*;
use crate::clock::SystemClock;
use crate::emit::journal::Journal;

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
fn an_idle_sink_is_called_failing_only_while_it_fails() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (journal, _) = Journal::open(directory.path(), 1).expect("journal");
    let source = Arc::new(Flaky { source: Journal::source(directory.path()), mended: AtomicBool::new(false) });
    let shutdown = Shutdown::new();
    let settings = SinkSettings {
        directory: directory.path().to_owned(),
        source: Arc::clone(&source) as Arc<dyn JournalSource>,
        head: journal.head(),
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
