//! What the appliance told: its journal, read as any receiver of events would read it.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use crate::clock::{Stamp, Utc, format_utc};
use crate::frame::BoundingBox;

/// One event. What a hit or a mask check lacks is `None`.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    pub stream: String,
    pub purpose: String,
    /// RFC 3339, UTC, always as many digits: comparable as text.
    pub decided_at: String,
    pub frame_sequence: u64,
    pub shots: u64,
    #[serde(default)]
    candidates: Vec<Candidate>,
    pub threshold: Option<f32>,
    pub mask_worn: Option<bool>,
    pub confidence: Option<f32>,
    #[serde(rename = "Frame")]
    frame: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Candidate {
    subject: String,
    score: f32,
}

impl Told {
    /// Who may have been seen: opaque id, similarity.
    pub fn subject(&self) -> Option<(&str, f32)> {
        self.candidates.first().map(|best| (best.subject.as_str(), best.score))
    }

    /// Where the face was, pixels.
    pub fn bounding_box(&self) -> BoundingBox {
        let rectangle = &self.frame[0]["Object"][0]["Appearance"]["Shape"]["BoundingBox"];
        let [x0, y0, x1, y1] = ["@left", "@top", "@right", "@bottom"].map(|side| rectangle[side].as_f64().unwrap_or(0.0) as f32);
        BoundingBox { x0, y0, x1, y1 }
    }

    /// Whether it was decided later than that.
    pub fn after(&self, moment: Stamp<Utc>) -> bool {
        self.decided_at > format_utc(moment)
    }
}

/// The journal, oldest first: what was acknowledged.
pub fn read(journal: &Path) -> anyhow::Result<Vec<Told>> {
    let mut files: Vec<_> =
        std::fs::read_dir(journal).with_context(|| format!("reading {}", journal.display()))?.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    let mut events = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // While the service runs, the last line may still be being written.
        for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n')) {
            events.push(serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), number + 1))?);
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_and_mask_checks_are_read_and_a_line_that_is_being_written_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let both = r#""stream":"hall","purpose":"p","decided_at":"2026-11-22T03:00:00.000Z","frame_sequence":7,"shots":3,"threshold":0.6"#;
        let shape =
            r#""Frame":[{"Object":[{"Appearance":{"Shape":{"BoundingBox":{"@left":1.0,"@top":2.0,"@right":31.0,"@bottom":42.0}}}}]}]"#;
        let hit = format!("{{{both},\"candidates\":[{{\"subject\":\"ab\",\"score\":0.8}}],{shape}}}\n");
        let mask = format!("{{{both},\"mask_worn\":true,\"confidence\":0.9,{shape}}}\n");
        std::fs::write(folder.path().join("1.jsonl"), format!("{hit}{mask}{{\"stream\":\"ha")).expect("writable");
        std::fs::write(folder.path().join("cursor"), "x").expect("writable");
        let told = read(folder.path()).expect("readable");
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].subject(), told[0].mask_worn, told[0].bounding_box().width()), (Some(("ab", 0.8)), None, 30.0));
        assert_eq!((told[1].subject(), told[1].mask_worn), (None, Some(true)));
        std::fs::write(folder.path().join("2.jsonl"), "{}\n").expect("writable");
        assert!(read(folder.path()).expect_err("no event").to_string().ends_with("2.jsonl:1"));
    }
}
