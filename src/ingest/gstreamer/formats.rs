//! Which of GStreamer's raw pictures are read where they lie. Nothing else enters: converting would mean to read whole pictures before the
//! area mask is applied, and whether or not the stream has leave (C08).

use gstreamer as gst;
use gstreamer_video::VideoFormat;

use crate::frame::PixelLayout;

/// In the order in which a source that can choose is asked for them: least to read first.
const READABLE: [(VideoFormat, PixelLayout); 26] = [
    (VideoFormat::Nv12, PixelLayout::Nv12),
    (VideoFormat::I420, PixelLayout::I420),
    (VideoFormat::Yv12, PixelLayout::Yv12),
    (VideoFormat::Nv21, PixelLayout::Nv21),
    (VideoFormat::Nv16, PixelLayout::Nv16),
    (VideoFormat::Y42b, PixelLayout::Y42b),
    (VideoFormat::Yuy2, PixelLayout::Yuy2),
    (VideoFormat::Uyvy, PixelLayout::Uyvy),
    (VideoFormat::Yvyu, PixelLayout::Yvyu),
    (VideoFormat::Y444, PixelLayout::I444),
    (VideoFormat::Gray8, PixelLayout::Gray8),
    (VideoFormat::P01010le, PixelLayout::P010),
    (VideoFormat::I42010le, PixelLayout::I420Le10),
    (VideoFormat::I42210le, PixelLayout::I422Le10),
    (VideoFormat::Y44410le, PixelLayout::Y444Le10),
    // Planes of green, blue and red.
    (VideoFormat::Gbr, PixelLayout::I444),
    (VideoFormat::Rgb, PixelLayout::Rgb),
    (VideoFormat::Bgr, PixelLayout::Bgr),
    (VideoFormat::Rgbx, PixelLayout::Rgbx),
    (VideoFormat::Bgrx, PixelLayout::Bgrx),
    (VideoFormat::Xrgb, PixelLayout::Xrgb),
    (VideoFormat::Xbgr, PixelLayout::Xbgr),
    (VideoFormat::Rgba, PixelLayout::Rgbx),
    (VideoFormat::Bgra, PixelLayout::Bgrx),
    (VideoFormat::Argb, PixelLayout::Xrgb),
    (VideoFormat::Abgr, PixelLayout::Xbgr),
];

/// How pictures of `format` lie, if they can be read.
pub(super) fn layout_of(format: VideoFormat) -> Option<PixelLayout> {
    READABLE.iter().find(|(readable, _)| *readable == format).map(|(_, layout)| *layout)
}

/// What the pipeline's end accepts: readable pictures in system memory.
pub(super) fn caps() -> gst::Caps {
    let formats = READABLE.map(|(format, _)| format.to_str().as_str());
    gst::Caps::builder("video/x-raw").field("format", gst::List::new(formats)).build()
}

/// What is said of any other.
pub(super) fn refusal(what: &str) -> String {
    let readable: Vec<&str> = READABLE.iter().map(|(format, _)| format.to_str().as_str()).collect();
    format!(
        "{what}: pictures are read as they are and never converted as a whole, which would mean to look outside the signed area; readable are \
         {}. Choose another `decoder`, or, knowing that, end a fragment of your own in a converter (`gst = \"… ! videoconvert\"`)",
        readable.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_can_arrive_with_as_many_planes_as_gstreamer_gives_it() {
        gst::init().expect("GStreamer");
        for (format, layout) in READABLE {
            let info = gstreamer_video::VideoInfo::builder(format, 34, 18).build().expect("a format");
            assert_eq!(info.n_planes() as usize, layout.plane_count(), "{format}");
            assert_eq!(info.is_rgb(), layout.is_rgb() || format == VideoFormat::Gbr, "{format}");
            for plane in 0..layout.plane_count() {
                let (row_bytes, _) = layout.plane_size(plane, 34, 18);
                assert!(usize::try_from(info.stride()[plane]).expect("forwards") >= row_bytes, "{format}, plane {plane}");
            }
        }
        assert!(PixelLayout::ALL.iter().all(|layout| READABLE.iter().any(|(_, l)| l == layout)));
        assert_eq!(layout_of(VideoFormat::Gray16Le), None);
    }
}
