//! The decision plane: what the facts come to (`rules/`), and whether every regime's policies permit it, in Cedar.
//!
//! ```text
//! register ─┬─▶ rules: reason, fact, remedy ─────┐
//!           └─▶ entities ─▶ each regime's policies ─▶ both say yes ─▶ granted
//! ```
//!
//! * *Each* profile's policies must permit: the strictest wins. Within one profile any permit is enough and any forbid is final.
//! * Cedar skips a policy that errs, a forbid too. So one error anywhere in the answer is a [`PlaneError`], which turns everything off.
//! * Where rules and the bundled policies differ nothing is granted, and the difference is counted: one of the two misreads the law. Where a site's
//!   own profile says no and the rules yes, nothing is granted either: it asks for more, which is no misreading.
//! * A private zone never gets as far as Cedar, and none gets out (`rules/areas.rs`).
//!
//! What was decided is kept for as long as nothing it was decided from changes: register, profiles, observations, or time beyond
//! the next change; never longer than [`KEPT_FOR`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cedar_policy::{Authorizer, Decision as Answer, Request};
use parking_lot::Mutex;

use super::facts::Register;
use super::observed::{Moment, Observed};
use super::profile::{Library, Profile, Regime};
use super::rules::{
    Ask, Decision, DecisionPlane, PlaneError, PurposeCase, SecondOpinion, ZoneCase, decide, plane, stream_holds, while_attested,
};
use crate::clock::Now;

pub(in crate::policy) mod schema;
mod world;

use world::{World, action_for};

/// After this long everything is decided anew, changed or not: what widens by time alone is noticed then at the latest.
pub const KEPT_FOR: Duration = Duration::from_secs(2);

/// Decides by rules and policies together.
pub struct CedarPlane {
    library: Library,
    authorizer: Authorizer,
    disagreements: AtomicU64,
    kept: Mutex<Option<Kept>>,
}

/// Decisions, and everything that they were made from.
struct Kept {
    register: Register,
    regime: Arc<Regime>,
    observed: Observed,
    streams: Vec<Arc<str>>,
    at: Now,
    /// On the monotonic clock too: the wall clock may be set back a little in between.
    good_for: Duration,
    decisions: Vec<Decision>,
}

impl Kept {
    fn answers(&self, register: &Register, regime: &Arc<Regime>, streams: &[Arc<str>], moment: Moment<'_>) -> bool {
        let age_ns = moment.now.monotonic.since_ns(self.at.monotonic);
        let young = u64::try_from(age_ns).is_ok_and(|age| u128::from(age) < self.good_for.as_nanos());
        let utc_ns = moment.now.utc.since_ns(self.at.utc);
        let in_step = u64::try_from(utc_ns).is_ok_and(|age| u128::from(age) < self.good_for.as_nanos());
        young
            && in_step
            && Arc::ptr_eq(regime, &self.regime)
            && *streams == *self.streams
            && *moment.observed == self.observed
            && *register == self.register
    }
}

/// What was kept, but for streams whose camera or sign no longer counts: that runs out by itself too, and without notice.
fn still_held(kept: &Kept, register: &Register, moment: Moment<'_>) -> Vec<Decision> {
    let still = |(stream, decision): (&Arc<str>, &Decision)| match stream_holds(register, stream, moment) {
        Err(reason) => Decision { rules: decision.rules, ..Decision::off(reason) },
        Ok(()) => while_attested(register, stream, moment, decision.clone()),
    };
    kept.streams.iter().zip(&kept.decisions).map(still).collect()
}

/// What one profile says of one action, for whoever asks why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Opinion {
    pub zone: String,
    /// `None`: whether the zone may be looked at at all.
    pub purpose: Option<String>,
    pub action: &'static str,
    pub profile: String,
    pub permitted: bool,
    /// The policies by which it is so, by their `@id`; empty where no permit applied.
    pub policies: Vec<String>,
    /// What the rules say of the same, all profiles together.
    pub rules: bool,
}

impl CedarPlane {
    /// Under the profiles of `library`.
    pub fn new(library: Library) -> Self {
        Self { library, authorizer: Authorizer::new(), disagreements: AtomicU64::new(0), kept: Mutex::new(None) }
    }

    /// Under the bundled profiles.
    pub fn bundled() -> Self {
        Self::new(Library::bundled())
    }

    pub const fn library(&self) -> &Library {
        &self.library
    }

    /// What one profile answers; an error in the answer is an error, whatever else it says.
    fn answer(&self, world: &World<'_>, request: &Request, profile: &Profile) -> Result<(bool, Vec<String>), PlaneError> {
        let response = self.authorizer.is_authorized(request, &profile.policies, &world.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(PlaneError(format!("profile `{}`: {error}", profile.id)));
        }
        let name = |id| profile.policies.annotation(id, "id").unwrap_or_default().to_owned();
        Ok((response.decision() == Answer::Allow, response.diagnostics().reason().map(name).collect()))
    }

    /// What each profile says of each action on `stream`, and what the rules say. Nothing is kept and nothing counted.
    pub fn opinions(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Vec<Opinion>, PlaneError> {
        let Ok(regime) = self.library.regime_of(register, moment.now.utc) else { return Ok(Vec::new()) };
        let world = World::new(register, &regime, std::iter::once(stream), moment)?;
        let opinions = Mutex::new(Vec::new());
        let asking = Asking { plane: self, world: &world, record: Some(&opinions) };
        decide(&Ask::new(register, stream, moment, &regime), &asking)?;
        Ok(opinions.into_inner())
    }

    /// As [`decide`](DecisionPlane::decide), with one more profile, signed or not: for whoever asks what it would change.
    pub fn decide_with(&self, register: &Register, added: &Arc<Profile>, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError> {
        match self.library.regime_of(register, moment.now.utc) {
            Err(reason) => Ok(Decision::off(reason)),
            Ok(regime) => {
                let regime = Arc::new(regime.with(added));
                let mut decisions = self.decide_now(register, &regime, &[Arc::from(stream)], moment)?;
                decisions.pop().ok_or_else(|| PlaneError("no decision".to_owned()))
            }
        }
    }

    fn decide_now(
        &self,
        register: &Register,
        regime: &Arc<Regime>,
        streams: &[Arc<str>],
        moment: Moment<'_>,
    ) -> Result<Vec<Decision>, PlaneError> {
        let world = World::new(register, regime, streams.iter().map(|s| &**s), moment)?;
        let asking = Asking { plane: self, world: &world, record: None };
        streams.iter().map(|stream| decide(&Ask::new(register, stream, moment, regime), &asking)).collect()
    }
}

/// The second opinion in one evaluation.
struct Asking<'a> {
    plane: &'a CedarPlane,
    world: &'a World<'a>,
    record: Option<&'a Mutex<Vec<Opinion>>>,
}

impl Asking<'_> {
    fn all_permit(&self, ask: &Ask<'_>, request: &Request, what: &Opinion) -> Result<bool, PlaneError> {
        let (mut permitted, mut by_law) = (true, true);
        for profile in &ask.regime.profiles {
            let (yes, policies) = self.plane.answer(self.world, request, profile)?;
            permitted &= yes;
            by_law &= yes || !Library::is_bundled(&profile.id);
            if let Some(record) = self.record {
                record.lock().push(Opinion { profile: profile.id.clone(), permitted: yes, policies, ..what.clone() });
            }
        }
        // The bundled profiles and the rules read one law: where they differ one of the two misreads it. A site's own profile may ask for more than
        // that: its *no* is the law of that site.
        let misread = if what.rules { !by_law } else { permitted };
        if misread && self.record.is_none() {
            self.plane.disagreements.fetch_add(1, Relaxed);
            let (zone, purpose, stream) = (&what.zone, what.purpose.as_deref().unwrap_or("-"), ask.stream);
            tracing::error!(
                stream,
                zone,
                purpose,
                action = what.action,
                policies = permitted,
                rules = what.rules,
                "two readings of the law differ: denied"
            );
        }
        Ok(permitted)
    }

    fn about(case: &ZoneCase<'_>, action: &'static str, rules: bool) -> Opinion {
        let (zone, profile) = (case.zone.id.clone(), String::new());
        Opinion { zone, purpose: None, action, profile, permitted: false, policies: Vec::new(), rules }
    }
}

impl SecondOpinion for Asking<'_> {
    fn capture(&self, ask: &Ask<'_>, case: &ZoneCase<'_>, explained: bool) -> Result<bool, PlaneError> {
        let request = self.world.capture(ask.stream, case)?;
        self.all_permit(ask, &request, &Self::about(case, "capture", explained))
    }

    fn purpose(&self, ask: &Ask<'_>, case: &PurposeCase<'_>, explained: bool) -> Result<bool, PlaneError> {
        let request = self.world.pursue(ask.stream, case)?;
        let about = Self::about(&case.zone, action_for(case.fact.purpose.kind()), explained);
        self.all_permit(ask, &request, &Opinion { purpose: Some(case.fact.purpose.to_string()), ..about })
    }
}

impl plane::WithinPolicy for CedarPlane {}
impl DecisionPlane for CedarPlane {
    fn decide(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError> {
        let streams = [Arc::from(stream)];
        let regime = match self.library.regime_of(register, moment.now.utc) {
            Ok(regime) => regime,
            Err(reason) => return Ok(Decision::off(reason)),
        };
        let mut decisions = self.decide_now(register, &regime, &streams, moment)?;
        decisions.pop().ok_or_else(|| PlaneError("no decision".to_owned()))
    }

    fn decide_all(&self, register: &Register, streams: &[Arc<str>], moment: Moment<'_>) -> Result<Vec<Decision>, PlaneError> {
        let regime = match self.library.regime_of(register, moment.now.utc) {
            Ok(regime) => regime,
            Err(reason) => return Ok(streams.iter().map(|_| Decision::off(reason.clone())).collect()),
        };
        let mut kept = self.kept.lock();
        if let Some(kept) = &*kept
            && kept.answers(register, &regime, streams, moment)
        {
            return Ok(still_held(kept, register, moment));
        }
        // Before anything that may fail: what erred once is asked again.
        *kept = None;
        let decisions = self.decide_now(register, &regime, streams, moment)?;
        let until = decisions.iter().filter_map(|d| d.next_change).min();
        let left = until.map(|t| Duration::from_nanos(u64::try_from(t.since_ns(moment.now.utc)).unwrap_or(0)));
        *kept = Some(Kept {
            register: register.clone(),
            regime,
            observed: moment.observed.clone(),
            streams: streams.to_vec(),
            at: moment.now,
            good_for: left.map_or(KEPT_FOR, |left| left.min(KEPT_FOR)),
            decisions: decisions.clone(),
        });
        Ok(decisions)
    }

    fn disagreements(&self) -> u64 {
        self.disagreements.load(Relaxed)
    }
}

#[cfg(test)]
mod tests;
