//! What is asked of a stream as such, before any zone: of its camera. Depends on what was observed a moment ago, so it is asked at
//! every evaluation and never kept.

use super::Reason;
use crate::policy::device::device_holds;
use crate::policy::facts::Register;
use crate::policy::observed::Moment;

/// Whether nothing speaks against the stream, whatever its zones allow.
pub(in crate::policy) fn stream_holds(register: &Register, stream: &str, moment: Moment<'_>) -> Result<(), Reason> {
    device_holds(register, stream, moment)
}
