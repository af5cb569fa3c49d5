//! `kernels/detect/prepare.cu` against the processor's pre-processing; and that nothing outside a signed area reaches a tensor.

use placard::area::Area;
use placard::detect::preprocess::{Geometry, Kernel, Preprocessor, Target};
use placard::engine::manifest::{ChannelOrder, Input, Resize};
use placard::frame::{Colorimetry, ColourMatrix, PixelLayout};

use crate::battery::{Case, Draw, half_bits, half_value, prove};
use crate::frames::{Picture, Shown, normalise, upload, wedge};
use crate::job::{Job, Outputs};

/// Pixel values that fixed point and f32 may differ by, before rounding to fp16.
const TOLERANCE: f32 = 0.25;

struct Shape {
    size: (u32, u32),
    layout: PixelLayout,
    colorimetry: Colorimetry,
    slack: usize,
    area: Area,
    tensor: (u32, u32),
    is_stretch: bool,
    channels: u32,
}

fn input(shape: &Shape, order: ChannelOrder) -> Input {
    let plain = order == ChannelOrder::Bgr;
    Input {
        name: "input".to_owned(),
        channels: order,
        width: Some(shape.tensor.0),
        height: Some(shape.tensor.1),
        multiple_of: 1,
        resize: if shape.is_stretch { Resize::Stretch } else { Resize::Letterbox },
        mean: if plain { [0.0; 3] } else { [127.5, 120.0, 110.0] },
        scale: if plain { [1.0; 3] } else { [1.0 / 128.0, 1.0 / 100.0, -1.0 / 64.0] },
    }
}

/// A batch of a picture, the same with all else outside its area, and a frame without a permit.
fn case(draw: &mut Draw, shape: &Shape, order: ChannelOrder) -> Case {
    let input = input(shape, order);
    let picture = Picture::new(draw, shape.size, shape.layout, shape.colorimetry, shape.slack, shape.area.clone());
    let other = picture.scrambled_outside(draw);
    let target = Target::of(&input, None).expect("a detector's input");
    let geometry = Geometry::new(target, picture.mask().bounds().expect("something is inside"));
    let mut job = Job::default();
    let table = upload(
        &mut job,
        &[(&picture, true), (&other, true), (&picture, false)].map(|(picture, has_permit)| Shown { picture, geometry, has_permit }),
    );
    let how = normalise(&mut job, &input, shape.channels);
    let (width, height, channels) = (shape.tensor.0 as usize, shape.tensor.1 as usize, shape.channels as usize);
    let values = width * height * channels;
    let out = job.output(vec![0xcd; 2 * 3 * values]);
    let grid = [shape.tensor.0.div_ceil(32), shape.tensor.1.div_ceil(8), 3];
    job.launch("detect_prepare", grid, [32, 8, 1], &[table.into(), how.into(), out.into(), shape.tensor.0.into(), shape.tensor.1.into()]);
    let mut twin = Preprocessor::with_kernel(&input, None, Kernel::fastest()).expect("a detector's input");
    let expected = twin.prepare(&picture.pixels()).expect("something is inside").tensor.to_vec();
    let name = format!(
        "{:?} {:?} slack {} → {:?}, {channels} channels, stretch {}, {order:?}",
        shape.size, shape.layout, shape.slack, shape.tensor, shape.is_stretch
    );
    let check = move |outputs: &Outputs<'_>| {
        let halves = outputs.values(out, u16::from_le_bytes);
        let [whole, other, withheld] = [0, 1, 2].map(|frame| &halves[frame * values..][..values]);
        if whole != other {
            return Err("what lies outside the area changes the tensor".to_owned());
        }
        for (at, (seen, dark)) in whole.iter().zip(withheld).enumerate() {
            let (channel, pixel) = (at % channels, at / channels);
            let (want, padding, scale) = match channel {
                0..3 => {
                    (expected[channel * width * height + pixel], -input.mean[channel] * input.scale[channel], input.scale[channel].abs())
                }
                _ => (0.0, 0.0, 0.0),
            };
            let got = half_value(*seen);
            // False for a NaN.
            let is_near = (got - want).abs() <= TOLERANCE * scale + want.abs() / 2048.0;
            if !is_near {
                return Err(format!("({}, {}) channel {channel}: {got} instead of {want}", pixel % width, pixel / width));
            }
            if half_value(*dark) != half_value(half_bits(padding)) {
                return Err(format!("a frame without a permit shows {} at {at}", half_value(*dark)));
            }
        }
        Ok(())
    };
    Case { name, job, check: Box::new(check) }
}

pub fn cases() -> Vec<Case> {
    let mut draw = Draw(31);
    let (nv12, i420) = (PixelLayout::Nv12, PixelLayout::I420);
    let limited = Colorimetry { matrix: ColourMatrix::Bt601, full_range: false };
    let full = Colorimetry { matrix: ColourMatrix::Bt709, full_range: true };
    let middle = Area::new(vec![vec![[0.2, 0.25], [0.8, 0.25], [0.8, 0.7], [0.2, 0.7]]]).expect("an area");
    let shape = |size, layout, colorimetry, slack, area: &Area, tensor, is_stretch, channels| Shape {
        size,
        layout,
        colorimetry,
        slack,
        area: area.clone(),
        tensor,
        is_stretch,
        channels,
    };
    let (whole, wedge) = (Area::whole(), wedge());
    let shapes = [
        shape((64, 48), nv12, limited, 0, &whole, (32, 32), false, 8),
        shape((37, 29), i420, full, 5, &whole, (40, 24), false, 3),
        shape((101, 77), nv12, limited, 27, &wedge, (48, 50), true, 4),
        shape((16, 18), i420, limited, 1, &whole, (64, 70), false, 8),
        shape((32, 32), nv12, full, 0, &whole, (32, 32), false, 4),
        shape((90, 60), nv12, limited, 6, &middle, (33, 31), false, 8),
        shape((2, 2), i420, limited, 0, &whole, (5, 3), true, 3),
        shape((8_192, 6), nv12, full, 64, &whole, (65, 9), true, 4),
        shape((7, 4_096), i420, limited, 3, &wedge, (9, 70), true, 8),
    ];
    let orders = [ChannelOrder::Bgr, ChannelOrder::Rgb];
    shapes.iter().flat_map(|shape| orders.map(|order| (shape, order))).map(|(shape, order)| case(&mut draw, shape, order)).collect()
}

#[test]
fn the_device_prepares_what_the_processor_prepares_and_nothing_from_outside_the_area() {
    prove(&cases());
}
