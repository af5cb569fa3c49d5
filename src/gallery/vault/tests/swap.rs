//! Galleries that are replaced while they are searched: no search waits for a writer, none sees half of a change, none misses who was there all the time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use super::super::super::set::{Found, SearchRefused};
use super::super::super::{Candidate, Scan};
use super::*;
use crate::area::Area;
use crate::frame::{StreamIndex, TableId};
use crate::policy::lease::testing::{Granted, grant};
use crate::policy::lease::{Match, Permit, Place, StreamState};

const PURPOSE: &str = "missing-person:1";

fn granted() -> Granted {
    grant(StreamState::Recognise, &[PURPOSE], Area::whole(), Stamp::from_ns(0))
}

fn permit(granted: &Granted) -> Permit<Match> {
    let all = granted.table.match_permits(StreamIndex(0), Stamp::from_ns(0)).expect("granted");
    all.into_iter().next().expect("one purpose")
}

/// A gallery whose writer stops in the middle of its work until it is told to go on.
struct Slow {
    begun: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Scan for Slow {
    fn len(&self) -> usize {
        1
    }
    fn version(&self) -> u64 {
        1
    }
    fn search_in(&self, _place: &Place, _query: &[f32], _threshold: f32, _top_k: usize) -> Vec<Candidate> {
        vec![Candidate { subject: SubjectId("0".into()), score: 1.0 }]
    }
    fn earliest_expiry(&self) -> Option<Stamp<Utc>> {
        Some(Stamp::from_ns(5))
    }
    fn without_expired(&self, _now: Stamp<Utc>) -> Option<Arc<dyn Scan>> {
        self.begun.lock().send(()).expect("the test waits");
        self.go_on.lock().recv().expect("the test goes on");
        None
    }
}

#[test]
fn no_search_waits_for_a_writer() {
    let ((begun, has_begun), (go_on, waits)) = (channel(), channel());
    let slow: Arc<dyn Scan> = Arc::new(Slow { begun: Mutex::new(begun), go_on: Mutex::new(waits) });
    let set = GallerySet::of_scans(model(), TableId::TESTS, [(purpose(PURPOSE), slow)]);
    let granted = granted();
    std::thread::scope(|scope| {
        scope.spawn(|| set.retire_expired(Stamp::from_ns(9)));
        has_begun.recv().expect("the writer has the turn");
        for _ in 0..100 {
            let found = set.search(&permit(&granted), &embedding(0), 0.5, 1).expect("told").expect("a gallery");
            assert_eq!(found.candidates.len(), 1, "searched while the writer is at it");
        }
        go_on.send(()).expect("it waits");
    });
}

#[test]
fn under_search_every_swap_is_whole_and_nobody_is_missed() {
    let site = site();
    let (vault, p) = (site.vault(), purpose(PURPOSE));
    let stays = enrol(&vault, &p, &[embedding(0)]);
    let set = GallerySet::new(model(), TableId::TESTS);
    let register = Register::default();
    set.reload(&vault, &register, NOW).expect("reloads");
    let (granted, over, searched) = (granted(), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut version = 0;
                while !over.load(SeqCst) {
                    let answer: Result<Option<Found>, SearchRefused> = set.search(&permit(&granted), &embedding(0), -1.0, 10);
                    let found = answer.expect("told").expect("a gallery");
                    assert!(found.gallery_version >= version, "versions only grow");
                    version = found.gallery_version;
                    assert_eq!((&found.candidates[0].subject, found.candidates[0].score), (&stays, 1.0));
                    // Both of the others come and go together.
                    assert!([1, 3].contains(&found.candidates.len()), "{} candidates", found.candidates.len());
                    searched.fetch_add(1, SeqCst);
                }
            });
        }
        for round in 0..25 {
            let subjects: Vec<SubjectId> = (0..2).map(|_| SubjectId::random().expect("random")).collect();
            let (first, second, of) = (embedding(1), embedding(2), model());
            let new = |subject: &SubjectId, template| NewSubject {
                subject: subject.clone(),
                purpose: &p,
                model: &of,
                templates: vec![template],
                channel: Channel::ImageFile,
                consent: None,
                source: None,
                zones: &["hall"],
                enrolled_at: NOW,
                expires_at: END,
            };
            vault.enrol(&[new(&subjects[0], &first), new(&subjects[1], &second)]).expect("enrolled");
            if round % 2 == 0 {
                vault.refresh_shards(NOW).expect("made");
            }
            set.reload(&vault, &register, NOW).expect("reloads");
            vault.delete(&subjects.into_iter().collect()).expect("deleted");
            set.reload(&vault, &register, NOW).expect("reloads");
            // Every swap is searched through.
            let seen = searched.load(SeqCst);
            while searched.load(SeqCst) < seen + 3 {
                std::thread::yield_now();
            }
        }
        over.store(true, SeqCst);
    });
}
