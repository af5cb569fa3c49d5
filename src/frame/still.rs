//! Still pictures as frames: photographs at enrolment, images as sources, tests.
//!
//! A decoded RGB image becomes a full-range BT.601 I420 frame, so that stills and video take one path through every later step. Chroma
//! is sited left, as everywhere: filtered 1-2-1 across and averaged down. What the halved chroma costs is measured against golden
//! vectors in `detect::golden`.

use crate::clock::{CaptureTime, Stamp};
use crate::frame::{Colorimetry, ColourMatrix, Frame, FrameError, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex};

/// A frame of stream 0, sequence 0, arrived at 0 ns; callers set what they know better in `frame.header`. `rgb`: rows top to bottom,
/// three bytes a pixel, no padding.
pub fn frame_from_rgb(width: u32, height: u32, rgb: &[u8]) -> Result<Frame, FrameError> {
    let (w, h) = (width as usize, height as usize);
    let need = w.saturating_mul(h).saturating_mul(3);
    if rgb.len() < need {
        return Err(FrameError::ShortPlane { stream: 0, sequence: 0, plane: 0, have: rgb.len(), need, stride: w.saturating_mul(3) });
    }
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let mut luma = Vec::with_capacity(w * h);
    luma.extend(rgb[..need].chunks_exact(3).map(|p| byte(luma_of(p))));
    let (mut blue, mut red) = (Vec::with_capacity(cw * ch), Vec::with_capacity(cw * ch));
    for y in 0..ch {
        for x in 0..cw {
            let (cb, cr) = chroma_at(rgb, w, h, x, y);
            blue.push(byte(cb + 128.0));
            red.push(byte(cr + 128.0));
        }
    }
    let at = Stamp::from_ns(0);
    let header = FrameHeader {
        stream: StreamIndex(0),
        sequence: 0,
        captured_at: CaptureTime::Arrival(at),
        arrived_at: at,
        width,
        height,
        layout: PixelLayout::I420,
        colorimetry: Colorimetry { matrix: ColourMatrix::Bt601, full_range: true },
        strides: [w, cw, cw],
    };
    Frame::new(header, Box::new(OwnedBuffer { planes: vec![luma, blue, red] }))
}

fn luma_of(pixel: &[u8]) -> f32 {
    0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2])
}

/// (Cb, Cr) about zero of chroma sample (x, y): weights 1-2-1 over columns 2x−1…2x+1 (clamped), equal over rows 2y, 2y+1.
fn chroma_at(rgb: &[u8], w: usize, h: usize, x: usize, y: usize) -> (f32, f32) {
    let (mut cb, mut cr) = (0.0, 0.0);
    for row in [2 * y, (2 * y + 1).min(h - 1)] {
        for (column, weight) in [((2 * x).saturating_sub(1), 0.125), (2 * x, 0.25), ((2 * x + 1).min(w - 1), 0.125)] {
            let pixel = &rgb[3 * (row * w + column)..][..3];
            let luma = luma_of(pixel);
            cb += weight * (f32::from(pixel[2]) - luma) / 1.772;
            cr += weight * (f32::from(pixel[0]) - luma) / 1.402;
        }
    }
    (cb, cr)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…255")]
fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::policy::lease::{Detect, StreamState, testing::grant};

    #[test]
    fn colours_land_where_bt601_puts_them_also_at_odd_sizes() {
        let now = Stamp::from_ns(1);
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), now);
        let permit = granted.table.permit::<Detect>(StreamIndex(0), now).expect("live");
        for (colour, expected) in [([255, 0, 0], [76, 85, 255]), ([0, 0, 255], [29, 255, 107]), ([90, 90, 90], [90, 128, 128])] {
            let frame = frame_from_rgb(17, 19, &colour.repeat(17 * 19)).expect("valid");
            let pixels = frame.read(&permit).expect("same stream");
            assert_eq!(pixels.planes.map(<[u8]>::len), [17 * 19, 9 * 10, 9 * 10]);
            for (plane, value) in pixels.planes.iter().zip(expected) {
                assert!(plane.iter().all(|&v| v == value), "{colour:?}: {value} expected, {} found", plane[0]);
            }
        }
    }

    #[test]
    fn too_few_bytes_are_refused() {
        let err = frame_from_rgb(20, 20, &[0; 1199]).err();
        assert!(matches!(err, Some(FrameError::ShortPlane { have: 1199, need: 1200, .. })), "{err:?}");
        assert!(matches!(frame_from_rgb(3, 3, &[0; 27]).err(), Some(FrameError::Size { .. })));
    }
}
