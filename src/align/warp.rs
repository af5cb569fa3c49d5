//! The warp: planes of the full-resolution frame → an aligned RGB crop, outside the area black.
//!
//! Definition, as in pre-processing: samples outside the area or the picture are black (luma) or neutral (chroma); each plane is
//! sampled bilinearly; then the matrix and a clamp to 0…255. So nothing from outside the area carries into the crop, and the border
//! is black. Plain bilinear, without a filter for faces much larger than the crop: what the embedders' measured accuracy rests on.
//!
//! A crop whose source rectangle lies wholly inside the area takes the fast path, without a look at the mask for each sample.

use crate::area::AreaMask;
use crate::detect::preprocess::Matrix;
use crate::frame::{Pixels, Samples};

use super::similarity::{CROP_PX, Similarity};

/// One component's samples in one frame.
#[derive(Clone, Copy)]
struct Component<'a> {
    bytes: &'a [u8],
    stride: usize,
    samples: Samples,
    /// Samples.
    width: i32,
    height: i32,
    black: f32,
}

impl<'a> Component<'a> {
    fn new(pixels: &Pixels<'a>, samples: Samples, black: u8) -> Self {
        let header = pixels.header;
        let count = |samples: usize| i32::try_from(samples).unwrap_or(i32::MAX);
        let (width, height) = (count(samples.across(header.width)), count(samples.down(header.height)));
        Self { bytes: pixels.planes[samples.plane], stride: header.strides[samples.plane], samples, width, height, black: f32::from(black) }
    }

    #[expect(clippy::cast_sign_loss, reason = "callers pass samples of the picture")]
    fn at(&self, column: i32, row: i32) -> f32 {
        f32::from(self.samples.of(&self.bytes[row as usize * self.stride..], column as usize)) - self.black
    }

    /// The sample about black; 0 outside the picture or the area.
    #[expect(clippy::cast_sign_loss, reason = "checked to be samples of the picture")]
    fn masked(&self, mask: &AreaMask, column: i32, row: i32) -> f32 {
        let in_picture = (0..self.width).contains(&column) && (0..self.height).contains(&row);
        if in_picture && mask.contains(column as u32 * self.samples.columns, row as u32 * self.samples.rows) {
            self.at(column, row)
        } else {
            0.0
        }
    }

    /// Bilinear at (x, y), in luma pixels. Shared samples are sited left, and midway between two rows.
    fn bilinear(&self, mask: Option<&AreaMask>, x: f32, y: f32) -> f32 {
        let x = if self.samples.columns == 2 { 0.5 * x } else { x };
        let y = if self.samples.rows == 2 { 0.5 * y - 0.25 } else { y };
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        #[expect(clippy::cast_possible_truncation, reason = "saturates; far outside the picture either way")]
        let (left, top) = ((left as i32).min(i32::MAX - 1), (top as i32).min(i32::MAX - 1));
        let [a, b, c, d] = match mask {
            None => [self.at(left, top), self.at(left + 1, top), self.at(left, top + 1), self.at(left + 1, top + 1)],
            Some(mask) => [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| self.masked(mask, left + dx, top + dy)),
        };
        let (upper, lower) = (a + (b - a) * fx, c + (d - c) * fx);
        upper + (lower - upper) * fy
    }
}

/// Calls `write(x, y, [red, green, blue])`, 0…255, for each pixel of the crop. `to_crop` maps frame pixels to crop pixels.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "112 pixels; coefficients rounded to f32")]
pub fn warp(pixels: &Pixels<'_>, mask: &AreaMask, to_crop: &Similarity, mut write: impl FnMut(usize, usize, [f32; 3])) {
    let matrix = Matrix::new(pixels.header.colorimetry);
    let [luma, cb, cr] = pixels.header.layout.components();
    let (black, neutral) = matrix.black;
    let luma = luma.map(|samples| Component::new(pixels, samples, black));
    let [cb, cr] = [cb, cr].map(|samples| samples.map(|samples| Component::new(pixels, samples, neutral)));
    let gain = matrix.luma.map(|v| v as f32);
    let [[_, red_cr], [green_cb, green_cr], [blue_cb, _]] = matrix.chroma.map(|c| c.map(|v| v as f32));
    let to_frame = to_crop.inverse();
    let mask = if source_is_inside(&to_frame, mask) { None } else { Some(mask) };
    for y in 0..CROP_PX {
        for x in 0..CROP_PX {
            let (sx, sy) = to_frame.apply(x as f64, y as f64);
            let (sx, sy) = (sx as f32, sy as f32);
            // A component that a layout does not have is neutral.
            let sample = |component: &Option<Component<'_>>| component.as_ref().map_or(0.0, |c| c.bilinear(mask, sx, sy));
            let (l, u, v) = (sample(&luma), sample(&cb), sample(&cr));
            let rgb = [gain[0] * l + red_cr * v, gain[1] * l + green_cb * u + green_cr * v, gain[2] * l + blue_cb * u];
            write(x, y, rgb.map(|c| c.clamp(0.0, 255.0)));
        }
    }
}

/// Whether every sample the crop draws on, in any plane, is inside the area: the rectangle around the crop's corners, with a margin of
/// the two rows and columns that bilinear chroma reaches.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the picture's size first")]
fn source_is_inside(to_frame: &Similarity, mask: &AreaMask) -> bool {
    const MARGIN: f64 = 4.0;
    #[expect(clippy::cast_precision_loss, reason = "112")]
    let far = (CROP_PX - 1) as f64;
    let corners = [(0.0, 0.0), (far, 0.0), (0.0, far), (far, far)].map(|(x, y)| to_frame.apply(x, y));
    let low = |f: fn(&(f64, f64)) -> f64| corners.iter().map(f).fold(f64::INFINITY, f64::min) - MARGIN;
    let high = |f: fn(&(f64, f64)) -> f64| corners.iter().map(f).fold(f64::NEG_INFINITY, f64::max) + MARGIN;
    let (x0, y0, x1, y1) = (low(|c| c.0), low(|c| c.1), high(|c| c.0), high(|c| c.1));
    if !(x0 >= 0.0 && y0 >= 0.0 && x1 <= f64::from(mask.width()) && y1 <= f64::from(mask.height())) {
        return false;
    }
    let (x0, y0, x1, y1) = (x0 as u32, y0 as u32, x1.ceil() as u32, y1.ceil() as u32);
    (y0..y1).all(|y| mask.spans(y).iter().any(|span| span.start <= x0 && x1 <= span.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::clock::Stamp;
    use crate::frame::still::frame_from_rgb;
    use crate::frame::{Colorimetry, Frame, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex, TableId};
    use crate::policy::lease::{Embed, StreamState, testing::grant};

    /// Crop = frame region of 112 × 112 from (x, y) on.
    fn shift(x: f64, y: f64) -> Similarity {
        Similarity { a: 1.0, b: 0.0, tx: -x, ty: -y }
    }

    fn crop(frame: &Frame, area: &Area, to_crop: &Similarity) -> Vec<[f32; 3]> {
        let now = Stamp::from_ns(1);
        let granted = grant(StreamState::Recognise, &["missing-person:1"], area.clone(), now);
        let permit = granted.table.permit::<Embed>(StreamIndex(0), now).expect("live");
        let mask = area.rasterise(frame.header().width, frame.header().height);
        let mut crop = vec![[f32::NAN; 3]; CROP_PX * CROP_PX];
        warp(&frame.read(&permit).expect("same stream"), &mask, to_crop, |x, y, rgb| crop[y * CROP_PX + x] = rgb);
        crop
    }

    fn gradient(width: usize, height: usize) -> Vec<u8> {
        let pixel = |i: usize| [i % width, i / width, (i % width + i / width) / 2].map(|v| u8::try_from(v.min(255)).expect("a byte"));
        (0..width * height).flat_map(pixel).collect()
    }

    #[test]
    fn a_whole_crop_of_a_gradient_is_that_gradient_in_both_layouts() {
        let frame = frame_from_rgb(181, 173, &gradient(181, 173)).expect("valid");
        let now = Stamp::from_ns(1);
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), now);
        let permit = granted.table.permit::<crate::policy::lease::Detect>(StreamIndex(0), now).expect("live");
        let planes = frame.read(&permit).expect("same stream").planes;
        // Every other sample of every other row: the gradient is so gentle that no filter is needed.
        let halved = |plane: &[u8]| (0..87 * 91).map(|i| plane[(i / 91 * 2) * 181 + i % 91 * 2]).collect::<Vec<u8>>();
        let interleaved = halved(planes[1]).into_iter().zip(halved(planes[2])).flat_map(|(u, v)| [u, v]).collect();
        let header = FrameHeader { layout: PixelLayout::Nv12, strides: [181, 182, 0], ..*frame.header() };
        let nv12 =
            Frame::new(header, TableId::TESTS, Box::new(OwnedBuffer { planes: vec![planes[0].to_vec(), interleaved] })).expect("valid");
        for frame in [&frame, &nv12] {
            for (i, rgb) in crop(frame, &Area::whole(), &shift(30.5, 20.25)).iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let (x, y) = ((i % CROP_PX) as f32 + 30.5, (i / CROP_PX) as f32 + 20.25);
                for (got, want) in rgb.iter().zip([x, y, 0.5 * (x + y)]) {
                    assert!((got - want).abs() < 2.6, "({x}, {y}): {got}, expected {want}");
                }
            }
        }
    }

    /// The picture of `frame_from_rgb` in another layout: every sample of full size, or every other one, as the layout has it.
    fn laid_out(layout: PixelLayout, width: u32, height: u32, rgb: &[u8]) -> Frame {
        let still = frame_from_rgb(width, height, rgb).expect("valid");
        let now = Stamp::from_ns(1);
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), now);
        let permit = granted.table.permit::<crate::policy::lease::Detect>(StreamIndex(0), now).expect("live");
        let pixels = still.read(&permit).expect("same stream");
        let colour = |component: usize, at: usize| rgb[3 * at + [1, 2, 0][component]];
        let value = |component: usize, at: usize| if layout.is_rgb() { colour(component, at) } else { pixels.planes[component][at] };
        let (mut planes, mut strides) = (Vec::new(), [0; 3]);
        for (plane, stride) in strides.iter_mut().enumerate().take(layout.plane_count()) {
            let (row_bytes, rows) = layout.plane_size(plane, width, height);
            *stride = row_bytes + 3;
            planes.push(vec![0xa5; *stride * rows]);
        }
        for (component, samples) in layout.components().into_iter().enumerate() {
            let Some(samples) = samples else { continue };
            for (row, column) in (0..samples.down(height)).flat_map(|row| (0..samples.across(width)).map(move |column| (row, column))) {
                let value = value(component, row * samples.rows as usize * width as usize + column * samples.columns as usize);
                let at = row * strides[samples.plane] + column * samples.pitch + samples.first;
                if samples.shift == 0 {
                    planes[samples.plane][at] = value;
                } else {
                    planes[samples.plane][at..at + 2].copy_from_slice(&(u16::from(value) << samples.shift).to_le_bytes());
                }
            }
        }
        let colorimetry = if layout.is_rgb() { Colorimetry::RGB } else { still.header().colorimetry };
        Frame::new(FrameHeader { layout, strides, colorimetry, ..*still.header() }, TableId::TESTS, Box::new(OwnedBuffer { planes }))
            .expect("valid")
    }

    #[test]
    fn every_layout_gives_the_crop_that_the_picture_is() {
        let rgb = gradient(181, 173);
        let turned = Similarity { a: 0.9, b: 0.3, tx: -20.0, ty: -50.0 };
        let corner = Area::new(vec![vec![[0.2, 0.2], [0.8, 0.3], [0.5, 0.9]]]).expect("valid");
        let still = frame_from_rgb(181, 173, &rgb).expect("valid");
        for (area, to_crop) in [(Area::whole(), shift(30.5, 20.25)), (corner, turned)] {
            let expected = crop(&still, &area, &to_crop);
            for layout in PixelLayout::ALL {
                let found = crop(&laid_out(layout, 181, 173, &rgb), &area, &to_crop);
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    // Grey has no colour; what has leaks at the area's border differently where chroma is shared.
                    let [r, g, b] = *expected;
                    let wanted = if layout == PixelLayout::Gray8 { [0.299 * r + 0.587 * g + 0.114 * b; 3] } else { *expected };
                    let tolerance = if area == Area::whole() { 3.0 } else { 60.0 };
                    for (found, wanted) in found.iter().zip(wanted) {
                        assert!((found - wanted).abs() < tolerance, "{layout:?}, pixel {i}: {found}, expected {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn beyond_the_picture_is_black() {
        let frame = frame_from_rgb(64, 64, &[200; 64 * 64 * 3]).expect("valid");
        let pixels = crop(&frame, &Area::whole(), &shift(-40.0, -40.0));
        let at = |x: usize, y: usize| pixels[y * CROP_PX + x][1];
        assert_eq!((at(0, 0), at(39, 60), at(104, 104)), (0.0, 0.0, 0.0));
        assert!((at(40, 40) - 200.0).abs() < 1.0 && (at(103, 60) - 200.0).abs() < 1.0);
        let nowhere = crop(&frame, &Area::whole(), &Similarity { a: 1e-4, b: 0.0, tx: 1e9, ty: -1e9 });
        assert!(nowhere.iter().flatten().all(|&v| v == 0.0));
    }

    #[test]
    fn noise_outside_the_area_does_not_change_a_bit_and_the_fast_path_is_the_slow_one() {
        let area = Area::new(vec![vec![[0.2, 0.2], [0.8, 0.3], [0.5, 0.9]]]).expect("valid");
        let (w, h) = (200_u32, 160_u32);
        let mask = area.rasterise(w, h);
        let turned = Similarity { a: 0.9, b: 0.3, tx: -20.0, ty: -50.0 };
        let mut planes = [1_u32, 2].map(|seed| {
            [w * h, w * h / 4, w * h / 4].map(|len| {
                let mut state = seed;
                (0..len)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        state.to_be_bytes()[0]
                    })
                    .collect::<Vec<u8>>()
            })
        });
        let [first, second] = &mut planes;
        for (plane, (to, from)) in second.iter_mut().zip(first.iter()).enumerate() {
            let shared = if plane == 0 { 1 } else { 2 };
            for i in 0..u32::try_from(to.len()).expect("small") {
                if mask.contains(i % (w / shared) * shared, i / (w / shared) * shared) {
                    to[i as usize] = from[i as usize];
                }
            }
        }
        let still = frame_from_rgb(w, h, &vec![0; (w * h * 3) as usize]).expect("valid").header().to_owned();
        let header = FrameHeader { layout: PixelLayout::I420, strides: [200, 100, 100], ..still };
        let frames = planes.map(|p| Frame::new(header, TableId::TESTS, Box::new(OwnedBuffer { planes: p.to_vec() })).expect("valid"));
        let crops = [&frames[0], &frames[1]].map(|f| crop(f, &area, &turned));
        assert!(crops[0] == crops[1], "a pixel from outside reached the crop");
        assert!(crops[0].iter().any(|p| p[0] > 0.0));

        // An area that holds the crop's source but not the whole picture, against the whole picture.
        let middle = Area::new(vec![vec![[0.02, 0.02], [0.98, 0.02], [0.98, 0.98], [0.02, 0.98]]]).expect("valid");
        let inside = shift(40.25, 20.5);
        assert!(source_is_inside(&inside.inverse(), &middle.rasterise(w, h)));
        let narrow = Area::new(vec![vec![[0.19, 0.1], [0.98, 0.1], [0.98, 0.98], [0.19, 0.98]]]).expect("valid");
        assert!(!source_is_inside(&inside.inverse(), &narrow.rasterise(w, h)), "the margin sticks out: slow path");
        assert!(crop(&frames[0], &middle, &inside) == crop(&frames[0], &narrow, &inside), "both paths give the same");
    }
}
