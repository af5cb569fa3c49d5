//! `/metrics` in the OpenMetrics text format: every component's counters, the streams' states, and the steps' latencies.
//!
//! Names: `placard_<component>_<name>`, base units (seconds, bytes). Labels: `stream`, `state`, `step`, `quantile`; never a subject,
//! a track or a picture. Latencies are given twice: as a histogram (adds up across appliances) and as quantiles computed from the
//! HDR histogram (exact to three digits, does not add up).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Appliance;
use super::view::StatusView;
use crate::counters::Reading;
use crate::latency::StepSnapshot;

/// Upper bounds of the histogram's buckets, seconds. The lease (0.5 s) and the revocation bound (0.25 s, 1 s) are among them.
const BUCKETS_S: [f64; 14] = [0.0005, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (0.999, "0.999")];
const STATES: [&str; 5] = ["off", "capture-only", "detect", "recognise", "no-detector"];

/// The exporter of one appliance.
pub(super) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub fn of(appliance: Arc<dyn Appliance>) -> Self {
        let mut registry = Registry::with_prefix("placard");
        registry.register_collector(Box::new(Everything { appliance }));
        Self { registry }
    }
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).map(|()| text)
    }
}

struct Everything {
    appliance: Arc<dyn Appliance>,
}

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everything")
    }
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.appliance.status();
        encode_appliance(&mut encoder, &status)?;
        encode_streams(&mut encoder, &status)?;
        encode_latencies(&mut encoder, &self.appliance.latencies())?;
        encode_counters(&mut encoder, &*self.appliance)
    }
}

fn encode_appliance(encoder: &mut DescriptorEncoder<'_>, status: &StatusView) -> fmt::Result {
    let labels = [("version", status.version.as_str()), ("pipeline", &status.name), ("site", &status.site), ("mode", &status.mode)];
    encoder.encode_descriptor("build", "What runs here", None, MetricType::Info)?.encode_info(&labels)?;
    let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
        encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    };
    gauge("uptime", "Time since the appliance started", Some(&Unit::Seconds), status.uptime_s)?;
    gauge("policy_alive", "1 while the policy thread renews leases", None, f64::from(u8::from(status.policy.alive)))?;
    gauge("alarms", "Conditions that need a human now", None, status.alarms.len() as f64)
}

fn encode_streams(encoder: &mut DescriptorEncoder<'_>, status: &StatusView) -> fmt::Result {
    let mut states = encoder.encode_descriptor("stream_state", "1 for the state that the stream is in", None, MetricType::Gauge)?;
    for stream in &status.streams {
        for state in STATES {
            let is = u64::from(stream.state == state);
            states.encode_family(&[("stream", stream.name.as_str()), ("state", state)])?.encode_gauge(&is)?;
        }
    }
    let mut live = encoder.encode_descriptor("stream_live", "1 while the source delivers frames", None, MetricType::Gauge)?;
    for stream in &status.streams {
        live.encode_family(&[("stream", stream.name.as_str())])?.encode_gauge(&u64::from(stream.health == "live"))?;
    }
    Ok(())
}

fn encode_latencies(encoder: &mut DescriptorEncoder<'_>, steps: &[StepSnapshot]) -> fmt::Result {
    let help = "Latency of a step; `capture-to-done` and `capture-to-emission` span several";
    let mut family = encoder.encode_descriptor("step_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for step in steps {
        let labels = [("step", &*step.name)];
        let sum_s = step.histogram.mean() * step.histogram.len() as f64 / 1e9;
        let buckets = buckets(step);
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum_s, step.histogram.len(), &buckets, None)?;
    }
    let help = "Quantiles of a step's latency since the start";
    let mut family = encoder.encode_descriptor("step_latency_quantile", help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for step in steps.iter().filter(|s| !s.histogram.is_empty()) {
        for (quantile, label) in QUANTILES {
            let value_s = step.histogram.value_at_quantile(quantile) as f64 / 1e9;
            family.encode_family(&[("step", &*step.name), ("quantile", label)])?.encode_gauge(&value_s)?;
        }
    }
    let help = "Latencies below zero: the capturing clock runs ahead of ours";
    let mut family = encoder.encode_descriptor("step_latency_negative", help, None, MetricType::Counter)?;
    for step in steps {
        family.encode_family(&[("step", &*step.name)])?.encode_counter::<NoLabelSet, u64, u64>(&step.negative, None)?;
    }
    Ok(())
}

/// Counts per bucket (the encoder adds them up), the last one unbounded.
fn buckets(step: &StepSnapshot) -> Vec<(f64, u64)> {
    let mut counts = vec![0_u64; BUCKETS_S.len() + 1];
    for value in step.histogram.iter_recorded() {
        let seconds = value.value_iterated_to() as f64 / 1e9;
        counts[BUCKETS_S.partition_point(|bound| *bound < seconds)] += value.count_at_value();
    }
    BUCKETS_S.into_iter().chain([f64::INFINITY]).zip(counts).collect()
}

/// All series of one name, gathered from every component that has it, as the format wants them together.
struct Family {
    help: String,
    is_counter: bool,
    /// (stream or empty, value)
    series: Vec<(String, u64)>,
}

fn encode_counters(encoder: &mut DescriptorEncoder<'_>, appliance: &dyn Appliance) -> fmt::Result {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    appliance.visit_counters(&mut |component| {
        let stream = component.stream().unwrap_or_default();
        component.visit(&mut |reading| {
            let (name, help, value, is_counter) = match reading {
                // The encoder appends `_total` itself.
                Reading::Counter { name, help, value } => (name.strip_suffix("_total").unwrap_or(name), help, value, true),
                Reading::Gauge { name, help, value } => (name, help, value, false),
            };
            let key = format!("{}_{name}", component.component());
            let family = families.entry(key).or_insert_with(|| Family { help: help.to_owned(), is_counter, series: Vec::new() });
            // Two components under one name and stream (a worker each): their counts add up.
            match family.series.iter_mut().find(|(s, _)| s == stream) {
                Some((_, sum)) => *sum += value,
                None => family.series.push((stream.to_owned(), value)),
            }
        });
    });
    for (name, family) in &families {
        let kind = if family.is_counter { MetricType::Counter } else { MetricType::Gauge };
        let help = family.help.trim_end_matches('.');
        let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
        for (stream, value) in &family.series {
            if stream.is_empty() {
                encode_value(&mut encoder, family.is_counter, *value)?;
            } else {
                encode_value(&mut encoder.encode_family(&[("stream", stream.as_str())])?, family.is_counter, *value)?;
            }
        }
    }
    Ok(())
}

fn encode_value(encoder: &mut MetricEncoder<'_>, is_counter: bool, value: u64) -> fmt::Result {
    if is_counter { encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None) } else { encoder.encode_gauge(&value) }
}
