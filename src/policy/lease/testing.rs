//! Permits for unit tests of the steps: a table whose lease the test holds in hand.

use super::*;
use crate::clock::{Clock, Utc};

pub(crate) struct Granted {
    pub writer: LeaseWriter,
    pub table: LeaseTable,
    terms: LeaseTerms,
}

impl Granted {
    /// Puts the same terms in force from `now` on: a renewal, or, after a revocation, a new lease.
    pub(crate) fn renew(&mut self, now: Stamp<Monotonic>) {
        self.writer.publish(&self.terms, now);
    }
    /// As [`renew`](Self::renew), while `claim` is open, or none.
    pub(crate) fn claim(&mut self, claim: Option<Claim>, now: Stamp<Monotonic>) {
        self.terms.claim = claim;
        self.renew(now);
    }
    /// The same, in other zones.
    pub(crate) fn moved_to(&mut self, place: Place, now: Stamp<Monotonic>) {
        self.terms.grants.iter_mut().for_each(|grant| grant.place = place.clone());
        self.renew(now);
    }
    /// Ends what was granted, at once.
    pub(crate) fn revoke(&mut self) {
        self.writer.revoke(StreamIndex(0));
    }
}

/// A clock that stands still.
struct Stopped(Stamp<Monotonic>);
impl Clock for Stopped {
    fn monotonic(&self) -> Stamp<Monotonic> {
        self.0
    }
    fn utc(&self) -> Stamp<Utc> {
        Stamp::from_ns(0)
    }
}

/// One stream (index 0) in `state` for `purposes`, within `area`, from `now` on; for whoever reads or searches it is `now` for ever.
pub(crate) fn grant(state: StreamState, purposes: &[&str], area: Area, now: Stamp<Monotonic>) -> Granted {
    grant_by(Arc::new(Stopped(now)), state, purposes, area)
}

/// As [`grant`], with a lease that ends by `clock`.
pub(crate) fn grant_by(clock: SharedClock, state: StreamState, purposes: &[&str], area: Area) -> Granted {
    let now = clock.monotonic();
    let (mut writer, table) = LeaseWriter::of_slots(1, StreamIndex(0), &clock, TableId::TESTS);
    let place = Place::zones(["hall"]);
    let grant = |p: &&str| Grant { purpose: p.parse().expect("purpose"), basis: "test".into(), confirmations: 2, place: place.clone() };
    let grants = purposes.iter().map(grant).collect();
    let terms = LeaseTerms { stream: StreamIndex(0), state, grants, area, profile_hash: [7; 32], claim: None };
    writer.publish(&terms, now);
    Granted { writer, table, terms }
}
