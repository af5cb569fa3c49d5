//! What a sheet holds, and that it holds it as outlines. `PLACARD_SHEETS=DIR` keeps the sheets, to look at.

use std::io::Write;

use super::*;
use crate::policy::facts::Site;
use crate::policy::facts::testing::good;
use crate::signs::code::testing::signer;
use crate::signs::notice::testing::{notice, site};
use crate::signs::wording::Regime;

const BOTH: [Language; 2] = [Language::Chinese, Language::English];
const DAY: Stamp<Utc> = Stamp::from_ns(1_795_305_600_000_000_000);

fn fonts(chinese: bool) -> Option<Fonts> {
    let skipped = |e: &FontError| writeln!(std::io::stderr(), "SKIPPED: {e}").expect("standard error is open");
    Fonts::installed(chinese).inspect_err(skipped).ok()
}

fn keep(name: &str, printed: &Printed) {
    if let Some(directory) = std::env::var_os("PLACARD_SHEETS") {
        let path = std::path::Path::new(&directory).join(name);
        std::fs::write(path.with_extension("svg"), &printed.svg).expect("written");
        std::fs::write(path.with_extension("pdf"), &printed.pdf).expect("written");
    }
}

#[test]
fn every_regime_s_sheet_fits_in_both_languages_and_holds_outlines_alone() {
    let Some(mut fonts) = fonts(true) else { return };
    let signer = signer();
    for regime in Regime::ALL {
        let notice = notice(&BOTH, regime);
        let code = signer.issue("hall-1", "hall", &notice.text(), DAY).expect("issued");
        let sheet = Sheet { notice: &notice, code: Some(&code), issued: DAY, paper: Paper::A3 };
        let printed = sheet.print_with(&mut fonts).expect("printed");
        assert!(!printed.svg.contains("<text") && !printed.svg.contains("font-family"), "{regime}");
        assert!(printed.pdf.starts_with(b"%PDF") && !printed.pdf.windows(9).any(|w| w == b"/FontFile"), "{regime}");
        let module_mm = printed.module_mm.expect("a code");
        let modules = code::modules(&code).expect("drawn").len() as f32;
        assert!(module_mm * modules > WIDTH / 4.0, "the code alone is wider than a quarter of the sheet: {module_mm}");
        keep(regime.name(), &printed);
    }
}

#[test]
fn a_sheet_in_one_language_of_other_size_and_a_draft_without_a_code() {
    let Some(mut fonts) = fonts(false) else { return };
    let notice = notice(&[Language::English], Regime::CnPipl);
    let code = signer().issue("hall-1", "hall", &notice.text(), DAY).expect("issued");
    let sheet = |code, paper| Sheet { notice: &notice, code, issued: DAY, paper };
    let printed = sheet(Some(code.as_str()), Paper::A4).print_with(&mut fonts).expect("printed");
    keep("english", &printed);
    let width = |svg: &str| svg.split("width=\"").nth(1).and_then(|w| w.split('"').next()?.parse::<f32>().ok()).expect("a width");
    assert!((width(&printed.svg) - 210.0 / 25.4 * 96.0).abs() < 1.0, "{}", width(&printed.svg));
    let draft = sheet(None, Paper::A4).print_with(&mut fonts).expect("printed");
    keep("draft", &draft);
    assert_eq!(draft.module_mm, None);
    assert!(!draft.svg.contains("#000000"), "no module is drawn");
}

#[test]
fn words_that_cannot_be_read_are_refused() {
    let Some(mut fonts) = fonts(false) else { return };
    let site = Site { controller: "One of very many responsible bodies, ".repeat(60), ..site() };
    let register = good();
    let notice = Notice::compose(&register, &site, &register.signs[0], Some(&[Language::English]), None).expect("a notice");
    let sheet = Sheet { notice: &notice, code: None, issued: DAY, paper: Paper::A3 };
    assert!(matches!(sheet.print_with(&mut fonts), Err(SheetError::TooMuch(_))));
}
