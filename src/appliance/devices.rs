//! The thread `devices`: asks each camera whose `[[device]]` names an ONVIF service what it does by itself, when its answer is due again.
//!
//! It also notes every second which certificate each camera's connection showed, where the register says which it should be.
//!
//! It writes observations, the policy thread judges them (`policy/device.rs`); no frame waits for a camera's answer. A device that was found
//! at fault or did not answer is asked again sooner, so that mending it does not take long. Ends when dropped; what is being asked may
//! take its five seconds.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::plan::{Plan, StartError};
use super::plane::StreamRuntime;
use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::ingest::StreamHealth;
use crate::ingest::credential::Credential;
use crate::ingest::onvif;
use crate::policy::facts::Device;
use crate::policy::observed::DeviceFinding;
use crate::policy::worker::PolicyHandle;
use crate::shutdown::Shutdown;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A device whose last answer refuses its stream is asked again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Devices {
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Devices {
    pub fn start(plan: &Plan, policy: PolicyHandle, running: &[StreamRuntime]) -> Result<Self, StartError> {
        let streams = plan.names_in_register().into_iter().zip(&plan.loaded.pipeline.streams);
        let streams = streams.map(|(name, stream)| (name, stream.credential_file.clone())).collect();
        let connections = running.iter().map(|s| (Arc::clone(&s.name), Arc::clone(&s.health))).collect();
        let round = Round { streams, connections, policy, clock: Arc::clone(&plan.clock), asked: Vec::new() };
        let stop = Shutdown::new();
        let asked = stop.clone();
        let name = "devices".to_owned();
        let spawned = std::thread::Builder::new().name(name.clone()).spawn(move || round.run(&asked));
        Ok(Self { stop, thread: Some(spawned.map_err(|source| StartError::Thread { name, source })?) })
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.stop.request();
        // A thread that panicked has ended too, and what nobody asks any more stops counting.
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

struct Asked {
    device: Device,
    at: Stamp<Monotonic>,
    finding: DeviceFinding,
}

struct Round {
    /// Names as the register has them, and where each camera's user and password are.
    streams: Vec<(Arc<str>, Option<PathBuf>)>,
    /// Names as the register has them.
    connections: Vec<(Arc<str>, Arc<StreamHealth>)>,
    policy: PolicyHandle,
    clock: SharedClock,
    asked: Vec<Asked>,
}

impl Round {
    fn run(mut self, stop: &Shutdown) {
        loop {
            for device in self.policy.devices().iter() {
                if stop.is_requested() {
                    return;
                }
                // Before each question, which may take its time.
                self.look();
                if let Some(url) = device.onvif.as_deref().filter(|_| self.is_due(device)) {
                    self.ask(device, url);
                }
            }
            if stop.wait(LOOK_EVERY) {
                return;
            }
        }
    }

    /// Which certificate each camera showed of which the register names one.
    fn look(&self) {
        for device in self.policy.devices().iter().filter(|d| d.tls_sha256.is_some()) {
            if let Some((name, health)) = self.connections.iter().find(|(name, _)| **name == *device.stream) {
                self.policy.observations().certificate(name, health.certificate(), self.clock.monotonic());
            }
        }
    }

    fn is_due(&self, device: &Device) -> bool {
        let Some(last) = self.asked.iter().find(|a| a.device == *device) else { return true };
        let usual = Duration::from_secs(u64::from(device.check_every_s));
        let pause = if last.finding == DeviceFinding::Clean { usual } else { usual.min(AGAIN_AFTER) };
        self.clock.monotonic() >= last.at.plus(pause)
    }

    fn ask(&mut self, device: &Device, url: &str) {
        let Some((stream, file)) = self.streams.iter().find(|(name, _)| **name == *device.stream) else { return };
        let finding = match file.as_deref().map(Credential::read).transpose() {
            Ok(credential) => onvif::ask(url, credential.as_ref()),
            Err(error) => DeviceFinding::NoAnswer(error.to_string()),
        };
        let at = self.clock.monotonic();
        let before = self.asked.iter().position(|a| a.device.stream == device.stream);
        if before.is_none_or(|i| self.asked[i].finding != finding) {
            tracing::info!(stream = &**stream, url, ?finding, "the camera was asked what it does by itself");
        }
        self.policy.observations().device(stream, finding.clone(), at);
        let asked = Asked { device: device.clone(), at, finding };
        match before {
            Some(i) => self.asked[i] = asked,
            None => self.asked.push(asked),
        }
    }
}
