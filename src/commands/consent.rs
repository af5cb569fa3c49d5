//! `placard consent`: who consented to what (C23, C39). One purpose, one record; withdrawn by anybody, without a reason (C36).

use super::fact::{self, Flags, Told, needed, nothing_of, print, propose};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::gallery::SubjectId;
use crate::policy::facts::{Consent, ConsentMethod, Guardian, Register, Withdrawal};
use crate::policy::when::When;
use crate::purpose::Purpose;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "parsed once, from the command line")]
enum Action {
    #[command(flatten)]
    Fact(fact::Action<ConsentFlags>),
    /// Somebody takes their consent back.
    Withdraw {
        id: String,
        #[command(flatten)]
        told: Told,
    },
}

#[derive(clap::Args, Debug)]
struct ConsentFlags {
    /// The record's id.
    id: Option<String>,
    /// The subject's opaque id; no name. Unset: a new one, which `consent list` shows.
    #[arg(long, value_name = "ID")]
    subject: Option<SubjectId>,
    #[arg(long)]
    purpose: Option<Purpose>,
    /// SHA-256 of the notice that was shown.
    #[arg(long, value_name = "HEX")]
    notice_sha256: Option<String>,
    /// written, electronic-signature or at-the-desk.
    #[arg(long, value_parser = method)]
    method: Option<ConsentMethod>,
    /// It was given for this purpose alone, and nothing hung on it.
    #[arg(long)]
    separate: bool,
    #[arg(long, value_name = "TIME")]
    given_at: Option<When>,
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// As declared, never inferred.
    #[arg(long, value_name = "DATE")]
    birth_date: Option<When>,
    /// Who consented for a minor, opaque.
    #[arg(long, value_name = "REFERENCE", requires = "guardian_relation")]
    guardian: Option<String>,
    #[arg(long, value_name = "RELATION", requires = "guardian")]
    guardian_relation: Option<String>,
}

fn method(text: &str) -> Result<ConsentMethod, String> {
    serde_json::from_value(text.into()).map_err(|_| "written, electronic-signature or at-the-desk".to_owned())
}

impl Flags for ConsentFlags {
    type Fact = Consent;
    fn fact(self, _register: &Register) -> Result<Consent, Failed> {
        if !self.separate {
            let void =
                "a consent that was not given separately is void (SPC interpretation 2021, Art. 2(3) and 4): --separate says that it was";
            return Err(Failed::new(Exit::Refused, anyhow::anyhow!(void)));
        }
        let given_at = self.given_at.unwrap_or_else(|| When::to_the_millisecond(SystemClock.utc()));
        let guardian = self.guardian.zip(self.guardian_relation);
        Ok(Consent {
            id: needed(self.id, "the record's id")?,
            subject: self.subject.map_or_else(SubjectId::random, Ok)?.to_string(),
            purpose: needed(self.purpose, "--purpose")?,
            notice_sha256: needed(self.notice_sha256, "--notice-sha256")?,
            method: needed(self.method, "--method")?,
            separate: true,
            bundled: false,
            service_conditional: false,
            until: needed(self.until, "--until")?,
            birth_date: self.birth_date,
            guardian: guardian.map(|(reference, relation)| Guardian { reference, relation, given_at: given_at.clone() }),
            given_at,
            withdrawn: None,
        })
    }
    fn line(consent: &Consent) -> String {
        let withdrawn = consent.withdrawn.as_ref().map_or(String::new(), |w| format!("; WITHDRAWN at {}", w.at));
        format!("{} for {}, {} to {}{withdrawn}", consent.subject, consent.purpose, consent.given_at, consent.until)
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Fact(action) => fact::run(context, action),
        Action::Withdraw { id, told } => {
            let why = told.reason(&format!("consent `{id}` withdrawn"));
            let withdrawn = Withdrawal { at: When::to_the_millisecond(SystemClock.utc()), by: told.by(), reason: told.reason("") };
            let done = propose(context, &told, &why, |register| {
                let names: Vec<String> = register.consents.iter().map(|c| c.id.clone()).collect();
                let found = register.consents.iter_mut().find(|c| c.id == id);
                found.ok_or_else(|| nothing_of("consent", &id, names.into_iter()))?.withdrawn.get_or_insert(withdrawn);
                Ok(())
            })?;
            print(context, &done)
        }
    }
}
