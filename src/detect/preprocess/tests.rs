//! One battery for every version of the inner loops: against the oracle, against each other, and against the law (nothing from outside
//! the area, nothing copied on the way).

use std::sync::{Arc, Mutex};

use crate::area::Area;
use crate::clock::{CaptureTime, Stamp};
use crate::engine::manifest::{ChannelOrder, Input, Resize};
use crate::frame::{Colorimetry, ColourMatrix, Frame, FrameBuffer, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex, TableId};
use crate::policy::lease::{Detect, StreamState, testing::grant};

use super::*;

/// A small seeded generator: the tests need noise, not randomness.
pub struct Noise(u64);

impl Noise {
    pub fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.to_be_bytes()[0]
    }
}

/// The layouts whose rows are read in place; the others' are taken apart first, and then take the same path as these.
const PLANAR: [PixelLayout; 3] = [PixelLayout::Nv12, PixelLayout::I420, PixelLayout::I444];

#[derive(Clone, Copy, Debug)]
struct Picture {
    width: u32,
    height: u32,
    layout: PixelLayout,
    colorimetry: Colorimetry,
    /// Bytes between the end of a row and the next.
    gap: usize,
    seed: u64,
}

impl Picture {
    fn header(&self) -> FrameHeader {
        let at = Stamp::from_ns(0);
        let stride = |plane| {
            if plane < self.layout.plane_count() { self.layout.plane_size(plane, self.width, self.height).0 + self.gap + plane } else { 0 }
        };
        FrameHeader {
            stream: StreamIndex(0),
            sequence: 0,
            captured_at: CaptureTime::Arrival(at),
            arrived_at: at,
            width: self.width,
            height: self.height,
            layout: self.layout,
            colorimetry: self.colorimetry,
            strides: [stride(0), stride(1), stride(2)],
        }
    }

    /// Noise in every plane, and in the gaps. Planes end with their last pixel, so that reading on is an error.
    fn planes(&self) -> Vec<Vec<u8>> {
        let (header, mut noise) = (self.header(), Noise(self.seed));
        let plane = |plane: usize| {
            let (row_bytes, rows) = self.layout.plane_size(plane, self.width, self.height);
            (0..header.strides[plane] * (rows - 1) + row_bytes).map(|_| noise.byte()).collect()
        };
        (0..self.layout.plane_count()).map(plane).collect()
    }

    fn frame(&self) -> Frame {
        Frame::new(self.header(), TableId::TESTS, Box::new(OwnedBuffer { planes: self.planes() })).expect("valid")
    }
}

fn with_pixels<R>(frame: &Frame, area: &Area, then: impl FnOnce(&Pixels<'_>) -> R) -> R {
    let now = Stamp::from_ns(1);
    let granted = grant(StreamState::Detect, &["mask-check"], area.clone(), now);
    let permit = granted.table.permit::<Detect>(StreamIndex(0), now).expect("live");
    then(&frame.read(&permit).expect("same stream"))
}

fn input(width: Option<u32>, height: Option<u32>, resize: Resize, channels: ChannelOrder) -> Input {
    let normal = channels == ChannelOrder::Rgb;
    Input {
        name: "input".into(),
        channels,
        width,
        height,
        multiple_of: 32,
        resize,
        mean: if normal { [127.0, 126.0, 125.0] } else { [0.0; 3] },
        scale: if normal { [1.0 / 128.0, -1.0 / 64.0, 1.0 / 32.0] } else { [1.0; 3] },
    }
}

fn triangle() -> Area {
    Area::new(vec![vec![[0.07, 0.93], [0.52, 0.04], [0.95, 0.81]]]).expect("valid")
}

fn two_boxes() -> Area {
    let rectangle = |x0: f64, y0: f64, x1: f64, y1: f64| vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    Area::new(vec![rectangle(0.1, 0.2, 0.45, 0.6), rectangle(0.6, 0.3, 0.9, 1.0)]).expect("valid")
}

/// What pictures of this layout may be labelled.
fn colorimetries(layout: PixelLayout) -> Vec<Colorimetry> {
    let matrices = if layout.is_rgb() { vec![ColourMatrix::Identity] } else { vec![ColourMatrix::Bt601, ColourMatrix::Bt709] };
    matrices.into_iter().flat_map(|matrix| [false, true].map(|full_range| Colorimetry { matrix, full_range })).collect()
}

/// Compares every kernel with the oracle. Returns the largest difference, in units of a pixel value.
fn compare(picture: &Picture, area: &Area, input: &Input, input_px: Option<u32>) -> f64 {
    let frame = picture.frame();
    let mut worst = 0.0_f64;
    with_pixels(&frame, area, |pixels| {
        let mask = area.rasterise(picture.width, picture.height);
        let Some(crop) = mask.bounds() else { panic!("an empty area tests nothing") };
        let geometry = Geometry::new(Target::of(input, input_px).expect("valid"), crop);
        // Each weight and product is rounded; the more samples, the more of that.
        let tolerance = 0.05 + 0.005 * (geometry.steps().0 + geometry.steps().1);
        let expected = oracle::tensor(pixels, &mask, &geometry, input);
        for kernel in Kernel::available() {
            let mut preprocessor = Preprocessor::with_kernel(input, input_px, kernel).expect("valid");
            for _ in 0..2 {
                let prepared = preprocessor.prepare(pixels).expect("not empty");
                assert_eq!(prepared.shape, [1, 3, geometry.tensor.1, geometry.tensor.0]);
                assert_eq!(prepared.tensor.len(), expected.len());
                let plane = expected.len() / 3;
                for (i, (&got, &want)) in prepared.tensor.iter().zip(&expected).enumerate() {
                    let difference = (f64::from(got) - want).abs() / f64::from(input.scale[i / plane].abs());
                    assert!(difference < tolerance, "{}: value {i}: {got}, expected {want}; {picture:?}, {geometry:?}", kernel.name());
                    worst = worst.max(difference);
                }
            }
        }
    });
    worst
}

fn compare_over_areas_and_inputs(picture: &Picture) -> f64 {
    let mut worst = 0.0_f64;
    for area in [Area::whole(), triangle(), two_boxes()] {
        let fixed = input(Some(64), Some(64), Resize::Letterbox, ChannelOrder::Bgr);
        worst = worst.max(compare(picture, &area, &fixed, None));
        let stretched = input(Some(80), Some(60), Resize::Stretch, ChannelOrder::Rgb);
        worst = worst.max(compare(picture, &area, &stretched, None));
        let free = input(None, None, Resize::Letterbox, ChannelOrder::Rgb);
        worst = worst.max(compare(picture, &area, &free, Some(160)));
    }
    worst
}

#[test]
fn every_kernel_equals_the_oracle_for_all_matrices_and_odd_sizes() {
    let mut worst = 0.0_f64;
    for layout in PLANAR {
        for (seed, colorimetry) in (1..).zip(colorimetries(layout)) {
            for (width, height, gap) in [(64, 48, 0), (97, 61, 13), (230, 131, 3), (16, 17, 0)] {
                worst = worst.max(compare_over_areas_and_inputs(&Picture { width, height, layout, colorimetry, gap, seed }));
            }
        }
    }
    assert!(worst > 0.0, "the comparison compared something");
}

#[test]
fn every_layout_equals_the_oracle_at_odd_sizes_and_pitches() {
    for (seed, layout) in (1..).zip(PixelLayout::ALL) {
        for colorimetry in colorimetries(layout) {
            let worst = compare_over_areas_and_inputs(&Picture { width: 97, height: 61, layout, colorimetry, gap: 13, seed });
            assert!(worst > 0.0, "the comparison compared something");
        }
        let colorimetry = colorimetries(layout)[0];
        compare_over_areas_and_inputs(&Picture { width: 64, height: 48, layout, colorimetry, gap: 0, seed });
    }
}

#[test]
fn steps_beyond_a_permutation_window_take_the_gather() {
    let colorimetry = Colorimetry { matrix: ColourMatrix::Bt709, full_range: false };
    let picture = Picture { width: 1201, height: 203, layout: PixelLayout::Nv12, colorimetry, gap: 5, seed: 3 };
    for (width, height) in [(13, 64), (96, 7), (200, 64), (301, 203), (640, 100), (1201, 11), (1300, 300)] {
        compare(&picture, &Area::whole(), &input(Some(width), Some(height), Resize::Stretch, ChannelOrder::Bgr), None);
    }
}

#[test]
fn noise_outside_the_area_does_not_change_a_bit() {
    for layout in PixelLayout::ALL {
        for (area, size) in [(triangle(), (161, 99)), (two_boxes(), (200, 120))] {
            let colorimetry = colorimetries(layout)[0];
            let picture = Picture { width: size.0, height: size.1, layout, colorimetry, gap: 7, seed: 11 };
            let mask = area.rasterise(size.0, size.1);
            let header = picture.header();
            let mut other = Picture { seed: 12, ..picture }.planes();
            // The second picture is noise of another seed, but for the samples that are inside.
            let (same, n) = (picture.planes(), |count: usize| 0..u32::try_from(count).expect("small"));
            for samples in layout.components().into_iter().flatten() {
                for row in n(samples.down(size.1)) {
                    for column in n(samples.across(size.0)) {
                        if mask.contains(column * samples.columns, row * samples.rows) {
                            let at = row as usize * header.strides[samples.plane] + column as usize * samples.pitch + samples.first;
                            let bytes = at..=at + usize::from(samples.shift > 0);
                            other[samples.plane][bytes.clone()].copy_from_slice(&same[samples.plane][bytes]);
                        }
                    }
                }
            }
            let (first, second) =
                (picture.frame(), Frame::new(header, TableId::TESTS, Box::new(OwnedBuffer { planes: other })).expect("valid"));
            for kernel in Kernel::available() {
                for input in [
                    input(Some(96), Some(96), Resize::Letterbox, ChannelOrder::Bgr),
                    input(None, None, Resize::Letterbox, ChannelOrder::Rgb),
                ] {
                    let tensor = |frame: &Frame| {
                        let mut preprocessor = Preprocessor::with_kernel(&input, None, kernel).expect("valid");
                        with_pixels(frame, &area, |pixels| {
                            let tensor = preprocessor.prepare(pixels).expect("not empty").tensor;
                            tensor.iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
                        })
                    };
                    let (a, b) = (tensor(&first), tensor(&second));
                    assert!(a == b, "{}: {layout:?}: a pixel from outside reached the tensor", kernel.name());
                    assert!(a.iter().any(|&bits| bits != a[0]), "the tensor is not all padding");
                }
            }
        }
    }
}

#[test]
fn tensors_do_not_depend_on_what_was_prepared_before() {
    let colorimetry = Colorimetry { matrix: ColourMatrix::Bt601, full_range: false };
    let small = Picture { width: 50, height: 80, layout: PixelLayout::Nv12, colorimetry, gap: 0, seed: 5 };
    let large = Picture { width: 210, height: 90, layout: PixelLayout::I420, colorimetry, gap: 1, seed: 6 };
    let input = input(Some(96), Some(64), Resize::Letterbox, ChannelOrder::Rgb);
    let fresh = |picture: &Picture, area: &Area| {
        let mut preprocessor = Preprocessor::new(&input, None).expect("valid");
        with_pixels(&picture.frame(), area, |p| preprocessor.prepare(p).expect("not empty").tensor.to_vec())
    };
    let mut preprocessor = Preprocessor::new(&input, None).expect("valid");
    for _ in 0..2 {
        // Each `with_pixels` makes a table of its own, so all areas come with the same epoch: the cache must not be fooled by it.
        for (picture, area) in [(&small, Area::whole()), (&large, triangle()), (&small, triangle()), (&large, Area::whole())] {
            let tensor = with_pixels(&picture.frame(), &area, |p| preprocessor.prepare(p).expect("not empty").tensor.to_vec());
            assert!(tensor == fresh(picture, &area), "{picture:?}");
        }
    }
}

#[test]
fn nothing_of_a_frame_is_left_after_a_wipe_and_the_next_tensor_is_the_same() {
    for layout in [PixelLayout::Nv12, PixelLayout::Yuy2] {
        for area in [Area::whole(), triangle()] {
            let picture = Picture { width: 161, height: 99, layout, colorimetry: colorimetries(layout)[0], gap: 7, seed: 21 };
            let frame = picture.frame();
            let input = input(Some(96), Some(96), Resize::Letterbox, ChannelOrder::Rgb);
            let mut preprocessor = Preprocessor::new(&input, None).expect("valid");
            let before = with_pixels(&frame, &area, |p| preprocessor.prepare(p).expect("not empty").tensor.to_vec());
            preprocessor.wipe();
            let plane = 96 * 96;
            let padding = [0, 1, 2].map(|c| (0.0 - input.mean[c]) * input.scale[c]);
            assert!(preprocessor.tensor.iter().enumerate().all(|(i, &v)| (v - padding[i / plane]).abs() < 1e-6), "{layout:?}: the tensor");
            let Scratch { y, u, v, luma, chroma } = &preprocessor.scratch;
            assert!(y.iter().chain(u).chain(v).all(|&sample| sample == 0), "{layout:?}: blended rows");
            assert!(luma.all_zero() && chroma.iter().all(MaskedRows::all_zero), "{layout:?}: copied rows");
            let after = with_pixels(&frame, &area, |p| preprocessor.prepare(p).expect("not empty").tensor.to_vec());
            assert!(before == after, "{layout:?}");
        }
    }
}

#[test]
fn an_area_without_a_whole_pixel_gives_no_tensor() {
    let sliver = Area::new(vec![vec![[0.5, 0.5], [0.501, 0.5], [0.5, 0.501]]]).expect("valid");
    let colorimetry = Colorimetry::assumed_for(64);
    let frame = Picture { width: 64, height: 64, layout: PixelLayout::Nv12, colorimetry, gap: 0, seed: 1 }.frame();
    let mut preprocessor = Preprocessor::new(&input(None, None, Resize::Letterbox, ChannelOrder::Bgr), None).expect("valid");
    assert!(with_pixels(&frame, &sliver, |p| preprocessor.prepare(p).is_none()));
}

/// Where a decoder's planes lie, for the test to know what the reader should have read.
struct Recorded {
    planes: Vec<Vec<u8>>,
    seen: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl FrameBuffer for Recorded {
    fn plane(&self, plane: usize) -> &[u8] {
        self.seen.lock().expect("no panic").push((plane, self.planes[plane].as_ptr().addr()));
        &self.planes[plane]
    }
}

#[test]
fn rows_are_read_where_the_decoder_left_them() {
    let colorimetry = Colorimetry::assumed_for(48);
    for layout in PixelLayout::ALL {
        let picture = Picture { width: 66, height: 48, layout, colorimetry, gap: 9, seed: 2 };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let buffer = Recorded { planes: picture.planes(), seen: Arc::clone(&seen) };
        let pointers: Vec<usize> = buffer.planes.iter().map(|p| p.as_ptr().addr()).collect();
        let frame = Frame::new(picture.header(), TableId::TESTS, Box::new(buffer)).expect("valid");
        let right_half = Area::new(vec![vec![[0.5, 0.25], [1.0, 0.25], [1.0, 1.0], [0.5, 1.0]]]).expect("valid");
        with_pixels(&frame, &right_half, |pixels| {
            let mask = right_half.rasterise(66, 48);
            let source = Source { pixels: *pixels, mask: &mask, crop: mask.bounds().expect("not empty"), black: (16, 128) };
            let offset = |rows: PlaneRows, row: usize| source.direct(rows, row).map(|bytes| bytes.as_ptr().addr());
            let stride = |plane: usize| picture.header().strides[plane];
            let luma = offset(PlaneRows::luma(layout), 3);
            let chroma = match PlaneRows::chroma(layout) {
                Chroma::None => vec![],
                Chroma::Interleaved(rows) => vec![offset(rows, 1)],
                Chroma::Apart(planes) => planes.map(|rows| offset(rows, 1)).to_vec(),
            };
            use PixelLayout::*;
            let in_place: (usize, &[usize]) = match layout {
                Nv12 => (34, &[7 * stride(1) + 34]),
                Nv16 => (34, &[13 * stride(1) + 34]),
                I420 => (34, &[7 * stride(1) + 17, 7 * stride(2) + 17]),
                Y42b => (34, &[13 * stride(1) + 17, 13 * stride(2) + 17]),
                I444 => (34, &[13 * stride(1) + 34, 13 * stride(2) + 34]),
                // Planes in another order, pairs in another order, none.
                Yv12 => {
                    assert_eq!(chroma, [pointers[2] + 7 * stride(2) + 17, pointers[1] + 7 * stride(1) + 17].map(Some));
                    return;
                }
                Nv21 => {
                    assert_eq!((luma, &chroma[..]), (Some(pointers[0] + 15 * stride(0) + 34), &[None, None][..]));
                    return;
                }
                Gray8 => (34, &[]),
                _ => {
                    assert!(luma.is_none() && chroma.iter().all(Option::is_none), "{layout:?}: samples do not lie side by side");
                    return;
                }
            };
            assert_eq!(luma, Some(pointers[0] + 15 * stride(0) + in_place.0), "{layout:?}");
            let expected: Vec<_> = in_place.1.iter().zip(&pointers[1..]).map(|(at, pointer)| Some(pointer + at)).collect();
            assert_eq!(chroma, expected, "{layout:?}");
        });
        for &(plane, pointer) in &*seen.lock().expect("no panic") {
            assert_eq!(pointer, pointers[plane], "the planes never moved");
        }
    }
}

#[test]
fn manifests_that_fit_no_detector_are_refused() {
    let good = input(None, None, Resize::Letterbox, ChannelOrder::Bgr);
    let error = |change: &dyn Fn(&mut Input)| {
        let mut input = good.clone();
        change(&mut input);
        Preprocessor::new(&input, None).err()
    };
    assert_eq!(error(&|i| i.resize = Resize::AlignedCrop), Some(PreprocessError::NotADetector));
    assert!(matches!(error(&|i| i.multiple_of = 0), Some(PreprocessError::FreeSize { .. })));
    assert!(matches!(error(&|i| (i.width, i.height) = (Some(0), Some(5))), Some(PreprocessError::Size { .. })));
    assert!(matches!(error(&|i| i.scale[1] = f32::NAN), Some(PreprocessError::Normalisation { .. })));
    assert!(Preprocessor::new(&good, Some(16)).is_err(), "smaller than one multiple");
}
