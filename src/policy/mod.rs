//! The policy thread: facts and rules in, leases out.
//!
//! ```text
//! register.redb ──▶ facts ──▶ rules (DecisionPlane) ──▶ keeper ──▶ lease table ──▶ workers ask for permits
//!                                          clock guard ──┘  └──▶ board: state, reason, timeline (status, console, demo)
//! ```
//!
//! `facts.rs` is what the register may say, `store.rs` how it is kept, signed and believed, `file.rs` how files that people write are read, `rules.rs` what follows from it, `keeper.rs` the plain
//! state machine that turns decisions into leases, `worker.rs` the thread that drives it and the handle others talk to it by. `pending.rs`
//! keeps withdrawals that could not be written yet; `wall_clock.rs` and `leap.rs` say whether the wall clock is believed; `observed.rs` what the appliance itself sees (signs, views, ways in, what
//! cameras do by themselves: `device.rs`); `attestation.rs` what may be looked at for a sign alone; `inspection.rs` records that a sign was seen in its place. `refused.rs` says what came of a use that an authority refused. `enrolment.rs` gives leave for
//! image files that an operator hands over. `claim.rs` binds one person's claim to a gate's stream for a few seconds. `evaluation.rs` for pictures that models are measured
//! on. `intended_use.rs` keeps commissioning models out of operational sites.

pub mod alternatives;
pub mod attestation;
pub mod board;
pub mod cedar;
pub mod claim;
pub mod device;
pub mod enrolment;
pub mod evaluation;
pub mod facts;
pub mod file;
pub mod inspection;
pub mod intended_use;
mod keeper;
pub mod leap;
pub mod lease;
pub mod observed;
#[doc(hidden)]
pub mod oracle;
pub mod pending;
pub mod profile;
pub mod refused;
pub mod rules;
pub mod store;
pub mod wall_clock;
pub mod when;
pub mod worker;
