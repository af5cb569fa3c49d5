//! What the console sees of the appliance, and what it may ask of it.

use std::sync::Arc;
use std::time::Duration;

use super::{Appliance, Plan, Plane};
use crate::clock::format_utc;
use crate::console::public::PublicView;
use crate::console::view::{
    AlternativeView, ChangeView, CounterView, GalleryView, NetworkView, PolicyView, Readiness, RegisterView, ReloadView, SignView,
    StatusView, StepView, StreamChange, StreamView, TransitionView, VerificationView,
};
use crate::console::{ActionError, Appliance as Console, Gone, InspectionNote};
use crate::counters::{Counters, Reading};
use crate::engine::Network;
use crate::engine::manifest::Manifest;
use crate::frame::StreamIndex;
use crate::ingest::SourceState;
use crate::latency::StepSnapshot;
use crate::policy::alternatives::heartbeat_s;
use crate::policy::board::{Approvals, StreamPolicy};
use crate::policy::facts::{Register, Site, Withdrawal};
use crate::policy::inspection::{Inspection, NotInspected};
use crate::policy::leap;
use crate::policy::lease::MAX_LEASE;
use crate::policy::profile::Library;
use crate::policy::store::{Outcome, Request, StoreError};
use crate::policy::when::{NotADate, When};
use crate::policy::worker::PolicyError;

/// The policy thread evaluates 25 times a second; silent for as long as a lease, it is not well.
fn heartbeat_late_ms() -> f64 {
    MAX_LEASE.as_secs_f64() * 1e3
}

/// Shown instead of what the law allows, when nobody is left to do it.
const NO_DETECTOR: &str = "no-detector";
const NO_DETECTOR_REASON: &str = "every detector worker is lost: frames are released unread until the service is started again";

fn stream_view(plane: &Plane, index: usize, policy: Option<&StreamPolicy>, rates: &Rates) -> StreamView {
    let stream = &plane.streams[index];
    let health = stream.health();
    let place = StreamIndex(u16::try_from(index).unwrap_or(u16::MAX));
    let lost = plane.detectors_lost();
    let state = if lost { NO_DETECTOR } else { policy.map_or("off", |p| p.state.name()) };
    let reason = if lost { NO_DETECTOR_REASON.to_owned() } else { policy.map(|p| p.reason.to_string()).unwrap_or_default() };
    StreamView {
        name: stream.name.to_string(),
        source: stream.source(),
        health: health.state.name().to_owned(),
        health_detail: health.last_error.unwrap_or_default(),
        state: state.to_owned(),
        reason,
        purposes: policy.map(|p| p.purposes.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        next_change: policy.and_then(|p| p.next_expiry).map(format_utc).unwrap_or_default(),
        fps_in: rates.arrived,
        fps_detected: rates.detected,
        width: health.width,
        height: health.height,
        decoder: health.decoder.unwrap_or_default(),
        tls_sha256: health.tls_sha256.unwrap_or_default(),
        capture_clock: health.capture_clock.unwrap_or_default().to_owned(),
        frames: stream.ingest.frames_total.get(),
        overwritten: stream.ring.overwritten.get(),
        withheld: stream.batch.frames_withheld.get(),
        detected: plane.last_look.frames(place),
        last_read_monotonic_ms: plane.last_look.at(place).map_or(0.0, |at| at.ns() as f64 / 1e6),
        revoked_monotonic_ms: policy.and_then(|p| p.revoked_at).map_or(0.0, |at| at.ns() as f64 / 1e6),
        reconnects: stream.ingest.reconnects_total.get(),
        tracks: stream.track.confirmed.get(),
        hits: stream.track.identified.get(),
    }
}

struct Rates {
    arrived: f64,
    detected: f64,
}

fn counter_views(plane: &Plane) -> Vec<CounterView> {
    let mut views = Vec::new();
    visit(plane, &mut |component| {
        component.visit(&mut |reading| {
            let (Reading::Counter { name, value, .. } | Reading::Gauge { name, value, .. }) = reading;
            views.push(CounterView {
                component: component.component().to_owned(),
                stream: component.stream().unwrap_or_default().to_owned(),
                name: name.to_owned(),
                value,
            });
        });
    });
    views
}

fn visit(plane: &Plane, each: &mut dyn FnMut(&dyn Counters)) {
    plane.counters.iter().for_each(|c| each(&**c));
    plane.emitter.lock().visit_counters(each);
}

fn galleries(plane: &Plane) -> Vec<GalleryView> {
    let contents = plane.galleries.as_ref().map(|g| g.contents()).unwrap_or_default();
    contents
        .into_iter()
        .map(|(purpose, templates, version)| GalleryView { purpose: purpose.to_string(), templates: templates as u64, version })
        .collect()
}

/// What runs a step's workers: each measured for itself, so it may be more than one thing.
pub(super) fn network_view(networks: &[Box<dyn Network>]) -> Option<NetworkView> {
    let Manifest { name, task, .. } = networks.first()?.manifest();
    let mut runs_on: Vec<String> = networks.iter().map(|network| network.runs_on()).collect();
    runs_on.dedup();
    Some(NetworkView { task: task.name().to_owned(), model: name.clone(), runs_on: runs_on.join("; "), workers: networks.len() })
}

/// SHA-256 of the register in force, hex; empty while none can be read.
fn profile(plane: &Plane) -> String {
    plane.policy.register_hash().map(|hash| crate::hex::of(&hash)).unwrap_or_default()
}

impl Appliance {
    fn policy_view(&self, plane: &Plane) -> PolicyView {
        let age_ms = self.heartbeat_age_ms(plane);
        let Approvals { stand_ins, waiting } = plane.policy.approvals();
        PolicyView { alive: age_ms < heartbeat_late_ms(), heartbeat_age_ms: age_ms, profile: profile(plane), stand_ins, waiting }
    }

    /// Since the policy thread's last evaluation.
    fn heartbeat_age_ms(&self, plane: &Plane) -> f64 {
        self.clock.monotonic().since_ns(plane.policy.last_beat()) as f64 / 1e6
    }

    fn alarms(&self, plane: &Plane) -> Vec<String> {
        let mut alarms = plane.emitter.lock().alarms();
        if self.heartbeat_age_ms(plane) >= heartbeat_late_ms() {
            alarms.push("The policy thread is silent: every lease runs out and every stream goes dark.".to_owned());
        }
        if plane.detectors_lost() {
            alarms.push(format!("Nobody looks: {NO_DETECTOR_REASON}."));
        }
        if plane.decided.shed.get() > 0 {
            alarms.push(format!("{} hits were dropped because the journal's queue was full.", plane.decided.shed.get()));
        }
        let unheard: u64 = plane.masks.iter().map(|m| m.shed.get()).sum();
        if unheard > 0 {
            alarms.push(format!("{unheard} answers of the mask check were dropped because the journal's queue was full."));
        }
        for (sign, failure) in plane.policy.unwritten_withdrawals() {
            alarms.push(format!("The withdrawal of sign `{sign}` holds, but is not in the register and ends with a restart: {failure}"));
        }
        let (state, near_filing) = {
            let plan = self.plan.lock();
            (plan.state.clone(), plan.near_filing.load_full())
        };
        alarms.extend(near_filing.map(|warning| format!("{warning}.")));
        if let Err(error) = leap::standing(&state, self.clock.now()) {
            alarms.push(format!("Nothing is erased: {error}."));
        }
        for stream in &plane.streams {
            let health = stream.health();
            if let Some(error) = health.last_error.filter(|_| health.attempts > 1 && health.state != SourceState::Live) {
                alarms.push(format!("Stream `{}` cannot be read: {error}", stream.name));
            }
        }
        alarms
    }

    pub(super) fn running(&self) -> Result<Arc<Plane>, ActionError> {
        self.plane().ok_or_else(|| ActionError::Failed("the pipeline is being reloaded; try again in a moment".to_owned()))
    }

    fn sign_view(&self, sign: &str, state: &str, streams: Vec<String>, at_ns: i64) -> SignView {
        SignView {
            sign: sign.to_owned(),
            state: state.to_owned(),
            streams,
            at: format_utc(self.clock.utc()),
            at_monotonic_ms: at_ns as f64 / 1e6,
            waits: String::new(),
        }
    }
}

/// What a change waits for; empty where it is in force.
fn waits(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pending { proposal, needs, .. } => {
            format!("NOT IN FORCE: proposal {0} waits ({1}): `placard approve sign {0} --key FILE`", proposal.short(), needs.describe())
        }
        _ => String::new(),
    }
}

fn action_error(error: PolicyError) -> ActionError {
    match error {
        PolicyError::UnknownSign { .. } | PolicyError::NotInspected(NotInspected::UnknownSign { .. }) => {
            ActionError::NotFound(error.to_string())
        }
        PolicyError::NotInspected(_)
        | PolicyError::Register(StoreError::Refused(_) | StoreError::TooManyPending | StoreError::TooManyOf(_)) => {
            ActionError::Refused(error.to_string())
        }
        PolicyError::Register(StoreError::NoProposal(_)) => ActionError::NotFound(error.to_string()),
        other => ActionError::Failed(other.to_string()),
    }
}

/// What the templates of whoever is enrolled may rest on. `None`: it cannot be read.
fn records(plane: &Plane) -> Option<Register> {
    let Register { consents, orders, purposes, authorisations, .. } = plane.policy.register().ok()?.register().clone();
    Some(Register { consents, orders, purposes, authorisations, ..Register::default() })
}

impl Console for Appliance {
    fn status(&self) -> StatusView {
        let Some(plane) = self.plane() else {
            return StatusView { alarms: vec!["The pipeline is being reloaded.".to_owned()], ..StatusView::default() };
        };
        let now = self.clock.now();
        let policy = plane.policy.snapshot();
        // One lock after another, never one inside another: a reload takes both.
        let (pipeline, described) = {
            let plan = self.plan.lock();
            (plan.loaded.path.display().to_string(), plan.state.site())
        };
        // As the description says now: a site becomes operational under a running service.
        let mode = Site::load(&described).map_or(plane.site.mode, |site| site.mode);
        let rates = self.rates.lock();
        let streams = (0..plane.streams.len()).map(|i| {
            let per_second = rates.get(i).map_or(Rates { arrived: 0.0, detected: 0.0 }, |r| Rates {
                arrived: r.0.per_second(now.monotonic, plane.streams[i].ingest.frames_total.get()),
                detected: r.1.per_second(now.monotonic, plane.last_look.frames(StreamIndex(u16::try_from(i).unwrap_or(u16::MAX)))),
            });
            stream_view(&plane, i, policy.get(i), &per_second)
        });
        let streams = streams.collect();
        drop(rates);
        StatusView {
            name: plane.pipeline.clone(),
            site: plane.site.name.clone(),
            mode: mode.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            pipeline,
            started_at: format_utc(self.started_at.utc),
            uptime_s: now.monotonic.since_ns(self.started_at.monotonic) as f64 / 1e9,
            policy: self.policy_view(&plane),
            streams,
            steps: self.latencies().iter().map(StepView::from).collect(),
            galleries: galleries(&plane),
            networks: plane.networks.clone(),
            counters: counter_views(&plane),
            alarms: self.alarms(&plane),
        }
    }

    fn latencies(&self) -> Vec<StepSnapshot> {
        self.plane().and_then(|p| p.latencies.snapshot().ok()).unwrap_or_default()
    }

    fn recent_events(&self, limit: usize) -> Vec<serde_json::Value> {
        self.recent().newest(limit).iter().filter_map(|e| serde_json::to_value(&**e).ok()).collect()
    }

    fn public(&self) -> Option<PublicView> {
        self.public_view()
    }

    fn policy_timeline(&self, limit: usize) -> Vec<TransitionView> {
        let Some(plane) = self.plane() else { return Vec::new() };
        let changes = plane.policy.timeline();
        let skipped = changes.len().saturating_sub(limit);
        let one = |c: crate::policy::board::Change| TransitionView {
            at: format_utc(c.at),
            at_monotonic_ms: c.at_monotonic.ns() as f64 / 1e6,
            stream: c.stream.to_string(),
            from: c.from.name().to_owned(),
            to: c.to.name().to_owned(),
            reason: c.reason.to_string(),
            rule: c.reason.rule.name().to_owned(),
            fact: c.reason.fact,
            remedy: c.reason.remedy,
        };
        changes.into_iter().skip(skipped).map(one).collect()
    }

    fn visit_counters(&self, each: &mut dyn FnMut(&dyn Counters)) {
        if let Some(plane) = self.plane() {
            visit(&plane, each);
        }
    }

    fn readiness(&self) -> Readiness {
        let Some(plane) = self.plane() else {
            return Readiness { ready: false, reasons: vec!["The pipeline is being reloaded.".to_owned()] };
        };
        let mut reasons: Vec<String> = Vec::new();
        if self.heartbeat_age_ms(&plane) >= heartbeat_late_ms() {
            reasons.push("The policy thread is silent.".to_owned());
        }
        if plane.detectors_lost() {
            reasons.push("Every detector worker is lost.".to_owned());
        }
        for ailing in self.observer.lock().ailing(&self.progress) {
            reasons.push(format!("Worker {} is {:?}.", ailing.worker, ailing.condition).to_lowercase());
        }
        if !plane.emitter.lock().is_ready() {
            reasons.push("The journal takes no events.".to_owned());
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn withdraw_sign(&self, sign: &str, by: &str, reason: &str) -> Result<SignView, ActionError> {
        let Some(plane) = self.plane() else {
            // Amid a reload nothing runs; the plane that comes begins with this.
            let withdrawal = Withdrawal { at: When::from_stamp(self.clock.utc()), by: by.to_owned(), reason: reason.to_owned() };
            let register = self.plan.lock().state.register();
            self.withdrawals().withdraw(&register, sign, withdrawal).map_err(action_error)?;
            return Ok(self.sign_view(sign, "withdrawn", Vec::new(), self.clock.monotonic().ns()));
        };
        let done = plane.policy.withdraw_sign(sign, by, reason).map_err(action_error)?;
        // A reload may have put another pipeline in this one's place, which read the register before the withdrawal was in it.
        if let Some(successor) = self.plane().filter(|p| !Arc::ptr_eq(p, &plane)) {
            successor.policy.reload().map_err(action_error)?;
        }
        let at_ns = done.revoked_at.unwrap_or_else(|| self.clock.monotonic()).ns();
        Ok(self.sign_view(sign, "withdrawn", done.streams.iter().map(ToString::to_string).collect(), at_ns))
    }

    fn post_sign(&self, sign: &str, by: &str) -> Result<SignView, ActionError> {
        let outcome = self.running()?.policy.post_sign(sign, by).map_err(action_error)?;
        Ok(SignView { waits: waits(&outcome), ..self.sign_view(sign, "posted", Vec::new(), self.clock.monotonic().ns()) })
    }

    fn inspect_sign(&self, sign: &str, note: InspectionNote) -> Result<SignView, ActionError> {
        let at: Option<When> = note.at.map(|at| at.parse()).transpose().map_err(|e: NotADate| ActionError::Invalid(e.to_string()))?;
        let inspection =
            Inspection::new(&note.by, at, note.photo_sha256, self.clock.utc()).map_err(|e| ActionError::Refused(e.to_string()))?;
        let outcome = self.running()?.policy.inspect_sign(sign, &inspection).map_err(action_error)?;
        Ok(SignView { waits: waits(&outcome), ..self.sign_view(sign, "inspected", Vec::new(), self.clock.monotonic().ns()) })
    }

    fn register(&self) -> Result<RegisterView, ActionError> {
        Ok(RegisterView::of(&self.running()?.policy.register().map_err(action_error)?))
    }

    fn change_register(&self, request: Request) -> Result<ChangeView, ActionError> {
        let plane = self.running()?;
        let (before, records_before) = (plane.policy.snapshot(), records(&plane));
        let outcome = plane.policy.change_register(request).map_err(action_error)?;
        let changed = |(old, new): (&StreamPolicy, &StreamPolicy)| {
            let same = old.state == new.state && old.purposes == new.purposes && old.reason == new.reason;
            let (before, after) = (old.state.name().to_owned(), new.state.name().to_owned());
            (!same).then(|| StreamChange { stream: new.name.to_string(), before, after, reason: new.reason.to_string() })
        };
        let streams = before.iter().zip(&plane.policy.snapshot()).filter_map(changed).collect();
        // Who is enrolled may rest on what is another now: a consent that was withdrawn, an order that was ended, an authorisation refused.
        if matches!(outcome, Outcome::InForce { .. }) && (records_before.is_none() || records(&plane) != records_before) {
            let plan = self.plan.lock().clone();
            if let Err(error) = plane.reload_galleries(&plan) {
                tracing::warn!(%error, "the galleries were not looked through again; they are within the hour");
            }
        }
        Ok(ChangeView { outcome, streams })
    }

    fn beat_alternative(&self, alternative: &str) -> Result<AlternativeView, ActionError> {
        let heard_at = self.clock.monotonic();
        let path = self.plan.lock().state.register();
        let register = Register::load(&path).map_err(|e| ActionError::Invalid(e.to_string()))?;
        let Some(declared) = register.alternatives.iter().find(|a| a.id == alternative) else {
            let known: Vec<String> = register.alternatives.iter().map(|a| format!("`{}`", a.id)).collect();
            let known = if known.is_empty() { "none is declared".to_owned() } else { format!("declared: {}", known.join(", ")) };
            return Err(ActionError::NotFound(format!("there is no way in `{alternative}`; {known}")));
        };
        self.running()?.policy.observations().heartbeat(alternative, heard_at);
        // As long as the regime lets it count; under one that is refused everything is off.
        let library = Library::of_site(&self.plan.lock().state);
        let regime = library.regime_of(&register, self.clock.utc());
        let counts_s = regime.map_or(0, |regime| heartbeat_s(declared, &regime.values));
        Ok(AlternativeView { alternative: alternative.to_owned(), zone: declared.zone.clone(), counts_s })
    }

    fn verify(&self, stream: &str, person: &str, within: Duration, gone: &Gone) -> Result<VerificationView, ActionError> {
        self.verify_claim(stream, person, within, gone)
    }

    fn reload(&self) -> Result<ReloadView, ActionError> {
        let _turn = self.reloading.lock();
        let current: Plan = self.plan.lock().clone();
        let next = current.reread().map_err(|e| ActionError::Invalid(e.to_string()))?;
        let mut applied = Vec::new();
        match current.changed_streams(&next) {
            Some(changed) => {
                let plane = self.running()?;
                plane.policy.reload().map_err(action_error)?;
                plane.change_streams(&current, &next, &changed).map_err(|e| ActionError::Failed(e.to_string()))?;
                *self.plan.lock() = next;
                applied.extend(changed.iter().map(|i| format!("stream `{}`", plane.streams[*i].name)));
            }
            None => {
                self.replace(next).map_err(|e| ActionError::Invalid(e.to_string()))?;
                applied.push("pipeline file".to_owned());
            }
        }
        applied.push("register".to_owned());
        let galleries = self.reload_gallery()?.galleries;
        applied.push("galleries".to_owned());
        Ok(ReloadView { applied, needs_restart: Vec::new(), galleries })
    }

    fn reload_gallery(&self) -> Result<ReloadView, ActionError> {
        let plane = self.running()?;
        let plan = self.plan.lock().clone();
        plane.reload_galleries(&plan).map_err(|e| ActionError::Failed(e.to_string()))?;
        Ok(ReloadView { applied: vec!["galleries".to_owned()], needs_restart: Vec::new(), galleries: galleries(&plane) })
    }

    fn tick(&self) {
        let Some(plane) = self.plane() else { return };
        let now = self.clock.monotonic();
        let rates = self.rates.lock();
        for (i, (arrived, detected)) in rates.iter().enumerate().take(plane.streams.len()) {
            arrived.sample(now, plane.streams[i].ingest.frames_total.get());
            detected.sample(now, plane.last_look.frames(StreamIndex(u16::try_from(i).unwrap_or(u16::MAX))));
        }
    }
}
