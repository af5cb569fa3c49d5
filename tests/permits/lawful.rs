//! The one lawful way, so that the refusals beside it are not refused for some other reason.

use placard::align::Aligner;
use placard::clock::{Clock, SystemClock};
use placard::detect::detector::Detector;
use placard::embed::EmbedShot;
use placard::embedding::Embedding;
use placard::emit::journal::Journal;
use placard::emit::{Context, Draft, emit, emit_mask};
use placard::frame::{Frame, Landmarks};
use placard::gallery::set::GallerySet;
use placard::mask_check::{Finding, MaskClassifier};
use placard::matching::identify::identify;
use placard::policy::lease::{Detect, Embed, Emit, LeaseTable, MaskCheck, TellMask, Withheld};

fn look(table: &LeaseTable, detector: &mut Detector, frame: &Frame) -> Result<usize, Withheld> {
    let permit = table.permit::<Detect>(frame.header().stream, SystemClock.monotonic())?;
    let faces = detector.detect(frame, &permit).map_or(0, |faces| faces.len());
    Ok(faces + frame.read(&permit).map_or(0, |pixels| pixels.planes[0].len()))
}

fn embed(
    table: &LeaseTable,
    aligner: &mut Aligner,
    embedder: &mut impl EmbedShot,
    frame: &Frame,
    at: &Landmarks,
) -> Result<bool, Withheld> {
    let permit = table.permit::<Embed>(frame.header().stream, SystemClock.monotonic())?;
    Ok(aligner.align(frame, &permit, at, &mut []).is_ok() && embedder.embed(frame, &permit, at).is_ok())
}

fn tell(
    table: &LeaseTable,
    query: Embedding,
    set: &GallerySet,
    draft: &Draft,
    context: &Context,
    journal: &mut Journal,
    clock: &dyn Clock,
) -> Result<bool, Withheld> {
    let permits = table.match_permits(draft.stream, clock.monotonic())?;
    let findings = identify(query, &permits, set, 0.6, 3);
    let hit = findings.hits.first().ok_or(Withheld::Purpose)?;
    let permit = table.permit_for::<Emit>(draft.stream, &hit.purpose, clock.monotonic())?;
    Ok(emit(draft, &permit, context, clock, journal).is_ok())
}

fn look_at_mask(table: &LeaseTable, classifier: &mut MaskClassifier, frame: &Frame, at: &Landmarks) -> Result<bool, Withheld> {
    let permit = table.permit::<MaskCheck>(frame.header().stream, SystemClock.monotonic())?;
    Ok(classifier.probability(frame, &permit, at).is_ok_and(|probability| probability > 0.5))
}

fn tell_mask(table: &LeaseTable, finding: &Finding, context: &Context, journal: &mut Journal, clock: &dyn Clock) -> Result<bool, Withheld> {
    let permit = table.permit_for::<TellMask>(finding.stream, &finding.purpose, clock.monotonic())?;
    Ok(emit_mask(finding, &permit, context, clock, journal).is_ok())
}
