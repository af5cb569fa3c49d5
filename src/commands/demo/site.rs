//! The demonstration's site file and pipeline file: what an operator would write by hand.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::media::{Media, Person};
use super::stage::{CASE, MASKS, MISSING, OTHER_CASE, Show, WATCHED_STREAM};
use crate::clock::{Stamp, Utc, format_utc};
use crate::purpose::{Purpose, PurposeKind};
use crate::signs::wording::{self, Language};

const DAY_NS: i64 = 86_400_000_000_000;
/// Least cosine similarity of a hit. The bundled embedder gives one drawn stranger in 10,000 pairs .546 (`models/README.md`); there are some
/// 30 people on the lists, and a track's mean over three shots is surer than a single picture.
const THRESHOLD: f32 = 0.6;
/// The bundled detector's score of a face: fewer false ones than one in 1,000 frames (`models/README.md`).
const SCORE: f32 = 0.85;

/// Purpose, and the `basis` that it rests on but for its dates.
const BASES: [(&str, &str); 4] = [
    (MISSING, "kind = \"public-safety\", statute = \"PIPL Art. 26\", authority = \"Demo City Public Security Bureau, missing person 7\""),
    (OTHER_CASE, "kind = \"public-safety\", statute = \"PIPL Art. 26\", authority = \"Demo City Public Security Bureau, case 2026-0177\""),
    (CASE, "kind = \"public-safety\", statute = \"PIPL Art. 26\", authority = \"Demo City Public Security Bureau, case 2026-0142\""),
    (
        MASKS,
        "kind = \"emergency\", statute = \"Emergency Response Law Art. 49\", authority = \"Demo City Health Commission, order 2026-31\"",
    ),
];

/// `[site]`, zones, areas, signs and purposes; the models are part of the program. Dates are around `now`, so the demonstration never
/// goes stale.
pub fn site_toml(media: &Media, now: Stamp<Utc>) -> String {
    let date = |days: i64| format_utc(Stamp::from_ns(now.ns() + days * DAY_NS))[..10].to_owned();
    let mut text = String::from(
        "# Written by `placard demo`: a made-up station.\n[site]\nname = \"demo-station\"\nmode = \"demo\"\ncontroller = \"Demo Station Operator\"\ncontact = \"privacy@demo.invalid\"\n\n",
    );
    for staged in &media.staged {
        let Show { stream, place, purposes, .. } = staged.show;
        // The area that is marked on the scene's floor.
        let polygon: Vec<String> = staged.script.areas.iter().flat_map(|a| &a.polygon).map(|[x, y]| format!("[{x:.4}, {y:.4}]")).collect();
        let what = if purposes.contains(&MASKS) { "Masks are checked here, nobody is identified" } else { "Face recognition in use here" };
        let kinds: BTreeSet<PurposeKind> = purposes.iter().filter_map(|p| p.parse::<Purpose>().ok()).map(|p| p.kind()).collect();
        let said: Vec<_> = kinds
            .into_iter()
            .flat_map(|k| [Language::English, Language::Chinese].map(|l| (k.name(), l.name(), wording::purpose(k, l))))
            .collect();
        let announce = |(kind, language, words): &(&str, &str, &str)| {
            format!("{{ purpose = \"{kind}\", language = \"{language}\", words = \"{words}\" }}")
        };
        let announces: Vec<String> = said.iter().map(announce).collect();
        let _infallible = write!(
            text,
            "[[zone]]\nid = \"{stream}\"\nkind = \"public\"\n\n\
             [[area]]\nstream = \"{stream}\"\nzone = \"{stream}\"\npolygon = [{}]\n\n\
             [[sign]]\nid = \"{stream}-sign\"\nzone = \"{stream}\"\n\
             text = \"{what}: {}. Demo Station Operator, privacy@demo.invalid\"\n\
             languages = [\"en\", \"zh\"]\ncontroller = \"Demo Station Operator\"\ncontact = \"privacy@demo.invalid\"\nannounces = [{}]\nposition = \"{place}, on the board beside the marked floor\"\n\
             photo_sha256 = \"{}\"\nposted_on = {}\ninspected_at = {}\ninspected_by = \"demo\"\n\n",
            polygon.join(", "),
            said.iter().map(|(_, _, words)| *words).collect::<Vec<_>>().join("; "),
            announces.join(", "),
            "5e1f".repeat(16),
            date(-20),
            format_utc(Stamp::from_ns(now.ns() - DAY_NS)),
        );
    }
    // Masks are looked at on an emergency's order alone, and only where it reaches.
    let masked = media.staged.iter().filter(|s| s.show.purposes.contains(&MASKS));
    let reached: Vec<String> = masked.map(|s| format!("{:?}", s.show.stream)).collect();
    let _infallible = write!(
        text,
        "[[order]]\nid = \"2026-31\"\nissuer = \"Demo City Health Commission\"\nzones = [{}]\nfrom = {}\nuntil = {}\n\
         approved_by = [\"demo-officer\", \"demo-legal\"]\n\n",
        reached.join(", "),
        date(-1),
        date(6),
    );
    for (purpose, basis) in BASES {
        let bound = media.staged.iter().filter(|s| s.show.purposes.contains(&purpose));
        let zones: Vec<String> = bound.map(|s| format!("{:?}", s.show.stream)).collect();
        let _infallible = write!(
            text,
            "[[purpose]]\npurpose = \"{purpose}\"\nzones = [{}]\nassessment = \"pia-demo-1\"\nreview_on = {}\n\
             basis = {{ {basis}, from = {}, until = {} }}\n\n",
            zones.join(", "),
            date(90),
            date(-20),
            date(30),
        );
    }
    text
}

/// One stream a show, every second frame looked at. `signed`: the code on the watched stream's sign, and whether a sheet comes over it.
pub fn pipeline_toml(media: &Media, rtsp_port: u16, signed: Option<(&str, bool)>) -> String {
    let mut text = format!(
        "# Written by `placard demo`.\nname = \"demo\"\n\n[detect]\nmodel = \"{DETECTOR}\"\ninput_px = 640\nscore_threshold = {SCORE}\n\n\
         [track]\nhigh_score = {SCORE}\n\n[embed]\nmodel = \"{EMBEDDER}\"\n\n[mask]\nmodel = \"{CLASSIFIER}\"\n\n[decide]\nthreshold = {THRESHOLD}\n\n[http]\nlisten = \"127.0.0.1:0\"\n",
    );
    for staged in &media.staged {
        let plain = staged.show.source(rtsp_port, staged.clip.as_deref());
        let signed = signed.filter(|_| staged.show.stream == WATCHED_STREAM);
        let source = signed.map_or_else(|| plain.clone(), |(code, covered)| Show::signed(&plain, code, covered));
        let repeat = if source.starts_with("file:") { "repeat = true\n" } else { "" };
        let _infallible = write!(text, "\n[[stream]]\nname = \"{}\"\nsource = {source:?}\ndetect_every = 2\n{repeat}", staged.show.stream);
    }
    text
}

pub const DETECTOR: &str = "concourse-detector";
pub const EMBEDDER: &str = "concourse-embedder";
pub const CLASSIFIER: &str = "concourse-mask";

/// `name<TAB>photograph` lines for `placard enrol --list`.
pub fn enrol_tsv<'a>(persons: impl Iterator<Item = &'a Person>) -> String {
    persons.map(|p| format!("{}\t{}\n", p.identity, p.photograph.display())).collect()
}
