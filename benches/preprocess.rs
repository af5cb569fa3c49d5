//! Pre-processing and alignment, alone: milliseconds a frame, and the share of the machine's copy bandwidth that they reach.
//!
//! `cargo bench --bench preprocess`. One thread. Each case runs on a ring of frames larger than the second-level cache, as frames from
//! a decoder are; the figure is the median (and the least) of many runs. Bytes counted: what of the planes lies under the area, and the
//! tensor's picture, each once; the limit is a copy of a large buffer, counted as bytes read plus bytes written.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::Instant;

use placard::area::Area;
use placard::clock::{CaptureTime, Stamp};
use placard::detect::preprocess::{Kernel, Preprocessor};
use placard::engine::known;
use placard::engine::manifest::Input;
use placard::frame::{Colorimetry, FrameHeader, PixelLayout, Pixels, StreamIndex};

const RUNS: usize = 200;
/// Frames in the ring: 8 × 0.46 MB (VGA) is more than the second-level cache.
const RING: usize = 8;

struct Case {
    name: &'static str,
    width: u32,
    height: u32,
    model: &'static str,
    input_px: Option<u32>,
    layout: PixelLayout,
    area: Area,
}

fn cases() -> Vec<Case> {
    let half = || Area::new(vec![vec![[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]]).expect("valid");
    let triangle = || Area::new(vec![vec![[0.05, 0.95], [0.5, 0.05], [0.95, 0.95]]]).expect("valid");
    let nv12 = PixelLayout::Nv12;
    let case = |name, (width, height), model, layout, area| Case { name, width, height, model, input_px: None, layout, area };
    vec![
        case("640×480 NV12 → 640×640, whole", (640, 480), "yunet-n-640", nv12, Area::whole()),
        case("640×480 I420 → 640×640, whole", (640, 480), "yunet-n-640", PixelLayout::I420, Area::whole()),
        case("1280×720 NV12 → 640×640, whole", (1280, 720), "yunet-n-640", nv12, Area::whole()),
        case("1920×1080 NV12 → 640×640, whole", (1920, 1080), "yunet-n-640", nv12, Area::whole()),
        case("1920×1080 NV12 → 640×640, middle quarter", (1920, 1080), "yunet-n-640", nv12, half()),
        case("1920×1080 NV12 → 640×640, triangle", (1920, 1080), "yunet-n-640", nv12, triangle()),
        case("3840×2160 NV12 → 640×640, whole", (3840, 2160), "yunet-n-640", nv12, Area::whole()),
        case("640×480 NV12 → 320×320, whole", (640, 480), "yunet-n-320", nv12, Area::whole()),
        case("1920×1080 NV12 → free 640, middle quarter", (1920, 1080), "yunet-n-dynamic", nv12, half()),
    ]
}

fn header(case: &Case) -> FrameHeader {
    let at = Stamp::from_ns(0);
    let stride = |plane| if plane < case.layout.plane_count() { case.layout.plane_size(plane, case.width, case.height).0 } else { 0 };
    FrameHeader {
        stream: StreamIndex(0),
        sequence: 0,
        captured_at: CaptureTime::Arrival(at),
        arrived_at: at,
        width: case.width,
        height: case.height,
        layout: case.layout,
        colorimetry: Colorimetry::assumed_for(case.height),
        strides: [stride(0), stride(1), stride(2)],
    }
}

fn planes(case: &Case, seed: usize) -> Vec<Vec<u8>> {
    let byte = |i: usize| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 13).to_le_bytes()[0];
    let plane = |plane| {
        let (row_bytes, rows) = case.layout.plane_size(plane, case.width, case.height);
        (0..row_bytes * rows).map(byte).collect()
    };
    (0..case.layout.plane_count()).map(plane).collect()
}

/// Sorted milliseconds of each run.
fn time(mut run: impl FnMut(usize)) -> Vec<f64> {
    (0..RING).for_each(&mut run);
    let mut times: Vec<f64> = (0..RUNS)
        .map(|i| {
            let begun_at = Instant::now();
            run(i % RING);
            begun_at.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Bytes read and written per second by a copy of 64 MiB.
fn copy_bandwidth() -> f64 {
    let from = vec![1_u8; 64 << 20];
    let mut to = vec![0_u8; from.len()];
    let best = (0..10)
        .map(|_| {
            let begun_at = Instant::now();
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
            begun_at.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    2.0 * from.len() as f64 / best
}

fn measure(case: &Case, input: &Input, kernel: Kernel, limit: f64) {
    let header = header(case);
    let frames: Vec<Vec<Vec<u8>>> = (0..RING).map(|seed| planes(case, seed)).collect();
    let mut preprocessor = Preprocessor::with_kernel(input, case.input_px, kernel).expect("a detector's manifest");
    let mut bytes = 0.0;
    let times = time(|i| {
        let plane = |p: usize| frames[i].get(p).map_or(&[][..], Vec::as_slice);
        let pixels = Pixels { header: &header, planes: [plane(0), plane(1), plane(2)], area: &case.area, area_epoch: 1 };
        let prepared = preprocessor.prepare(&pixels).expect("not empty");
        let bounds = prepared.mask.bounds().expect("not empty");
        let crop = f64::from(bounds.width()) * f64::from(bounds.height());
        let mapping = prepared.mapping;
        let picture = crop / f64::from(mapping.scale_x) / f64::from(mapping.scale_y);
        bytes = crop * 1.5 + picture * 12.0;
        black_box(prepared.tensor);
    });
    let median = times[RUNS / 2];
    let rate = bytes / (median / 1e3);
    println!(
        "{:<44} {:>8}  {:>7.3} ms  (least {:>6.3})  {:>5.1} GB/s, {:>3.0} % of copying",
        case.name,
        kernel.name(),
        median,
        times[0],
        rate / 1e9,
        100.0 * rate / limit
    );
}

fn main() {
    let limit = copy_bandwidth();
    println!("copy: {:.1} GB/s read and written", limit / 1e9);
    for case in cases() {
        let input = known::by_name(case.model).expect("a known model").input;
        for kernel in Kernel::available() {
            measure(&case, &input, kernel, limit);
        }
    }
}
