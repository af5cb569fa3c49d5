//! What is about people: who was told, who was not, masks, the deletion. Everybody here is drawn.

use std::collections::BTreeMap;

use super::super::findings::{Finding, MaskFinding, short, times};
use super::Story;
use super::page::{Page, escape, picture, table};
use super::pictures::MASKS_SHOWN;

/// Hits with their places among all findings.
type Numbered<'a> = Vec<(usize, &'a Finding)>;

pub fn hits(page: &mut Page, story: &Story) {
    let mut by_pair: BTreeMap<(&str, &str), Numbered> = BTreeMap::new();
    for (index, hit) in story.findings.hits.iter().enumerate().filter(|(_, hit)| hit.wrong.is_none()) {
        by_pair.entry((&hit.told.stream, hit.identity.as_deref().unwrap_or_default())).or_default().push((index, hit));
    }
    let cards: String = by_pair.values().map(|hits| hit_card(story, hits)).collect();
    let mut inner = format!("<div class=\"people\">{cards}</div>");
    let mut wrong: BTreeMap<[&str; 3], Numbered> = BTreeMap::new();
    for (index, hit) in story.findings.hits.iter().enumerate() {
        let Some(why) = &hit.wrong else { continue };
        wrong.entry([&hit.told.stream, &hit.subject, why]).or_default().push((index, hit));
    }
    let wrong: String = wrong.values().map(|hits| hit_card(story, hits)).collect();
    if !wrong.is_empty() {
        inner += &format!("<h3>Told, and wrong</h3><div class=\"people\">{wrong}</div>");
    }
    let not_found: String =
        story.findings.not_found().map(|(stream, identity)| plain_card(story, identity, &format!("on <b>{stream}</b>"))).collect();
    if !not_found.is_empty() {
        inner += &format!("<h3>Expected, and not told</h3><div class=\"people\">{not_found}</div>");
    }
    inner += &absent(story);
    let elsewhere = match story.findings.elsewhere_passages {
        0 => String::new(),
        passages => format!(
            " {passages} times somebody walked by clearly who is on a list, but on one that is not bound to that stream: nothing may come of it."
        ),
    };
    let lead = format!(
        "A hit asks a human to look; it decides nothing. On the left the photograph that was enrolled, on the right the face in the frame that the event \
         names, drawn anew.{elsewhere}"
    );
    page.section("hits", "Who was told", &lead, &inner);
}

/// The first of one person's hits on one stream; the times of the others.
fn hit_card(story: &Story, hits: &[(usize, &Finding)]) -> String {
    let Some((index, first)) = hits.first() else { return String::new() };
    let identity = first.identity.as_deref().unwrap_or_default();
    let enrolled = story.pictures.photographs.get(identity).map_or_else(String::new, |data| picture(data, "enrolled photograph", "face"));
    let seen = story
        .pictures
        .hits
        .get(index)
        .map_or_else(|| "<div class=\"face none\">no face there</div>".to_owned(), |d| picture(d, "face in the frame, drawn anew", "face"));
    let again: Vec<String> =
        hits.iter().skip(1).map(|(_, hit)| format!("{:.1} s ({:.2})", story.seconds(&hit.told.decided_at), hit.score)).collect();
    let again = if again.is_empty() { String::new() } else { format!("<p>Again at {}</p>", again.join(", ")) };
    let wrong = first.wrong.as_ref().map_or_else(String::new, |why| format!("<p class=\"wrong\">{}</p>", escape(why)));
    format!(
        "<article class=\"person\"><div class=\"faces\">{enrolled}{seen}</div><h4>{}</h4>{wrong}\
         <p><b>{}</b> at {:.1} s, frame {}, {} shots</p><p><code>{}</code></p>{}{again}</article>",
        escape(&short(identity)),
        escape(&first.told.stream),
        story.seconds(&first.told.decided_at),
        first.told.frame_sequence,
        first.told.shots,
        escape(&first.told.purpose),
        score_bar(first.score, first.told.threshold.unwrap_or(1.0)),
    )
}

/// Similarity from 0 to 1, with the threshold marked.
fn score_bar(score: f32, threshold: f32) -> String {
    let (score_px, mark_px) = (score.clamp(0.0, 1.0) * 200.0, threshold.clamp(0.0, 1.0) * 200.0);
    format!(
        "<div class=\"score\"><svg viewBox=\"0 0 200 10\" preserveAspectRatio=\"none\"><rect width=\"200\" height=\"10\" class=\"rail\"/>\
         <rect width=\"{score_px:.0}\" height=\"10\" class=\"bar\"/><rect x=\"{mark_px:.0}\" width=\"2\" height=\"10\" class=\"limit\"/></svg>\
         <span>{score:.2} of at least {threshold:.2}</span></div>"
    )
}

fn plain_card(story: &Story, identity: &str, what: &str) -> String {
    let enrolled = story.pictures.photographs.get(identity).map_or_else(String::new, |data| picture(data, "enrolled photograph", "face"));
    format!("<article class=\"person\"><div class=\"faces\">{enrolled}</div><h4>{}</h4><p>{what}</p></article>", escape(&short(identity)))
}

/// On a list, and not in any picture of this demonstration.
fn absent(story: &Story) -> String {
    let everybody: Vec<&str> =
        story.media.staged.iter().flat_map(|s| s.script.frames.iter().flatten()).map(|f| f.identity.as_str()).collect();
    let never: Vec<&String> = story.media.watched.iter().map(|p| &p.identity).filter(|i| !everybody.contains(&i.as_str())).collect();
    let told = story.findings.hits.iter().filter(|h| h.identity.as_ref().is_some_and(|i| never.contains(&i))).count();
    let faces: String = never.iter().filter_map(|i| story.pictures.photographs.get(*i)).map(|data| picture(data, "", "small")).collect();
    format!(
        "<h3>Looked for, and never here</h3><p>{} people are on the lists and in none of the pictures; {told} hits name one of them.</p><div class=\"strip\">{faces}</div>",
        never.len()
    )
}

pub fn masks(page: &mut Page, story: &Story) {
    let masks = &story.findings.masks;
    let count =
        |worn: bool, truly: bool| masks.iter().filter(|m| m.worn == worn && m.face.as_ref().is_some_and(|(_, f)| f.mask == truly)).count();
    let cell = |worn: bool, truly: bool| {
        format!("<span class=\"{}\">{}</span>", if worn == truly { "right" } else { "wrong" }, count(worn, truly))
    };
    let nowhere = masks.iter().filter(|m| m.face.is_none()).count();
    let mut rows = vec![
        ["Told", "truly with a mask", "truly without"].map(str::to_owned).to_vec(),
        vec!["with a mask".to_owned(), cell(true, true), cell(true, false)],
        vec!["without".to_owned(), cell(false, true), cell(false, false)],
    ];
    if nowhere > 0 {
        rows.push(vec!["where no face is".to_owned(), nowhere.to_string(), String::new()]);
    }
    let shown = masks.iter().enumerate().filter_map(|(i, m)| Some((m, story.pictures.masks.get(&i)?))).take(MASKS_SHOWN);
    let cards: String = shown.map(|(m, data)| mask_card(m, data)).collect();
    let lead = "One stream is looked at for masks only, on an emergency order. Each person gives one answer, yes or no; there is no embedding, no search, and no \
                field of the event that could say who it was.";
    page.section("masks", "Masks", lead, &format!("{}<div class=\"strip masks\">{cards}</div>", table(&rows, 1)));
}

fn mask_card(finding: &MaskFinding, data: &str) -> String {
    let (class, verdict) = if finding.is_right() { ("right", "right") } else { ("wrong", "wrong") };
    let told = if finding.worn { "mask" } else { "no mask" };
    let confidence = finding.told.confidence.map_or_else(String::new, |c| format!(" {c:.2}"));
    format!(
        "<figure>{}<figcaption>{told}{confidence}<br><span class=\"{class}\">{verdict}</span></figcaption></figure>",
        picture(data, told, "face")
    )
}

pub fn deletion(page: &mut Page, story: &Story) {
    let Some(deletion) = &story.account.deletion else {
        page.section("deletion", "Who was deleted", "Nobody: the time was too short for anybody to come by again.", "");
        return;
    };
    let before = story.findings.hits.iter().filter(|h| h.subject == deletion.subject && !h.told.after(deletion.done.utc));
    let before: Vec<String> = before.map(|h| format!("{} at {:.1} s", escape(&h.told.stream), story.seconds(&h.told.decided_at))).collect();
    let face = story.pictures.photographs.get(&deletion.identity).map_or_else(String::new, |data| picture(data, "photograph", "face"));
    let fact = |name: &str, value: &str| format!("<dt>{name}</dt><dd>{value}</dd>");
    let facts = [
        fact(
            "Who",
            &format!(
                "{}, enrolled for <code>{}</code>, in the gallery <code>{}</code>",
                escape(&short(&deletion.identity)),
                deletion.purpose,
                deletion.subject
            ),
        ),
        fact(
            "When",
            &format!(
                "{:.1} s; the command took {:.0} ms, the running service's galleries and the search that finds nobody included",
                story.seconds_of(deletion.asked.monotonic_ms),
                deletion.done.monotonic_ms - deletion.asked.monotonic_ms
            ),
        ),
        fact("Hits before", &if before.is_empty() { "none".to_owned() } else { before.join(", ") }),
        fact(
            "Hits after",
            &format!(
                "<b class=\"{}\">{}</b>, although the person came by {} since, clearly shown",
                if story.summary.after_deletion_hits == 0 { "right" } else { "wrong" },
                story.summary.after_deletion_hits,
                times(story.summary.after_deletion_passages)
            ),
        ),
    ];
    let inner = format!(
        "<div class=\"deleted\">{face}<dl>{}</dl></div><details open><summary>What <code>placard delete</code> said</summary><pre>{}</pre></details>",
        facts.concat(),
        escape(deletion.said.trim())
    );
    let lead = "Half-way, somebody asked to be forgotten. The photograph below is the demonstration's own file; the gallery holds nothing of it any more.";
    page.section("deletion", "Who was deleted", lead, &inner);
}
