//! Placard's own V4L2 reader.

use std::path::PathBuf;

use super::{End, IngestError, Outlet, Source};
use crate::config::schema::Stream;
use crate::shutdown::Shutdown;

/// A capture device, read by mmap.
pub struct NativeSource {
    stream: Stream,
    device: PathBuf,
}

impl NativeSource {
    pub fn new(stream: &Stream, device: PathBuf) -> Self {
        Self { stream: stream.clone(), device }
    }
}

impl Source for NativeSource {
    fn run_once(&mut self, _outlet: &Outlet, _shutdown: &Shutdown) -> Result<End, IngestError> {
        Err(IngestError::DeviceFormat {
            stream: self.stream.name.clone(),
            device: self.device.clone(),
            reason: "capture = \"native\" is not built yet".to_owned(),
        })
    }
}
