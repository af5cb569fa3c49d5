//! Whether somebody who is about to be enrolled is known already.
//!
//! For the same purpose: "this is already subject X for purpose Y", and they are refused. For other purposes: looked up only where the operator names them
//! (`--look-also`), since who is enrolled for a purpose is there for that purpose alone (C18, C27). Each that is named is searched under a permit of its own desk: the
//! register must have it in force now, and a gallery that verifies claims is never searched. That it was searched is put on record; what is found is told and refuses nobody: every purpose
//! has a basis of its own, and may rightly have the same person.

use anyhow::anyhow;

use super::{Candidate, DUPLICATE, Taken, Verdict, Why, desk_closed, refused};
use crate::clock::{SharedClock, Stamp, Utc};
use crate::commands::record::searched;
use crate::commands::{Exit, Failed};
use crate::embedding::Embedding;
use crate::gallery::set::GallerySet;
use crate::gallery::vault::{Mark, Vault};
use crate::gallery::{SubjectId, TemplateModel};
use crate::policy::enrolment::EnrolmentDesk;
use crate::policy::profile::Library;
use crate::policy::store::Present;
use crate::purpose::Purpose;
use crate::state::StateDirectory;

/// The most similar subject of [`DUPLICATE`] similarity and more. This too is a search: the desk must give leave to match for the purpose, each time anew.
fn most_like(desk: &mut EnrolmentDesk, set: &GallerySet, embedding: &Embedding) -> Result<Option<(SubjectId, f32)>, Failed> {
    loop {
        let permit = desk.match_permit().map_err(desk_closed)?;
        // If the machine was busy for longer than a lease lasts, the desk says again whether the purpose still holds.
        if let Ok(found) = set.search(&permit, embedding, DUPLICATE, 1) {
            return Ok(found.and_then(|mut found| found.candidates.pop()).map(|known| (known.subject, known.score)));
        }
    }
}

/// The enrolled or just accepted subject that `candidate` looks like, and the picture that shows it.
pub(super) fn already_enrolled(
    desk: &mut EnrolmentDesk,
    (set, purpose): (&GallerySet, &Purpose),
    accepted: &[Result<Candidate, Verdict>],
    candidate: &Candidate,
) -> Result<Option<(std::path::PathBuf, Why)>, Failed> {
    for Taken { image, portrait } in &candidate.taken {
        let found = most_like(desk, set, &portrait.embedding)?.or_else(|| {
            let others = accepted.iter().filter_map(|a| a.as_ref().ok());
            others.flat_map(|other| other.templates().map(move |t| (other, t))).find_map(|(other, template)| {
                let score = portrait.embedding.cosine(template);
                (score >= DUPLICATE).then(|| (other.subject.clone(), score))
            })
        });
        if let Some((subject, score)) = found {
            return Ok(Some((image.clone(), Why::AlreadyEnrolled { subject, purpose: purpose.clone(), score })));
        }
    }
    Ok(None)
}

/// Somebody who is enrolled for another purpose too.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Also {
    pub subject: SubjectId,
    pub purpose: Purpose,
    pub similarity: f32,
}

impl std::fmt::Display for Also {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this is already subject {} for purpose {}: similarity {:.2}", self.subject, self.purpose, self.similarity)
    }
}

/// Other purposes whose galleries are looked through, each with its own desk.
#[derive(Default)]
pub(in crate::commands) struct Elsewhere {
    others: Vec<Other>,
    /// For what the people are enrolled who are looked for.
    asked_for: String,
}

struct Other {
    purpose: Purpose,
    desk: EnrolmentDesk,
    /// The vault's mark of it then, and what was loaded: for groups that follow each other.
    loaded: Option<(Option<Mark>, GallerySet)>,
}

impl Elsewhere {
    /// Refuses with the rule where the register does not let one of `others` be searched.
    pub fn open(state: &StateDirectory, own: &Purpose, others: &[Purpose], clock: &SharedClock) -> Result<Self, Failed> {
        if others.is_empty() {
            return Ok(Self::default());
        }
        let present = Present::load(&state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
        let library = Library::of_site(state);
        let mut all: Vec<Other> = Vec::new();
        for purpose in others {
            if purpose == own || all.iter().any(|other| other.purpose == *purpose) {
                let why = anyhow!("--look-also {purpose}: it is looked through once in any case; name another purpose, or leave it out");
                return Err(Failed::new(Exit::Usage, why));
            }
            if purpose.kind().verifies() {
                let why = anyhow!(
                    "--look-also {purpose}: its gallery is never searched: who is in it is compared when they claim to be themselves"
                );
                return Err(Failed::new(Exit::Refused, why));
            }
            let desk = EnrolmentDesk::of_site(&present, purpose, clock.clone(), &library).map_err(refused)?;
            all.push(Other { purpose: purpose.clone(), desk, loaded: None });
        }
        Ok(Self { others: all, asked_for: own.to_string() })
    }

    /// For each of `people`, by their templates, whom they are for the other purposes. Reads the register again; an error where one of them does not
    /// stand any more.
    pub fn look(
        &mut self,
        state: &StateDirectory,
        (vault, model): (&Vault, &TemplateModel),
        people: &[Vec<&Embedding>],
        now: Stamp<Utc>,
    ) -> Result<Vec<Vec<Also>>, Failed> {
        let mut found = vec![Vec::new(); people.len()];
        if people.is_empty() {
            return Ok(found);
        }
        for Other { purpose, desk, loaded } in &mut self.others {
            let present = Present::load(&state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
            if let Some(anew) = desk.anew(&present, &Library::of_site(state)).map_err(refused)? {
                // Other permits, and perhaps other records that enrolments rest on.
                (*desk, *loaded) = (anew, None);
            }
            let mark = vault.mark(purpose)?;
            let set = match loaded.take().filter(|(of, _)| *of == mark) {
                Some((_, set)) => set,
                None => {
                    let mut templates = vault.load_purpose(purpose, model, now)?;
                    templates.keep_standing(&|enrolment| desk.standing(enrolment));
                    GallerySet::of_purpose(model.clone(), desk.table(), purpose, &templates)?
                }
            };
            set.retire_expired(now);
            for (templates, found) in people.iter().zip(&mut found) {
                let mut best: Option<Also> = None;
                for template in templates {
                    if let Some((subject, similarity)) = most_like(desk, &set, template)?
                        && best.as_ref().is_none_or(|best| best.similarity < similarity)
                    {
                        best = Some(Also { subject, purpose: purpose.clone(), similarity });
                    }
                }
                found.extend(best);
            }
            *loaded = Some((mark, set));
            let fact =
                format!("{} who are enrolled for `{}` were looked for in it, because that was asked for", people.len(), self.asked_for);
            searched(state, purpose, fact)?;
        }
        Ok(found)
    }
}
