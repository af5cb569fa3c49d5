//! `placard objection`: somebody objects, and stream or purpose pauses until two people have settled it (C38).

use super::fact::{self, Flags, Told, needed, nothing_of, print, propose};
use super::{Context, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::policy::facts::{Objection, Register, Withdrawal};
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
    Fact(fact::Action<ObjectionFlags>),
    /// Propose that an objection is settled, and why.
    Settle {
        id: String,
        #[command(flatten)]
        told: Told,
    },
}

#[derive(clap::Args, Debug)]
struct ObjectionFlags {
    /// The objection's number.
    id: Option<String>,
    /// The stream that it is about.
    #[arg(long)]
    stream: Option<String>,
    /// The purpose that it is about.
    #[arg(long)]
    purpose: Option<Purpose>,
    /// When it was made, if not now.
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
}

impl Flags for ObjectionFlags {
    type Fact = Objection;
    fn fact(self, _register: &Register) -> Result<Objection, Failed> {
        if self.stream.is_none() {
            needed(self.purpose.as_ref(), "--stream or --purpose")?;
        }
        let at = self.at.unwrap_or_else(|| When::to_the_millisecond(SystemClock.utc()));
        Ok(Objection { id: needed(self.id, "its number")?, stream: self.stream, purpose: self.purpose, at, settled: None })
    }
    fn line(objection: &Objection) -> String {
        let about = objection.stream.iter().cloned().chain(objection.purpose.iter().map(ToString::to_string)).collect::<Vec<_>>();
        let settled = objection.settled.as_ref().map_or("PAUSED by it".to_owned(), |s| format!("settled at {} by {}", s.at, s.by));
        format!("{} since {}: {settled}", about.join(", "), objection.at)
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Fact(action) => fact::run(context, action),
        Action::Settle { id, told } => {
            let why = told.reason(&format!("objection `{id}` settled"));
            let settled = Withdrawal { at: When::to_the_millisecond(SystemClock.utc()), by: told.by(), reason: told.reason("") };
            let done = propose(context, &told, &why, |register| {
                let names: Vec<String> = register.objections.iter().map(|o| o.id.clone()).collect();
                let found = register.objections.iter_mut().find(|o| o.id == id);
                found.ok_or_else(|| nothing_of("objection", &id, names.into_iter()))?.settled = Some(settled);
                Ok(())
            })?;
            print(context, &done)
        }
    }
}
