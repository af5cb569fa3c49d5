//! What every number in a pipeline file may be: one table, used by the check (`limits.rs`) and by the reference (`reference.rs`).
//! A test makes sure that no numeric key of the schema is missing here.

use std::ops::RangeInclusive;

/// Streams of one appliance: indices into per-stream tables are 16 bits wide, and no machine decodes a tenth of this.
pub const MAX_STREAMS: usize = 1_024;
/// Worker threads of one kind.
pub const MAX_WORKERS: usize = 256;

const _: () = assert!(MAX_STREAMS <= u16::MAX as usize);

/// (key, least, greatest). `stream.x` stands for every stream's `x`.
const RANGES: [(&str, f64, f64); 43] = [
    ("engine.detect_workers", 0.0, MAX_WORKERS as f64),
    ("engine.embed_workers", 0.0, MAX_WORKERS as f64),
    ("engine.search_threads", 1.0, MAX_WORKERS as f64),
    ("batch.max_batch", 1.0, MAX_STREAMS as f64),
    ("batch.max_wait_ms", 0.0, 1_000.0),
    ("batch.ring_frames", 1.0, 64.0),
    ("detect.score_threshold", 0.0, 1.0),
    ("detect.nms_iou", 0.0, 1.0),
    ("detect.input_px", 64.0, 4_096.0),
    ("track.high_score", 0.0, 1.0),
    ("track.low_score", 0.0, 1.0),
    ("track.match_iou", 0.0, 1.0),
    ("track.confirm_hits", 1.0, 100.0),
    ("track.lost_ms", 1.0, 60_000.0),
    ("track.rotate_id_s", 1.0, 86_400.0),
    ("embed.min_face_width_px", 16.0, 2_048.0),
    ("embed.min_quality", 0.0, 1.0),
    ("embed.best_shots", 1.0, 32.0),
    ("embed.collect_max_ms", 0.0, 60_000.0),
    ("embed.shot_spacing_ms", 0.0, 10_000.0),
    ("embed.retry_improvement", 0.0, 1.0),
    ("mask.threshold", 0.5, 1.0),
    ("mask.min_face_width_px", 16.0, 2_048.0),
    ("mask.min_frontality", 0.0, 1.0),
    ("mask.best_shots", 1.0, 32.0),
    ("mask.collect_max_ms", 0.0, 60_000.0),
    ("mask.shot_spacing_ms", 0.0, 10_000.0),
    ("decide.threshold", -1.0, 1.0),
    ("decide.top_k", 1.0, 100.0),
    ("emit.journal.rotate_mib", 1.0, 4_096.0),
    ("emit.journal.retain_days", 2.0, 3_650.0),
    ("emit.record.retain_days", 1_096.0, 3_653.0),
    ("emit.journal.queue_events", 1.0, 1_048_576.0),
    ("emit.webhook.timeout_ms", 100.0, 60_000.0),
    ("stream.detect_every", 1.0, 30.0),
    ("stream.threshold", -1.0, 1.0),
    ("stream.mask_threshold", 0.5, 1.0),
    ("stream.jitter_ms", 0.0, 10_000.0),
    ("stream.stall_ms", 100.0, 600_000.0),
    ("stream.reconnect_max_ms", 100.0, 600_000.0),
    ("stream.format.width", 16.0, 8_192.0),
    ("stream.format.height", 16.0, 8_192.0),
    ("stream.format.fps", 1.0, 240.0),
];

/// The range of `key`, written with or without positions (`stream[2].detect_every`). `None`: any value of its type.
pub fn range_of(key: &str) -> Option<RangeInclusive<f64>> {
    let plain: String =
        key.split('[').enumerate().map(|(i, part)| if i == 0 { part } else { part.split_once(']').map_or("", |p| p.1) }).collect();
    RANGES.iter().find(|(name, ..)| *name == plain).map(|&(_, least, greatest)| least..=greatest)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::keys::{kind, resolve};
    use crate::config::schema::Pipeline;

    fn numbers(root: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
        let schema = resolve(root, schema);
        let schema = schema.get("items").map_or(schema, |items| resolve(root, items));
        if matches!(kind(schema), "integer" | "number") {
            found.push(path.to_owned());
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            numbers(root, property, &path, found);
        }
    }

    #[test]
    fn every_numeric_key_has_a_range_and_every_range_a_key() {
        let schema = schemars::schema_for!(Pipeline).to_value();
        let mut keys = Vec::new();
        numbers(&schema, &schema, "", &mut keys);
        keys.sort();
        let mut ranges: Vec<String> = RANGES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        ranges.sort();
        assert_eq!(keys, ranges);
        assert!(RANGES.iter().all(|(_, least, greatest)| least < greatest));
        assert_eq!(range_of("stream[12].format.fps"), Some(1.0..=240.0));
        assert_eq!(range_of("stream[12].name"), None);
    }
}
