//! What it costs a worker to ask whether it may: nanoseconds a question, alone and while leases are being renewed.
//!
//! `cargo bench --bench permit`. One thread asks; in the second half another makes the policy thread read the register, decide and renew as
//! fast as it can, some hundred times as often as by itself. Each figure is the median (and the least) of many runs of many questions.
//! The first question is the one on a frame's path: `Permit::is_live`, with the time that the worker has read anyway. The bound is 20 ns.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use placard::clock::{Clock, SharedClock, Stamp, SystemClock, format_utc};
use placard::frame::{MayRead, StreamIndex};
use placard::policy::cedar::CedarPlane;
use placard::policy::facts::Register;
use placard::policy::lease::{Detect, LeaseTable, MaskCheck, Permit};
use placard::policy::store::put_as_stand_ins;
use placard::policy::worker::{PolicyHandle, PolicyThread};

const STREAM: StreamIndex = StreamIndex(0);
const RUNS: usize = 201;
const QUESTIONS: u32 = 20_000;
/// Nanoseconds: the project's bound for the question on a frame's path.
const BOUND_NS: f64 = 20.0;

fn register() -> String {
    let now = SystemClock.utc();
    let day = |days: i64| format_utc(Stamp::from_ns(now.ns() + days * 86_400_000_000_000));
    format!(
        "[[zone]]\nid = \"hall\"\nkind = \"public\"\n\
         [[area]]\nstream = \"north\"\nzone = \"hall\"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\n\
         [[sign]]\nid = \"hall-1\"\nzone = \"hall\"\n{}position = \"door\"\nphoto_sha256 = \"{}\"\n\
         posted_on = {}\ninspected_at = {}\ninspected_by = \"bench\"\n\
         [[purpose]]\npurpose = \"missing-person:bench\"\nzones = [\"hall\"]\nassessment = \"bench\"\nreview_on = {}\n\
         basis = {{ kind = \"public-safety\", statute = \"s\", authority = \"a\", from = {}, until = {} }}\n",
        include_str!("../tests/support/sign-words.toml"),
        "5e1f".repeat(16),
        &day(-20)[..10],
        day(-1),
        &day(90)[..10],
        &day(-20)[..10],
        &day(30)[..10],
    )
}

/// Median and least nanoseconds a question.
fn time(mut question: impl FnMut()) -> (f64, f64) {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun_at = Instant::now();
            (0..QUESTIONS).for_each(|_| question());
            begun_at.elapsed().as_secs_f64() * 1e9 / f64::from(QUESTIONS)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[RUNS / 2], times[0])
}

fn permit(table: &LeaseTable) -> Permit<Detect> {
    let begun_at = Instant::now();
    // Under the load of this bench a lease may lapse for a moment.
    loop {
        if let Ok(permit) = table.permit(STREAM, SystemClock.monotonic()) {
            return permit;
        }
        assert!(
            begun_at.elapsed().as_secs() < 10,
            "the stream is off: {:?}",
            table.permit::<Detect>(STREAM, SystemClock.monotonic()).err()
        );
        std::thread::yield_now();
    }
}

fn measure(table: &LeaseTable, clock: &SharedClock, what: &str) -> f64 {
    let now = clock.monotonic();
    let held = permit(table);
    let print = |name: &str, (median, least): (f64, f64)| println!("{what:<10} {name:<46} {median:>7.1} ns  (least {least:>6.1})");
    let live = time(|| {
        black_box(black_box(&held).is_live(black_box(now)));
    });
    print("Permit::is_live, time in hand", live);
    print(
        "reading the clock",
        time(|| {
            black_box(black_box(clock).monotonic());
        }),
    );
    print(
        "Permit::stands: is_live and reading the clock",
        time(|| {
            black_box(MayRead::stands(black_box(&held)));
        }),
    );
    print(
        "LeaseTable::permit::<Detect>, a new permit",
        time(|| {
            let _permit = black_box(table.permit::<Detect>(STREAM, black_box(now)));
        }),
    );
    print(
        "LeaseTable::permit::<MaskCheck>, refused",
        time(|| {
            let _withheld = black_box(table.permit::<MaskCheck>(STREAM, black_box(now)));
        }),
    );
    live.0
}

/// Evaluates and renews without pause until told to stop; answers how often.
fn renew(policy: &PolicyHandle, stop: &AtomicBool) -> u64 {
    let before = policy.heartbeat();
    while !stop.load(Relaxed) {
        if policy.reload().is_err() {
            break;
        }
    }
    policy.heartbeat() - before
}

fn main() {
    let directory = std::env::temp_dir().join(format!("placard-bench-permit-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the register");
    let path = directory.join("register.redb");
    let facts: Register = toml::from_str(&register()).expect("facts");
    put_as_stand_ins(&path, &facts, SystemClock.utc()).expect("the register");
    let clock = SystemClock::shared();
    let (policy, table) =
        PolicyThread::start(path, &["north".into()], Arc::clone(&clock), Box::new(CedarPlane::bundled()), None).expect("the policy thread");
    let alone = measure(&table, &clock, "alone");
    let stop = AtomicBool::new(false);
    let renewed = std::thread::scope(|scope| {
        let writer = scope.spawn(|| renew(&policy, &stop));
        let begun_at = Instant::now();
        let contended = measure(&table, &clock, "renewing");
        let seconds = begun_at.elapsed().as_secs_f64();
        stop.store(true, Relaxed);
        let renewals = writer.join().expect("no panic");
        println!("\n{:.0} renewals a second meanwhile", renewals as f64 / seconds);
        contended
    });
    policy.stop();
    let _left = std::fs::remove_dir_all(&directory);
    let within = alone.max(renewed) <= BOUND_NS;
    let verdict = if within { "within" } else { "beyond" };
    println!("a frame's question: {alone:.1} ns alone, {renewed:.1} ns while renewing: {verdict} the bound of {BOUND_NS} ns");
    std::process::exit(i32::from(!within));
}
