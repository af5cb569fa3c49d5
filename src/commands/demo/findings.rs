//! Everything the appliance told, held against the truth.

use std::collections::BTreeSet;

use super::judge::{self, SETTLE_FRAMES};
use super::media::{Media, Staged};
use super::stage::{UNSEEN, WATCHED_STREAM, WITHDRAWN_STREAM};
use super::told::Told;
use super::watch::Account;
use crate::render::truth::FaceTruth;

/// A hit.
pub struct Finding {
    pub told: Told,
    pub subject: String,
    pub score: f32,
    /// Whom the subject id stands for.
    pub identity: Option<String>,
    /// The true face it shows, and the frame's number.
    pub face: Option<(u64, FaceTruth)>,
    /// Why it should not have been told; `None`: it is right.
    pub wrong: Option<String>,
}

/// A mask check.
pub struct MaskFinding {
    pub told: Told,
    pub worn: bool,
    pub face: Option<(u64, FaceTruth)>,
}

impl MaskFinding {
    pub fn is_right(&self) -> bool {
        self.face.as_ref().is_some_and(|(_, face)| face.mask == self.worn)
    }
}

/// (stream, identity)
pub type Pair = (String, String);

#[derive(Default)]
pub struct Findings {
    pub hits: Vec<Finding>,
    pub masks: Vec<MaskFinding>,
    pub expected: BTreeSet<Pair>,
    pub found: BTreeSet<Pair>,
    pub after_deletion_hits: usize,
    /// How often the deleted person came by afterwards, clearly shown, where the purpose holds.
    pub after_deletion_passages: usize,
    /// How often somebody walked by who is looked for, but not for a purpose of that stream: no hit may come of it.
    pub elsewhere_passages: usize,
}

impl Findings {
    pub fn of(media: &Media, account: &Account) -> Self {
        let mut all = Self::default();
        for staged in media.staged.iter().filter(|s| s.show.identifies()) {
            all.expect(media, account, staged);
        }
        for told in &account.told {
            let Some(staged) = media.staged(&told.stream) else { continue };
            if let Some(worn) = told.mask_worn {
                all.masks.push(MaskFinding { worn, face: face(staged, told, None), told: told.clone() });
            } else if let Some((subject, score)) = told.subject() {
                let finding = judged(media, account, staged, told, subject, score);
                if finding.wrong.is_none() {
                    all.found.extend(finding.identity.clone().map(|identity| (told.stream.clone(), identity)));
                }
                let deleted = account.deletion.as_ref().is_some_and(|d| d.subject == subject && told.after(d.done.utc));
                all.after_deletion_hits += usize::from(deleted);
                all.hits.push(finding);
            }
        }
        all
    }

    fn expect(&mut self, media: &Media, account: &Account, staged: &Staged) {
        let stream = staged.show.stream;
        let seen = account.frames_seen(stream);
        let end = if stream == WITHDRAWN_STREAM { account.withdrawal.frames } else { seen.end };
        for person in &media.watched {
            let count = |frames: std::ops::Range<u64>| judge::passages(&staged.script, &person.identity, frames).len();
            let passages = |from: u64, to: u64| {
                let to = to.saturating_sub(SETTLE_FRAMES);
                if stream != WATCHED_STREAM {
                    return count(from..to);
                }
                // While a sheet hangs over the sign nobody need be seen.
                count(from..to.min(UNSEEN.start.saturating_sub(SETTLE_FRAMES))) + count(from.max(UNSEEN.end)..to)
            };
            if !staged.show.purposes.contains(&person.purpose) {
                self.elsewhere_passages += passages(seen.start, end);
                continue;
            }
            let deleted = account.deletion.as_ref().filter(|d| d.identity == person.identity);
            let until = deleted.map_or(end, |d| end.min(d.frames_of(stream)));
            if passages(seen.start, until) > 0 {
                self.expected.insert((stream.to_owned(), person.identity.clone()));
            }
            if let Some(deletion) = deleted {
                self.after_deletion_passages += passages(deletion.frames_of(stream), end);
            }
        }
    }

    pub fn false_hits(&self) -> impl Iterator<Item = &Finding> {
        self.hits.iter().filter(|f| f.wrong.is_some())
    }
    pub fn found_as_expected(&self) -> usize {
        self.expected.intersection(&self.found).count()
    }
    /// Expected, and not told.
    pub fn not_found(&self) -> impl Iterator<Item = &Pair> {
        self.expected.difference(&self.found)
    }
    pub fn masks_right(&self) -> usize {
        self.masks.iter().filter(|m| m.is_right()).count()
    }
}

fn face(staged: &Staged, told: &Told, identity: Option<&str>) -> Option<(u64, FaceTruth)> {
    judge::face_at(&staged.script, told, identity).map(|(frame, face)| (frame, face.clone()))
}

fn judged(media: &Media, account: &Account, staged: &Staged, told: &Told, subject: &str, score: f32) -> Finding {
    let identity = account.subjects.get(subject).cloned();
    let person = identity.as_deref().and_then(|identity| media.person(identity));
    let there = identity.as_deref().and_then(|identity| face(staged, told, Some(identity)));
    let anybody = || match face(staged, told, None) {
        Some((_, face)) => format!("it was {}", short(&face.identity)),
        None => "nobody's face was there".to_owned(),
    };
    let dark_since = account.withdrawal.asked.utc.plus(std::time::Duration::from_secs(1));
    let wrong = if told.stream == WITHDRAWN_STREAM && told.after(dark_since) {
        Some("its sign had been withdrawn for more than a second".to_owned())
    } else if account.deletion.as_ref().is_some_and(|d| d.subject == subject && told.after(d.done.utc)) {
        Some("the person had been deleted".to_owned())
    } else if person.is_none() {
        Some("nobody of that id was enrolled".to_owned())
    } else if person.is_some_and(|p| p.purpose != told.purpose) {
        Some("the person is looked for, but not for this purpose".to_owned())
    } else if there.is_none() {
        Some(anybody())
    } else {
        None
    };
    let face = there.or_else(|| face(staged, told, None));
    Finding { told: told.clone(), subject: subject.to_owned(), score, identity, face, wrong }
}

/// How often, in words where words are shorter.
pub fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// An identity as people can read it aloud: six of its digits.
pub fn short(identity: &str) -> String {
    let digits = identity.rsplit('-').next().unwrap_or_default();
    format!("person {}", &digits[digits.len().saturating_sub(6)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_shown_short() {
        assert_eq!(short("rendered-00000000ab5e0012"), "person 5e0012");
        assert_eq!(short("x"), "person x");
    }
}
