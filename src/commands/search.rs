//! `placard search`: an image file → the subjects of one purpose that look most like it.
//!
//! The list is for a human to look at. It needs the same leave as a search by the pipeline: a permit to match for that purpose, and
//! nothing but that purpose's gallery is opened.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::json;

use super::enrol::{PATIENCE, site_key, vault_failed};
use super::exits::present;
use super::portrait::{ModelNames, SEARCH, Studio};
use super::record::{Refused, noting, refused, searched};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::SystemClock;
use crate::gallery::identities::Identities;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::GallerySet;
use crate::gallery::vault::Vault;
use crate::gallery::{Candidate, SubjectId};
use crate::matching::identify::identify;
use crate::policy::rules::{Reason, Rule};
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;

#[derive(clap::Args)]
pub struct Args {
    /// The purpose whose gallery is searched, and no other.
    #[arg(long)]
    purpose: Purpose,
    /// A picture (JPEG, PNG) with one face.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Subjects to list.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    top: u16,
    /// Least cosine similarity, −1 to 1.
    #[arg(long, value_name = "T", default_value_t = 0.45, allow_negative_numbers = true)]
    threshold: f32,
    #[command(flatten)]
    models: ModelNames,
}

/// A line of the list.
struct Ranked {
    candidate: Candidate,
    name: Option<String>,
}

/// What is refused, and what was searched, is kept (`record.jsonl`).
pub fn run(context: &Context, args: &Args) -> Outcome {
    noting(context, &args.purpose, || search(context, args))
}

fn search(context: &Context, args: &Args) -> Outcome {
    if !(-1.0..=1.0).contains(&args.threshold) {
        return Err(Failed::new(Exit::Usage, anyhow!("--threshold {} is not within -1…1", args.threshold)));
    }
    if args.purpose.kind().verifies() {
        let fact = format!("a gallery of purpose `{}` is compared with by whoever claims to be in it, and never searched", args.purpose);
        let reason = Reason::new(Rule::VerificationOnly, fact, "verify the claim: `placard verify --stream GATE PERSON`");
        return Err(refused(reason));
    }
    present(&args.image)?;
    let clock = SystemClock::shared();
    let mut studio = Studio::open(context, &args.purpose, &args.models, clock.clone())?;
    let key = site_key(&context.state, studio.site.as_ref())?;
    let portrait = match studio.take(&args.image, SEARCH)? {
        Ok(portrait) => portrait,
        Err(refusal) => {
            if context.json {
                let object = json!({ "outcome": "refused", "purpose": args.purpose, "image": args.image, "reason": refusal.view() });
                writeln!(std::io::stdout().lock(), "{object}")?;
            }
            return Err(Failed::new(Exit::Refused, Refused::Picture { image: args.image.clone(), refusal }));
        }
    };
    let vault = Vault::open_patiently(&context.state, &key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
    let mut loaded = vault.load_purpose(&args.purpose, &studio.model, clock.utc())?;
    loaded.keep_standing(&|enrolment| studio.desk.standing(enrolment));
    drop(vault);
    let (version, templates, other_model) = (loaded.version, loaded.templates.len(), loaded.other_model);
    studio.still_intended(&context.state)?;
    let set = GallerySet::of_purpose(studio.model.clone(), studio.desk.table(), &args.purpose, &loaded)?;
    drop(loaded);
    let permit = studio.desk.match_permit().map_err(|closed| Failed::new(Exit::Refused, closed))?;
    let found = identify(portrait.embedding, &[permit], &set, args.threshold, usize::from(args.top));
    if found.ended_permits > 0 {
        return Err(Failed::new(Exit::Refused, anyhow!("the permit for {} ended during the search: nothing is shown", args.purpose)));
    }
    let candidates = found.hits.into_iter().flat_map(|hit| hit.candidates).collect::<Vec<_>>();
    tracing::info!(purpose = %args.purpose, gallery_version = version, templates, found = candidates.len(), "gallery searched with an image file");
    let ranked = named(context, &key, candidates);
    let fact = format!("{templates} templates (gallery version {version}) searched with an image file: {} subjects shown", ranked.len());
    searched(&context.state, &args.purpose, fact)?;
    let gallery = Searched { version, templates, other_model };
    show(context.json, args, &gallery, &ranked)?;
    Ok(Exit::Success)
}

/// Names, where this user can open the identity file.
fn named(context: &Context, key: &SiteKey, candidates: Vec<Candidate>) -> Vec<Ranked> {
    let identities = if context.state.identities().exists() {
        Identities::open(&context.state, key).inspect_err(|error| tracing::warn!(%error, "names are not shown")).ok()
    } else {
        None
    };
    let name_of = |subject: &SubjectId| identities.as_ref().and_then(|i| i.name(subject).ok().flatten());
    candidates.into_iter().map(|candidate| Ranked { name: name_of(&candidate.subject), candidate }).collect()
}

/// The gallery that was searched.
struct Searched {
    version: u64,
    templates: usize,
    /// Left out: another model made them, so nothing follows from how alike they are.
    other_model: usize,
}

fn show(as_json: bool, args: &Args, searched: &Searched, ranked: &[Ranked]) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    let Searched { version, templates, other_model } = searched;
    if as_json {
        let line = |r: &Ranked| json!({ "subject": r.candidate.subject, "name": r.name, "score": r.candidate.score });
        let object = json!({
            "outcome": "searched", "purpose": args.purpose, "image": args.image, "threshold": args.threshold,
            "gallery_version": version, "templates": templates, "other_model": other_model, "results": ranked.iter().map(line).collect::<Vec<_>>(),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    if ranked.is_empty() {
        writeln!(out, "nobody of {templates} templates for {} reaches {}", args.purpose, args.threshold)?;
    }
    if *other_model > 0 {
        writeln!(out, "{other_model} templates were made with another model and are not searched: enrol those subjects again")?;
    }
    for (place, Ranked { candidate, name }) in ranked.iter().enumerate() {
        writeln!(out, "{:>3}  {:.3}  {}  {}", place + 1, candidate.score, candidate.subject, name.as_deref().unwrap_or(""))?;
    }
    Ok(())
}
