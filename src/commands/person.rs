//! `placard person`: whose signature counts, for what, and how long (C40); and the keys that they sign with.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::fact::{self, Flags, needed};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::policy::facts::{Person, Register, Role};
use crate::policy::store::{KeyError, PersonKey};
use crate::policy::when::When;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "parsed once, from the command line")]
enum Action {
    #[command(flatten)]
    Fact(fact::Action<PersonFlags>),
    /// Make a key to sign with, in a new file that its owner alone can read, and print its public half; of a key that is there, print it.
    Key {
        /// Keep it where nobody else gets at it; the appliance never needs it.
        file: PathBuf,
    },
}

#[derive(clap::Args, Debug)]
struct PersonFlags {
    /// Who: letters, digits, `-`, `_`, `.`.
    id: Option<String>,
    /// The public half of their key (`placard person key FILE`).
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// operator, approver, inspector, legal or installer; may be given again.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Since when, if not now.
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// When their training runs out: no role counts from then on.
    #[arg(long, value_name = "TIME")]
    trained_until: Option<When>,
}

impl Flags for PersonFlags {
    type Fact = Person;
    /// What is not said of somebody who is there already stays as it is.
    fn fact(self, register: &Register) -> Result<Person, Failed> {
        let id = needed(self.id, "their id")?;
        let old = register.people.iter().find(|p| p.id == id);
        let roles = if self.roles.is_empty() { old.map(|p| p.roles.clone()) } else { Some(self.roles) };
        let now = || When::to_the_millisecond(SystemClock.utc());
        Ok(Person {
            key: needed(self.key.or_else(|| old.map(|p| p.key.clone())), "--key")?,
            roles: needed(roles, "--role")?,
            from: self.from.or_else(|| old.map(|p| p.from.clone())).unwrap_or_else(now),
            until: self.until.or_else(|| old.and_then(|p| p.until.clone())),
            trained_until: needed(self.trained_until.or_else(|| old.map(|p| p.trained_until.clone())), "--trained-until")?,
            stand_in: false,
            id,
        })
    }
    fn line(person: &Person) -> String {
        let roles: Vec<&str> = person.roles.iter().map(|r| r.name()).collect();
        let counts = match person.may(&person.roles, SystemClock.utc()) {
            Ok(()) => format!("trained until {}", person.trained_until),
            Err(why) => format!("DOES NOT COUNT: {why}"),
        };
        let stand_in = if person.stand_in { "; a stand-in: nobody" } else { "" };
        format!("{}; {counts}; key {}…{stand_in}", roles.join(", "), person.key.get(..12).unwrap_or_default())
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Fact(action) => fact::run(context, action),
        Action::Key { file } => {
            let (key, made) = match PersonKey::create(&file) {
                Err(KeyError::Exists(_)) => (PersonKey::load(&file), false),
                made => (made, true),
            };
            let key = key.map_err(|e| Failed::new(Exit::Failure, e))?;
            let mut out = std::io::stdout().lock();
            match context.json {
                true => writeln!(out, "{}", json!({ "file": file, "public": key.public(), "made": made }))?,
                false => writeln!(out, "{}", key.public())?,
            }
            Ok(Exit::Success)
        }
    }
}
