//! What a replay did, in all and per stream; for a stream that was not looked at, which rule said so and what would change it.
//!
//! Policy and source states are those at the moment the last source was over; counts are those after everything ran through.

use std::io::Write;

use serde::Serialize;

use super::Usage;
use crate::appliance::{Plane, StreamRuntime};
use crate::frame::StreamIndex;
use crate::ingest::SourceState;
use crate::latency::{CAPTURE_TO_DONE, PercentilesMs, StepSnapshot};
use crate::policy::board::StreamPolicy;
use crate::policy::lease::StreamState;

#[derive(Serialize)]
pub(super) struct Summary {
    program: &'static str,
    /// Frames that arrived, and those a detector looked at (`detect_every` passes over the others).
    frames: u64,
    frames_detected: u64,
    frames_withheld: u64,
    frames_overwritten: u64,
    cpu_s: f64,
    wall_s: f64,
    frames_per_cpu_s: f64,
    /// Inside the networks' step, pre-processing and decoding included.
    detect_s: f64,
    embed_s: f64,
    embeddings: u64,
    events: u64,
    /// People of whom the mask check gave an answer.
    masks: u64,
    /// [stream, subject], once each.
    hits: Vec<(String, String)>,
    capture_to_done_ms: PercentilesMs,
    streams: Vec<StreamSummary>,
}

/// One stream, at its end.
#[derive(Serialize)]
struct StreamSummary {
    name: String,
    state: StreamState,
    reason: String,
    source: SourceState,
    frames: u64,
    looked: u64,
    withheld: u64,
    overwritten: u64,
}

/// Why each source that did not come to its end failed.
pub(super) fn failed_sources(plane: &Plane) -> Vec<String> {
    let failed = plane.streams.iter().map(StreamRuntime::health).filter(|health| health.state != SourceState::Ended);
    let told = failed.map(|h| format!("{}; given up after {} attempts", h.last_error.unwrap_or_default(), h.attempts));
    told.collect()
}

pub(super) fn of(plane: &Plane, policies: &[StreamPolicy], begin: &Usage) -> anyhow::Result<Summary> {
    let usage = Usage::now()?;
    let (cpu_s, wall_s) = (usage.cpu_s_since(begin), usage.wall_s_since(begin));
    let total = |count: &dyn Fn(&StreamRuntime) -> u64| plane.streams.iter().map(count).sum::<u64>();
    let frames = total(&|s| s.ingest.frames_total.get());
    let steps = plane.latencies.snapshot()?;
    let step = |name: &str| steps.iter().find(|s| &*s.name == name);
    let seconds = |name: &str| step(name).map_or(0.0, |s| s.histogram.mean() * s.histogram.len() as f64 / 1e9);
    let emitter = plane.emitter.lock();
    let mut hits: Vec<(String, String)> =
        emitter.recent(usize::MAX).iter().filter_map(|e| Some((e.stream.to_string(), e.candidates().first()?.subject.clone()))).collect();
    hits.sort();
    hits.dedup();
    let streams: Vec<StreamSummary> = plane.streams.iter().zip(policies).enumerate().map(|(i, (s, p))| stream(plane, i, s, p)).collect();
    Ok(Summary {
        program: "placard",
        frames,
        frames_detected: streams.iter().map(|s| s.looked).sum(),
        frames_withheld: total(&|s| s.batch.frames_withheld.get()),
        frames_overwritten: total(&|s| s.ring.overwritten.get()),
        cpu_s,
        wall_s,
        frames_per_cpu_s: frames as f64 / cpu_s.max(1e-9),
        detect_s: seconds("detect"),
        embed_s: seconds("embed"),
        embeddings: total(&|s| s.track.shots.get()),
        events: emitter.counters.events.get(),
        masks: plane.masks.iter().map(|m| m.bare.get() + m.masked.get()).sum(),
        hits,
        capture_to_done_ms: step(CAPTURE_TO_DONE).map(StepSnapshot::percentiles_ms).unwrap_or_default(),
        streams,
    })
}

fn stream(plane: &Plane, i: usize, runtime: &StreamRuntime, policy: &StreamPolicy) -> StreamSummary {
    StreamSummary {
        name: runtime.name.to_string(),
        state: policy.state,
        reason: policy.reason.to_string(),
        source: runtime.health.state(),
        frames: runtime.ingest.frames_total.get(),
        looked: plane.last_look.frames(StreamIndex(u16::try_from(i).unwrap_or(u16::MAX))),
        withheld: runtime.batch.frames_withheld.get(),
        overwritten: runtime.ring.overwritten.get(),
    }
}

impl Summary {
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
            return Ok(());
        }
        writeln!(
            out,
            "frames     {} arrived, {} looked at, {} withheld, {} overwritten",
            self.frames, self.frames_detected, self.frames_withheld, self.frames_overwritten
        )?;
        writeln!(out, "people     {} shots embedded, {} events, {} different hits", self.embeddings, self.events, self.hits.len())?;
        if self.masks > 0 {
            writeln!(out, "masks      {} people answered for", self.masks)?;
        }
        writeln!(out, "processor  {:.2} s in {:.2} s: {:.1} frames per CPU-second", self.cpu_s, self.wall_s, self.frames_per_cpu_s)?;
        writeln!(out, "of which   {:.2} s detection, {:.2} s alignment and embedding", self.detect_s, self.embed_s)?;
        for s in &self.streams {
            let (state, source) = (s.state.name(), s.source.name());
            writeln!(
                out,
                "stream     {}: {state}, source {source}: {} arrived, {} looked at, {} withheld",
                s.name, s.frames, s.looked, s.withheld
            )?;
            writeln!(out, "           {}", s.reason)?;
        }
        Ok(())
    }
}
