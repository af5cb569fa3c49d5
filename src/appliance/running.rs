//! The threads of a plane, and how they end: sources first, what arrived runs through, the policy thread last.
//!
//! A start that fails half-way ends what it started the same way, so nothing is left running and the journal is free for the next start.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::plan::{Plan, Sources, StartError};
use crate::batch::FreeWorkers;
use crate::emit::emitter::Emitter;
use crate::ingest::{self, Outlet};
use crate::policy::worker::PolicyHandle;
use crate::progress::ProgressRegistry;
use crate::queue::Doorbell;
use crate::shutdown::Shutdown;

/// One stream's ingest thread; each ends for itself.
struct SourceThread {
    stop: Shutdown,
    thread: JoinHandle<()>,
}

pub(super) struct Running {
    pub policy: PolicyHandle,
    pub bell: Arc<Doorbell>,
    pub detectors: FreeWorkers,
    progress: ProgressRegistry,
    /// After the sources: the batch step ends when its rings are empty.
    pub drain: Shutdown,
    /// Last: sinks end at their cursor; what they have not delivered, they deliver after the next start.
    pub stop_sinks: Shutdown,
    /// By stream. `None`: it could not be started again.
    sources: Mutex<Vec<Option<SourceThread>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    pub fn new(policy: PolicyHandle, progress: ProgressRegistry) -> Self {
        let bell = Doorbell::new();
        Self {
            policy,
            detectors: FreeWorkers::new(Arc::clone(&bell)),
            bell,
            progress,
            drain: Shutdown::new(),
            stop_sinks: Shutdown::new(),
            sources: Mutex::default(),
            workers: Mutex::default(),
        }
    }

    /// Starts a step's thread.
    pub fn start_worker(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        self.workers.lock().push(spawn(name, work)?);
        Ok(())
    }

    /// Starts the thread of stream `i`, which must have none.
    pub fn start_source(&self, plan: &Plan, i: usize, outlet: Outlet) -> Result<(), StartError> {
        let stop = Shutdown::new();
        let progress = self.progress.register(&format!("ingest-{}", outlet.name));
        let thread = source(plan, i, outlet.with_progress(progress), &stop)?;
        let mut sources = self.sources.lock();
        if sources.len() <= i {
            sources.resize_with(i + 1, || None);
        }
        sources[i] = Some(SourceThread { stop, thread });
        Ok(())
    }

    /// Ends the thread of stream `i` and waits for it; the others do not notice.
    pub fn end_source(&self, i: usize) {
        let ended = self.sources.lock().get_mut(i).and_then(Option::take);
        if let Some(SourceThread { stop, thread }) = ended {
            stop.request();
            join(thread);
        }
    }

    /// Whether stream `i` has no source that runs.
    pub fn source_ended(&self, i: usize) -> bool {
        self.sources.lock().get(i).and_then(Option::as_ref).is_none_or(|s| s.thread.is_finished())
    }

    /// Whether every source has come to its end by itself.
    pub fn sources_ended(&self) -> bool {
        self.sources.lock().iter().flatten().all(|s| s.thread.is_finished())
    }

    /// No source any more; what arrived runs through; every thread ends.
    pub fn end(&self, emitter: Option<&mut Emitter>) {
        let sources = std::mem::take(&mut *self.sources.lock());
        sources.iter().flatten().for_each(|s| s.stop.request());
        sources.into_iter().flatten().for_each(|s| join(s.thread));
        self.drain.request();
        self.bell.ring();
        let workers = std::mem::take(&mut *self.workers.lock());
        workers.into_iter().for_each(join);
        self.stop_sinks.request();
        if let Some(emitter) = emitter {
            emitter.join();
        }
        self.policy.stop();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let failed = |source| StartError::Thread { name: name.to_owned(), source };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("unnamed").to_owned();
    if thread.join().is_err() {
        tracing::error!(thread = name, "a thread panicked");
    }
}

fn source(plan: &Plan, i: usize, outlet: Outlet, stop: &Shutdown) -> Result<JoinHandle<()>, StartError> {
    let (stream, limits) = (&plan.loaded.pipeline.streams[i], &plan.loaded.limits.streams[i]);
    match &plan.sources {
        Sources::Configured => {
            let started = ingest::spawn(stream, &limits.source, outlet, stop);
            Ok(started.map_err(|e| StartError::Step(e.to_string()))?.into_thread())
        }
        Sources::Paced { fps, frames, .. } => {
            let schedule = super::plan::schedule(stream, &limits.source, *fps, *frames, plan.clock.monotonic(), i)?;
            let (stop, name) = (stop.clone(), stream.name.clone());
            spawn(&format!("ingest-{name}"), move || {
                if let Err(error) = ingest::paced::play(&schedule, &outlet, &stop) {
                    tracing::error!(stream = name, %error, "the bench's source failed");
                }
            })
        }
    }
}
