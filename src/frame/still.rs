//! Still pictures as frames: photographs at enrolment, images as sources, tests.
//!
//! A decoded RGB image becomes a full-range BT.601 frame with full-size chroma, so that stills and video take one path through every
//! later step. (With halved chroma boxes moved by up to 1.6 pixels on the golden pictures, and enrolment deserves the best there is.)

use crate::clock::{CaptureTime, Stamp};
use crate::frame::{Colorimetry, ColourMatrix, Frame, FrameError, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex, TableId};

/// A camera's frame, of stream 0, for unit tests of the steps.
#[cfg(test)]
pub(crate) fn frame_from_rgb(width: u32, height: u32, rgb: &[u8]) -> Result<Frame, FrameError> {
    let (header, planes) = converted(StreamIndex(0), width, height, rgb)?;
    Frame::new(header, TableId::TESTS, planes)
}

/// An image file that an operator hands over: permits of the enrolment desk whose `table` it is open it, a camera's do not. Sequence 0,
/// arrived at 0 ns. `rgb`: rows top to bottom, three bytes a pixel, no padding.
pub fn desk_frame_from_rgb(table: TableId, width: u32, height: u32, rgb: &[u8]) -> Result<Frame, FrameError> {
    let (header, planes) = converted(StreamIndex::DESK, width, height, rgb)?;
    Frame::checked(header, table, planes)
}

fn converted(stream: StreamIndex, width: u32, height: u32, rgb: &[u8]) -> Result<(FrameHeader, Box<OwnedBuffer>), FrameError> {
    let (w, h) = (width as usize, height as usize);
    let need = w.saturating_mul(h).saturating_mul(3);
    if rgb.len() < need {
        let stride = w.saturating_mul(3);
        return Err(FrameError::ShortPlane { stream: stream.0, sequence: 0, plane: 0, have: rgb.len(), need, stride });
    }
    let mut planes = [(); 3].map(|()| Vec::with_capacity(w * h));
    for pixel in rgb[..need].chunks_exact(3) {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
        let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
        let values = [luma, (blue - luma) / 1.772 + 128.0, (red - luma) / 1.402 + 128.0];
        planes.iter_mut().zip(values).for_each(|(plane, value)| plane.push(byte(value)));
    }
    let at = Stamp::from_ns(0);
    let header = FrameHeader {
        stream,
        sequence: 0,
        captured_at: CaptureTime::Arrival(at),
        arrived_at: at,
        width,
        height,
        layout: PixelLayout::I444,
        colorimetry: Colorimetry { matrix: ColourMatrix::Bt601, full_range: true },
        strides: [w; 3],
    };
    Ok((header, Box::new(OwnedBuffer { planes: planes.into() })))
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
            assert_eq!(pixels.planes.map(<[u8]>::len), [17 * 19; 3]);
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
