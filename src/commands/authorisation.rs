//! `placard authorisation`: a court's or authority's leave for one purpose (EU AI Act Art. 5(3), 26(10)). Two approvers enter it; anybody enters that it was
//! refused, which stops at once and erases what came of it.

use super::fact::{self, Flags, Told, needed, nothing_of, print, propose};
use super::{Context, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::policy::facts::{Authorisation, Register, Withdrawal};
use crate::policy::when::When;
use crate::purpose::Purpose;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    #[command(flatten)]
    Fact(fact::Action<AuthorisationFlags>),
    /// It was refused, or withdrawn: what rests on it stops now, and what was gathered under it is erased.
    Refuse {
        id: String,
        #[command(flatten)]
        told: Told,
    },
    /// Propose that one that was pending has been given.
    Given {
        id: String,
        #[command(flatten)]
        told: Told,
    },
    /// Propose that it ends earlier than it says. What was gathered under it while it lasted stays. (To stop at once: `refuse`, or an objection.)
    Expire {
        id: String,
        /// When, if not now.
        #[arg(long, value_name = "TIME")]
        until: Option<When>,
        #[command(flatten)]
        told: Told,
    },
}

#[derive(clap::Args, Debug)]
struct AuthorisationFlags {
    /// The number that the authority gave it.
    id: Option<String>,
    /// Which court or authority.
    #[arg(long, value_name = "WHO")]
    authority: Option<String>,
    #[arg(long)]
    purpose: Option<Purpose>,
    /// Where; may be given again.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// The fundamental rights impact assessment's number.
    #[arg(long, value_name = "NUMBER")]
    assessment: Option<String>,
    /// The registration in the EU database.
    #[arg(long, value_name = "NUMBER")]
    registration: Option<String>,
    /// It was asked for then and is not decided yet: it counts for as many hours as the regime allows.
    #[arg(long, value_name = "TIME")]
    pending_since: Option<When>,
}

impl Flags for AuthorisationFlags {
    type Fact = Authorisation;
    fn fact(self, _register: &Register) -> Result<Authorisation, Failed> {
        needed(self.zones.first(), "--zone")?;
        Ok(Authorisation {
            id: needed(self.id, "its number")?,
            authority: needed(self.authority, "--authority")?,
            purpose: needed(self.purpose, "--purpose")?,
            zones: self.zones,
            from: needed(self.from, "--from")?,
            until: needed(self.until, "--until")?,
            assessment: needed(self.assessment, "--assessment")?,
            registration: needed(self.registration, "--registration")?,
            pending_since: self.pending_since,
            refused: None,
        })
    }
    fn line(leave: &Authorisation) -> String {
        let (from, until) = (&leave.from, &leave.until);
        let pending = leave.pending_since.as_ref().map_or(String::new(), |since| format!("; pending since {since}"));
        let refused = leave.refused.as_ref().map_or(String::new(), |r| format!("; REFUSED at {} (entered by {})", r.at, r.by));
        format!("{} for {} in {}, {from} to {until}{pending}{refused}", leave.authority, leave.purpose, leave.zones.join(", "))
    }
}

fn one<'a>(register: &'a mut Register, id: &str) -> Result<&'a mut Authorisation, Failed> {
    let names: Vec<String> = register.authorisations.iter().map(|a| a.id.clone()).collect();
    register.authorisations.iter_mut().find(|a| a.id == id).ok_or_else(|| nothing_of("authorisation", id, names.into_iter()))
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let now = When::to_the_millisecond(SystemClock.utc());
    match args.action {
        Action::Fact(action) => fact::run(context, action),
        Action::Refuse { id, told } => {
            let refused = Withdrawal { at: now, by: told.by(), reason: told.reason("") };
            change(context, &id, &told, "refused", |leave| {
                leave.refused.get_or_insert(refused);
            })
        }
        Action::Given { id, told } => change(context, &id, &told, "given", |leave| leave.pending_since = None),
        Action::Expire { id, until, told } => change(context, &id, &told, "ends earlier", |leave| leave.until = until.unwrap_or(now)),
    }
}

fn change(context: &Context, id: &str, told: &Told, what: &str, edit: impl FnOnce(&mut Authorisation)) -> Outcome {
    let why = told.reason(&format!("authorisation `{id}` {what}"));
    let done = propose(context, told, &why, |register| one(register, id).map(edit))?;
    print(context, &done)
}
