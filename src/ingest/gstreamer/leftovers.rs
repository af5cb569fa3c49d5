//! Descriptors of a camera that GStreamer leaves open.
//!
//! `v4l2src` of GStreamer 1.22 (Debian 12) never frees its buffer pool, and the pool holds a duplicate of the device's descriptor. As long
//! as it is open the kernel keeps the device's number, so a camera that is unplugged and plugged in again comes back under another name, and
//! the stream never finds it; and every connection leaves one more. Where such a descriptor is still there once a pipeline is gone and every
//! picture from it was released, it is turned into `/dev/null` here. (Not closed: should a later GStreamer close it after all, it must
//! not close a stranger that got its number.) Where nothing was left open, nothing is done.
//!
//! Two streams must not share a capture device; V4L2 lets only one of them have pictures anyway.
//!
//! Runs on the stream's ingest thread, between connections.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use nix::libc;

use crate::shutdown::Shutdown;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A picture that is still being read after so many looks keeps its device open until the next connection ends.
const LOOKS: u32 = 100;

/// What one connection may leave behind.
#[derive(Default)]
pub(super) struct Leftovers {
    /// Device numbers of the cameras it opened.
    devices: Vec<u64>,
    /// Held once by every picture that has not been released.
    lent: Option<Arc<()>>,
}

impl Leftovers {
    /// Notes the cameras of a pipeline that has started, and the mark that its pictures carry.
    pub fn note(&mut self, pipeline: &gst::Pipeline, lent: &Arc<()>) {
        self.lent = Some(Arc::clone(lent));
        for element in pipeline.iterate_recurse().into_iter().flatten() {
            if element.factory().is_some_and(|f| f.name() == "v4l2src")
                && let Ok(found) = std::fs::metadata(element.property::<String>("device"))
                && found.file_type().is_char_device()
            {
                self.devices.push(found.rdev());
            }
        }
    }

    /// Call it when the connection's pipeline is gone.
    pub fn release(self, stream: &str, shutdown: &Shutdown) {
        if self.devices.is_empty() {
            return;
        }
        let mut looks = 0;
        while self.lent.as_ref().is_some_and(|lent| Arc::strong_count(lent) > 1) {
            looks += 1;
            if looks > LOOKS || shutdown.wait(LOOK_EVERY) {
                return;
            }
        }
        for descriptor in open_on(&self.devices) {
            match silence(descriptor) {
                Ok(()) => tracing::debug!(stream, descriptor, "GStreamer left the camera open: closed"),
                Err(error) => tracing::warn!(stream, descriptor, "GStreamer left the camera open, and it cannot be closed: {error}"),
            }
        }
    }
}

/// This process's descriptors of these devices, also of those that are gone.
fn open_on(devices: &[u64]) -> Vec<RawFd> {
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    // Following the link asks the open file itself, whatever became of its name.
    let is_theirs = |path: &std::path::Path| {
        std::fs::metadata(path).is_ok_and(|file| file.file_type().is_char_device() && devices.contains(&file.rdev()))
    };
    descriptors.filter(|d| is_theirs(&d.path())).filter_map(|d| d.file_name().to_str()?.parse().ok()).collect()
}

/// Makes `descriptor` one of `/dev/null`.
fn silence(descriptor: RawFd) -> std::io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: dup3 touches no memory. It replaces what `descriptor` stands for, which nobody relies on: its device was opened by a
    // pipeline that is stopped and freed, all of whose pictures were released (`release` saw to both), and no other stream shares the
    // device; so only a pool that nobody can reach any more still has the number, and it stays open for that pool.
    let done = unsafe { libc::dup3(null.as_raw_fd(), descriptor, libc::O_CLOEXEC) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_was_left_open_is_turned_into_null() {
        // Nothing else here opens /dev/full.
        let left = File::options().write(true).open("/dev/full").expect("there");
        let device = left.metadata().expect("known").rdev();
        let reader = Arc::new(());
        let leftovers = || Leftovers { devices: vec![device], lent: Some(Arc::clone(&reader)) };
        assert_eq!(open_on(&[device]), [left.as_raw_fd()]);

        let (stopping, picture) = (Shutdown::new(), Arc::clone(&reader));
        stopping.request();
        leftovers().release("door", &stopping);
        assert_eq!(open_on(&[device]).len(), 1, "somebody reads a picture yet");
        drop(picture);
        let only = Leftovers { devices: vec![device], lent: Some(reader) };
        only.release("door", &Shutdown::new());
        assert!(open_on(&[device]).is_empty());
        let null = std::fs::metadata("/dev/null").expect("there").rdev();
        assert_eq!(left.metadata().expect("still open").rdev(), null);
    }
}
