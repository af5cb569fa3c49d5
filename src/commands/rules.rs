//! `placard rules`: the few values of the register that are no facts: the regimes that the site is under, and what every stream needs. One person makes them
//! stricter; two approvers make them looser.

use std::io::Write;

use serde_json::json;

use super::fact::{Told, nothing_of, present, print, propose};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::policy::facts::Rules;
use crate::policy::profile::Library;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Show them.
    #[command(alias = "list")]
    Show,
    /// The site is under one more regime; the strictest of each value wins.
    AddProfile {
        /// `cn-pipl`, or `NAME@DIGEST` of the site's own (`placard policy profiles list`).
        profile: String,
        #[command(flatten)]
        told: Told,
    },
    /// Propose that the site is no longer under a regime.
    RemoveProfile {
        /// As the register has it.
        profile: String,
        #[command(flatten)]
        told: Told,
    },
    /// Change the others. What is not said stays as it is.
    Set {
        /// Days that a sign's inspection counts for at most.
        #[arg(long, value_name = "DAYS")]
        sign_inspect_max_days: Option<u32>,
        /// Whether every stream must see its sign.
        #[arg(long, value_name = "true|false")]
        attested_signs_only: Option<bool>,
        /// Whether every stream must have a registered device.
        #[arg(long, value_name = "true|false")]
        registered_devices_only: Option<bool>,
        #[command(flatten)]
        told: Told,
    },
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Show => show(context),
        Action::AddProfile { profile, told } => {
            let library = Library::of_site(&context.state);
            let (before, _) = present(context)?;
            let mut register = before;
            register.rules.profiles = vec![profile.clone()];
            // Every stream would be off under a regime that is none.
            library.regime_of(&register, SystemClock.utc()).map_err(|reason| Failed::refused(&reason))?;
            change(context, &told, &format!("under `{profile}`"), |rules| {
                if !rules.profiles.contains(&profile) {
                    rules.profiles.push(profile);
                }
                Ok(())
            })
        }
        Action::RemoveProfile { profile, told } => change(context, &told, &format!("no longer under `{profile}`"), |rules| {
            let named = rules.profiles.clone();
            rules.profiles.retain(|p| *p != profile);
            if rules.profiles == named { Err(nothing_of("profile", &profile, named.into_iter())) } else { Ok(()) }
        }),
        Action::Set { sign_inspect_max_days, attested_signs_only, registered_devices_only, told } => {
            change(context, &told, "rules changed", |rules| {
                rules.sign_inspect_max_days = sign_inspect_max_days.unwrap_or(rules.sign_inspect_max_days);
                rules.attested_signs_only = attested_signs_only.unwrap_or(rules.attested_signs_only);
                rules.registered_devices_only = registered_devices_only.unwrap_or(rules.registered_devices_only);
                Ok(())
            })
        }
    }
}

fn change(context: &Context, told: &Told, what: &str, edit: impl FnOnce(&mut Rules) -> Result<(), Failed>) -> Outcome {
    let done = propose(context, told, &told.reason(what), |register| edit(&mut register.rules))?;
    print(context, &done)
}

fn show(context: &Context) -> Outcome {
    let rules = present(context)?.0.rules;
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", json!(rules))?;
    } else {
        let profiles = if rules.profiles.is_empty() { "none: only what holds everywhere".to_owned() } else { rules.profiles.join(", ") };
        writeln!(out, "profiles                 {profiles}")?;
        writeln!(out, "sign_inspect_max_days    {}", rules.sign_inspect_max_days)?;
        writeln!(out, "attested_signs_only      {}", rules.attested_signs_only)?;
        writeln!(out, "registered_devices_only  {}", rules.registered_devices_only)?;
        writeln!(out, "placeholder_photographs  {}", rules.placeholder_photographs)?;
    }
    Ok(Exit::Success)
}
