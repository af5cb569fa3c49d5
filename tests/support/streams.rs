//! Streams under test: clips made on the spot, an RTSP server in a process of its own, and a reader that counts.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placard::clock::SystemClock;
use placard::config::schema::Stream;
use placard::config::source::SourceSpec;
use placard::frame::{Frame, FrameHeader, StreamIndex};
use placard::ingest::{HealthSnapshot, IngestThread, Outlet, spawn};
use placard::queue::{Doorbell, Ring};
use placard::shutdown::Shutdown;

/// Generous: the machine may be busy. Nothing waits this long unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a GStreamer pipeline to its end.
pub fn run_pipeline(description: &str) {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
    pipeline.set_state(gst::State::Playing).expect(description);
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).expect("stop");
    assert!(end.as_ref().is_some_and(|m| m.type_() == gst::MessageType::Eos), "{description}: {end:?}");
}

/// Makes a clip of a moving test picture: `tail` is everything after the raw video.
pub fn make_clip(directory: &Path, name: &str, frames: u32, size: (u32, u32), tail: &str) -> PathBuf {
    let path = directory.join(name);
    run_pipeline(&format!(
        "videotestsrc num-buffers={frames} pattern=ball ! video/x-raw,format=I420,width={},height={},framerate=15/1 ! {tail} ! \
         filesink location={}",
        size.0,
        size.1,
        path.display()
    ));
    path
}

pub const H264: &str = "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=15 ! h264parse";

/// `placard serve-clips`, killed when dropped.
pub struct RtspServer {
    process: Child,
    pub urls: Vec<String>,
}

impl RtspServer {
    pub fn start(port: u16, options: &[&str], clips: &[(&str, &Path)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_placard"))
            .args(["serve-clips", "--until-stdin-ends", "--port", &port.to_string()])
            .args(options)
            .args(clips.iter().map(|(name, file)| format!("{name}={}", file.display())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut ready = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut ready).expect("a line");
        let urls: Vec<String> = ready.split_whitespace().skip(1).map(str::to_owned).collect();
        assert!(ready.starts_with("ready ") && urls.len() == clips.len(), "{ready:?}");
        Self { process, urls }
    }
    pub fn port(&self) -> u16 {
        let port = self.urls[0].split([':', '/']).nth(4).and_then(|p| p.parse().ok());
        port.unwrap_or_else(|| panic!("{:?}", self.urls))
    }
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("our own child");
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("reaped");
    }
}

/// A stream and its reader.
pub struct Watched {
    pub ring: Arc<Ring<Frame>>,
    bell: Arc<Doorbell>,
    shutdown: Shutdown,
    thread: Option<IngestThread>,
    pub seen: Vec<FrameHeader>,
}

impl Watched {
    pub fn start(stream: &Stream) -> Self {
        let spec = SourceSpec::parse(&stream.source, Path::new("/")).expect("a source");
        let (ring, bell, shutdown) = (Arc::new(Ring::new(256)), Doorbell::new(), Shutdown::new());
        let outlet = Outlet::new(&stream.name, StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), SystemClock::shared());
        let thread = spawn(stream, &spec, outlet, &shutdown).expect("a thread");
        Self { ring, bell, shutdown, thread: Some(thread), seen: vec![] }
    }
    pub fn thread(&self) -> &IngestThread {
        self.thread.as_ref().expect("still running")
    }
    pub fn health(&self) -> HealthSnapshot {
        self.thread().snapshot()
    }
    /// Takes what has come.
    pub fn take(&mut self) {
        while let Some(frame) = self.ring.pop() {
            self.seen.push(*frame.header());
        }
    }
    /// Takes frames until `done` or until patience ends; true if done.
    pub fn until(&mut self, mut done: impl FnMut(&Self) -> bool) -> bool {
        let give_up = Instant::now() + PATIENCE;
        loop {
            self.take();
            if done(self) {
                return true;
            }
            if Instant::now() > give_up {
                return false;
            }
            self.bell.wait(Duration::from_millis(20));
        }
    }
    pub fn until_frames(&mut self, count: usize) {
        assert!(self.until(|w| w.seen.len() >= count), "{} of {count} frames; {:?}", self.seen.len(), self.health());
    }
    pub fn more_frames(&mut self, count: usize) {
        self.until_frames(self.seen.len() + count);
    }
    pub fn until_ended(&mut self) {
        let ended = self.until(|w| w.thread().is_finished());
        assert!(ended, "{:?}", self.health());
        self.take();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}
