//! `placard sign photo`: whether a photograph is the one that a sign's inspection was recorded with. Placard keeps a photograph's digest and not the
//! photograph; whoever keeps it finds out here whether it is still that one.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::{digest, load};
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::policy::inspection::{OtherPhotograph, is_the_photograph};

#[derive(clap::Args)]
#[command(after_help = "Exit status 1 where it is another one, or was altered; 3 where none was recorded.")]
pub struct Args {
    /// The sign's id (`placard sign list`).
    id: String,
    /// The photograph.
    #[arg(value_name = "FILE")]
    photo: PathBuf,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let found = digest(&args.photo)?;
    let register = load(context)?;
    let unknown = || {
        let meant = register.nearest_sign(&args.id).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Failed::new(Exit::Usage, anyhow::anyhow!("there is no sign `{}`{meant}", args.id))
    };
    let sign = register.sign(&args.id).ok_or_else(unknown)?;
    let judged = is_the_photograph(sign, &found);
    if context.json {
        let object = json!({
            "sign": args.id, "photo_sha256": found, "recorded": sign.photo_sha256, "same": judged.is_ok(),
            "inspected_at": sign.inspected_at.as_ref().map(|at| at.text().to_owned()), "inspected_by": sign.inspected_by,
        });
        writeln!(std::io::stdout().lock(), "{object}")?;
    }
    match judged {
        Ok(()) if context.json => Ok(Exit::Success),
        Ok(()) => {
            writeln!(std::io::stdout().lock(), "sign `{}`: it is the photograph that was recorded", args.id)?;
            Ok(Exit::Success)
        }
        Err(none @ OtherPhotograph::NoneRecorded(_)) => Err(Failed::new(Exit::Missing, none)),
        Err(altered) => Err(Failed::new(Exit::Failure, altered)),
    }
}
