//! Areas hold against pictures made to break them (C08): whatever is painted outside, across or on the border, whatever the shape of the
//! area, the layout of the samples, the size of the picture and the instruction set, the detector's tensor does not depend on a sample
//! from outside, is constant where only the outside lies under it, and no face is emitted whose box is centred outside.
//!
//! What is outside is decided here by other means than in the program: a block of 2 × 2 pixels (they share chroma) may be read only if a
//! fine grid of points in it lies inside, by rays cast downwards instead of scan lines.

use std::sync::Arc;

use placard::area::{Area, Vertex};
use placard::clock::{CaptureTime, Clock, Stamp};
use placard::config::schema;
use placard::detect::detector::{DetectCounters, Detector};
use placard::detect::preprocess::{Kernel, Preprocessor};
use placard::engine::manifest::{ChannelOrder, Input, Manifest, Resize, Task};
use placard::engine::{EngineError, Network, Output, store};
use placard::frame::{BoundingBox, Colorimetry, ColourMatrix, Frame, FrameHeader, OwnedBuffer, PixelLayout, Pixels, Point, StreamIndex};
use placard::policy::lease::Detect;
use placard::render::portrait::{Conditions, photograph};
use placard::state::StateDirectory;
use proptest::prelude::*;
use proptest::sample::select;

use super::{NORTH, Site, register_text};

/// Points that lie this near to a border, in pixels, count as inside: the program's own tolerance is smaller.
const MARGIN: f64 = 2e-3;

// ---- what is inside, by other means

fn in_polygon(polygon: &[Vertex], [x, y]: Vertex) -> bool {
    let crossed = |(i, &[x0, y0]): (usize, &Vertex)| {
        let [x1, y1] = polygon[(i + 1) % polygon.len()];
        (x0 <= x) != (x1 <= x) && y0 + (x - x0) / (x1 - x0) * (y1 - y0) < y
    };
    polygon.iter().enumerate().filter(|e| crossed(*e)).count() % 2 == 1
}

fn distance(polygon: &[Vertex], [x, y]: Vertex) -> f64 {
    let to_edge = |(i, &[x0, y0]): (usize, &Vertex)| {
        let [x1, y1] = polygon[(i + 1) % polygon.len()];
        let (dx, dy) = (x1 - x0, y1 - y0);
        let t = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy).max(1e-30)).clamp(0.0, 1.0);
        (x - x0 - t * dx).hypot(y - y0 - t * dy)
    };
    polygon.iter().enumerate().map(to_edge).fold(f64::INFINITY, f64::min)
}

/// An area in a picture's pixels.
struct Shape {
    polygons: Vec<Vec<Vertex>>,
    width: u32,
    height: u32,
}

impl Shape {
    fn new(area: &Area, width: u32, height: u32) -> Self {
        let scale = |polygon: &Vec<Vertex>| polygon.iter().map(|[x, y]| [x * f64::from(width), y * f64::from(height)]).collect();
        Self { polygons: area.polygons().iter().map(scale).collect(), width, height }
    }
    fn holds(&self, point: Vertex) -> bool {
        self.polygons.iter().any(|p| in_polygon(p, point) || distance(p, point) < MARGIN)
    }
    /// By block: whether some of it lies outside.
    fn forbidden(&self) -> Vec<Vec<bool>> {
        let steps = |from: u32, to: u32| {
            let (from, to) = (f64::from(from), f64::from(to));
            (0..=8).map(move |i| from + 0.01 + f64::from(i) / 8.0 * (to - from - 0.02))
        };
        let block = |bx: u32, by: u32| {
            let ys = steps(2 * by, (2 * by + 2).min(self.height));
            ys.flat_map(|y| steps(2 * bx, (2 * bx + 2).min(self.width)).map(move |x| [x, y])).any(|point| !self.holds(point))
        };
        (0..self.height.div_ceil(2)).map(|by| (0..self.width.div_ceil(2)).map(|bx| block(bx, by)).collect()).collect()
    }
}

// ---- areas, pictures, networks' inputs

/// Any vertices in any order: edges may cross, and sides may be shorter than a pixel.
fn polygon() -> impl Strategy<Value = Vec<Vertex>> {
    let unit = || prop_oneof![4 => 0.0..=1.0_f64, 1 => select(vec![0.0, 0.25, 0.5, 1.0]), 1 => 0.4..0.401_f64];
    let wild = prop::collection::vec((unit(), unit()).prop_map(|(x, y)| [x, y]), 3..9);
    let tilted = (0.1..0.9_f64, 0.1..0.9_f64, 0.0..0.7_f64, 0.0..1.6_f64).prop_map(|(x, y, r, turn)| {
        let corner = |i: u32| {
            let angle = turn + f64::from(i) * std::f64::consts::FRAC_PI_2;
            [(x + r * angle.cos()).clamp(0.0, 1.0), (y + r * angle.sin()).clamp(0.0, 1.0)]
        };
        (0..4).map(corner).collect()
    });
    // Long, and thinner than a row of pixels in places: an hourglass between two rows.
    let hourglass = (0.1..0.9_f64, 0.001..0.2_f64).prop_map(|(y, h)| {
        let (top, bottom) = ((y - h).max(0.0), (y + h).min(1.0));
        vec![[0.0, top], [1.0, top], [0.0, bottom], [1.0, bottom]]
    });
    prop_oneof![3 => wild, 3 => tilted, 1 => hourglass]
}

fn area() -> impl Strategy<Value = Area> {
    prop::collection::vec(polygon(), 1..4).prop_map(|polygons| Area::new(polygons).expect("within the picture"))
}

#[derive(Clone, Debug)]
struct Picture {
    width: u32,
    height: u32,
    layout: PixelLayout,
    full_range: bool,
    gap: usize,
}

impl Picture {
    fn header(&self) -> FrameHeader {
        let at = Stamp::from_ns(0);
        let stride = |plane| {
            if plane < self.layout.plane_count() { self.layout.plane_size(plane, self.width, self.height).0 + self.gap } else { 0 }
        };
        let matrix = if self.layout.is_rgb() { ColourMatrix::Identity } else { ColourMatrix::Bt601 };
        FrameHeader {
            stream: NORTH,
            sequence: 0,
            captured_at: CaptureTime::Arrival(at),
            arrived_at: at,
            width: self.width,
            height: self.height,
            layout: self.layout,
            colorimetry: Colorimetry { matrix, full_range: self.full_range },
            strides: [stride(0), stride(1), stride(2)],
        }
    }

    /// Planes, every byte of them as `paint` says: (place in its plane, row, byte of the row).
    fn painted(&self, paint: impl Fn(usize, usize, usize) -> u8) -> Vec<Vec<u8>> {
        let plane = |plane: usize| {
            let (stride, rows) = (self.header().strides[plane], self.layout.plane_size(plane, self.width, self.height).1);
            (0..stride * rows).map(|i| paint(i, i / stride, i % stride)).collect()
        };
        (0..self.layout.plane_count()).map(plane).collect()
    }

    /// The same within what may be read, and as `paint` says everywhere else, padding between rows included.
    fn repainted(&self, inside: &[Vec<u8>], forbidden: &[Vec<bool>], paint: impl Fn(usize, usize, usize) -> u8) -> Vec<Vec<u8>> {
        let (mut planes, strides) = (self.painted(paint), self.header().strides);
        for samples in self.layout.components().into_iter().flatten() {
            for row in 0..samples.down(self.height) {
                for column in 0..samples.across(self.width) {
                    let (bx, by) = (column * samples.columns as usize / 2, row * samples.rows as usize / 2);
                    // Full-size chroma and luma belong to one block each; shared chroma to exactly one.
                    if !forbidden[by][bx] {
                        let at = row * strides[samples.plane] + column * samples.pitch + samples.first;
                        let bytes = at..=at + usize::from(samples.shift > 0);
                        planes[samples.plane][bytes.clone()].copy_from_slice(&inside[samples.plane][bytes]);
                    }
                }
            }
        }
        planes
    }
}

fn noise(seed: u64) -> impl Fn(usize, usize, usize) -> u8 {
    move |i, row, _| {
        let mut z = (i as u64 ^ (row as u64) << 32).wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).to_le_bytes()[3]
    }
}

/// Bright ovals with dark eyes, everywhere: also across and on the border.
fn faces(_: usize, row: usize, column: usize) -> u8 {
    let (x, y) = (column % 40, row % 48);
    let oval = (x as f64 / 20.0 - 1.0).powi(2) + (y as f64 / 24.0 - 1.0).powi(2) < 0.8;
    let eye = (y as i32 - 18).abs() < 3 && [13, 27].iter().any(|e| (x as i32 - e).abs() < 4);
    if eye {
        16
    } else if oval {
        235
    } else {
        90
    }
}

fn picture() -> impl Strategy<Value = Picture> {
    let side = || prop_oneof![3 => 16..140_u32, 1 => select(vec![16, 17, 33, 64, 65, 127])];
    (side(), side(), select(PixelLayout::ALL.to_vec()), any::<bool>(), 0..9_usize)
        .prop_map(|(width, height, layout, full_range, gap)| Picture { width, height, layout, full_range, gap })
}

fn inputs() -> [(Input, Option<u32>); 3] {
    let input = |width, height, resize, channels| Input {
        name: "input".into(),
        channels,
        width,
        height,
        multiple_of: 32,
        resize,
        mean: [127.0, 126.0, 125.0],
        scale: [1.0 / 128.0, -1.0 / 64.0, 1.0 / 32.0],
    };
    [
        (input(Some(64), Some(64), Resize::Letterbox, ChannelOrder::Bgr), None),
        (input(Some(96), Some(40), Resize::Stretch, ChannelOrder::Rgb), None),
        (input(None, None, Resize::Letterbox, ChannelOrder::Rgb), Some(128)),
    ]
}

// ---- the law

struct Made {
    bits: Vec<u32>,
    /// Width and height of the tensor, the frame's pixel of a tensor's point, and where the picture in it ends.
    size: (usize, usize),
    at: Box<dyn Fn(f32, f32) -> Point>,
    step: (f64, f64),
}

fn tensor(picture: &Picture, planes: &[Vec<u8>], area: &Area, (input, input_px): &(Input, Option<u32>), kernel: Kernel) -> Option<Made> {
    let mut preprocessor = Preprocessor::with_kernel(input, *input_px, kernel).expect("a detector's input");
    let header = picture.header();
    let plane = |p: usize| planes.get(p).map_or(&[][..], Vec::as_slice);
    let pixels = Pixels { header: &header, planes: [plane(0), plane(1), plane(2)], area, area_epoch: 1 };
    let prepared = preprocessor.prepare(&pixels)?;
    let [_, _, height, width] = prepared.shape;
    let mapping = prepared.mapping;
    Some(Made {
        bits: prepared.tensor.iter().map(|v| v.to_bits()).collect(),
        size: (width, height),
        at: Box::new(move |x, y| mapping.point(Point { x, y })),
        step: (f64::from(mapping.scale_x), f64::from(mapping.scale_y)),
    })
}

/// Wherever nothing but forbidden blocks lies under a value of the tensor, it is that of a black pixel.
fn assert_constant_outside(made: &Made, forbidden: &[Vec<bool>], picture: &Picture, input: &Input, what: &str) -> usize {
    let ((width, height), plane) = (made.size, made.size.0 * made.size.1);
    let mut seen = 0;
    for y in 0..height {
        for x in 0..width {
            let at = (made.at)(x as f32 + 0.5, y as f32 + 0.5);
            let reach = |centre: f32, step: f64, size: u32| {
                // A pixel either way for interpolation, two for shared chroma, and one for rounding.
                let (from, to) = (f64::from(centre) - step - 4.0, f64::from(centre) + step + 4.0);
                ((from / 2.0).floor().max(0.0) as usize, ((to / 2.0).ceil().max(0.0) as usize).min(size.div_ceil(2) as usize))
            };
            let (columns, rows) = (reach(at.x, made.step.0, picture.width), reach(at.y, made.step.1, picture.height));
            if (rows.0..rows.1).any(|by| (columns.0..columns.1).any(|bx| !forbidden[by][bx])) {
                continue;
            }
            for channel in 0..3 {
                let value = f32::from_bits(made.bits[channel * plane + y * width + x]);
                let black = -input.mean[channel] * input.scale[channel];
                let off = (value - black).abs() / input.scale[channel].abs();
                assert!(off < 0.05, "{what}: tensor ({x}, {y}), channel {channel}: {off} of a pixel's value from black; {picture:?}");
                seen += 1;
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sample_from_outside_reaches_the_tensor(area in area(), picture in picture(), turned in any::<bool>(), seed in any::<u64>()) {
        // A camera that was turned or set to another size keeps its area, in fractions of the picture.
        let (w, h) = (picture.width, picture.height);
        let picture = if turned { Picture { width: h, height: w, ..picture } } else { picture };
        let forbidden = Shape::new(&area, picture.width, picture.height).forbidden();
        let first = picture.painted(noise(seed));
        let others = [
            picture.repainted(&first, &forbidden, noise(seed ^ 1)),
            picture.repainted(&first, &forbidden, faces),
            picture.repainted(&first, &forbidden, |_, _, _| 255),
            picture.repainted(&first, &forbidden, |_, _, _| 0),
        ];
        for input in &inputs() {
            for kernel in Kernel::available() {
                let made = tensor(&picture, &first, &area, input, kernel);
                for (i, other) in others.iter().enumerate() {
                    let again = tensor(&picture, other, &area, input, kernel);
                    let same = made.as_ref().map(|m| &m.bits) == again.as_ref().map(|m| &m.bits);
                    prop_assert!(same, "{}: what was painted outside ({i}) reached the tensor; {picture:?}, {area:?}", kernel.name());
                }
                if let Some(made) = &made {
                    assert_constant_outside(made, &forbidden, &picture, &input.0, kernel.name());
                }
            }
        }
    }
}

#[test]
fn the_constant_outside_is_looked_for_where_there_is_some() {
    let area = Area::new(vec![vec![[0.0, 0.0], [0.3, 0.0], [0.0, 0.3]], vec![[1.0, 1.0], [0.7, 1.0], [1.0, 0.7]]]).expect("valid");
    let picture = Picture { width: 128, height: 128, layout: PixelLayout::Nv12, full_range: false, gap: 0 };
    let forbidden = Shape::new(&area, 128, 128).forbidden();
    let input = &inputs()[0];
    let made = tensor(&picture, &picture.painted(noise(3)), &area, input, Kernel::fastest()).expect("two corners");
    assert!(assert_constant_outside(&made, &forbidden, &picture, &input.0, "both corners") > 3 * 1_000);
    assert!(made.bits.iter().any(|bits| *bits != made.bits[made.size.0 * 20 + 44]), "and the corners are there");
}

/// A network that sees faces everywhere.
struct Everywhere {
    manifest: Manifest,
    boxes: Vec<[f32; 4]>,
}

impl Network for Everywhere {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    fn run(&mut self, _: &[f32], _: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
        let (n, scores): (usize, Vec<f32>) = (self.boxes.len(), self.boxes.iter().flat_map(|_| [0.1, 0.9]).collect());
        let scores = Output { name: "scores", shape: &[1, n, 2], data: &scores };
        read(&[scores, Output { name: "boxes", shape: &[1, n, 4], data: self.boxes.as_flattened() }]);
        Ok(())
    }
}

fn manifest() -> Manifest {
    let text = "name = 'everywhere'\ntask = 'face-detector'\nsha256 = ''\nlicence = ''\npublisher = ''\nintended_use = 'commissioning'\n\
                [input]\nname = 'input'\nchannels = 'rgb'\nmultiple_of = 32\nresize = 'letterbox'\n[decode]\nlayout = 'rfb'\n";
    toml::from_str(text).expect("a manifest")
}

fn settings(text: &str) -> schema::Detect {
    toml::from_str(text).expect("settings")
}

/// A site whose stream `north` is looked at within `area` (its first polygon).
fn site_with(area: &Area) -> Site {
    let text = register_text();
    let polygon: Vec<String> = area.polygons()[0].iter().map(|[x, y]| format!("[{x:?}, {y:?}]")).collect();
    let whole = "polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]";
    Site::new(&text.replacen(whole, &format!("polygon = [{}]", polygon.join(", ")), 1))
}

fn looked(site: &Site, detector: &mut Detector, picture: &Picture, planes: Vec<Vec<u8>>) -> Vec<BoundingBox> {
    let permit = site.table.permit::<Detect>(NORTH, site.clock.monotonic()).expect("lit");
    let frame = Frame::new(picture.header(), site.table.id(), Box::new(OwnedBuffer { planes })).expect("valid");
    detector.detect(&frame, &permit).expect("looks").iter().map(|face| face.bounding_box).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_face_is_emitted_whose_box_is_centred_outside(
        polygon in polygon(),
        picture in picture(),
        boxes in prop::collection::vec((-0.2..1.2_f32, -0.2..1.2_f32, 0.0..0.6_f32, 0.0..0.6_f32), 1..40),
    ) {
        let area = Area::new(vec![polygon]).expect("within the picture");
        let site = site_with(&area);
        let boxes: Vec<[f32; 4]> = boxes.iter().map(|(x, y, w, h)| [x - w, y - h, x + w, y + h]).collect();
        let (network, counters) = (Box::new(Everywhere { manifest: manifest(), boxes }), Arc::<DetectCounters>::default());
        let config = settings("model = 'everywhere'\nscore_threshold = 0.5\nnms_iou = 1.0\ninput_px = 64");
        let mut detector = Detector::new(network, &config, 0.5, counters).expect("fits");
        let shape = Shape::new(&area, picture.width, picture.height);
        for found in looked(&site, &mut detector, &picture, picture.painted(noise(5))) {
            let centre = found.centre();
            prop_assert!(shape.holds([f64::from(centre.x), f64::from(centre.y)]), "{found:?} in {picture:?}, {area:?}");
        }
    }
}

/// Nine people who do not exist, one in each ninth of the picture; the area is the left half but for a triangle. With the bundled detector.
#[test]
fn people_outside_across_and_on_the_border_are_seen_only_as_far_as_the_sign_says() {
    const SIDE: u32 = 192;
    let picture = Picture { width: 3 * SIDE, height: 3 * SIDE, layout: PixelLayout::Rgb, full_range: true, gap: 0 };
    let conditions = Conditions { size: SIDE as usize, face_px: 76.0, difficulty: 0.0, masked: 0.0 };
    let people: Vec<image::RgbImage> = (0..9).map(|seed| photograph(seed, 0, conditions).image).collect();
    let paint = |shown: &dyn Fn(usize) -> bool| {
        picture.painted(|_, row, byte| {
            let (x, y) = (byte as u32 / 3, row as u32);
            let person = (y / SIDE * 3 + x / SIDE) as usize;
            if shown(person) { people[person].get_pixel(x % SIDE, y % SIDE)[byte % 3] } else { 128 }
        })
    };
    let state = StateDirectory::new("/nowhere");
    let network = match store::load_network(&state, "concourse-detector", Task::FaceDetector, &schema::Engine::default()) {
        Ok(network) => network,
        Err(error) => panic!("the bundled detector: {error}"),
    };
    let config = settings("model = 'concourse-detector'\nscore_threshold = 0.6\ninput_px = 640");
    let mut detector = Detector::new(network, &config, 0.6, Arc::default()).expect("a detector");
    let everybody = looked(&site_with(&Area::whole()), &mut detector, &picture, paint(&|_| true));
    assert!(everybody.len() >= 8, "the detector sees people where it may look: {everybody:?}");
    // The border runs through the middle of the second column's faces, and its corner cuts into the first column.
    let area = Area::new(vec![vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.25, 1.0], [0.0, 0.75]]]).expect("valid");
    let (site, shape) = (site_with(&area), Shape::new(&area, picture.width, picture.height));
    let within = looked(&site, &mut detector, &picture, paint(&|_| true));
    let inside = |b: &BoundingBox| shape.holds([f64::from(b.centre().x), f64::from(b.centre().y)]);
    assert!(within.iter().all(inside), "{within:?}");
    assert!(within.len() >= 2, "whoever stands well inside is seen: {within:?}");
    // The third column is invisible: what is found does not depend on whether anybody is there.
    let without = looked(&site, &mut detector, &picture, paint(&|person| person % 3 != 2));
    assert_eq!(within, without);
    assert!(everybody.iter().any(|b| !inside(b)), "there was somebody outside");
}

#[test]
fn a_permit_of_another_stream_shows_nothing_of_this_one() {
    let site = site_with(&Area::whole());
    let picture = Picture { width: 64, height: 64, layout: PixelLayout::I420, full_range: false, gap: 0 };
    let south = site.table.permit::<Detect>(super::SOUTH, site.clock.monotonic()).expect("lit");
    let planes = picture.painted(noise(1));
    let frame = Frame::new(picture.header(), site.table.id(), Box::new(OwnedBuffer { planes })).expect("valid");
    assert_eq!(frame.header().stream, StreamIndex(0));
    assert!(frame.read(&south).is_err());
}
