//! docs/law.md: from an article of the law to the control that answers it, the code and the test, for whoever reads law and not Rust.
//!
//! What the law asks for stands here; what each control is and how far it goes comes from docs/controls.md, so that neither is said
//! twice. A test fails when the document is not what this writes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::{Said, config};
use crate::commands::Exit;
use crate::state::replace_file;

/// Where it is written, what it asks for in plain words, and what answers it.
type Article = (&'static str, &'static str, &'static [&'static str]);

/// Source, and its articles.
const LAW: &[(&str, &[Article])] = &[
    (
        "China: Personal Information Protection Law (PIPL)",
        &[
            ("Art. 5, 6", "Lawful, proper, necessary; no more than the purpose needs.", &["C05", "C08", "C21"]),
            ("Art. 13", "Each processing rests on a legal basis.", &["C06", "C11"]),
            ("Art. 14, 15", "Consent is voluntary and can be taken back as easily as it was given.", &["C23", "C36"]),
            ("Art. 17", "People are told who, why, how and for how long.", &["C14", "C15"]),
            ("Art. 19", "Kept no longer than the purpose needs.", &["C22"]),
            ("Art. 23, 25", "Handed to nobody and made public to nobody without separate consent.", &["C07", "C19", "C20"]),
            (
                "Art. 26",
                "In public places only for public safety, with signs that catch the eye; other uses need separate consent.",
                &["C01", "C04", "C14", "C16", "C18"],
            ),
            (
                "Art. 28 to 30",
                "Sensitive data: a specific purpose, sufficient necessity, strict protection, separate consent.",
                &["C04", "C05", "C23", "C29"],
            ),
            ("Art. 31", "Under 14, a parent or guardian consents.", &["C39"]),
            ("Art. 44 to 47", "People may see, correct and have deleted what is held of them.", &["C28", "C36", "C37"]),
            (
                "Art. 51, 55 to 57",
                "Security, training, impact assessment, records, notice of breaches.",
                &["C05", "C24", "C29", "C30", "C40"],
            ),
        ],
    ),
    (
        "China: Supreme People's Court, interpretation of 2021 on facial information",
        &[
            (
                "Art. 2(1)",
                "Verifying, identifying or analysing faces in stations, airports, malls against the law infringes.",
                &["C03", "C11"],
            ),
            ("Art. 2(3), 4", "Consent that is bundled, or without which a service is refused, is none.", &["C23"]),
            ("Art. 5(1), 5(2)", "Exempt: public health emergencies, public safety by the State's rules.", &["C06", "C12", "C26"]),
            ("Art. 6", "Whoever processes proves that it was lawful.", &["C24"]),
            ("Art. 9", "A court may order it stopped.", &["C38"]),
            ("Art. 10", "A face is never the only way in.", &["C13"]),
            ("Art. 16", "No leave for what was before.", &["C12"]),
        ],
    ),
    (
        "China: Measures on face recognition (CAC and MPS Order 19, since 2025-06-01)",
        &[
            ("specific purpose, necessity, least impact", "Why, and that nothing milder does.", &["C04", "C05"]),
            ("Art. 13: public places", "Only for public safety; the capture area drawn with reason; prominent signs.", &["C08", "C14"]),
            ("private places", "Never in hotel rooms, public baths, changing rooms, toilets.", &["C17"]),
            (
                "storage",
                "Face data stays in the device and is not sent out over the Internet; shortest retention.",
                &["C07", "C22", "C31", "C33", "C34"],
            ),
            ("not the sole method", "Another way that is as good.", &["C13"]),
            ("minors", "Under 14, the guardian's consent.", &["C39"]),
            ("assessment and record", "Impact assessment beforehand; a record of processing.", &["C05", "C20", "C24"]),
            ("security", "Encryption, audit, access control, authorisation, intrusion detection.", &["C29", "C30", "C40"]),
            ("filing at 100,000 persons", "Filed with the provincial CAC within 30 working days.", &["C22"]),
        ],
    ),
    (
        "China: Civil Code, courts, local regulations, recommended standards",
        &[
            ("Civil Code 990, 1032, 1034", "Privacy; biometric data and whereabouts are protected.", &["C10", "C20", "C22"]),
            ("Civil Code 1033", "No looking into homes and hotel rooms.", &["C17"]),
            (
                "Tianjin 2022-05-18 (Gu Cheng)",
                "The face as only way in was unlawful; delete, and open another way.",
                &["C13", "C36", "C37"],
            ),
            ("Hangzhou (Guo Bing)", "Delete; a way in is not changed on one side's word.", &["C36", "C37"]),
            (
                "Hangzhou, Sichuan property regulations",
                "Nobody is forced to give any biometric; owners are heard, more than half.",
                &["C13", "C25"],
            ),
            ("GB/T 41819-2022", "No images kept; no inference of traits.", &["C09", "C21", "C34"]),
            (
                "the draft law's debate",
                "An installation has a procedure; emergencies end; duties stay in them.",
                &["C02", "C25", "C26", "C27"],
            ),
        ],
    ),
    (
        "European Union: AI Act, GDPR",
        &[
            ("AI Act 5(1)(e), (f), (g)", "No scraped faces, no emotions at work or school, no sensitive categories.", &["C21", "C27"]),
            (
                "AI Act 5(1)(h), 5(2), 5(3)",
                "Live recognition in public only for three cases, authorised, assessed, registered.",
                &["C06", "C12"],
            ),
            ("AI Act 26(10)", "Searching recordings: authorised at once or within 48 hours, else stop and delete.", &["C12"]),
            ("AI Act 14(5)", "Two people confirm a match before anybody acts.", &["C32"]),
            ("GDPR 5, 6, 9", "Lawful basis, purpose limit, least data.", &["C04", "C06", "C18", "C22"]),
            ("GDPR 13, 15, 17, 21", "Told, shown, deleted, objected to.", &["C14", "C15", "C28", "C36", "C38"]),
            ("GDPR 25, 32", "Protection by design; security.", &["C29", "C30", "C35"]),
            ("GDPR 35", "Assessment beforehand.", &["C05"]),
        ],
    ),
    (
        "United Kingdom: Information Commissioner's opinions 2019/01 and 2021",
        &[
            ("everybody in view is processed", "Delete at once who does not match.", &["C09"]),
            ("assessment, policy document", "Both before the start.", &["C05", "C25"]),
            ("watch lists", "Each entry justified, reviewed, for one purpose.", &["C18", "C22", "C27"]),
        ],
    ),
    (
        "Illinois: 740 ILCS 14",
        &[
            ("15(a)", "A public policy; destroyed when the purpose is met, three years at most.", &["C22", "C37"]),
            (
                "15(b)",
                "Written notice and written release before anything is taken: nobody is looked for among passers-by.",
                &["C14", "C23"],
            ),
            ("15(c), (d)", "No sale, no disclosure.", &["C07", "C19"]),
        ],
    ),
    ("Standards", &[("ISO/IEC 24745:2022", "Templates are confidential, renewable, unlinkable across sites.", &["C30", "C35"])]),
];

const INTRODUCTION: &str = "# The law, and where it is enforced\n\n\
For lawyers. Each article that the design started from, what it asks for in plain words, and the controls that answer it; below, each control \
with its state, its code and the test that fails if it breaks. A control is *done*, or it says what is missing: nothing here is done because \
somebody intends it. This is not legal advice; article numbers are as public sources give them and want checking before they are relied on.\n\n\
Which regimes a site is under stands in its register (`[rules] profiles`); `placard policy profiles show cn-pipl` prints a regime's values, \
`placard policy explain STREAM` why one stream is on or off. Several regimes hold at once; of each value the strictest counts.\n\n\
While an authorisation is pending, `eu-ai-act` lets recognition go on for 48 hours, counted from the request; whether Art. 5(3) allows that \
for live recognition is a question for counsel, and an operator's own profile can set it to 0.\n\n\
This page is written by `placard policy law --write docs` from `src/commands/policy/law.rs` and [controls.md](controls.md).\n";

/// What docs/controls.md says of one control.
struct Control<'a> {
    what: &'a str,
    state: &'a str,
    code: &'a str,
    test: &'a str,
}

fn controls(text: &str) -> BTreeMap<&str, Control<'_>> {
    text.lines().filter_map(control).collect()
}

fn control(line: &str) -> Option<(&str, Control<'_>)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    match cells[..] {
        ["", id, what, state, code, test, ""] if id.starts_with('C') => Some((id, Control { what, state, code, test })),
        _ => None,
    }
}

/// `done`, `part` or `not yet`.
fn word(state: &str) -> &str {
    state.split(':').next().unwrap_or(state)
}

fn document(controls_text: &str) -> String {
    let controls = controls(controls_text);
    let mut text = INTRODUCTION.to_owned();
    for (source, articles) in LAW {
        let _infallible = write!(text, "\n## {source}\n\n| article | asks for | answered by |\n|---|---|---|\n");
        for (article, asks, answers) in *articles {
            let links: Vec<String> = answers
                .iter()
                .map(|id| format!("[{id}](#{}) ({})", id.to_lowercase(), controls.get(id).map_or("unknown", |c| word(c.state))))
                .collect();
            let _infallible = writeln!(text, "| {article} | {asks} | {} |", links.join(", "));
        }
    }
    text.push_str("\n## Controls\n");
    for (id, control) in &controls {
        let or_none = |cell: &str| if cell.is_empty() { "none".to_owned() } else { cell.to_owned() };
        let _infallible = write!(
            text,
            "\n### {id}\n\n{}.\n\n- State: {}\n- Code: {}\n- Test: {}\n",
            control.what,
            control.state,
            or_none(control.code),
            or_none(control.test)
        );
    }
    text
}

pub(super) fn write(directory: &Path) -> Said {
    let file = directory.join("controls.md");
    let controls = std::fs::read_to_string(&file).map_err(|e| config(anyhow::anyhow!("{}: cannot be read ({e})", file.display())))?;
    replace_file(&directory.join("law.md"), document(&controls).as_bytes(), 0o644)?;
    Ok((String::new(), Exit::Success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_this_writes_it_and_answers_with_every_control() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let text = std::fs::read_to_string(docs.join("controls.md")).expect("docs/controls.md");
        let all = controls(&text);
        assert_eq!(all.len(), 40);
        let answered: Vec<&str> = LAW.iter().flat_map(|(_, articles)| articles.iter()).flat_map(|a| a.2.iter().copied()).collect();
        let unknown: Vec<_> = answered.iter().filter(|id| !all.contains_key(**id)).collect();
        let unused: Vec<_> = all.keys().filter(|id| !answered.contains(id)).collect();
        assert!(unknown.is_empty() && unused.is_empty(), "unknown {unknown:?}, answering nothing {unused:?}");
        // That every file and test that a control names exists is tests/tidy.rs's business.
        if std::env::var_os("PLACARD_UPDATE_DOCS").is_some() {
            write(&docs).expect("written");
        }
        let written = std::fs::read_to_string(docs.join("law.md")).unwrap_or_default();
        assert!(written == document(&text), "docs/law.md is stale: PLACARD_UPDATE_DOCS=1 cargo test --lib policy::law");
    }
}
