//! Which Debian package holds an element, for errors that say what to install.

/// The package that holds `element`.
pub(super) fn package_of(element: &str) -> &'static str {
    match element {
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "decodebin" | "videoconvert" | "appsink" | "videotestsrc" | "videorate" | "videoscale" => "gstreamer1.0-plugins-base",
        "filesrc" | "capsfilter" | "queue" | "fakesink" | "identity" => "libgstreamer1.0-0",
        "rtspsrc" | "v4l2src" | "imagefreeze" | "jpegdec" | "rtph264depay" | "rtph265depay" | "qtdemux" | "matroskademux" | "vp8dec" => {
            "gstreamer1.0-plugins-good"
        }
        _ if element.starts_with("avdec_") || element.starts_with("avdemux_") => "gstreamer1.0-libav",
        _ if element.starts_with("vaapi") => "gstreamer1.0-vaapi",
        _ if element.starts_with("v4l2") || element.starts_with("rtp") => "gstreamer1.0-plugins-good",
        // va*, nv*, openh264*, h264parse, h265parse, qsv*, msdk*.
        _ => "gstreamer1.0-plugins-bad (or the maker's own; `gst-inspect-1.0` lists what is there)",
    }
}

#[cfg(test)]
mod tests {
    use super::package_of;

    #[test]
    fn every_element_we_may_miss_has_a_package() {
        assert_eq!(package_of("avdec_h264"), "gstreamer1.0-libav");
        assert_eq!(package_of("rtspsrc"), "gstreamer1.0-plugins-good");
        assert!(package_of("vah264dec").contains("plugins-bad"));
    }
}
