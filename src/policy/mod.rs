//! The policy thread: facts and rules in, leases out.

pub mod lease;
