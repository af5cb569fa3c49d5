//! `kernels/align/warp.cu` against the processor's similarity and warp; and that nothing outside a signed area reaches a crop.

use placard::align::similarity::{CROP_PX, Similarity, TEMPLATE};
use placard::align::warp::warp;
use placard::area::Area;
use placard::detect::preprocess::Geometry;
use placard::engine::manifest::{ChannelOrder, Input, Resize};
use placard::frame::{Colorimetry, ColourMatrix, Landmarks, PixelLayout, Point};

use crate::battery::{Case, Draw, half_bits, half_value, prove};
use crate::frames::{Picture, Shown, normalise, upload, wedge};
use crate::job::{Job, Outputs, bytes};

/// Pixel values that a fused multiplication may move a sample by.
const TOLERANCE: f32 = 0.01;
const PIXELS: usize = CROP_PX * CROP_PX;

fn input(order: ChannelOrder) -> Input {
    Input {
        name: "input".to_owned(),
        channels: order,
        width: None,
        height: None,
        multiple_of: 1,
        resize: Resize::AlignedCrop,
        mean: [127.5, 120.0, 100.0],
        scale: [1.0 / 127.5, 1.0 / 128.0, 1.0 / 64.0],
    }
}

/// The template, turned, scaled and moved, each point a little off.
#[expect(clippy::cast_possible_truncation, reason = "points are f32")]
fn landmarks(draw: &mut Draw, angle: f64, scale: f64, at: (f64, f64)) -> Landmarks {
    let to_frame = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx: at.0, ty: at.1 };
    TEMPLATE.map(|p| {
        let (x, y) = to_frame.apply(f64::from(p.x) - 56.0, f64::from(p.y) - 70.0);
        Point { x: x as f32 + 0.4 * draw.unit(), y: y as f32 + 0.4 * draw.unit() }
    })
}

/// The crop as the processor makes it, in the tensor's channel order: `None` where the landmarks define nothing.
fn twin(picture: &Picture, input: &Input, face: &Landmarks) -> Option<Vec<[f32; 3]>> {
    let to_crop = Similarity::fit(face, &TEMPLATE)?;
    let mut crop = vec![[f32::NAN; 3]; PIXELS];
    warp(&picture.pixels(), &picture.mask(), &to_crop, |x, y, rgb| {
        let ordered = if input.channels == ChannelOrder::Bgr { [rgb[2], rgb[1], rgb[0]] } else { rgb };
        crop[y * CROP_PX + x] = std::array::from_fn(|c| (ordered[c] - input.mean[c]) * input.scale[c]);
    });
    Some(crop)
}

/// Frames that each face is said to be of: the last is beyond the batch of three.
const FRAMES: [u32; 4] = [0, 1, 2, 3];

/// Faces of a picture, of the same with all else outside its area, and of a frame without a permit.
fn case(draw: &mut Draw, name: &str, picture: &Picture, faces: &[Landmarks], order: ChannelOrder, channels: u32) -> Case {
    let input = input(order);
    let other = picture.scrambled_outside(draw);
    // What the crop of a detector would be is not looked at here.
    let geometry = Geometry { crop: picture.mask().bounds().expect("something is inside"), picture: (1, 1), tensor: (1, 1) };
    let mut job = Job::default();
    let table = upload(
        &mut job,
        &[(picture, true), (&other, true), (picture, false)].map(|(picture, has_permit)| Shown { picture, geometry, has_permit }),
    );
    let mut views = Vec::new();
    for frame in FRAMES {
        for face in faces {
            views.extend(frame.to_le_bytes());
            views.extend(bytes(&face.iter().flat_map(|p| [p.x, p.y]).collect::<Vec<f32>>(), f32::to_le_bytes));
        }
    }
    let count = u32::try_from(FRAMES.len() * faces.len()).expect("small");
    let capacity = count + 2;
    // Behind the last face stand faces of an earlier batch, sound ones.
    views.extend(earlier_face().repeat(2));
    let (views, count_on_device, how) = (job.input(views), job.input(count.to_le_bytes().to_vec()), normalise(&mut job, &input, channels));
    let values = PIXELS * channels as usize;
    let out = job.output(vec![0xcd; 2 * values * capacity as usize]);
    let sound = job.output(vec![0xcd; 4 * capacity as usize]);
    let arguments = [table.into(), views.into(), count_on_device.into(), how.into(), out.into(), sound.into(), 3_u32.into()];
    job.launch("align_warp", [capacity, 1, 1], [96, 1, 1], &arguments);
    let expected: Vec<Option<Vec<[f32; 3]>>> = faces.iter().map(|face| twin(picture, &input, face)).collect();
    let faces_of_a_frame = faces.len();
    let check = move |outputs: &Outputs<'_>| {
        let (halves, sound) = (outputs.values(out, u16::from_le_bytes), outputs.u32s(sound));
        let crop = |face: usize| &halves[face * values..][..values];
        for (index, expected) in expected.iter().enumerate() {
            let [whole, other, withheld, beyond] = [0, 1, 2, 3].map(|frame| frame * faces_of_a_frame + index);
            if crop(whole) != crop(other) || sound[whole] != sound[other] {
                return Err(format!("face {index}: what lies outside the area changes the crop"));
            }
            if (sound[whole] == 1) != expected.is_some() || sound[withheld] != 0 || sound[beyond] != 0 {
                return Err(format!("face {index}: sound {sound:?}, expected {}", expected.is_some()));
            }
            for at in 0..values {
                let (channel, pixel) = (at % channels as usize, at / channels as usize);
                let padding = if channel < 3 { -input.mean[channel] * input.scale[channel] } else { 0.0 };
                let want = expected.as_ref().filter(|_| channel < 3).map_or(padding, |crop| crop[pixel][channel]);
                let scale = if channel < 3 { input.scale[channel] } else { 0.0 };
                let got = half_value(crop(whole)[at]);
                // False for a NaN.
                let is_near = (got - want).abs() <= TOLERANCE * scale + want.abs() / 2048.0;
                if !is_near {
                    return Err(format!(
                        "face {index}, ({}, {}) channel {channel}: {got} instead of {want}",
                        pixel % CROP_PX,
                        pixel / CROP_PX
                    ));
                }
                if half_value(crop(withheld)[at]) != half_value(half_bits(padding)) {
                    return Err(format!("face {index}: a frame without a permit shows {}", half_value(crop(withheld)[at])));
                }
            }
            if crop(beyond) != crop(withheld) {
                return Err(format!("face {index}: a frame beyond the batch shows something"));
            }
        }
        (count as usize..capacity as usize).try_for_each(|place| shows_nothing(&input, channels, crop(place), sound[place], place))
    };
    Case { name: name.to_owned(), job, check: Box::new(check) }
}

/// A sound one, of frame 0.
fn earlier_face() -> Vec<u8> {
    [0_u32.to_le_bytes().to_vec(), bytes(&TEMPLATE.map(|p| [p.x, p.y]).concat(), f32::to_le_bytes)].concat()
}

/// That a place which is no face is not sound, and all of pixel 0.
fn shows_nothing(input: &Input, channels: u32, crop: &[u16], sound: u32, place: usize) -> Result<(), String> {
    let padding = |c: usize| if c < 3 { -input.mean[c] * input.scale[c] } else { 0.0 };
    let is_empty = (0..).zip(crop).all(|(at, half)| half_value(*half) == half_value(half_bits(padding(at % channels as usize))));
    if sound == 0 && is_empty { Ok(()) } else { Err(format!("place {place}, which is no face: sound {sound}, empty {is_empty}")) }
}

/// A list that overflowed is no list: nothing in it is read as a face.
fn overflowed(count: u32) -> Case {
    let mut draw = Draw(43);
    let colours = Colorimetry { matrix: ColourMatrix::Bt601, full_range: false };
    let picture = Picture::new(&mut draw, (80, 60), PixelLayout::Nv12, colours, 3, Area::whole());
    let geometry = Geometry { crop: picture.mask().bounds().expect("something is inside"), picture: (1, 1), tensor: (1, 1) };
    let (mut job, input) = (Job::default(), input(ChannelOrder::Rgb));
    let table = upload(&mut job, &[Shown { picture: &picture, geometry, has_permit: true }]);
    let views = job.input(earlier_face().repeat(2));
    let (count_on_device, how) = (job.input(count.to_le_bytes().to_vec()), normalise(&mut job, &input, 3));
    let (out, sound) = (job.output(vec![0xcd; 2 * 3 * PIXELS * 2]), job.output(vec![0xcd; 4 * 2]));
    let arguments = [table.into(), views.into(), count_on_device.into(), how.into(), out.into(), sound.into(), 1_u32.into()];
    job.launch("align_warp", [2, 1, 1], [64, 1, 1], &arguments);
    let check = move |outputs: &Outputs<'_>| {
        let (halves, sound) = (outputs.values(out, u16::from_le_bytes), outputs.u32s(sound));
        (0..2).try_for_each(|place| shows_nothing(&input, 3, &halves[place * 3 * PIXELS..][..3 * PIXELS], sound[place], place))
    };
    Case { name: format!("{count} faces in room for 2"), job, check: Box::new(check) }
}

pub fn cases() -> Vec<Case> {
    let mut draw = Draw(41);
    let limited = Colorimetry { matrix: ColourMatrix::Bt601, full_range: false };
    let full = Colorimetry { matrix: ColourMatrix::Bt709, full_range: true };
    let large = Picture::new(&mut draw, (301, 243), PixelLayout::Nv12, limited, 19, Area::whole());
    let faces = [
        landmarks(&mut draw, 0.1, 1.0, (150.0, 120.0)),
        landmarks(&mut draw, -0.7, 0.4, (200.0, 60.0)),
        landmarks(&mut draw, 2.9, 2.6, (20.0, 230.0)),
    ];
    let mut cases = vec![case(&mut draw, "a whole picture, faces at its edges too", &large, &faces, ChannelOrder::Rgb, 8)];
    let wedged = Picture::new(&mut draw, (200, 151), PixelLayout::I420, full, 7, wedge());
    let faces = [landmarks(&mut draw, 0.3, 0.9, (100.0, 60.0)), landmarks(&mut draw, 0.0, 0.3, (40.0, 120.0))];
    cases.push(case(&mut draw, "a wedge", &wedged, &faces, ChannelOrder::Bgr, 4));
    let one = Point { x: 40.0, y: 50.0 };
    let (mut broken, mut endless) = (TEMPLATE, TEMPLATE);
    (broken[2].x, endless[4].y) = (f32::NAN, f32::INFINITY);
    let far = TEMPLATE.map(|p| Point { x: p.x + 1e9, y: p.y - 1e9 });
    let tiny = TEMPLATE.map(|p| Point { x: 50.0 + 0.01 * p.x, y: 60.0 + 0.01 * p.y });
    cases.push(case(
        &mut draw,
        "landmarks that define nothing, and far away",
        &wedged,
        &[[one; 5], tiny, broken, endless, far],
        ChannelOrder::Rgb,
        3,
    ));
    cases.extend([overflowed(3), overflowed(u32::MAX)]);
    cases.push(case(&mut draw, "nobody", &wedged, &[], ChannelOrder::Rgb, 3));
    cases
}

#[test]
fn the_device_aligns_as_the_processor_does_and_nothing_from_outside_the_area() {
    prove(&cases());
}
