//! `placard sign text`, `sign print` and `sign key`: a sign's words, the sign itself, and what others know its codes by.
//!
//! What is printed must be what the register says: `print` refuses where the two differ, and shows the words. `text --record` enters
//! them, and what they announce; from then on nobody has inspected the sign with its words. A draft (`--draft`) needs no register's consent, and has no code.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::commands::change::{login, outcome_text};
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::gallery::seal::SiteKey;
use crate::hex;
use crate::policy::facts::{Register, Sign, Site};
use crate::signs::code::Signer;
use crate::signs::notice::Notice;
use crate::signs::sheet::{Paper, Printed, Sheet, SheetError};
use crate::signs::typeset::FontError;
use crate::signs::wording::{Language, Regime};

#[derive(clap::Args)]
pub struct WordsArgs {
    /// A sign's id, or a zone's: all its signs.
    pub sign: String,
    /// Languages in their order, such as `zh,en`; otherwise as the register has it.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub language: Option<Vec<Language>>,
    /// The regime whose words to use: cn-pipl, eu-ai-act, uk-ico or us-bipa; otherwise the register's first.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<Regime>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Svg,
    Pdf,
}

#[derive(clap::Args)]
pub struct PrintArgs {
    #[command(flatten)]
    words: WordsArgs,
    /// Which files to write.
    #[arg(long, value_delimiter = ',', default_value = "svg,pdf")]
    format: Vec<Format>,
    /// Where to write them.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Its size. A camera that is to attest the sign needs about 2 pixels for each of the code's modules.
    #[arg(long, value_enum, default_value = "a3")]
    paper: Paper,
    /// Say on the sign that cameras check its code: for the first print, before `placard sign view` records which one does. A sign that a
    /// camera reads already says so by itself.
    #[arg(long)]
    watched: bool,
    /// Without a code and marked as a draft, whatever the register says.
    #[arg(long)]
    draft: bool,
}

#[derive(clap::Args)]
pub struct TextArgs {
    #[command(flatten)]
    words: WordsArgs,
    /// Enter the words, and the languages, as the sign's text.
    #[arg(long)]
    record: bool,
}

fn load(context: &Context) -> Result<(Register, Site), Failed> {
    let register = Register::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
    let site = Site::load(&context.state.site()).map_err(|e| Failed::new(Exit::Config, e))?;
    Ok((register, site))
}

/// The sign of that id, or all of the zone of that id.
fn chosen<'r>(register: &'r Register, id: &str) -> Result<Vec<&'r Sign>, Failed> {
    if let Some(sign) = register.sign(id) {
        return Ok(vec![sign]);
    }
    let of_zone: Vec<&Sign> = register.signs.iter().filter(|s| s.zone == id).collect();
    if of_zone.is_empty() {
        return Err(super::unknown(id, register.nearest_sign(id).map(str::to_owned)));
    }
    Ok(of_zone)
}

pub(super) fn composed(register: &Register, site: &Site, sign: &Sign, args: &WordsArgs) -> Result<Notice, Failed> {
    Notice::compose(register, site, sign, args.language.as_deref(), args.profile).map_err(|e| Failed::new(Exit::Refused, e))
}

pub fn text(context: &Context, args: &TextArgs) -> Outcome {
    let (register, site) = load(context)?;
    let mut out = std::io::stdout().lock();
    for sign in chosen(&register, &args.words.sign)? {
        let notice = composed(&register, &site, sign, &args.words)?;
        let words = notice.text();
        let entered = notice.is_entered(sign);
        let recorded = args.record && !entered;
        if recorded {
            record(context, &sign.id, &notice)?;
        }
        if context.json {
            writeln!(
                out,
                "{}",
                json!({ "sign": sign.id, "text": words, "registered": args.record || entered, "announces": notice.announcements() })
            )?;
        } else {
            writeln!(out, "{words}")?;
            if recorded {
                tracing::warn!(
                    sign = sign.id,
                    "these are the sign's words from now on; nobody has inspected it with them: print it, hang it in the place of the old one, and \
                     then `placard sign inspect`"
                );
            }
        }
    }
    Ok(Exit::Success)
}

fn record(context: &Context, id: &str, notice: &Notice) -> Result<(), Failed> {
    let edit = |register: &mut Register| register.sign_mut(id).map(|sign| notice.enter(sign));
    let (path, why) = (context.state.register(), format!("the words of sign `{id}`"));
    let proposed = Register::propose(&path, &login(), &why, SystemClock.utc(), edit).map_err(|e| Failed::new(Exit::Config, e))?;
    let (done, outcome) = proposed;
    done.ok_or_else(|| super::unknown(id, None))?;
    match outcome.in_force() {
        true => Ok(()),
        // Words that two people have yet to agree to are not the sign's.
        false => Err(Failed::new(Exit::Refused, anyhow::anyhow!(outcome_text(&outcome, &load(context)?.0)))),
    }
}

pub fn print(context: &Context, args: &PrintArgs) -> Outcome {
    let (register, site) = load(context)?;
    let signer = if args.draft { None } else { Some(signer(context)?) };
    let issued = SystemClock.utc();
    let mut out = std::io::stdout().lock();
    for sign in chosen(&register, &args.words.sign)? {
        let notice = composed(&register, &site, sign, &args.words)?;
        let notice = if args.watched { notice.watched() } else { notice };
        let words = notice.text();
        if !args.draft && !notice.is_entered(sign) {
            return Err(differs(sign, &words));
        }
        let issue = |s: &Signer| s.issue(&sign.id, &sign.zone, &words, issued).map_err(|e| Failed::new(Exit::Refused, e));
        let code = signer.as_ref().map(issue).transpose()?;
        let sheet = Sheet { notice: &notice, code: code.as_deref(), issued, paper: args.paper };
        let printed = sheet.print().map_err(not_printed)?;
        let files = write(&printed, &sign.id, args)?;
        if context.json {
            let files: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            writeln!(out, "{}", json!({ "sign": sign.id, "files": files, "code": code, "module_mm": printed.module_mm }))?;
        } else {
            for file in files {
                writeln!(out, "{}", file.display())?;
            }
            if let Some(module_mm) = printed.module_mm {
                writeln!(out, "  one module of its code is {module_mm:.1} mm wide; a camera that attests it should see 2 pixels of each")?;
            }
        }
    }
    Ok(Exit::Success)
}

fn differs(sign: &Sign, words: &str) -> Failed {
    let id = &sign.id;
    Failed::new(
        Exit::Refused,
        anyhow::anyhow!(
            "sign `{id}` would say or announce something else than the register has for it, and what nobody registered is not printed. Enter them \
             (`placard sign text {id} --record`, with the same options), or look at a draft (`--draft`). They are:\n{words}"
        ),
    )
}

fn not_printed(error: SheetError) -> Failed {
    let exit = match &error {
        SheetError::Font(FontError::NoChinese | FontError::None) => Exit::Missing,
        SheetError::TooMuch(_) | SheetError::Code(_) => Exit::Refused,
        SheetError::Font(_) | SheetError::Pdf(_) => Exit::Failure,
    };
    Failed::new(exit, error)
}

fn write(printed: &Printed, id: &str, args: &PrintArgs) -> Result<Vec<PathBuf>, Failed> {
    let failed = |path: &Path, e: &std::io::Error| Failed::new(Exit::Failure, anyhow::anyhow!("{}: {e}", path.display()));
    std::fs::create_dir_all(&args.out).map_err(|e| failed(&args.out, &e))?;
    let mut files = Vec::new();
    for format in &args.format {
        let (ending, bytes) = match format {
            Format::Svg => ("svg", printed.svg.as_bytes()),
            Format::Pdf => ("pdf", printed.pdf.as_slice()),
        };
        let path = args.out.join(format!("{id}.{ending}"));
        std::fs::write(&path, bytes).map_err(|e| failed(&path, &e))?;
        files.push(path);
    }
    Ok(files)
}

pub fn signer(context: &Context) -> Result<Signer, Failed> {
    let key = SiteKey::load(&context.state).map_err(|e| Failed::new(Exit::Config, e))?;
    Signer::of(&key).map_err(|e| Failed::new(Exit::Failure, e))
}

pub fn key(context: &Context) -> Outcome {
    let public = signer(context)?.public();
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", json!({ "algorithm": "Ed25519", "public_key": public.hex(), "site": hex::of(&public.site()) }))?;
    } else {
        writeln!(out, "Ed25519 {}\nsite    {}", public.hex(), hex::of(&public.site()))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::Mode;
    use crate::policy::facts::testing::good;
    use crate::policy::store::put_as_stand_ins;
    use crate::state::StateDirectory;

    fn words() -> WordsArgs {
        WordsArgs { sign: "hall-1".to_owned(), language: None, profile: None }
    }

    #[test]
    fn what_the_register_does_not_say_is_not_printed_until_it_is_recorded() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let context = Context { state: StateDirectory::new(directory.path()), json: true };
        put_as_stand_ins(&context.state.register(), &good(), SystemClock.utc()).expect("stored");
        let site = Site { name: "east".into(), mode: Mode::Demo, controller: "Police".into(), contact: "desk 1".into(), status_page: None };
        site.store(&context.state.site()).expect("stored");
        SiteKey::load_or_create(&context.state).expect("a key");
        let out = directory.path().join("out");
        let args = PrintArgs {
            words: words(),
            format: vec![Format::Svg, Format::Pdf],
            out: out.clone(),
            paper: Paper::A4,
            watched: false,
            draft: false,
        };
        let refused = print(&context, &args).expect_err("other words");
        assert!(refused.exit == Exit::Refused && refused.message().contains("--record"), "{}", refused.message());
        assert!(!out.exists());
        text(&context, &TextArgs { words: words(), record: true }).expect("recorded");
        let register = Register::load(&context.state.register()).expect("valid");
        assert!(register.signs[0].text.contains("Contact: desk 1"), "{}", register.signs[0].text);
        match print(&context, &args) {
            Ok(_) => assert!(out.join("hall-1.svg").exists() && out.join("hall-1.pdf").exists()),
            // A machine without any font.
            Err(failed) => assert_eq!(failed.exit, Exit::Missing, "{}", failed.message()),
        }
        let unknown = WordsArgs { sign: "hall-2".to_owned(), ..words() };
        assert_eq!(text(&context, &TextArgs { words: unknown, record: false }).expect_err("no such sign").exit, Exit::Usage);
    }
}
