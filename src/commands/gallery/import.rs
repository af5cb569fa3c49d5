//! `placard gallery import`: templates that were made elsewhere, with the same model, into the gallery of one purpose.
//!
//! The law is enrolment's: the purpose must be in force in the register, everybody's age is declared, consents are records, caps and ends hold,
//! and whoever is enrolled for the purpose already is not enrolled twice. What enrolment sees and this does not is the picture: so a template's record says
//! that it came in a file, and from where.
//!
//! Subjects are written in groups of [`GROUP`], each durable before it is told; how far it came is written in the same transaction, so an import that
//! was cut short goes on where it stopped when it is run again with the same files, and one that is over says so. The vault is let go of between groups, and the
//! register is read again for each: an import stops where what it rests on has fallen, and erases by nothing that was true some time ago.

mod show;

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::enrol::{self, Also, DUPLICATE, Elsewhere, UNLIKE, no_room, site_key, tell_service, vault_failed};
use super::super::exits::{present, store_failed};
use super::super::portrait::{ModelNames, desk_closed, intended, only_model};
use super::super::record::{erased, keep_refusals, noting, refused};
use super::super::{Context, Exit, Failed, Outcome};
use super::look::warn_of_filing;
use super::people::{self, Person};
use crate::clock::{SharedClock, Stamp, SystemClock, Utc};
use crate::embedding::Embedding;
use crate::engine::manifest::{Manifest, Task};
use crate::engine::store;
use crate::gallery::duplicates::{AT_ONCE, Known};
use crate::gallery::identities::Identities;
use crate::gallery::npy::Rows;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::SearchRefused;
use crate::gallery::vault::{Channel, MAX_SOURCE, Mark, NewSubject, Progress, Vault};
use crate::gallery::{SubjectId, TemplateModel};
use crate::matching::template_model;
use crate::policy::enrolment::EnrolmentDesk;
use crate::policy::enrolment::eligible::Eligible;
use crate::policy::leap::believe;
use crate::policy::profile::Library;
use crate::policy::store::Present;
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;

/// Subjects a transaction.
const GROUP: usize = 256;

#[derive(clap::Args)]
pub struct Args {
    /// What the subjects are looked for: a purpose of the register.
    #[arg(long)]
    purpose: Purpose,
    /// Templates: an .npy file of shape (rows, values), type <f4; or a directory of pictures, a folder or a file for each subject.
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    /// Whose they are, a line for each row: NAME, then, after tabs, AGE (a date of birth, or `adult`), CONSENT, GUARDIAN'S CONSENT.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// Where the templates come from, in a few words: kept with each of them.
    #[arg(long, value_name = "TEXT", value_parser = source)]
    source: Option<String>,
    /// Declares that everybody of whom the list says nothing is of full age.
    #[arg(long)]
    adult: bool,
    /// Days until the subjects are forgotten; never longer than the purpose's legal basis.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=180))]
    expires: u32,
    /// Zone that the subjects are looked for in, of the purpose's; several with several --zone. Unset: all that the purpose has now.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    /// Say too whom a subject is enrolled as for this other purpose, under that purpose's own leave; several with several --look-also. It refuses nobody.
    #[arg(long, value_name = "PURPOSE")]
    look_also: Vec<Purpose>,
    /// Import files anew that an import was over with, for whoever was deleted or has expired since.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    models: ModelNames,
}

fn source(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_SOURCE).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("{} bytes: 1 to {MAX_SOURCE}, on one line, are kept with each template", text.len()))
}

/// Whoever is refused is kept (`record.jsonl`), whatever refused them.
pub fn run(context: &Context, args: &Args) -> Outcome {
    present(&args.from)?;
    if args.from.is_dir() {
        if args.ids.is_some() || args.source.is_some() {
            return Err(Failed::new(
                Exit::Usage,
                anyhow!("--ids and --source go with an .npy file; a directory of pictures has names of its own"),
            ));
        }
        return enrol::run(
            context,
            enrol::Args::of_directory(&args.purpose, &args.from, (args.adult, args.expires), (&args.zones, &args.look_also), &args.models),
        );
    }
    noting(context, &args.purpose, || import(context, args))
}

fn import(context: &Context, args: &Args) -> Outcome {
    let (Some(ids), Some(source)) = (&args.ids, &args.source) else {
        return Err(Failed::new(
            Exit::Usage,
            anyhow!("an .npy file needs --ids FILE (whose its rows are) and --source TEXT (where they come from)"),
        ));
    };
    let rows = Rows::open(&args.from).map_err(|e| Failed::new(Exit::Usage, e))?;
    let people = people::read(ids, rows.shape().rows, args.adult).map_err(|e| Failed::new(Exit::Usage, e))?;
    let declared = format!("{}\n{}\n{}\n{:?}\n{:?}\n{source}", args.purpose, args.adult, args.expires, args.models.embedder, args.zones);
    let digest = digest(&[&args.from, ids], &declared)?;
    let mut import = Import::open(context, args, source, digest, rows)?;
    let bar = ProgressBar::new(people.len() as u64);
    if context.json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len}  {elapsed} of about {duration}  {msg}")?);
    let done = match import.done(args.again)? {
        (done, false) => done,
        (done, true) => {
            bar.finish_and_clear();
            show::done_before(context.json, &args.purpose, done)?;
            return Ok(Exit::Success);
        }
    };
    import.skip(&people, done)?;
    bar.set_position(done as u64);
    let (mut enrolled, mut refused) = (0, 0);
    for (number, group) in people.chunks(GROUP).enumerate().skip(done.div_ceil(GROUP)) {
        let after = (number * GROUP + group.len()) as u64;
        let told = import.take(group, after)?;
        let refusals = told.iter().filter_map(|(_, told)| Some(("not-imported", told.as_ref().err()?.clone())));
        keep_refusals(&context.state, &args.purpose, refusals.collect());
        for told in told {
            match &told.1 {
                Ok(_) => enrolled += 1,
                Err(_) => refused += 1,
            }
            bar.suspend(|| show::person(context.json, &args.purpose, &told))?;
        }
        bar.set_position(after);
    }
    bar.finish_and_clear();
    import.finish(people.len())?;
    show::sum(context.json, enrolled, refused, done)?;
    warn_of_filing(context)?;
    tell_service(&context.state);
    Ok(if refused == 0 { Exit::Success } else { Exit::Refused })
}

/// What was read, for what, and what was declared: an import goes on only where all of it is the same.
fn digest(files: &[&Path], declared: &str) -> Result<[u8; 32], Failed> {
    let mut hash = Sha256::new().chain_update(declared);
    // Templates, in plain.
    let mut piece = Zeroizing::new(vec![0; 1 << 20]);
    for path in files {
        let mut file = std::fs::File::open(path)?;
        hash.update(file.metadata()?.len().to_le_bytes());
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => hash.update(&piece[..read]),
            }
        }
    }
    Ok(hash.finalize().into())
}

/// What became of a person.
type Told = (Person, Result<Enrolled, String>);

struct Enrolled {
    subject: SubjectId,
    expires_at: Stamp<Utc>,
    /// Whom it is for the other purposes that were asked for.
    also: Vec<Also>,
}

struct Import<'a> {
    context: &'a Context,
    purpose: &'a Purpose,
    source: &'a str,
    /// Zones that were asked for, and those that may be.
    asked: &'a [String],
    zones: Vec<String>,
    digest: [u8; 32],
    rows: Rows,
    days: u32,
    key: SiteKey,
    model: TemplateModel,
    manifests: [Manifest; 1],
    desk: EnrolmentDesk,
    elsewhere: Elsewhere,
    clock: SharedClock,
    /// The gallery as this import knows it, and the vault's mark then.
    known: Option<(Known, Option<Mark>)>,
    /// Rows still to be read.
    left: usize,
    /// Subjects whose time was over.
    erased: usize,
}

/// Somebody whom the register lets in.
struct Candidate {
    person: Person,
    subject: SubjectId,
    eligible: Eligible,
    templates: Vec<Embedding>,
}

impl<'a> Import<'a> {
    fn open(context: &'a Context, args: &'a Args, source: &'a str, digest: [u8; 32], rows: Rows) -> Result<Self, Failed> {
        let clock: SharedClock = SystemClock::shared();
        let present = Present::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
        let library = Library::of_site(&context.state);
        let desk = EnrolmentDesk::of_site(&present, &args.purpose, clock.clone(), &library).map_err(refused)?;
        desk.has_room(0, args.expires).map_err(refused)?;
        let zones = desk.zones(&args.zones).map_err(refused)?;
        let name = args.models.embedder.clone().map_or_else(|| only_model(context, Task::FaceEmbedder, "embedder"), Ok)?;
        let (manifest, _) = store::open(&context.state, &name).map_err(store_failed)?;
        let model = template_model(&manifest).ok_or_else(|| Failed::new(Exit::Refused, anyhow!("model `{name}` makes no embeddings")))?;
        let manifests = [manifest];
        let site = intended(&context.state, &manifests)?;
        let key = site_key(&context.state, site.as_ref())?;
        if rows.shape().values != model.dim {
            let (found, dim) = (rows.shape().values, model.dim);
            let error = anyhow!(
                "{} has rows of {found} values, model `{name}` makes {dim}: templates of another model cannot be compared",
                args.from.display()
            );
            return Err(Failed::new(Exit::Refused, error));
        }
        let left = usize::try_from(rows.shape().rows)?;
        Ok(Self {
            context,
            purpose: &args.purpose,
            source,
            asked: &args.zones,
            zones,
            digest,
            rows,
            days: args.expires,
            key,
            model,
            manifests,
            desk,
            elsewhere: Elsewhere::open(&context.state, &args.purpose, &args.look_also, &clock)?,
            clock,
            known: None,
            left,
            erased: 0,
        })
    }

    fn vault(&self) -> Result<Vault, Failed> {
        Vault::open_patiently(&self.context.state, &self.key, enrol::PATIENCE, &Shutdown::new()).map_err(vault_failed)
    }

    /// People that an import of the same files has dealt with, and whether it is over. `again`: one that is over is as if it had never been.
    fn done(&self, again: bool) -> Result<(usize, bool), Failed> {
        let vault = self.vault()?;
        let (done, over) = vault.import_progress(&self.digest)?;
        if over && again {
            vault.forget_import(&self.digest)?;
            return Ok((0, false));
        }
        Ok((usize::try_from(done)?, over))
    }

    /// Looks again at what the import rests on; an error where it does not stand any more.
    fn stand(&mut self, done: u64) -> Result<(), Failed> {
        intended(&self.context.state, &self.manifests)?;
        let present = Present::load(&self.context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
        let anew = self.desk.anew(&present, &Library::of_site(&self.context.state));
        let anew = anew.and_then(|desk| {
            let next = desk.as_ref().unwrap_or(&self.desk);
            next.has_room(0, self.days)?;
            self.zones = next.zones(self.asked)?;
            Ok(desk)
        });
        match anew {
            Ok(None) => {}
            // Other permits: what is known is loaded for them.
            Ok(Some(desk)) => (self.desk, self.known) = (desk, None),
            Err(reason) => {
                let stops =
                    "the import stops here; who was enrolled so far is there, and it goes on when it is run again once that is mended";
                return Err(Failed::new(Exit::Refused, anyhow!("after {done} of the list: {reason}. {stops}")));
            }
        }
        Ok(())
    }

    fn finish(&self, people: usize) -> Result<(), Failed> {
        let vault = self.vault()?;
        vault.finish_import(&self.digest, people as u64)?;
        if self.erased > 0 {
            // Their keys are gone; now their names, and the freed pages of both files.
            let (kept, names) = (vault.subjects()?, Identities::open(&self.context.state, &self.key).map_err(vault_failed)?);
            names.retain(|subject| kept.contains(subject))?;
            erased(&self.context.state, self.erased);
            names.rewrite()?;
            vault.rewrite()?;
        }
        Ok(())
    }

    fn skip(&mut self, people: &[Person], done: usize) -> Result<(), Failed> {
        for _ in 0..people.iter().take(done).map(|p| p.rows).sum() {
            self.rows.read()?;
            self.left -= 1;
        }
        Ok(())
    }

    /// Takes in whom the law and the gallery let in. Durable when it returns, with `after` as how far the import is.
    fn take(&mut self, group: &[Person], after: u64) -> Result<Vec<Told>, Failed> {
        let mut told: Vec<Option<Told>> = Vec::with_capacity(group.len());
        let mut candidates: Vec<(usize, Candidate)> = Vec::new();
        let vault = self.vault()?;
        self.stand(after - group.len() as u64)?;
        for person in group {
            let (place, templates) = (told.len(), self.read(person)?);
            let candidate = templates.and_then(|templates| self.eligible(person, templates));
            match candidate {
                Ok(candidate) => {
                    candidates.push((place, candidate));
                    told.push(None);
                }
                Err(why) => told.push(Some((person.clone(), Err(why)))),
            }
        }
        let now = self.clock.utc();
        believe(&self.context.state, self.clock.now()).map_err(|error| Failed::new(Exit::Refused, error))?;
        self.know(&vault, now)?;
        let accepted = self.admit(&vault, candidates, &mut told, now)?;
        let people: Vec<Vec<&Embedding>> = accepted.iter().map(|(_, candidate, _)| candidate.templates.iter().collect()).collect();
        let also = self.elsewhere.look(&self.context.state, (&vault, &self.model), &people, now)?;
        self.write(&vault, &accepted, now, after)?;
        for ((place, Candidate { person, subject, .. }, expires_at), also) in accepted.into_iter().zip(also) {
            told[place] = Some((person, Ok(Enrolled { subject, expires_at, also })));
        }
        Ok(told.into_iter().flatten().collect())
    }

    fn read(&mut self, person: &Person) -> Result<Result<Vec<Embedding>, String>, Failed> {
        let mut templates = Vec::with_capacity(person.rows);
        let mut why = None;
        for _ in 0..person.rows {
            self.left = self.left.saturating_sub(1);
            match Embedding::normalised(&mut self.rows.read()?) {
                Ok(embedding) => templates.push(embedding),
                Err(error) => why = Some(format!("{error} [template]")),
            }
        }
        Ok(why.map_or(Ok(templates), Err))
    }

    fn eligible(&self, person: &Person, templates: Vec<Embedding>) -> Result<Candidate, String> {
        let eligible = self.desk.eligible(&person.declared).map_err(|reason| reason.to_string())?;
        if let Some(refused) = templates.iter().find_map(|template| crate::gallery::check_template(template).err()) {
            return Err(format!("the template {refused} [template]"));
        }
        let pairs = templates.iter().enumerate().flat_map(|(i, a)| templates[..i].iter().map(move |b| a.cosine(b)));
        if let Some(score) = pairs.min_by(f32::total_cmp).filter(|score| *score < UNLIKE) {
            return Err(format!("the rows are of different people: similarity {score:.2}, {UNLIKE} is needed [unlike]"));
        }
        let subject = match &eligible.subject {
            Some(subject) => subject.parse().map_err(|e| format!("the consent's subject: {e}"))?,
            None => SubjectId::random().map_err(|e| e.to_string())?,
        };
        Ok(Candidate { person: person.clone(), subject, eligible, templates })
    }

    /// Loads the gallery, unless it is as this import left it.
    fn know(&mut self, vault: &Vault, now: Stamp<Utc>) -> Result<(), Failed> {
        let mark = vault.mark(self.purpose)?;
        if self.known.as_ref().is_none_or(|(_, seen)| *seen != mark) {
            self.erased += vault.purge_over(self.desk.register(), now)?.len();
            let loaded = vault.load_purpose(self.purpose, &self.model, now)?;
            let known = Known::new(self.desk.table(), self.purpose, self.model.dim, &loaded, self.left + GROUP * 5)?;
            self.known = Some((known, vault.mark(self.purpose)?));
        }
        Ok(())
    }

    fn admit(
        &mut self,
        vault: &Vault,
        candidates: Vec<(usize, Candidate)>,
        told: &mut [Option<Told>],
        now: Stamp<Utc>,
    ) -> Result<Vec<(usize, Candidate, Stamp<Utc>)>, Failed> {
        let (mut subjects, enrolled) = (vault.subjects()?, vault.list_count(self.purpose)?);
        let mut accepted: Vec<(usize, Candidate, Stamp<Utc>)> = Vec::new();
        let wished = now.plus(Duration::from_secs(u64::from(self.days) * 86_400)).min(self.desk.basis_ends());
        let alike = self.alike(&candidates)?;
        for ((place, candidate), alike) in candidates.into_iter().zip(alike) {
            let among = || accepted.iter().find_map(|(_, other, _)| twin(other, &candidate));
            let why = match alike.or_else(|| if self.purpose.kind().verifies() { None } else { among() }) {
                Some((subject, score)) => {
                    let purpose = self.purpose;
                    Some(format!("this is already subject {subject} for purpose {purpose}: similarity {score:.2} [already-enrolled]"))
                }
                None if subjects.contains(&candidate.subject) => Some(format!(
                    "subject {} is enrolled already, and one consent is good for one enrolment [subject-known]",
                    candidate.subject
                )),
                None => self.room(enrolled + accepted.len(), subjects.len()).err(),
            };
            if let Some(why) = why {
                told[place] = Some((candidate.person, Err(why)));
                continue;
            }
            subjects.insert(candidate.subject.clone());
            let expires_at = wished.min(candidate.eligible.ends.unwrap_or(wished));
            accepted.push((place, candidate, expires_at));
        }
        Ok(accepted)
    }

    fn room(&self, enrolled: usize, stored: usize) -> Result<(), String> {
        self.desk.has_room(enrolled, self.days).map_err(|reason| reason.to_string())?;
        self.desk.may_store(stored).map_err(|reason| reason.to_string()).map(drop)
    }

    /// For each, who is enrolled and looks like it. A gallery that verifies claims is not searched, for this neither.
    fn alike(&mut self, candidates: &[(usize, Candidate)]) -> Result<Vec<Option<(SubjectId, f32)>>, Failed> {
        let mut found: Vec<Option<(SubjectId, f32)>> = vec![None; candidates.len()];
        let Some((known, _)) = self.known.as_mut().filter(|_| !self.purpose.kind().verifies()) else { return Ok(found) };
        let templates = candidates.iter().enumerate().flat_map(|(place, (_, c))| c.templates.iter().map(move |t| (place, t)));
        let all: Vec<(usize, &Embedding)> = templates.collect();
        for part in all.chunks(AT_ONCE) {
            let asked: Vec<&Embedding> = part.iter().map(|(_, template)| *template).collect();
            let answers = loop {
                let permit = self.desk.match_permit().map_err(desk_closed)?;
                match known.look(&permit, &asked, DUPLICATE) {
                    Ok(answers) => break answers,
                    // If the machine was busy for longer than a lease lasts, the desk says again whether the purpose still holds.
                    Err(SearchRefused::Ended { .. }) => {}
                    Err(refused @ SearchRefused::OtherTable) => return Err(refused.into()),
                }
            };
            for ((place, _), answer) in part.iter().zip(answers) {
                found[*place] = found[*place].take().or(answer);
            }
        }
        Ok(found)
    }

    fn write(&mut self, vault: &Vault, accepted: &[(usize, Candidate, Stamp<Utc>)], now: Stamp<Utc>, after: u64) -> Result<(), Failed> {
        let zones: Vec<&str> = self.zones.iter().map(String::as_str).collect();
        // Before a name is written.
        vault.has_room(self.purpose, &self.model, &zones).map_err(no_room)?;
        let subjects: Vec<NewSubject<'_>> = accepted
            .iter()
            .map(|(_, candidate, expires_at)| NewSubject {
                subject: candidate.subject.clone(),
                purpose: self.purpose,
                model: &self.model,
                templates: candidate.templates.iter().collect(),
                channel: Channel::TemplateFile,
                consent: candidate.eligible.consent.as_deref(),
                source: Some(self.source),
                zones: &zones,
                enrolled_at: now,
                expires_at: *expires_at,
            })
            .collect();
        let names = Identities::open(&self.context.state, &self.key).map_err(vault_failed)?;
        names.put(accepted.iter().map(|(_, c, _)| (&c.subject, c.person.name.as_str())))?;
        vault.enrol_part(&subjects, &Progress { import: self.digest, done: after })?;
        if let Some((known, mark)) = &mut self.known {
            for (_, candidate, _) in accepted {
                for template in &candidate.templates {
                    known.add(&candidate.subject, template)?;
                }
            }
            *mark = vault.mark(self.purpose)?;
        }
        Ok(())
    }
}

fn twin(other: &Candidate, candidate: &Candidate) -> Option<(SubjectId, f32)> {
    let pairs = candidate.templates.iter().flat_map(|t| other.templates.iter().map(move |o| t.cosine(o)));
    pairs.reduce(f32::max).filter(|score| *score >= DUPLICATE).map(|score| (other.subject.clone(), score))
}
