//! `placard sign add` and `sign remove`: a sign in the register, with the words that it has to say there, or as a file has it. Both take two approvers: a sign that
//! goes may be the one whose withdrawal keeps its zone dark. It counts when it hangs (`sign post`) and somebody has inspected it.

use std::path::PathBuf;

use super::print::{WordsArgs, composed};
use crate::commands::fact::{Told, from_file, needed, nothing_of, print, propose, put};
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::policy::facts::{Register, Sign, Site};
use crate::signs::wording::{Language, Regime};

#[derive(clap::Args)]
pub struct AddArgs {
    /// The sign's id: letters, digits, `-`, `_`, `.`.
    id: Option<String>,
    /// The zone where it hangs.
    #[arg(long)]
    zone: Option<String>,
    /// Where there, so that an inspector finds it.
    #[arg(long, value_name = "TEXT")]
    position: Option<String>,
    /// Languages in their order, such as `zh,en`.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    language: Option<Vec<Language>>,
    /// The regime whose words to use; otherwise the register's first.
    #[arg(long, value_name = "NAME")]
    profile: Option<Regime>,
    /// The fact's keys, in TOML: for words of counsel's own.
    #[arg(long, value_name = "FACT.toml")]
    file: Option<PathBuf>,
    #[command(flatten)]
    told: Told,
}

#[derive(clap::Args)]
pub struct RemoveArgs {
    /// The sign's id.
    id: String,
    #[command(flatten)]
    told: Told,
}

pub fn add(context: &Context, args: AddArgs) -> Outcome {
    let why = args.told.reason("sign added");
    let done = propose(context, &args.told, &why, |register| {
        let sign = match &args.file {
            Some(path) => from_file::<Sign>(path)?,
            None => {
                let mut sign = bare(&args)?;
                let site = Site::load(&context.state.site()).map_err(|e| Failed::new(Exit::Config, e))?;
                let words = WordsArgs { sign: sign.id.clone(), language: args.language.clone(), profile: args.profile };
                composed(register, &site, &sign, &words)?.enter(&mut sign);
                sign
            }
        };
        if register.sign(&sign.id).is_some() {
            let id = &sign.id;
            let text = format!("there is a sign `{id}`: `placard sign text {id} --record` enters other words, `sign post` that it hangs");
            return Err(Failed::new(Exit::Refused, anyhow::anyhow!(text)));
        }
        put(register, sign, false);
        Ok(())
    })?;
    print(context, &done)
}

/// Without words, never posted and never inspected.
fn bare(args: &AddArgs) -> Result<Sign, Failed> {
    needed(args.language.as_ref(), "--language")?;
    Ok(Sign {
        id: needed(args.id.clone(), "its id")?,
        zone: needed(args.zone.clone(), "--zone")?,
        text: String::new(),
        languages: Vec::new(),
        position: needed(args.position.clone(), "--position")?,
        photo_sha256: None,
        posted_on: None,
        posted_by: None,
        inspected_at: None,
        inspected_by: None,
        inspected_text_sha256: None,
        controller: None,
        contact: None,
        announces: Vec::new(),
        withdrawn: None,
        past_withdrawals: Vec::new(),
    })
}

pub fn remove(context: &Context, args: &RemoveArgs) -> Outcome {
    let RemoveArgs { id, told } = args;
    let why = told.reason(&format!("sign `{id}` removed"));
    let done = propose(context, told, &why, |register: &mut Register| {
        let names: Vec<String> = register.signs.iter().map(|s| s.id.clone()).collect();
        register.signs.retain(|s| s.id != *id);
        if register.signs.len() == names.len() { Err(nothing_of("sign", id, names.into_iter())) } else { Ok(()) }
    })?;
    print(context, &done)
}
