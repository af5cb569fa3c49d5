//! The one call that turns an embedding into hits, and the last that ever sees the embedding.
//!
//! Invariants: exactly the galleries of the permits' purposes are searched, one each. Nothing found under a permit that ended meanwhile
//! leaves the call. The embedding is wiped before the call returns, or unwinds, whatever was found.

use std::sync::Arc;

use crate::embedding::Embedding;
use crate::gallery::set::{Found, GallerySet, SearchRefused};
use crate::matching::Hit;
use crate::policy::lease::{Match, Permit};

/// What is left of a query.
#[derive(Debug, Default)]
pub struct Findings {
    /// At most one per permit.
    pub hits: Vec<Hit>,
    /// Galleries searched. A purpose that nobody is enrolled for has none.
    pub searched: usize,
    /// Permits that opened nothing: they had ended before their search, ended during it, or were none of the galleries' table.
    pub ended_permits: usize,
}

/// Searches for `query` under `permits`. `threshold`: least cosine similarity; `top_k`: candidates per purpose.
pub fn identify(query: Embedding, permits: &[Permit<Match>], set: &GallerySet, threshold: f32, top_k: usize) -> Findings {
    let mut findings = Findings::default();
    for permit in permits {
        let Found { candidates, gallery_version } = match set.search(permit, &query, threshold, top_k) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(refused) => {
                findings.ended_permits += 1;
                findings.searched += usize::from(refused == SearchRefused::Ended { searched: true });
                continue;
            }
        };
        findings.searched += 1;
        if candidates.is_empty() {
            continue;
        }
        let (purpose, basis) = (permit.purpose().clone(), Arc::clone(permit.basis()));
        findings.hits.push(Hit { purpose, basis, lease_epoch: permit.epoch(), candidates, gallery_version });
    }
    // Said aloud because it is the point: this wipes it.
    drop(query);
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;
    use crate::area::Area;
    use crate::clock::{Clock, SimulatedClock, Stamp};
    use crate::embedding::testing::take_drops;
    use crate::frame::{StreamIndex, TableId};
    use crate::gallery::{Candidate, Scan, SubjectId, TemplateModel};
    use crate::policy::lease::testing::{Granted, grant_by};
    use crate::policy::lease::{MAX_LEASE, Place, StreamState};

    /// Records every query it is asked, then does what the test says.
    struct Double {
        seen: Mutex<Vec<Vec<f32>>>,
        answer: Vec<Candidate>,
        meanwhile: Box<dyn Fn() + Send + Sync>,
    }

    impl Scan for Double {
        fn len(&self) -> usize {
            self.answer.len()
        }
        fn version(&self) -> u64 {
            17
        }
        fn search_in(&self, _place: &Place, query: &[f32], threshold: f32, top_k: usize) -> Vec<Candidate> {
            assert_eq!((threshold, top_k), (0.5, 3));
            self.seen.lock().push(query.to_vec());
            (self.meanwhile)();
            self.answer.clone()
        }
    }

    fn double(answer: &[f32]) -> Arc<Double> {
        doing(answer, || ())
    }

    fn doing(answer: &[f32], meanwhile: impl Fn() + Send + Sync + 'static) -> Arc<Double> {
        let answer = answer.iter().map(|s| Candidate { subject: SubjectId("s".into()), score: *s }).collect();
        Arc::new(Double { seen: Mutex::default(), answer, meanwhile: Box::new(meanwhile) })
    }

    fn set(scans: &[(&str, &Arc<Double>)]) -> GallerySet {
        let model = TemplateModel { name: "test".into(), sha256: "00".into(), dim: 2 };
        GallerySet::of_scans(
            model,
            TableId::TESTS,
            scans.iter().map(|(p, s)| (p.parse().expect("purpose"), Arc::clone(*s) as Arc<dyn Scan>)),
        )
    }

    fn world(purposes: &[&str]) -> (Arc<SimulatedClock>, Granted, Vec<Permit<Match>>) {
        let clock = SimulatedClock::starting_at(Stamp::from_ns(0));
        let granted = grant_by(clock.clone(), StreamState::Recognise, purposes, Area::whole());
        let permits = granted.table.match_permits(StreamIndex(0), clock.monotonic()).expect("granted");
        take_drops();
        (clock, granted, permits)
    }

    fn query() -> Embedding {
        Embedding::normalised(&mut [3.0, 4.0]).expect("unit")
    }

    #[test]
    fn searches_the_granted_purposes_and_no_others() {
        let (granted, other, empty) = (double(&[0.9, 0.7]), double(&[1.0]), double(&[]));
        let set = set(&[("missing-person:1", &granted), ("missing-person:2", &other), ("emergency:3", &empty)]);
        let (_clock, _lease, permits) = world(&["missing-person:1", "emergency:3", "crime-prevention:none-enrolled", "mask-check"]);
        let found = identify(query(), &permits, &set, 0.5, 3);
        assert_eq!((found.hits.len(), found.searched, found.ended_permits), (1, 2, 0));
        let hit = &found.hits[0];
        assert_eq!((hit.purpose.to_string().as_str(), &*hit.basis, hit.gallery_version), ("missing-person:1", "test", 17));
        assert_eq!(hit.candidates.iter().map(|c| c.score).collect::<Vec<_>>(), [0.9, 0.7]);
        assert_eq!(*granted.seen.lock(), [[0.6, 0.8]]);
        assert!(other.seen.lock().is_empty(), "a gallery of another purpose was searched");
        assert_eq!(take_drops(), (1, 0));
    }

    #[test]
    fn an_unmatched_embedding_is_wiped_in_the_call() {
        let nobody = double(&[]);
        let (_clock, _lease, permits) = world(&["missing-person:1"]);
        let query = query();
        assert_eq!(take_drops(), (0, 0));
        let found = identify(query, &permits, &set(&[("missing-person:1", &nobody)]), 0.5, 3);
        assert!(found.hits.is_empty() && nobody.seen.lock().len() == 1);
        assert_eq!(take_drops(), (1, 0), "(wiped, left)");
        identify(self::query(), &[], &set(&[]), 0.5, 3);
        assert_eq!(take_drops(), (1, 0), "also when nothing may be searched");
    }

    #[test]
    fn an_embedding_is_wiped_even_if_the_search_panics() {
        let broken = doing(&[1.0], || panic!("on purpose"));
        let (_clock, _lease, permits) = world(&["missing-person:1"]);
        let set = set(&[("missing-person:1", &broken)]);
        let call = std::panic::AssertUnwindSafe(|| identify(query(), &permits, &set, 0.5, 3));
        assert!(std::panic::catch_unwind(call).is_err());
        assert_eq!(take_drops(), (1, 0));
    }

    #[test]
    fn an_ended_permit_searches_nothing_and_lets_nothing_out() {
        let scan = double(&[1.0]);
        let set_of = |scan: &Arc<Double>| set(&[("missing-person:1", scan)]);
        let (_clock, mut lease, permits) = world(&["missing-person:1"]);
        lease.revoke();
        let found = identify(query(), &permits, &set_of(&scan), 0.5, 3);
        assert_eq!((found.hits.len(), found.searched, found.ended_permits, scan.seen.lock().len()), (0, 0, 1, 0));
        // The lease runs out while the gallery is being searched.
        let (clock, _lease, permits) = world(&["missing-person:1"]);
        let hands = Arc::clone(&clock);
        let slow = doing(&[1.0], move || hands.advance(MAX_LEASE + Duration::from_nanos(1)));
        let found = identify(query(), &permits, &set_of(&slow), 0.5, 3);
        assert_eq!((found.hits.len(), found.searched, found.ended_permits), (0, 1, 1));
        assert_eq!(take_drops(), (1, 0));
    }
}
