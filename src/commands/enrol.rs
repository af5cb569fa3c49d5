//! `placard enrol`: image files → a subject in the gallery of one purpose.
//!
//! One subject from the command line, or many from a list or a directory. Each subject is taken whole or refused with the reason: no
//! picture of a refused subject leaves a template behind. Subjects are written in groups of [`GROUP`], each durable before the next is begun;
//! then the running service, if there is one, is told to load them.

mod known;
pub mod list;
mod show;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};

pub(super) use self::known::{Also, Elsewhere};
use self::list::Entry;
use super::exits::{key_failed, present};
use super::gallery::warn_of_filing;
use super::owner::hand_over;
use super::portrait::{ENROLMENT, Gate, ModelNames, Portrait, Refusal, RefusalView, Studio, desk_closed};
use super::record::{erased, keep_refusals, noting, refused};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{SharedClock, Stamp, SystemClock, Utc};
use crate::console::client::{Client, ClientError};
use crate::console::view::ReloadView;
use crate::embedding::Embedding;
use crate::gallery::SubjectId;
use crate::gallery::identities::Identities;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::GallerySet;
use crate::gallery::vault::{Channel, NewSubject, Vault, VaultError};
use crate::policy::enrolment::eligible::{Declared, Eligible};
use crate::policy::facts::{Mode, Site};
use crate::policy::leap::believe;
use crate::policy::profile::Library;
use crate::policy::rules::Reason;
use crate::policy::store::Present;
use crate::policy::when::When;
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;
use crate::state::StateDirectory;

/// Subjects per commit.
const GROUP: usize = 32;
/// A template this similar to one of another subject is taken for the same person. (Impostors reach 0.62, the same person's other
/// photographs average 0.73, the same photograph 0.9 and more.)
pub(super) const DUPLICATE: f32 = 0.75;
/// Pictures of one subject that are less similar than this show different people. (Genuine pairs: least 0.33.)
pub(super) const UNLIKE: f32 = 0.25;
/// How long the vault may be in use by somebody else: a service loads it in a moment and lets go.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// What the subject is looked for: a purpose of the register, such as `missing-person:CASE`.
    #[arg(long)]
    purpose: Purpose,
    /// Name or case number, kept in a file of its own under a key of its own.
    #[arg(long, conflicts_with = "list")]
    name: Option<String>,
    /// One to five pictures (JPEG, PNG) of one subject, with one face each.
    #[arg(required_unless_present = "list", conflicts_with = "list", value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Many subjects: a file with `name<TAB>image…` lines, or a directory with a folder or a file per subject.
    #[arg(long, value_name = "FILE|DIR")]
    list: Option<PathBuf>,
    /// Days until the subject is forgotten; never longer than the purpose's legal basis.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=180))]
    expires: u32,
    /// Zone that the subject is looked for in, of the purpose's; several with several --zone. Unset: all that the purpose has now.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    /// Say too whom the subject is enrolled as for this other purpose, under that purpose's own leave; several with several --look-also. It refuses nobody.
    #[arg(long, value_name = "PURPOSE")]
    look_also: Vec<Purpose>,
    /// Least face width in pixels. Below 64 only where the site's mode is `demo` or `commissioning`: templates from small faces match
    /// worse, and an operational gallery must not hold them.
    #[arg(long, value_name = "PX", default_value_t = 64, value_parser = clap::value_parser!(u16).range(32..=512))]
    min_face_width_px: u16,
    /// The subject's date of birth, as declared: 2012-05-31. Under 14 a guardian's consent is needed. No picture is asked for an age.
    #[arg(long, value_name = "DATE", conflicts_with_all = ["adult", "list"])]
    birth_date: Option<When>,
    /// Declares that the subject (with --list: each of them) is of full age, where no date of birth is known. Nobody is enrolled whose age was
    /// not declared in one of the two ways.
    #[arg(long)]
    adult: bool,
    /// Id of the subject's own consent in the register; its subject is enrolled under that id.
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    consent: Option<String>,
    /// Id of a guardian's consent in the register.
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    guardian_consent: Option<String>,
    #[command(flatten)]
    models: ModelNames,
}

impl Args {
    /// Everybody of a directory of pictures.
    pub(super) fn of_directory(
        purpose: &Purpose,
        directory: &Path,
        (adult, expires): (bool, u32),
        (zones, look_also): (&[String], &[Purpose]),
        models: &ModelNames,
    ) -> Self {
        Self {
            purpose: purpose.clone(),
            name: None,
            images: Vec::new(),
            list: Some(directory.to_owned()),
            expires,
            zones: zones.to_vec(),
            look_also: look_also.to_vec(),
            min_face_width_px: 64,
            birth_date: None,
            adult,
            consent: None,
            guardian_consent: None,
            models: models.clone(),
        }
    }
}

/// What became of one entry.
pub enum Verdict {
    Enrolled { subject: SubjectId, name: Option<String>, images: Vec<Taken>, expires_at: Stamp<Utc>, also: Vec<Also> },
    Refused { name: Option<String>, image: PathBuf, why: Why },
}

/// A picture that was taken.
pub struct Taken {
    pub image: PathBuf,
    pub portrait: Portrait,
}

/// Why a subject was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Why {
    #[error(transparent)]
    Picture(#[from] Refusal),
    #[error(
        "this is already subject {subject} for purpose {purpose}: similarity {score:.2}, {DUPLICATE} and more is taken for the same person; \
         leave this picture out: the subject is searched for already; or `placard delete {subject}` first"
    )]
    AlreadyEnrolled { subject: SubjectId, purpose: Purpose, score: f32 },
    #[error("{0}")]
    Rule(Reason),
    #[error("subject {subject} is enrolled already, and one consent is good for one enrolment; `placard delete {subject}` first")]
    SubjectKnown { subject: SubjectId },
    #[error("the pictures show different people: similarity {score:.2}, {UNLIKE} is needed; leave out the one that is somebody else")]
    Unlike { score: f32 },
}

impl Why {
    fn view(&self) -> RefusalView {
        let message = self.to_string();
        match self {
            Self::Picture(refusal) => refusal.view(),
            Self::AlreadyEnrolled { score, .. } => {
                RefusalView { code: "already-enrolled", value: Some(*score), need: Some(DUPLICATE), message }
            }
            Self::Rule(reason) => RefusalView { code: reason.rule.name(), value: None, need: None, message },
            Self::SubjectKnown { .. } => RefusalView { code: "subject-known", value: None, need: None, message },
            Self::Unlike { score } => RefusalView { code: "unlike", value: Some(*score), need: Some(UNLIKE), message },
        }
    }
}

/// Whoever is refused is kept (`record.jsonl`), whatever refused them.
pub fn run(context: &Context, args: Args) -> Outcome {
    let purpose = args.purpose.clone();
    noting(context, &purpose, || enrol(context, args))
}

fn enrol(context: &Context, args: Args) -> Outcome {
    let entries = match &args.list {
        Some(path) => list::read(path).map_err(|e| Failed::new(Exit::Usage, e))?,
        None => match list::count_problem(args.images.len()) {
            Some(problem) => return Err(Failed::new(Exit::Usage, anyhow!(problem))),
            None => {
                args.images.iter().try_for_each(|image| present(image))?;
                vec![Entry { name: args.name, images: args.images }]
            }
        },
    };
    let many = entries.len() > 1;
    // Draws on standard error, and only if that is a terminal.
    let bar = if many { ProgressBar::new(entries.len() as u64) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len}  {elapsed} of about {duration}  {msg}")?);
    let Args { birth_date, adult, consent, guardian_consent, .. } = args;
    let declared = Declared { birth_date, adult, consent, guardian_consent };
    let mut desk = Enrolment::open(context, &args.purpose, &args.models, args.expires, SystemClock::shared())?
        .of_whom(&declared)?
        .in_zones(&args.zones)?
        .looking_also(&args.look_also)?
        .with_min_face_width(f32::from(args.min_face_width_px))?;
    let (mut enrolled, mut refused) = (0_u64, 0_u64);
    let mut show = |verdict: Verdict| -> Result<(), Failed> {
        match &verdict {
            Verdict::Enrolled { .. } => enrolled += 1,
            Verdict::Refused { .. } => refused += 1,
        }
        bar.suspend(|| show::verdict(context.json, &args.purpose, &verdict))
    };
    for group in entries.chunks(GROUP) {
        for verdict in desk.enrol(group, &mut || bar.inc(1))? {
            show(verdict)?;
        }
    }
    bar.finish_and_clear();
    if many {
        show::sum(context.json, enrolled, refused)?;
    }
    if enrolled > 0 {
        warn_of_filing(context)?;
        tell_service(&context.state);
    }
    Ok(if refused == 0 { Exit::Success } else { Exit::Refused })
}

/// Enrols subjects for one purpose; the demonstration uses it too.
pub struct Enrolment<'a> {
    state: &'a StateDirectory,
    purpose: &'a Purpose,
    key: SiteKey,
    studio: Studio,
    days: u32,
    /// What was said of whoever is enrolled, and whom the register lets in by it, and until when.
    declared: Option<Declared>,
    /// Zones that were asked for, and those that may be.
    asked: Vec<String>,
    zones: Vec<String>,
    eligible: Eligible,
    elsewhere: Elsewhere,
    gate: Gate,
    clock: SharedClock,
}

/// A subject whose pictures were all taken.
struct Candidate {
    subject: SubjectId,
    name: Option<String>,
    taken: Vec<Taken>,
}

impl Candidate {
    fn templates(&self) -> impl Iterator<Item = &Embedding> {
        self.taken.iter().map(|t| &t.portrait.embedding)
    }
}

impl<'a> Enrolment<'a> {
    /// Refuses with the rule where the register does not hold `purpose` in force.
    pub fn open(
        context: &'a Context,
        purpose: &'a Purpose,
        models: &ModelNames,
        expires_days: u32,
        clock: SharedClock,
    ) -> Result<Self, Failed> {
        let studio = Studio::open(context, purpose, models, clock.clone())?;
        let key = site_key(&context.state, studio.site.as_ref())?;
        studio.desk.has_room(0, expires_days).map_err(refused)?;
        let eligible = Eligible { subject: None, consent: None, ends: None };
        let zones = studio.desk.zones(&[]).map_err(refused)?;
        Ok(Self {
            state: &context.state,
            purpose,
            key,
            studio,
            days: expires_days,
            declared: None,
            asked: Vec::new(),
            zones,
            eligible,
            elsewhere: Elsewhere::default(),
            gate: ENROLMENT,
            clock,
        })
    }

    /// Refuses with the rule where the register does not let in whom this was declared of; before any picture is looked at.
    fn of_whom(mut self, declared: &Declared) -> Result<Self, Failed> {
        self.eligible = self.studio.desk.eligible(declared).map_err(refused)?;
        self.declared = Some(declared.clone());
        Ok(self)
    }

    /// Restricts where the subjects are looked for.
    fn in_zones(mut self, asked: &[String]) -> Result<Self, Failed> {
        self.zones = self.studio.desk.zones(asked).map_err(refused)?;
        self.asked = asked.to_vec();
        Ok(self)
    }

    /// Tells too whom the subjects are enrolled as for `others`.
    fn looking_also(mut self, others: &[Purpose]) -> Result<Self, Failed> {
        self.elsewhere = Elsewhere::open(self.state, self.purpose, others, &self.clock)?;
        Ok(self)
    }

    /// Asks for more pixels, or, outside operational sites, for fewer.
    fn with_min_face_width(mut self, min_width_px: f32) -> Result<Self, Failed> {
        let operational = self.studio.site.as_ref().is_none_or(|s| s.mode == Mode::Operational);
        if operational && min_width_px < ENROLMENT.min_width_px {
            let need = ENROLMENT.min_width_px;
            let why =
                anyhow!("an operational site enrols faces of {need} px and more, not of {min_width_px}: leave --min-face-width-px out");
            return Err(Failed::new(Exit::Refused, why));
        }
        self.gate.min_width_px = min_width_px;
        Ok(self)
    }

    /// Takes the pictures of all `entries`, then writes those subjects that are not refused, in one commit. `each` is called after every
    /// entry's pictures. Verdicts come in the order of the entries.
    pub fn enrol(&mut self, entries: &[Entry], each: &mut dyn FnMut()) -> Result<Vec<Verdict>, Failed> {
        self.stand()?;
        let mut looked_at = Vec::with_capacity(entries.len());
        for entry in entries {
            looked_at.push(self.look(entry)?);
            each();
        }
        let verdicts = self.commit(looked_at)?;
        let refused = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Refused { why, .. } => Some((why.view().code, why.to_string())),
            Verdict::Enrolled { .. } => None,
        });
        keep_refusals(self.state, self.purpose, refused.collect());
        Ok(verdicts)
    }

    /// Reads the register again; an error where what the enrolment rests on does not stand any more.
    fn stand(&mut self) -> Result<(), Failed> {
        let present = Present::load(&self.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
        if let Some(desk) = self.studio.desk.anew(&present, &Library::of_site(self.state)).map_err(refused)? {
            desk.has_room(0, self.days).map_err(refused)?;
            self.zones = desk.zones(&self.asked).map_err(refused)?;
            if let Some(declared) = &self.declared {
                self.eligible = desk.eligible(declared).map_err(refused)?;
            }
            self.studio.desk = desk;
        }
        Ok(())
    }

    fn look(&mut self, entry: &Entry) -> Result<Result<Candidate, Verdict>, Failed> {
        let refused = |image: &Path, why| Ok(Err(Verdict::Refused { name: entry.name.clone(), image: image.to_owned(), why }));
        let mut taken: Vec<Taken> = Vec::with_capacity(entry.images.len());
        for image in &entry.images {
            let portrait = match self.studio.take(image, self.gate)? {
                Ok(portrait) => portrait,
                Err(refusal) => return refused(image, refusal.into()),
            };
            for other in &taken {
                let score = portrait.embedding.cosine(&other.portrait.embedding);
                if score < UNLIKE {
                    return refused(image, Why::Unlike { score });
                }
            }
            taken.push(Taken { image: image.clone(), portrait });
        }
        let subject = match &self.eligible.subject {
            Some(subject) => subject.parse().map_err(|e| Failed::new(Exit::Config, anyhow!("the consent's subject: {e}")))?,
            None => SubjectId::random()?,
        };
        Ok(Ok(Candidate { subject, name: entry.name.clone(), taken }))
    }

    fn commit(&mut self, looked_at: Vec<Result<Candidate, Verdict>>) -> Result<Vec<Verdict>, Failed> {
        let now = self.clock.utc();
        self.studio.still_intended(self.state)?;
        let vault = Vault::open_patiently(self.state, &self.key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
        // Looking at the pictures took a while.
        self.stand()?;
        let identities = Identities::open(self.state, &self.key).map_err(vault_failed)?;
        // A clock that leapt would erase others too early, and keep the new ones too long.
        believe(self.state, self.clock.now()).map_err(|error| Failed::new(Exit::Refused, error))?;
        let past = vault.purge_over(self.studio.desk.register(), now)?;
        let known = vault.load_purpose(self.purpose, &self.studio.model, now)?;
        let set = GallerySet::of_purpose(self.studio.model.clone(), self.studio.desk.table(), self.purpose, &known)?;
        drop(known);
        let wished = now.plus(Duration::from_secs(u64::from(self.days) * 86_400));
        let expires_at = wished.min(self.studio.desk.basis_ends()).min(self.eligible.ends.unwrap_or(wished));
        let (subjects, enrolled) = (vault.subjects()?, vault.list(Some(self.purpose))?.len());
        let mut decided: Vec<Result<Candidate, Verdict>> = Vec::with_capacity(looked_at.len());
        for looked in looked_at {
            decided.push(match looked {
                Err(refused) => Err(refused),
                Ok(candidate) => match self.known_as(&set, &decided, &candidate)? {
                    None => {
                        let accepted = decided.iter().filter(|d| d.is_ok()).count();
                        self.admit(candidate, &subjects, enrolled + accepted, accepted)
                    }
                    Some((image, why)) => Err(Verdict::Refused { name: candidate.name, image, why }),
                },
            });
        }
        let accepted: Vec<&Candidate> = decided.iter().filter_map(|d| d.as_ref().ok()).collect();
        let zones: Vec<&str> = self.zones.iter().map(String::as_str).collect();
        // Before a name is written.
        vault.has_room(self.purpose, &self.studio.model, &zones).map_err(no_room)?;
        let people: Vec<Vec<&Embedding>> = accepted.iter().map(|candidate| candidate.templates().collect()).collect();
        let mut also = self.elsewhere.look(self.state, (&vault, &self.studio.model), &people, now)?.into_iter();
        let new_subjects = accepted.iter().map(|candidate| NewSubject {
            subject: candidate.subject.clone(),
            purpose: self.purpose,
            model: &self.studio.model,
            templates: candidate.templates().collect(),
            channel: Channel::ImageFile,
            consent: self.eligible.consent.as_deref(),
            source: None,
            zones: &zones,
            enrolled_at: now,
            expires_at,
        });
        let subjects: Vec<NewSubject<'_>> = new_subjects.collect();
        if !subjects.is_empty() {
            identities.put(accepted.iter().filter_map(|c| Some((&c.subject, c.name.as_deref()?))))?;
            vault.enrol(&subjects)?;
        }
        let kept = vault.subjects()?;
        identities.retain(|subject| kept.contains(subject))?;
        if !past.is_empty() {
            // Their keys are gone; now the freed pages, with what they opened.
            erased(self.state, past.len());
            identities.rewrite()?;
            vault.rewrite()?;
        }
        let verdict = |decision: Result<Candidate, Verdict>| match decision {
            Ok(Candidate { subject, name, taken }) => {
                Verdict::Enrolled { subject, name, images: taken, expires_at, also: also.next().unwrap_or_default() }
            }
            Err(refused) => refused,
        };
        Ok(decided.into_iter().map(verdict).collect())
    }

    /// Whom it resembles too much. A gallery that verifies claims is not searched, for this neither: who is in it consented, under an id of
    /// their own, to be compared when they claim to be themselves.
    fn known_as(
        &mut self,
        set: &GallerySet,
        accepted: &[Result<Candidate, Verdict>],
        candidate: &Candidate,
    ) -> Result<Option<(PathBuf, Why)>, Failed> {
        if self.purpose.kind().verifies() {
            return Ok(None);
        }
        known::already_enrolled(&mut self.studio.desk, (set, self.purpose), accepted, candidate)
    }

    /// Whether there is room for one more, and the subject's id is nobody's yet.
    fn admit(&self, candidate: Candidate, known: &BTreeSet<SubjectId>, enrolled: usize, accepted: usize) -> Result<Candidate, Verdict> {
        let why = if known.contains(&candidate.subject) {
            Some(Why::SubjectKnown { subject: candidate.subject.clone() })
        } else {
            let stored = self.studio.desk.may_store(known.len() + accepted);
            self.studio.desk.has_room(enrolled, self.days).err().or(stored.err()).map(Why::Rule)
        };
        let Some(why) = why else { return Ok(candidate) };
        let image = candidate.taken.first().map(|t| t.image.clone()).unwrap_or_default();
        Err(Verdict::Refused { name: candidate.name, image, why })
    }
}

/// The site's key; made here only where nothing real depends on it.
pub(super) fn site_key(state: &StateDirectory, site: Option<&Site>) -> Result<SiteKey, Failed> {
    let playground = site.is_some_and(|s| s.mode != Mode::Operational);
    let key = if playground { SiteKey::load_or_create(state) } else { SiteKey::load(state) };
    key.map_err(key_failed)
}

pub(super) fn vault_failed(error: VaultError) -> Failed {
    Failed::new(Exit::Failure, error)
}

/// A gallery without room is a refusal, with what to do; anything else a failure.
pub(super) fn no_room(error: VaultError) -> Failed {
    match error {
        VaultError::PurposeZones { .. } | VaultError::Zones { .. } | VaultError::LongName { .. } => Failed::new(Exit::Refused, error),
        other => vault_failed(other),
    }
}

/// A service that does not run loads the vault when it starts, so its absence is no news.
pub(super) fn tell_service(state: &StateDirectory) {
    if let Err(error) = hand_over(state) {
        tracing::warn!(%error, "enrolled, but the service may not be able to read the gallery");
    }
    let told = Client::new(state.control_socket()).and_then(|client| client.post::<ReloadView>("/v1/gallery/reload"));
    match told {
        Ok(_) | Err(ClientError::NotRunning { .. }) => {}
        Err(error) => tracing::warn!(%error, "enrolled, but the running service did not load it: run `systemctl reload placard`"),
    }
}
