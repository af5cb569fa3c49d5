//! Two policy threads in one process: what one of them grants opens nothing that the other governs, however permissive its register is.

use std::sync::Arc;

use placard::clock::{CaptureTime, Clock, SharedClock};
use placard::emit::journal::Journal;
use placard::emit::{self, Context, Draft, EmitError, StreamNames};
use placard::frame::{BoundingBox, Colorimetry, Frame, FrameHeader, OwnedBuffer, PixelLayout, ReadRefused, TableId, still};
use placard::gallery::set::{GallerySet, SearchRefused};
use placard::gallery::{Candidate, SubjectId, TemplateModel};
use placard::ingest::Outlet;
use placard::policy::enrolment::EnrolmentDesk;
use placard::policy::facts::Register;
use placard::policy::lease::{Detect, Embed, Emit, Match};
use placard::purpose::Purpose;
use placard::queue::{Doorbell, Ring};
use placard::shutdown::Shutdown;

use crate::{NORTH, Site, register_text};

/// What an outlet of `site` delivers on stream north.
fn frame(site: &Site, table: TableId) -> Frame {
    let ring = Arc::new(Ring::new(1));
    let clock = Arc::clone(&site.clock) as SharedClock;
    let outlet = Outlet::new("north", NORTH, Arc::clone(&ring), Doorbell::new(), clock).governed_by(table);
    let now = site.clock.monotonic();
    let header = FrameHeader {
        stream: NORTH,
        sequence: 0,
        captured_at: CaptureTime::Arrival(now),
        arrived_at: now,
        width: 16,
        height: 16,
        layout: PixelLayout::I420,
        colorimetry: Colorimetry::assumed_for(16),
        strides: [16, 8, 8],
    };
    let planes = vec![vec![0; 256], vec![0; 64], vec![0; 64]];
    outlet.again().deliver(header, Box::new(OwnedBuffer { planes }), &Shutdown::new()).expect("delivered");
    ring.pop().expect("a frame")
}

fn hit(site: &Site, purpose: &Purpose, lease_epoch: u64) -> Draft {
    let now = site.clock.now();
    Draft {
        stream: NORTH,
        purpose: purpose.clone(),
        lease_epoch,
        candidates: vec![Candidate { subject: SubjectId("s-1".into()), score: 0.75 }],
        threshold: 0.5,
        gallery_version: 1,
        model: "embedder".into(),
        track: "0123456789abcdef".to_owned(),
        captured_at: CaptureTime::Arrival(now.monotonic),
        decided_at: now,
        frame_sequence: 0,
        bounding_box: BoundingBox { x0: 1.0, y0: 1.0, x1: 9.0, y1: 9.0 },
        picture_px: None,
        quality: 0.9,
        shots: 1,
    }
}

#[test]
fn a_second_policy_thread_opens_nothing_of_the_first() {
    // Both registers allow everything, and both tables number their leases alike: only the tables differ.
    let (site, other) = (Site::new(&register_text()), Site::new(&register_text()));
    site.assert_lit();
    other.assert_lit();
    let (own, foreign) = (site.table.id(), other.table.id());
    assert_ne!(own, foreign);
    let now = site.clock.monotonic();
    let purpose: Purpose = "missing-person:mp-7".parse().expect("purpose");

    let picture = frame(&site, own);
    assert!(picture.read(&site.table.permit::<Detect>(NORTH, now).expect("lit")).is_ok());
    let detect = other.table.permit::<Detect>(NORTH, now).expect("lit");
    let embed = other.table.permit::<Embed>(NORTH, now).expect("lit");
    assert!(detect.stands() && embed.stands());
    let refused = ReadRefused::OtherTable { stream: NORTH.0 };
    assert_eq!((picture.read(&detect).err(), picture.read(&embed).err()), (Some(refused.clone()), Some(refused.clone())));
    assert!(refused.to_string().contains("another register"));
    // A frame that nobody said whose it is, is nobody's.
    let stray = frame(&site, TableId::NOBODY);
    assert!(stray.read(&site.table.permit::<Detect>(NORTH, now).expect("lit")).is_err() && stray.read(&detect).is_err());

    let model = TemplateModel { name: "embedder".into(), sha256: "00".into(), dim: 2 };
    let galleries = GallerySet::new(model, own);
    let query = placard::embedding::Embedding::normalised(&mut [3.0, 4.0]).expect("unit");
    let [mine, others] = [&site, &other].map(|s| s.table.permit_for::<Match>(NORTH, &purpose, now).expect("lit"));
    assert_eq!(galleries.search(&mine, &query, 0.5, 3).expect("searched"), None, "nobody is enrolled");
    assert_eq!(galleries.search(&others, &query, 0.5, 3).err(), Some(SearchRefused::OtherTable));

    let directory = tempfile::tempdir().expect("temporary directory");
    let mut journal = Journal::open(directory.path(), 1).expect("journal").0;
    let names = StreamNames { name: "north".into(), zone: None };
    let context = Context { streams: vec![names].into(), table: own };
    let [mine, others] = [&site, &other].map(|s| s.table.permit_for::<Emit>(NORTH, &purpose, now).expect("lit"));
    let theirs = emit::emit(&hit(&site, &purpose, others.epoch()), &others, &context, &*site.clock, &mut journal);
    assert!(matches!(theirs, Err(EmitError::OtherTable { index: 0 })), "{theirs:?}");
    emit::emit(&hit(&site, &purpose, mine.epoch()), &mine, &context, &*site.clock, &mut journal).expect("told");

    // What gathers, decides and emits compares epochs on the way: no two tables share one.
    assert_ne!(mine.epoch(), others.epoch());
    assert_ne!(site.table.epoch(NORTH), other.table.epoch(NORTH));
}

#[test]
fn an_enrolment_desk_opens_its_own_pictures_and_no_other_s() {
    let site = Site::new(&register_text());
    let purpose: Purpose = "missing-person:mp-7".parse().expect("purpose");
    let register: Register = Register::load(&site.register).expect("readable");
    let open = || EnrolmentDesk::open(&register, &purpose, Arc::clone(&site.clock) as SharedClock).expect("open");
    let (mut desk, mut other) = (open(), open());
    let picture = still::desk_frame_from_rgb(desk.table(), 16, 16, &[90; 768]).expect("valid");
    assert!(picture.read(&desk.permit::<Embed>().expect("granted")).is_ok());
    let refused = picture.read(&other.permit::<Embed>().expect("granted")).err();
    assert_eq!(refused, Some(ReadRefused::OtherTable { stream: u16::MAX }));
    let model = TemplateModel { name: "embedder".into(), sha256: "00".into(), dim: 2 };
    let appliance = GallerySet::new(model, site.table.id());
    let query = placard::embedding::Embedding::normalised(&mut [3.0, 4.0]).expect("unit");
    let searched = appliance.search(&desk.match_permit().expect("granted"), &query, 0.5, 3);
    assert_eq!(searched.err(), Some(SearchRefused::OtherTable), "a desk searches what it loaded itself, not the appliance's galleries");
}
