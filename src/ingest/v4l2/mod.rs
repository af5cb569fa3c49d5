//! Placard's own V4L2 reader (`capture = "native"`): uncompressed pictures straight from the driver's mapped buffers, with the driver's
//! time stamps.
//!
//! Invariants: a frame is the driver's own memory, out of its queue until the last reader is done; a failed start, an unplugged device or
//! an I/O error ends this connection, everything is given back and the device is opened anew. Stamps are shown as the driver gives them,
//! also when they lie in the future.
//!
//! Runs on the stream's ingest thread.

mod device;
mod pool;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::{Delivery, End, IngestError, Outlet, Source};
use crate::clock::CaptureTime;
use crate::config::schema::{Stream, V4l2Format};
use crate::frame::{FrameHeader, StreamIndex};
use crate::shutdown::Shutdown;
use device::{Device, Filled, Geometry};
use memmap2::MmapRaw;
use pool::{Pool, Queue};

/// Buffers asked of the driver: those it fills, those in the ring, those the workers read.
const BUFFERS: u32 = 8;
/// With fewer the driver would starve while frames are being read.
const MIN_BUFFERS: u32 = 3;
const POLL: Duration = Duration::from_millis(100);
const MAX_SKIP: u32 = 100_000;
/// When the device is ready but has nothing: all buffers are lent.
const STARVED_PAUSE: Duration = Duration::from_millis(2);

/// What is asked of a capture device: [`device::Device`], or a test's stand-in. Any thread may call.
trait Camera: Queue + Sized + 'static {
    /// Name of the card; an error if it cannot stream single-planar video.
    fn check_capabilities(&self) -> Result<String, String>;
    fn negotiate(&self, wanted: Option<V4l2Format>) -> Result<Geometry, String>;
    fn ask_rate(&self, fps: u32) -> io::Result<()>;
    fn request_buffers(&self, count: u32) -> io::Result<u32>;
    fn map(&self, index: u32) -> io::Result<MmapRaw>;
    fn stream_on(&self) -> io::Result<()>;
    fn stream_off(&self) -> io::Result<()>;
    /// Waits for a filled buffer; false on time-out.
    fn wait(&self, timeout: Duration) -> io::Result<bool>;
    /// Takes a filled buffer; `None` if there is none yet.
    fn dequeue(&self) -> io::Result<Option<Filled>>;
}

type Opening<C> = Box<dyn Fn(&Path) -> io::Result<C> + Send>;

/// A capture device, read by mmap. `open` opens it, anew for every connection.
struct Reader<C> {
    stream: Stream,
    device: PathBuf,
    open: Opening<C>,
}

/// A capture device of this machine as a source.
pub fn native_source(stream: &Stream, device: PathBuf) -> Box<dyn Source> {
    Box::new(Reader { stream: stream.clone(), device, open: Box::new(Device::open) })
}

/// A device that streams. Dropping it stops it and gives its buffers back.
struct Streaming<C: Camera> {
    device: Arc<C>,
    pool: Arc<Pool<C>>,
}

impl<C: Camera> Drop for Streaming<C> {
    fn drop(&mut self) {
        self.pool.close();
        // A device that is gone refuses both, and has nothing left to stop.
        let _stopped = self.device.stream_off();
        // Gives up the claim on the device even while frames still show its memory, so that it can be opened anew.
        let _released = self.device.request_buffers(0);
    }
}

impl<C: Camera> Reader<C> {
    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> IngestError + '_ {
        move |reason| IngestError::Device { stream: self.stream.name.clone(), device: self.device.clone(), what, reason }
    }

    fn unfit(&self, reason: String) -> IngestError {
        IngestError::DeviceFormat { stream: self.stream.name.clone(), device: self.device.clone(), reason }
    }

    fn start(&self, outlet: &Outlet) -> Result<(Streaming<C>, Geometry), IngestError> {
        let device = Arc::new((self.open)(&self.device).map_err(self.failed("open"))?);
        let card = device.check_capabilities().map_err(|reason| self.unfit(reason))?;
        let geometry = device.negotiate(self.stream.format).map_err(|reason| self.unfit(reason))?;
        if let Some(fps) = self.stream.format.and_then(|f| f.fps)
            && let Err(reason) = device.ask_rate(fps)
        {
            tracing::info!(stream = %outlet.name, "{}: {fps} frames per second refused: {reason}", self.device.display());
        }
        let count = device.request_buffers(BUFFERS).map_err(self.failed("VIDIOC_REQBUFS"))?;
        if count < MIN_BUFFERS {
            return Err(self.unfit(format!("{card} has only {count} buffers, {MIN_BUFFERS} are needed")));
        }
        let memory = (0..count).map(|index| device.map(index)).collect::<io::Result<Vec<_>>>().map_err(self.failed("mmap"))?;
        let pool = Pool::new(Arc::clone(&device), memory).map_err(self.failed("VIDIOC_QBUF"))?;
        // Made before the device starts: if it does not, everything is given back and the next attempt begins from nothing.
        let streaming = Streaming { device, pool };
        streaming.device.stream_on().map_err(self.failed("VIDIOC_STREAMON"))?;
        outlet.health.set_caps(caps_text(&geometry));
        outlet.health.set_decoder(format!("v4l2 ({card})"));
        Ok((streaming, geometry))
    }

    fn deliver(
        &self,
        streaming: &Streaming<C>,
        geometry: &Geometry,
        filled: Filled,
        outlet: &Outlet,
        shutdown: &Shutdown,
    ) -> Result<Delivery, IngestError> {
        let [_, _, needed] = pool::plane_ends(geometry);
        if filled.damaged || (filled.bytes as usize) < needed {
            outlet.counters.frames_refused_total.increment();
            streaming.pool.give_back(filled.index);
            return Ok(Delivery::Delivered);
        }
        let Some(lent) = streaming.pool.lend(filled.index, geometry) else {
            return Err(self.unfit(format!("the driver handed out buffer {} twice, or one it never had", filled.index)));
        };
        let now = outlet.clock.monotonic();
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence: 0,
            captured_at: filled.stamp.map_or(CaptureTime::Arrival(now), CaptureTime::Driver),
            arrived_at: now,
            width: geometry.width,
            height: geometry.height,
            layout: geometry.layout,
            colorimetry: geometry.colorimetry,
            strides: pool::strides(geometry),
        };
        outlet.deliver(header, lent, shutdown)
    }
}

impl<C: Camera> Source for Reader<C> {
    fn run_once(&mut self, outlet: &Outlet, shutdown: &Shutdown) -> Result<End, IngestError> {
        let (streaming, geometry) = self.start(outlet)?;
        let stall_ns = i64::try_from(self.stream.stall_ms).unwrap_or(i64::MAX / 1_000_000).saturating_mul(1_000_000);
        let mut last_frame_at = outlet.clock.monotonic();
        let mut last_sequence: Option<u32> = None;
        loop {
            if shutdown.is_requested() {
                return Ok(End::Shutdown);
            }
            outlet.rest();
            let ready = streaming.device.wait(POLL);
            outlet.wake();
            let ready = ready.map_err(self.failed("poll"))?;
            let filled = if ready { streaming.device.dequeue().map_err(self.failed("VIDIOC_DQBUF"))? } else { None };
            if let Some(filled) = filled {
                if let Some(last) = last_sequence {
                    let skipped = filled.sequence.wrapping_sub(last).saturating_sub(1);
                    // A larger leap is a driver that began to count anew.
                    if skipped < MAX_SKIP {
                        outlet.counters.frames_skipped_total.add(u64::from(skipped));
                    }
                }
                last_sequence = Some(filled.sequence);
                last_frame_at = outlet.clock.monotonic();
                if self.deliver(&streaming, &geometry, filled, outlet, shutdown)? == Delivery::Stopped {
                    return Ok(End::Shutdown);
                }
            } else if outlet.clock.monotonic().since_ns(last_frame_at) > stall_ns {
                return Err(IngestError::Stalled { stream: self.stream.name.clone(), stall_ms: self.stream.stall_ms });
            } else if ready && shutdown.wait(STARVED_PAUSE) {
                return Ok(End::Shutdown);
            }
            let lost = streaming.pool.lost.load(SeqCst);
            if lost > 0 {
                return Err(self.unfit(format!("the driver refused to take {lost} buffers back")));
            }
        }
    }
}

fn caps_text(geometry: &Geometry) -> String {
    let format = format!("{:?}", geometry.layout).to_uppercase();
    format!("video/x-raw, format={format}, width={}, height={}", geometry.width, geometry.height)
}

#[cfg(test)]
mod tests;
