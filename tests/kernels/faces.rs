//! `kernels/detect/decode_yunet.cu`, `decode_scrfd.cu` and `nms.cu` against the processor's decoding and suppression.

use placard::detect::Face;
use placard::detect::decode::{TensorSize, decode};
use placard::detect::nms::{CAPACITY, suppress};
use placard::engine::Output;
use placard::engine::manifest::Decode;
use placard::frame::{BoundingBox, Point};

use crate::battery::{Case, Draw, prove};
use crate::job::{Buffer, Job, Outputs, bytes};

const STRIDES: [u32; 3] = [8, 16, 32];
/// Values of a `Candidate`: box, score, ten coordinates, number.
const FIELDS: usize = 16;
const OVERFLOW: u32 = u32::MAX;
/// What the suppression refuses more of: `kMostCandidates` of `nms.cu`.
const MOST_CANDIDATES: u32 = 65_536;

/// Anchors of a cell.
fn anchors(layout: &Decode) -> u32 {
    if *layout == Decode::Yunet { 1 } else { 2 }
}

/// Anchors of all levels.
fn cells(layout: &Decode, size: (u32, u32)) -> u32 {
    STRIDES.iter().map(|s| anchors(layout) * (size.0 / s) * (size.1 / s)).sum()
}

/// YuNet's twelve or SCRFD's nine outputs for a batch: kind after kind, level after level.
struct Heads {
    layout: Decode,
    size: (u32, u32),
    batch: usize,
    tensors: Vec<(usize, usize, Vec<f32>)>,
}

impl Heads {
    fn new(draw: &mut Draw, layout: Decode, size: (u32, u32), batch: usize, is_wild: bool) -> Self {
        let mut tensors = Vec::new();
        let kinds: &[usize] = if layout == Decode::Yunet { &[1, 1, 4, 10] } else { &[1, 4, 10] };
        for &columns in kinds {
            for stride in STRIDES {
                let cells = (anchors(&layout) * (size.0 / stride) * (size.1 / stride)) as usize;
                let values = (0..batch * cells * columns).map(|_| match draw.below(if is_wild { 9 } else { 1_000 }) {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    2 => -f32::INFINITY,
                    3 => 1e30,
                    4 => 90.0,
                    _ => draw.unit() * if columns == 1 { 1.5 } else { 0.9 },
                });
                tensors.push((cells, columns, values.collect()));
            }
        }
        Self { layout, size, batch, tensors }
    }

    fn expected(&self, frame: usize, min_score: f32) -> Vec<Face> {
        let shapes: Vec<Vec<usize>> = self.tensors.iter().map(|(cells, columns, _)| vec![1, *cells, *columns]).collect();
        let views: Vec<Output<'_>> = self
            .tensors
            .iter()
            .zip(&shapes)
            .map(|((cells, columns, values), shape)| Output {
                name: "output",
                shape,
                data: &values[frame * cells * columns..][..cells * columns],
            })
            .collect();
        let mut faces = Vec::new();
        let size = TensorSize { width: self.size.0 as usize, height: self.size.1 as usize };
        decode(&self.layout, &views, size, min_score, &mut faces).expect("the layout's shapes");
        faces
    }

    /// Decodes into lists of `capacity`; gives candidates and counts.
    fn launch(&self, job: &mut Job, min_score: f32, capacity: u32) -> (Buffer, Buffer) {
        let (kinds, kernel) = if self.layout == Decode::Yunet { (4, "detect_decode_yunet") } else { (3, "detect_decode_scrfd") };
        let mut levels = Vec::new();
        let mut first = 0;
        for stride in STRIDES {
            levels.resize(levels.len() + 8 * kinds, 0);
            let (columns, rows) = (self.size.0 / stride, self.size.1 / stride);
            levels.extend(bytes(&[columns, rows, stride, first], u32::to_le_bytes));
            first += anchors(&self.layout) * columns * rows;
        }
        let levels = job.input(levels);
        for (index, (_, _, values)) in self.tensors.iter().enumerate() {
            let tensor = job.input(bytes(values, f32::to_le_bytes));
            job.point(levels, (index % 3 * (8 * kinds + 16) + index / 3 * 8) as u64, tensor, 0);
        }
        let batch = u32::try_from(self.batch).expect("small");
        let faces = job.output(vec![0xcd; 4 * FIELDS * self.batch * capacity as usize]);
        let counts = job.output(vec![0; 4 * self.batch]);
        let arguments = [levels.into(), faces.into(), counts.into(), first.into(), capacity.into(), min_score.into()];
        job.launch(kernel, [first.div_ceil(64).max(1), batch, 1], [64, 1, 1], &arguments);
        (faces, counts)
    }
}

/// kept, found, shed.
fn launch_nms(job: &mut Job, (faces, counts): (Buffer, Buffer), batch: u32, capacity: u32, room: u32, max_iou: f32) -> [Buffer; 3] {
    let kept = job.output(vec![0xcd; 4 * FIELDS * (batch * room) as usize]);
    let [found, shed] = [0, 1].map(|_| job.output(vec![0xcd; 4 * batch as usize]));
    let arguments = [faces.into(), counts.into(), kept.into(), found.into(), shed.into(), capacity.into(), room.into(), max_iou.into()];
    job.launch("detect_nms", [batch, 1, 1], [96, 1, 1], &arguments);
    [kept, found, shed]
}

fn face(fields: &[f32]) -> Face {
    let landmarks = std::array::from_fn(|i| Point { x: fields[5 + 2 * i], y: fields[6 + 2 * i] });
    let bounding_box = BoundingBox { x0: fields[0], y0: fields[1], x1: fields[2], y1: fields[3] };
    Face { bounding_box, score: fields[4], landmarks: Some(landmarks) }
}

fn fields(face: &Face, number: u32) -> Vec<u8> {
    let b = face.bounding_box;
    let points = face.landmarks.unwrap_or_default().into_iter().flat_map(|p| [p.x, p.y]);
    let values: Vec<f32> = [b.x0, b.y0, b.x1, b.y1, face.score].into_iter().chain(points).chain([f32::from_bits(number)]).collect();
    bytes(&values, f32::to_le_bytes)
}

/// Equal but for the last places of `exp`.
fn is_same(a: &Face, b: &Face) -> bool {
    let values = |f: &Face| {
        let points = f.landmarks.unwrap_or_default().into_iter().flat_map(|p| [p.x, p.y]);
        let b = f.bounding_box;
        [b.x0, b.y0, b.x1, b.y1, f.score].into_iter().chain(points).collect::<Vec<f32>>()
    };
    let size = a.bounding_box.width().max(a.bounding_box.height()).max(1.0);
    values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() <= 2e-6 * size.max(a.abs()))
}

fn compare(got: &[Face], want: &[Face], what: &str) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} faces instead of {}", got.len(), want.len()));
    }
    match got.iter().zip(want).position(|(got, want)| !is_same(got, want)) {
        Some(at) => Err(format!("{what}: face {at} is {:?} instead of {:?}", got[at], want[at])),
        None => Ok(()),
    }
}

/// Decoded, then suppressed; both compared.
fn decoded(draw: &mut Draw, layout: Decode, size: (u32, u32), is_wild: bool, min_score: f32, max_iou: f32) -> Case {
    let batch = 2;
    let (name, cells) = (format!("{layout:?} {size:?}, wild {is_wild}, from score {min_score}, iou {max_iou}"), cells(&layout, size));
    let outputs = Heads::new(draw, layout, size, batch, is_wild);
    let mut job = Job::default();
    let capacity = cells.max(1);
    let lists = outputs.launch(&mut job, min_score, capacity);
    let [kept, found, shed] = launch_nms(&mut job, lists, 2, capacity, capacity, max_iou);
    let expected: Vec<Vec<Face>> = (0..batch).map(|frame| outputs.expected(frame, min_score)).collect();
    let check = move |outputs: &Outputs<'_>| {
        let (candidates, counts) = (outputs.f32s(lists.0), outputs.u32s(lists.1));
        for (frame, expected) in expected.iter().enumerate() {
            let rows = candidates[frame * capacity as usize * FIELDS..][..counts[frame] as usize * FIELDS].chunks(FIELDS);
            let mut rows: Vec<&[f32]> = rows.collect();
            rows.sort_by_key(|row| row[FIELDS - 1].to_bits());
            compare(&rows.into_iter().map(face).collect::<Vec<_>>(), expected, &format!("decoded, frame {frame}"))?;
            let mut stays = expected.clone();
            let beyond = suppress(&mut stays, max_iou);
            let (found, shed) = (outputs.u32s(found)[frame] as usize, outputs.u32s(shed)[frame] as usize);
            let got: Vec<Face> =
                outputs.f32s(kept)[frame * capacity as usize * FIELDS..][..found * FIELDS].chunks(FIELDS).map(face).collect();
            compare(&got, &stays, &format!("suppressed, frame {frame}"))?;
            if shed != beyond {
                return Err(format!("frame {frame}: {shed} shed instead of {beyond}"));
            }
        }
        Ok(())
    };
    Case { name, job, check: Box::new(check) }
}

/// Candidates as they come, in room for `room`.
fn suppressed(name: &str, faces: Vec<Face>, capacity: u32, room: u32, max_iou: f32) -> Case {
    let mut job = Job::default();
    let mut list: Vec<u8> = faces.iter().zip(0..).take(capacity as usize).flat_map(|(f, number)| fields(f, number)).collect();
    list.resize(4 * FIELDS * capacity as usize, 0xcd);
    let count = u32::try_from(faces.len()).expect("small");
    let lists = (job.input(list), job.input(count.to_le_bytes().to_vec()));
    let [kept, found, shed] = launch_nms(&mut job, lists, 1, capacity, room, max_iou);
    let mut expected = faces;
    let beyond = suppress(&mut expected, max_iou);
    let check = move |outputs: &Outputs<'_>| {
        let found = outputs.u32s(found)[0];
        if count > capacity || count > MOST_CANDIDATES {
            return if found == OVERFLOW { Ok(()) } else { Err(format!("{found} found instead of an overflow")) };
        }
        if (found as usize, outputs.u32s(shed)[0] as usize) != (expected.len(), beyond) {
            return Err(format!("{found} found, {:?} shed, instead of {} and {beyond}", outputs.u32s(shed), expected.len()));
        }
        let got: Vec<Face> = outputs.f32s(kept).chunks(FIELDS).take(found as usize).map(face).collect();
        let most = expected.len().min(room as usize);
        compare(&got[..most], &expected[..most], "kept")
    };
    Case { name: name.to_owned(), job, check: Box::new(check) }
}

fn scattered(draw: &mut Draw, count: usize, side: f32) -> Vec<Face> {
    let mut one = |_| {
        let (x, y, size) = (side * draw.unit(), side * draw.unit(), 6.0 + 5.0 * draw.unit());
        let landmarks = std::array::from_fn(|_| Point { x: draw.unit(), y: draw.unit() });
        // Few scores, so that many are equal.
        let score = f32::from(draw.byte() / 8) / 32.0;
        Face { bounding_box: BoundingBox { x0: x, y0: y, x1: x + size, y1: y + size }, score, landmarks: Some(landmarks) }
    };
    (0..count).map(&mut one).collect()
}

pub fn cases() -> Vec<Case> {
    let mut draw = Draw(37);
    let mut cases = vec![
        decoded(&mut draw, Decode::Yunet, (64, 32), false, 0.3, 0.3),
        decoded(&mut draw, Decode::Yunet, (96, 160), false, 0.0, 0.1),
        decoded(&mut draw, Decode::Yunet, (64, 64), true, 0.2, 0.3),
        decoded(&mut draw, Decode::Yunet, (64, 64), true, 0.0, 0.0),
        decoded(&mut draw, Decode::Yunet, (32, 32), false, 2.0, 0.3),
    ];
    let scrfd = || Decode::Scrfd { outputs: Vec::new() };
    cases.push(decoded(&mut draw, scrfd(), (64, 32), false, 0.3, 0.3));
    cases.push(decoded(&mut draw, scrfd(), (96, 64), false, -2.0, 0.2));
    cases.push(decoded(&mut draw, scrfd(), (64, 64), true, 0.1, 0.1));
    cases.push(suppressed("nobody", Vec::new(), 4, 4, 0.3));
    cases.push(suppressed("one", scattered(&mut draw, 1, 10.0), 1, 1, 0.3));
    let crowd = scattered(&mut draw, 150, 20.0);
    cases.push(suppressed("150 in a heap", crowd.clone(), 150, 150, 0.2));
    cases.push(suppressed("more stay than there is room for", crowd.clone(), 160, 7, 0.6));
    cases.push(suppressed("a list that overflowed", crowd, 149, 8, 0.3));
    let same: Vec<Face> = scattered(&mut draw, 1, 5.0).into_iter().cycle().take(40).collect();
    cases.push(suppressed("40 times the same", same.clone(), 64, 64, 0.99));
    cases.push(suppressed("40 times the same, and all may stay", same, 64, 64, 1.0));
    // One half of the other: exactly as much as may be, and a hair more.
    let halved = |height| {
        [4.0, height].map(|y1| Face { bounding_box: BoundingBox { x0: 0.0, y0: 0.0, x1: 4.0, y1 }, ..scattered(&mut Draw(1), 1, 5.0)[0] })
    };
    cases.push(suppressed("as much in common as may be", halved(2.0).to_vec(), 2, 2, 0.5));
    cases.push(suppressed("a hair more in common", halved(2.0_f32.next_up()).to_vec(), 2, 2, 0.5));
    let too_many = MOST_CANDIDATES + 1;
    let crowd = scattered(&mut draw, too_many as usize, 4_000.0);
    cases.push(suppressed("more than a place can name", crowd, too_many, 4, 0.3));
    let many = scattered(&mut draw, CAPACITY + 200, 4_000.0);
    cases.push(suppressed("more than are looked at", many, 1_400, 1_400, 0.3));
    cases
}

#[test]
fn the_device_decodes_and_suppresses_as_the_processor_does() {
    prove(&cases());
}
