//! Emission as the appliance sees it: one call starts the journal, the worker and the configured sinks; one value shows how they are.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::Receiver;
use serde::Serialize;

use super::backoff::Pauses;
use super::event::Event;
use super::journal::retention::Retention;
use super::journal::{Journal, JournalError, JournalHead, Recovery};
use super::mqtt::{MqttError, MqttSink};
use super::record::Record;
use super::sink::{Sink, SinkSettings, SinkThread};
use super::webhook::{WebhookError, WebhookSink};
use super::worker::{self, EmitCounters, EmitWorker, Recent};
use super::{Context, Telling};
use crate::clock::SharedClock;
use crate::config::schema;
use crate::counters::Counters;
use crate::decide::answers::Answers;
use crate::latency::Latencies;
use crate::policy::lease::LeaseTable;
use crate::progress::ProgressRegistry;
use crate::shutdown::Shutdown;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error("a thread of the emit step could not be started: {0}")]
    Thread(std::io::Error),
    #[error("latency histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// What emission needs from the appliance.
pub struct Settings {
    /// `[emit.journal] directory`, else the state directory's `journal/`.
    pub directory: PathBuf,
    pub rotate_mib: u64,
    /// For how long events are kept.
    pub retention: Retention,
    pub context: Context,
    pub sinks: Vec<Box<dyn Sink>>,
    /// Pauses between a sink's attempts.
    pub pauses: Pauses,
    /// Where the newest events are shown; a reload hands on the one it has, with whoever subscribed to it.
    pub recent: Arc<Recent>,
    pub leases: LeaseTable,
    /// Who waits for what is recorded of a claim at a gate.
    pub answers: Arc<Answers>,
    pub latencies: Latencies,
    pub clock: SharedClock,
    pub progress: ProgressRegistry,
    pub shutdown: Shutdown,
    /// Where it is kept what was refused and what was erased. `None`: nowhere.
    pub record: Option<Record>,
}

/// The sinks that `[emit]` asks for. Fails on what a start cannot cure: bad addresses, unreadable credential files.
pub fn sinks(config: &schema::Emit, pipeline: &str) -> Result<Vec<Box<dyn Sink>>, StartError> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(mqtt) = &config.mqtt {
        sinks.push(Box::new(MqttSink::new(mqtt, pipeline)?));
    }
    if let Some(webhook) = &config.webhook {
        sinks.push(Box::new(WebhookSink::new(webhook)?));
    }
    Ok(sinks)
}

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkStatus {
    pub name: &'static str,
    pub delivered: u64,
    pub errors: u64,
    /// Why the next event could not be delivered so far.
    pub failing: Option<String>,
}

/// How emission is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmitStatus {
    pub events: u64,
    pub withheld: u64,
    /// Why the journal takes no events: `no space`.
    pub journal_failing: Option<String>,
    pub sinks: Vec<SinkStatus>,
}

/// Running emission.
pub struct Emitter {
    pub recent: Arc<Recent>,
    pub counters: Arc<EmitCounters>,
    /// What was found in the journal at the start.
    pub recovery: Recovery,
    head: JournalHead,
    record: Option<Record>,
    sinks: Vec<SinkThread>,
    worker: Option<JoinHandle<()>>,
}

impl Emitter {
    /// Opens the journal and starts the threads. `tasks`: a bounded queue of `[emit.journal] queue_events`.
    pub fn start<T: Into<Telling> + Send + 'static>(tasks: Receiver<T>, settings: Settings) -> Result<Self, StartError> {
        let (journal, recovery) = Journal::open(&settings.directory, settings.rotate_mib)?;
        for corrupt in &recovery.corrupt {
            tracing::warn!(%corrupt, "damage in the journal; the lines around it are intact");
        }
        if recovery.torn_bytes > 0 {
            tracing::warn!(bytes = recovery.torn_bytes, "the journal's torn end was moved to a .torn file");
        }
        let head = journal.head();
        let source = Journal::source(&settings.directory);
        let (recent, counters) = (settings.recent, Arc::new(EmitCounters::default()));
        let (record, refused) = (settings.record.clone(), Arc::clone(&settings.retention.refused));
        let worker = EmitWorker {
            tasks,
            journal,
            retention: settings.retention,
            record: settings.record,
            leases: settings.leases,
            answers: settings.answers,
            context: settings.context,
            clock: Arc::clone(&settings.clock),
            recorder: settings.latencies.recorder("emit")?,
            journey_recorder: settings.latencies.recorder("capture-to-emission")?,
            counters: Arc::clone(&counters),
            recent: Arc::clone(&recent),
            shutdown: settings.shutdown.clone(),
            progress: settings.progress.register("emit"),
        };
        let start_sink = |sink| {
            let settings = SinkSettings {
                directory: settings.directory.clone(),
                source: Arc::clone(&source),
                head: head.clone(),
                refused: Arc::clone(&refused),
                pauses: settings.pauses,
                clock: Arc::clone(&settings.clock),
                shutdown: settings.shutdown.clone(),
            };
            SinkThread::start(sink, settings)
        };
        let sinks = settings.sinks.into_iter().map(start_sink).collect::<Result<_, _>>().map_err(StartError::Thread)?;
        let thread = std::thread::Builder::new().name("emit".to_owned()).spawn(move || worker::run(worker)).map_err(StartError::Thread)?;
        Ok(Self { recent, counters, recovery, head, record, sinks, worker: Some(thread) })
    }

    pub fn status(&self) -> EmitStatus {
        let sink = |s: &SinkThread| SinkStatus {
            name: s.name,
            delivered: s.counters.delivered.get(),
            errors: s.counters.errors.get(),
            failing: s.counters.last_error(),
        };
        EmitStatus {
            events: self.counters.events.get(),
            withheld: self.counters.withheld.get(),
            journal_failing: self.head.failing().map(|f| f.to_string()),
            sinks: self.sinks.iter().map(sink).collect(),
        }
    }

    /// One sentence for each thing that needs a human.
    pub fn alarms(&self) -> Vec<String> {
        let status = self.status();
        let journal = status.journal_failing.map(|f| format!("The journal takes no events: {f}. Hits are queued, then shed."));
        let sinks = status.sinks.into_iter().filter_map(|s| s.failing.map(|f| format!("Events do not reach {}: {f}.", s.name)));
        let record = self.record.iter().filter_map(Record::fault);
        journal.into_iter().chain(sinks).chain(record).collect()
    }

    /// Whether the journal takes events: part of `/ready`.
    pub fn is_ready(&self) -> bool {
        self.head.failing().is_none()
    }

    /// The newest events, newest last.
    pub fn recent(&self, limit: usize) -> Vec<Arc<Event>> {
        self.recent.newest(limit)
    }

    pub fn visit_counters(&self, each: &mut dyn FnMut(&dyn Counters)) {
        each(&*self.counters);
        self.record.iter().for_each(|record| each(record.counters()));
        self.sinks.iter().for_each(|s| each(&*s.counters));
    }

    /// Waits for the worker (which ends when the senders of `tasks` are gone), then for the sinks (which end on shutdown).
    pub fn join(&mut self) {
        if self.worker.take().is_some_and(|w| w.join().is_err()) {
            tracing::error!("the emit worker panicked");
        }
        self.sinks.iter_mut().for_each(SinkThread::join);
    }
}
