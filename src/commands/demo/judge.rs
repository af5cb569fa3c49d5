//! What a perfect appliance would report, and whether what was reported is true: both from the scenes' truth alone.
//!
//! Frames are numbered as the stream numbers them; a script comes again after its last frame.

use std::ops::Range;

use super::told::Told;
use crate::commands::render::clip::Script;
use crate::ingest::rendered::FPS;
use crate::render::truth::FaceTruth;

/// A face counts as clearly shown from this width on, pixels.
const CLEAR_WIDTH_PX: f32 = 48.0;
/// … turned no further than this, degrees, …
const CLEAR_YAW_DEG: f32 = 30.0;
/// … with at least this share of it neither hidden nor outside the signed area.
const CLEAR_SHARE: f32 = 0.95;
/// A passage is expected to be noticed if the face was clearly shown in so many frames, …
const CLEAR_FRAMES: usize = 12;
/// … and the last of them came so long before the end, the darkness or the deletion: shots are gathered and looked up in that time.
pub const SETTLE_FRAMES: u64 = 2 * FPS as u64;
/// Clear frames further apart than this belong to two passages.
const PASSAGE_GAP_FRAMES: u64 = FPS as u64;
/// A clip that is sent is received with its frames numbered from the first one that arrived, which need not be the first one sent.
const NUMBERED_WITHIN: u64 = 4;
/// Overlap (intersection over union) from which a reported box and a true one are the same face.
const SAME_FACE_IOU: f32 = 0.3;

/// The rule of expectation, for readers of the report.
pub fn rule() -> String {
    format!(
        "Somebody is expected on a stream whose purpose they are enrolled for, if in one passage their face is shown for {CLEAR_FRAMES} frames or \
         more, at least {CLEAR_WIDTH_PX} pixels wide, turned at most {CLEAR_YAW_DEG}°, without a mask, with {:.0} % of it visible and inside the signed \
         area, {} s or more before the stream's end, its darkness, or the person's deletion.",
        CLEAR_SHARE * 100.0,
        SETTLE_FRAMES / u64::from(FPS),
    )
}

fn is_clear(face: &FaceTruth) -> bool {
    face.bounding_box.width() >= CLEAR_WIDTH_PX
        && face.yaw_deg.abs() <= CLEAR_YAW_DEG
        && face.visible >= CLEAR_SHARE
        && face.inside >= CLEAR_SHARE
        && !face.mask
}

/// Truth about the frame that the stream gave this number.
pub fn faces(script: &Script, frame: u64) -> &[FaceTruth] {
    let length = script.frames.len().max(1) as u64;
    usize::try_from(frame % length).ok().and_then(|i| script.frames.get(i)).map_or(&[], Vec::as_slice)
}

/// First and last+1 clear frame of every passage of `identity` that must be noticed within `frames`.
pub fn passages(script: &Script, identity: &str, frames: Range<u64>) -> Vec<Range<u64>> {
    let mut found: Vec<(Range<u64>, usize)> = Vec::new();
    for frame in frames {
        if !faces(script, frame).iter().any(|f| f.identity == identity && is_clear(f)) {
            continue;
        }
        match found.last_mut() {
            Some((passage, count)) if frame - passage.end < PASSAGE_GAP_FRAMES => (passage.end, *count) = (frame + 1, *count + 1),
            _ => found.push((frame..frame + 1, 1)),
        }
    }
    found.into_iter().filter(|(_, count)| *count >= CLEAR_FRAMES).map(|(passage, _)| passage).collect()
}

/// Everybody with such a passage in one round of the script, in order of appearance.
pub fn clearly_shown(script: &Script) -> Vec<String> {
    let round = 0..script.frames.len() as u64;
    let mut shown: Vec<(u64, String)> = Vec::new();
    for face in script.frames.iter().flatten() {
        if shown.iter().all(|(_, known)| *known != face.identity) {
            let first = passages(script, &face.identity, round.clone()).first().map_or(u64::MAX, |p| p.start);
            shown.push((first, face.identity.clone()));
        }
    }
    shown.retain(|(first, _)| *first != u64::MAX);
    shown.sort();
    shown.into_iter().map(|(_, identity)| identity).collect()
}

/// The true face that the event's box shows, and the frame of the scene: of `identity`, or whoever it is.
pub fn face_at<'a>(script: &'a Script, told: &Told, identity: Option<&str>) -> Option<(u64, &'a FaceTruth)> {
    let told_box = told.bounding_box();
    let numbers = told.frame_sequence.saturating_sub(NUMBERED_WITHIN)..=told.frame_sequence + NUMBERED_WITHIN;
    let all = numbers.flat_map(|n| faces(script, n).iter().map(move |face| (n, face)));
    let named = all.filter(|(_, face)| identity.is_none_or(|identity| face.identity == identity));
    let best = named.map(|at| (told_box.iou(&at.1.bounding_box), at)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= SAME_FACE_IOU).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BoundingBox, Point};

    fn face(identity: &str, width_px: f32) -> FaceTruth {
        FaceTruth {
            identity: identity.to_owned(),
            bounding_box: BoundingBox { x0: 10.0, y0: 10.0, x1: 10.0 + width_px, y1: 80.0 },
            landmarks: [Point { x: 20.0, y: 20.0 }; 5],
            mask: false,
            yaw_deg: 4.0,
            visible: 1.0,
            area: Some("signed".to_owned()),
            inside: 1.0,
            distance_cm: 300.0,
        }
    }

    /// 60 frames: a is clear in 10 to 30, b is too small, c wears a mask, d is clear for too short a time.
    fn script() -> Script {
        let frame = |i: usize| {
            let mut faces = vec![face("b", 30.0), FaceTruth { mask: true, ..face("c", 80.0) }];
            faces.extend((10..30).contains(&i).then(|| face("a", 60.0)));
            faces.extend((40..48).contains(&i).then(|| face("d", 60.0)));
            faces
        };
        Script { areas: Vec::new(), frames: (0..60).map(frame).collect() }
    }

    #[test]
    fn whoever_is_clearly_shown_is_expected_in_every_round() {
        let script = script();
        assert_eq!(clearly_shown(&script), ["a"]);
        assert_eq!(passages(&script, "a", 0..150), [10..30, 70..90, 130..150]);
        assert_eq!(passages(&script, "a", 15..26), [], "eleven frames are too few");
        assert_eq!(passages(&script, "a", 15..27).first(), Some(&(15..27)));
        assert!(passages(&script, "c", 0..150).is_empty() && passages(&script, "d", 0..150).is_empty());
        assert!(rule().contains("12 frames") && rule().contains("48 pixels") && rule().contains("95 %"));
    }
}
