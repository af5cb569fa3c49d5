//! A V4L2 capture device: the ioctls, each with its argument's type, and nothing that decides.
//!
//! The `v4l` crate supplies the kernel's structures and request numbers; its own stream type is not used, because it lends a buffer only
//! until the next one is taken, and panics when it is dropped while the device is gone.
//!
//! Units: pixels, bytes, nanoseconds on `CLOCK_MONOTONIC`. Any thread may call; the kernel serialises.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use crate::clock::{Monotonic, Stamp};
use crate::config::schema::V4l2Format;
use crate::frame::{Colorimetry, ColourMatrix, PixelLayout};

const CAPTURE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
const MMAP: u32 = sys::v4l2_memory_V4L2_MEMORY_MMAP;

/// An open device. Closing it is the kernel's business: an error there is nobody's to handle.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
}

/// What the device will deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub layout: PixelLayout,
    pub width: u32,
    pub height: u32,
    /// Bytes from one row of the first plane to the next.
    pub stride: u32,
    /// Bytes of a whole picture.
    pub bytes: u32,
    pub colorimetry: Colorimetry,
}

/// A buffer that the driver filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub index: u32,
    pub bytes: u32,
    /// The driver says that its contents are damaged.
    pub damaged: bool,
    /// Counts every picture the driver saw, also those it had no buffer for.
    pub sequence: u32,
    /// `None` where the stamp is not of the monotonic clock.
    pub stamp: Option<Stamp<Monotonic>>,
}

/// Formats we read as they are, best first: least to read, then least to take apart.
const READABLE: [(PixelLayout, u32); 8] = [
    (PixelLayout::Nv12, u32::from_le_bytes(*b"NV12")),
    (PixelLayout::I420, u32::from_le_bytes(*b"YU12")),
    (PixelLayout::Nv16, u32::from_le_bytes(*b"NV16")),
    (PixelLayout::Y42b, u32::from_le_bytes(*b"422P")),
    (PixelLayout::Yuy2, u32::from_le_bytes(*b"YUYV")),
    (PixelLayout::Uyvy, u32::from_le_bytes(*b"UYVY")),
    (PixelLayout::Yvyu, u32::from_le_bytes(*b"YVYU")),
    (PixelLayout::Gray8, u32::from_le_bytes(*b"GREY")),
];

impl Device {
    pub fn open(path: &Path) -> io::Result<Self> {
        // O_NONBLOCK: taking a buffer must not wait beyond the poll; V4L2 allows no other way to set it for DQBUF.
        let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC;
        let file = File::options().read(true).write(true).custom_flags(flags.bits()).open(path)?;
        Ok(Self { file })
    }

    /// Issues `request` with `argument`.
    ///
    /// # Safety
    /// `T` must be the structure that the kernel defines for `request`, every byte of it initialised.
    unsafe fn request<T>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        // SAFETY: `argument` is a live, exclusive borrow for the whole call, of the type that `request` encodes the size of (the
        // caller's promise), so the kernel reads and writes within it. The descriptor is open as long as `self`.
        unsafe { v4l::v4l2::ioctl(self.file.as_raw_fd(), request, std::ptr::from_mut(argument).cast()) }
    }

    /// Name of the card; an error if it cannot stream single-planar video.
    pub fn check_capabilities(&self) -> Result<String, String> {
        // SAFETY: plain integers and byte arrays, for which zero is a value.
        let mut caps: sys::v4l2_capability = unsafe { std::mem::zeroed() };
        // SAFETY: VIDIOC_QUERYCAP takes a v4l2_capability, initialised above.
        unsafe { self.request(vidioc::VIDIOC_QUERYCAP, &mut caps) }.map_err(|e| format!("VIDIOC_QUERYCAP: {e}"))?;
        let own = if caps.capabilities & sys::V4L2_CAP_DEVICE_CAPS == 0 { caps.capabilities } else { caps.device_caps };
        let end = caps.card.iter().position(|&b| b == 0).unwrap_or(caps.card.len());
        let card = String::from_utf8_lossy(&caps.card[..end]).into_owned();
        if own & sys::V4L2_CAP_VIDEO_CAPTURE == 0 {
            let planar = own & sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0;
            let hint = if planar { "it is multi-planar: use capture = \"gstreamer\"" } else { "it is no capture device" };
            return Err(format!("{card}: {hint}"));
        }
        if own & sys::V4L2_CAP_STREAMING == 0 {
            return Err(format!("{card} cannot stream: use capture = \"gstreamer\""));
        }
        Ok(card)
    }

    /// Agrees on the first of [`READABLE`] that the device has, in the wanted size or else the present one.
    pub fn negotiate(&self, wanted: Option<V4l2Format>) -> Result<Geometry, String> {
        let mut offered = vec![];
        for (layout, fourcc) in READABLE {
            let mut format = self.format()?;
            // SAFETY: `format()` filled the `pix` member: its type is single-planar video capture.
            let pix = unsafe { &mut format.fmt.pix };
            if let Some(wanted) = wanted {
                (pix.width, pix.height) = (wanted.width, wanted.height);
            }
            pix.pixelformat = fourcc;
            pix.field = sys::v4l2_field_V4L2_FIELD_NONE;
            // Zero: the driver's own choice for the new size.
            (pix.bytesperline, pix.sizeimage) = (0, 0);
            // SAFETY: VIDIOC_S_FMT takes a v4l2_format, which G_FMT initialised.
            match unsafe { self.request(vidioc::VIDIOC_S_FMT, &mut format) } {
                Ok(()) => {}
                // Most drivers answer with a format that they have; some only say no.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => continue,
                Err(e) => return Err(format!("VIDIOC_S_FMT: {e}")),
            }
            // SAFETY: as above; S_FMT leaves the type as it is.
            let pix = unsafe { format.fmt.pix };
            if pix.pixelformat == fourcc {
                return geometry(layout, &pix);
            }
            let other = String::from_utf8_lossy(&pix.pixelformat.to_le_bytes()).into_owned();
            if !offered.contains(&other) {
                offered.push(other);
            }
        }
        let readable = READABLE.map(|(_, fourcc)| String::from_utf8_lossy(&fourcc.to_le_bytes()).into_owned());
        Err(format!("it delivers {}, none of {}: use capture = \"gstreamer\"", offered.join(" and "), readable.join(", ")))
    }

    fn format(&self) -> Result<sys::v4l2_format, String> {
        // SAFETY: integers, byte arrays and raw pointers in unions, for all of which zero is a value.
        let mut format: sys::v4l2_format = unsafe { std::mem::zeroed() };
        format.type_ = CAPTURE;
        // SAFETY: VIDIOC_G_FMT takes a v4l2_format, initialised above.
        unsafe { self.request(vidioc::VIDIOC_G_FMT, &mut format) }.map_err(|e| format!("VIDIOC_G_FMT: {e}"))?;
        Ok(format)
    }

    /// Asks for a rate; devices may refuse or choose another.
    pub fn ask_rate(&self, fps: u32) -> io::Result<()> {
        // SAFETY: integers and byte arrays in a union, for which zero is a value.
        let mut parameters: sys::v4l2_streamparm = unsafe { std::mem::zeroed() };
        parameters.type_ = CAPTURE;
        parameters.parm.capture.timeperframe = sys::v4l2_fract { numerator: 1, denominator: fps };
        // SAFETY: VIDIOC_S_PARM takes a v4l2_streamparm, initialised above.
        unsafe { self.request(vidioc::VIDIOC_S_PARM, &mut parameters) }
    }

    /// Asks the driver for `count` buffers (0: gives them back); returns how many there are.
    pub fn request_buffers(&self, count: u32) -> io::Result<u32> {
        // SAFETY: plain integers, for which zero is a value.
        let mut wanted: sys::v4l2_requestbuffers = unsafe { std::mem::zeroed() };
        (wanted.count, wanted.type_, wanted.memory) = (count, CAPTURE, MMAP);
        // SAFETY: VIDIOC_REQBUFS takes a v4l2_requestbuffers, initialised above.
        unsafe { self.request(vidioc::VIDIOC_REQBUFS, &mut wanted) }?;
        Ok(wanted.count)
    }

    /// Maps buffer `index`; the mapping outlives the device's closing.
    pub fn map(&self, index: u32) -> io::Result<MmapRaw> {
        let mut buffer = empty_buffer();
        buffer.index = index;
        // SAFETY: VIDIOC_QUERYBUF takes a v4l2_buffer, initialised by `empty_buffer`.
        unsafe { self.request(vidioc::VIDIOC_QUERYBUF, &mut buffer) }?;
        // SAFETY: for memory = MMAP the kernel sets the `offset` member.
        let offset = unsafe { buffer.m.offset };
        MmapOptions::new().offset(u64::from(offset)).len(buffer.length as usize).map_raw(&self.file)
    }

    /// Hands buffer `index` to the driver.
    pub fn enqueue(&self, index: u32) -> io::Result<()> {
        let mut buffer = empty_buffer();
        buffer.index = index;
        // SAFETY: VIDIOC_QBUF takes a v4l2_buffer, initialised by `empty_buffer`. That nobody reads the memory any more is the pool's
        // invariant.
        unsafe { self.request(vidioc::VIDIOC_QBUF, &mut buffer) }
    }

    /// Takes a filled buffer; `None` if there is none yet.
    pub fn dequeue(&self) -> io::Result<Option<Filled>> {
        let mut buffer = empty_buffer();
        // SAFETY: VIDIOC_DQBUF takes a v4l2_buffer, initialised by `empty_buffer`.
        match unsafe { self.request(vidioc::VIDIOC_DQBUF, &mut buffer) } {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(e) => return Err(e),
        }
        let monotonic = buffer.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        let ns = buffer.timestamp.tv_sec.saturating_mul(1_000_000_000).saturating_add(buffer.timestamp.tv_usec.saturating_mul(1_000));
        Ok(Some(Filled {
            index: buffer.index,
            bytes: buffer.bytesused,
            damaged: buffer.flags & sys::V4L2_BUF_FLAG_ERROR != 0,
            sequence: buffer.sequence,
            stamp: (monotonic && ns != 0).then(|| Stamp::from_ns(ns)),
        }))
    }

    pub fn stream_on(&self) -> io::Result<()> {
        let mut kind = i32::try_from(CAPTURE).unwrap_or(1);
        // SAFETY: VIDIOC_STREAMON takes an int.
        unsafe { self.request(vidioc::VIDIOC_STREAMON, &mut kind) }
    }

    pub fn stream_off(&self) -> io::Result<()> {
        let mut kind = i32::try_from(CAPTURE).unwrap_or(1);
        // SAFETY: VIDIOC_STREAMOFF takes an int.
        unsafe { self.request(vidioc::VIDIOC_STREAMOFF, &mut kind) }
    }

    /// Waits for a filled buffer; false on time-out. An error condition of the device counts as readiness: taking a buffer then says
    /// which.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let descriptor: BorrowedFd<'_> = self.file.as_fd();
        match poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl super::Camera for Device {
    fn check_capabilities(&self) -> Result<String, String> {
        Self::check_capabilities(self)
    }
    fn negotiate(&self, wanted: Option<V4l2Format>) -> Result<Geometry, String> {
        Self::negotiate(self, wanted)
    }
    fn ask_rate(&self, fps: u32) -> io::Result<()> {
        Self::ask_rate(self, fps)
    }
    fn request_buffers(&self, count: u32) -> io::Result<u32> {
        Self::request_buffers(self, count)
    }
    fn map(&self, index: u32) -> io::Result<MmapRaw> {
        Self::map(self, index)
    }
    fn stream_on(&self) -> io::Result<()> {
        Self::stream_on(self)
    }
    fn stream_off(&self) -> io::Result<()> {
        Self::stream_off(self)
    }
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        Self::wait(self, timeout)
    }
    fn dequeue(&self) -> io::Result<Option<Filled>> {
        Self::dequeue(self)
    }
}

fn empty_buffer() -> sys::v4l2_buffer {
    // SAFETY: integers, a time and unions of integers and raw pointers, for all of which zero is a value.
    let mut buffer: sys::v4l2_buffer = unsafe { std::mem::zeroed() };
    (buffer.type_, buffer.memory) = (CAPTURE, MMAP);
    buffer
}

fn geometry(layout: PixelLayout, pix: &sys::v4l2_pix_format) -> Result<Geometry, String> {
    let geometry = Geometry {
        layout,
        width: pix.width,
        height: pix.height,
        stride: pix.bytesperline.max(least_stride(layout, pix.width)),
        bytes: pix.sizeimage,
        colorimetry: colorimetry(pix),
    };
    let [_, _, needed] = super::pool::plane_ends(&geometry);
    if needed > geometry.bytes as usize {
        return Err(format!("its pictures of {}×{} have {} bytes, {needed} are needed", pix.width, pix.height, pix.sizeimage));
    }
    Ok(geometry)
}

/// Bytes of a row of the first plane, without padding.
fn least_stride(layout: PixelLayout, width: u32) -> u32 {
    u32::try_from(layout.plane_size(0, width, 1).0).unwrap_or(u32::MAX)
}

fn colorimetry(pix: &sys::v4l2_pix_format) -> Colorimetry {
    // SAFETY: both members of the union are plain integers at the same place.
    let encoding = unsafe { pix.__bindgen_anon_1.ycbcr_enc };
    let assumed = Colorimetry::assumed_for(pix.height);
    // The kernel's rules for "default" (Documentation/userspace-api/media/v4l/colorspaces-defs.rst).
    let matrix = match (encoding, pix.colorspace) {
        (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601, _) => ColourMatrix::Bt601,
        (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709 | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020, _) => ColourMatrix::Bt709,
        (0, sys::v4l2_colorspace_V4L2_COLORSPACE_REC709) => ColourMatrix::Bt709,
        (0, sys::v4l2_colorspace_V4L2_COLORSPACE_SMPTE170M)
        | (0, sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG)
        | (0, sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB) => ColourMatrix::Bt601,
        _ => assumed.matrix,
    };
    let full_range = match pix.quantization {
        0 => pix.colorspace == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG,
        given => given == sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE,
    };
    Colorimetry { matrix, full_range }
}
