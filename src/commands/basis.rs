//! `placard basis`: the legal basis of a purpose (C06). It is part of the purpose's fact.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::fact::{Told, needed, nothing_of, present, print, propose};
use super::{Context, Exit, Failed, Outcome};
use crate::policy::facts::{Basis, BasisKind, PurposeFact, Register};
use crate::policy::file::read_toml;
use crate::policy::when::When;
use crate::purpose::Purpose;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List each purpose's basis.
    List,
    /// Show one.
    Show { purpose: Purpose },
    /// Propose a purpose's basis, in the place of the one that it has.
    Add {
        purpose: Purpose,
        #[command(flatten)]
        flags: BasisFlags,
        /// The basis's keys, in TOML.
        #[arg(long, value_name = "FACT.toml")]
        file: Option<PathBuf>,
        #[command(flatten)]
        told: Told,
    },
    /// The basis is gone: the purpose grants nothing any more.
    Remove {
        purpose: Purpose,
        #[command(flatten)]
        told: Told,
    },
}

#[derive(clap::Args)]
struct BasisFlags {
    /// statutory-duty, public-safety, separate-consent or emergency.
    #[arg(long, value_parser = kind)]
    kind: Option<BasisKind>,
    /// Law and article.
    #[arg(long, value_name = "TEXT")]
    statute: Option<String>,
    /// Who decided.
    #[arg(long, value_name = "WHO")]
    authority: Option<String>,
    /// A zone that it reaches, if not all of the purpose's; may be given several times.
    #[arg(long, value_name = "ZONE")]
    scope: Vec<String>,
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

fn kind(text: &str) -> Result<BasisKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "statutory-duty, public-safety, separate-consent or emergency".to_owned())
}

impl BasisFlags {
    fn basis(self) -> Result<Basis, Failed> {
        Ok(Basis {
            kind: needed(self.kind, "--kind")?,
            statute: needed(self.statute, "--statute")?,
            authority: needed(self.authority, "--authority")?,
            scope: self.scope,
            from: self.from,
            until: self.until,
        })
    }
}

fn fact<'a>(register: &'a mut Register, purpose: &Purpose) -> Result<&'a mut PurposeFact, Failed> {
    let names: Vec<String> = register.purposes.iter().map(|p| p.purpose.to_string()).collect();
    let found = register.purposes.iter_mut().find(|p| p.purpose == *purpose);
    found.ok_or_else(|| nothing_of("purpose", &purpose.to_string(), names.into_iter()))
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::List => list(context, None),
        Action::Show { purpose } => {
            fact(&mut present(context)?.0, &purpose)?;
            list(context, Some(&purpose))
        }
        Action::Add { purpose, flags, file, told } => {
            let basis = match &file {
                Some(path) => {
                    super::exits::present(path)?;
                    read_toml::<Basis>(path).map_err(|e| Failed::new(Exit::Config, e))?.0
                }
                None => flags.basis()?,
            };
            let why = told.reason(&format!("basis of `{purpose}`"));
            let done = propose(context, &told, &why, |r| fact(r, &purpose).map(|f| f.basis = Some(basis)))?;
            print(context, &done)
        }
        Action::Remove { purpose, told } => {
            let why = told.reason(&format!("basis of `{purpose}` removed"));
            let done = propose(context, &told, &why, |r| fact(r, &purpose).map(|f| f.basis = None))?;
            print(context, &done)
        }
    }
}

fn list(context: &Context, only: Option<&Purpose>) -> Outcome {
    let register = present(context)?.0;
    let mut out = std::io::stdout().lock();
    for fact in register.purposes.iter().filter(|f| only.is_none_or(|p| *p == f.purpose)) {
        let text = match &fact.basis {
            _ if context.json => json!({ "purpose": fact.purpose, "basis": fact.basis }).to_string(),
            None => format!("{:<28} none: it grants nothing", fact.purpose.to_string()),
            Some(basis) => {
                let time = |t: &Option<When>| t.as_ref().map_or("—".to_owned(), ToString::to_string);
                let (from, until) = (time(&basis.from), time(&basis.until));
                format!("{:<28} {} ({}), {from} to {until}", fact.purpose.to_string(), basis.statute, basis.authority)
            }
        };
        writeln!(out, "{text}")?;
    }
    Ok(Exit::Success)
}
