//! What is asked, and what an answer rests on.
//!
//! Where one fact of several is enough (a sign, an order, a way in), the rules name the one that they rest on; where none holds, the one
//! that came closest. The second opinion is asked about that very fact: it cannot find another one, and it need not.

use crate::clock::{Stamp, Utc};
use crate::policy::facts::{Alternative, Authorisation, Governance, Order, PurposeFact, Register, Rules, Sign, Zone};
use crate::policy::observed::Moment;
use crate::policy::profile::{Regime, Values};

use super::{PlaneError, Reason, Rule};

/// One stream at one moment under one regime.
pub(in crate::policy) struct Ask<'a> {
    pub register: &'a Register,
    pub stream: &'a str,
    pub moment: Moment<'a>,
    pub regime: &'a Regime,
    /// The register's own, no looser than the regime's.
    pub rules: Rules,
}

impl<'a> Ask<'a> {
    pub fn new(register: &'a Register, stream: &'a str, moment: Moment<'a>, regime: &'a Regime) -> Self {
        let mut rules = register.rules.clone();
        rules.sign_inspect_max_days = rules.sign_inspect_max_days.min(regime.values.inspect_max_days);
        Self { register, stream, moment, regime, rules }
    }
    pub fn now(&self) -> Stamp<Utc> {
        self.moment.now.utc
    }
    pub const fn values(&self) -> &Values {
        &self.regime.values
    }
}

/// Why not; and from when on it may be otherwise, if time alone can make it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Refusal {
    pub reason: Reason,
    pub begins: Option<Stamp<Utc>>,
}

impl Refusal {
    pub fn new(rule: Rule, fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: Reason::new(rule, fact, remedy), begins: None }
    }
    pub fn until(mut self, begins: Stamp<Utc>) -> Self {
        self.begins = Some(begins);
        self
    }
}

/// Until when it holds (`None`: time alone does not end it), or why it does not.
pub(super) type Held = Result<Option<Stamp<Utc>>, Refusal>;

/// Whether a zone may be looked at at all.
#[derive(Clone, Copy)]
pub(in crate::policy) struct ZoneCase<'a> {
    pub zone: &'a Zone,
    pub sign: Option<&'a Sign>,
    pub governance: Option<&'a Governance>,
}

/// Whether a purpose may be pursued in a zone.
#[derive(Clone, Copy)]
pub(in crate::policy) struct PurposeCase<'a> {
    pub zone: ZoneCase<'a>,
    pub fact: &'a PurposeFact,
    pub order: Option<&'a Order>,
    pub authorisation: Option<&'a Authorisation>,
    pub alternative: Option<&'a Alternative>,
    pub objected: bool,
    /// Share of the stream's picture that would be looked at for it, millionths.
    pub area_ppm: u32,
}

/// Another reading of the same law. `explained`: what the rules say.
pub(in crate::policy) trait SecondOpinion {
    fn capture(&self, ask: &Ask<'_>, case: &ZoneCase<'_>, explained: bool) -> Result<bool, PlaneError>;
    fn purpose(&self, ask: &Ask<'_>, case: &PurposeCase<'_>, explained: bool) -> Result<bool, PlaneError>;
}

/// Of one mind with the rules.
pub(super) struct NoSecondOpinion;

impl SecondOpinion for NoSecondOpinion {
    fn capture(&self, _: &Ask<'_>, _: &ZoneCase<'_>, explained: bool) -> Result<bool, PlaneError> {
        Ok(explained)
    }
    fn purpose(&self, _: &Ask<'_>, _: &PurposeCase<'_>, explained: bool) -> Result<bool, PlaneError> {
        Ok(explained)
    }
}
