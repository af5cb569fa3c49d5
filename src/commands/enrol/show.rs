//! What `placard enrol` prints: a verdict for each subject, and their sum.

use std::io::Write;

use serde_json::{Value, json};

use super::{Taken, Verdict};
use crate::clock::format_utc;
use crate::commands::Failed;
use crate::commands::portrait::Portrait;
use crate::purpose::Purpose;

pub(super) fn verdict(as_json: bool, purpose: &Purpose, verdict: &Verdict) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", verdict_json(purpose, verdict))?;
        return Ok(());
    }
    match verdict {
        Verdict::Enrolled { subject, name, images, expires_at, also } => {
            let whom = name.as_ref().map_or_else(String::new, |n| format!(" ({n})"));
            writeln!(out, "enrolled {subject}{whom} for {purpose}, until {}", format_utc(*expires_at))?;
            for Taken { image, portrait: Portrait { score, quality, .. } } in images {
                let measured = format!("face {score:.2}, {:.0} px, sharpness {:.2}", quality.width_px, quality.sharpness);
                writeln!(out, "  {}  {measured}, frontality {:.2}", image.display(), quality.frontality)?;
            }
            also.iter().try_for_each(|also| writeln!(out, "  {also}"))?;
        }
        Verdict::Refused { name, image, why } => {
            let whom = name.as_ref().map_or_else(String::new, |n| format!("{n}: "));
            writeln!(out, "refused {whom}{}: {why}", image.display())?;
        }
    }
    Ok(())
}

fn verdict_json(purpose: &Purpose, verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Enrolled { subject, name, images, expires_at, also } => {
            let images: Vec<Value> =
                images.iter().map(|t| json!({ "image": t.image, "score": t.portrait.score, "quality": t.portrait.quality })).collect();
            json!({
                "outcome": "enrolled", "subject": subject, "name": name, "purpose": purpose,
                "expires_at": format_utc(*expires_at), "images": images, "also": also,
            })
        }
        Verdict::Refused { name, image, why } => {
            json!({ "outcome": "refused", "name": name, "purpose": purpose, "image": image, "reason": why.view() })
        }
    }
}

pub(super) fn sum(as_json: bool, enrolled: u64, refused: u64) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "outcome": "sum", "enrolled": enrolled, "refused": refused }))?;
    } else {
        writeln!(out, "{enrolled} enrolled, {refused} refused")?;
    }
    Ok(())
}
