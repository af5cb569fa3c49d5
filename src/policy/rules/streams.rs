//! What is asked of a stream as such: of its camera, before any zone, and of the sign that it sees, when everything else allows it to be
//! lit. So that the sign is the reason exactly where nothing else keeps the stream dark: only there is a dark picture opened for it. Depends
//! on what was observed a moment ago, so it is asked at every evaluation and never kept.

use super::{Decision, Reason};
use crate::policy::attestation::attestation_holds;
use crate::policy::device::device_holds;
use crate::policy::facts::Register;
use crate::policy::lease::StreamState;
use crate::policy::observed::Moment;

/// Whether nothing speaks against the stream, whatever its zones allow.
pub(in crate::policy) fn stream_holds(register: &Register, stream: &str, moment: Moment<'_>) -> Result<(), Reason> {
    device_holds(register, stream, moment)
}

/// What is left of `decision` once the stream was asked for its sign.
pub(in crate::policy) fn while_attested(register: &Register, stream: &str, moment: Moment<'_>, decision: Decision) -> Decision {
    if decision.state == StreamState::Off {
        return decision;
    }
    match attestation_holds(register, stream, moment) {
        Ok(()) => decision,
        Err(reason) => Decision { next_change: decision.next_change, rules: decision.rules, ..Decision::off(reason) },
    }
}
