//! The demonstration's site file and pipeline file: what an operator would write by hand.

use std::fmt::Write;
use std::path::Path;

use super::media::{CASE, MISSING, Media};
use crate::clock::{Stamp, Utc, format_utc};

/// The sign that is withdrawn half-way, and the stream that goes dark with it.
pub const WITHDRAWN_SIGN: &str = "lobby-sign";
pub const WITHDRAWN_STREAM: &str = "lobby";

const DAY_NS: i64 = 86_400_000_000_000;

/// `[site]`, zones, areas, signs, purposes and models. Dates are around `now`, so the demonstration never goes stale.
pub fn site_toml(media: &Media, data: &Path, now: Stamp<Utc>) -> String {
    let date = |days: i64| format_utc(Stamp::from_ns(now.ns() + days * DAY_NS))[..10].to_owned();
    let mut text = String::from(
        "# Written by `placard demo`: a made-up station.\n[site]\nname = \"demo-station\"\nmode = \"demo\"\ncontroller = \"Demo Station Operator\"\ncontact = \"privacy@demo.invalid\"\n\n",
    );
    let models = data.join("models");
    for file in ["yunet_n_dynamic.onnx", "mobileface_v2_112.onnx"] {
        let _infallible = writeln!(text, "[[model]]\nfile = {:?}\n", models.join(file));
    }
    for (stream, _clip) in &media.clips {
        let polygon = if stream == "hall" {
            "[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]"
        } else {
            "[[0.05, 0.0], [0.95, 0.0], [0.95, 1.0], [0.05, 1.0]]"
        };
        let _infallible = write!(
            text,
            "[[zone]]\nid = \"{stream}\"\nkind = \"public\"\n\n\
             [[area]]\nstream = \"{stream}\"\nzone = \"{stream}\"\npolygon = {polygon}\n\n\
             [[sign]]\nid = \"{stream}-sign\"\nzone = \"{stream}\"\n\
             text = \"Face recognition in use here: {MISSING}, {CASE}. Demo Station Operator, privacy@demo.invalid\"\n\
             languages = [\"en\", \"zh\"]\nposition = \"{stream}, beside the entrance, 1.6 m\"\n\
             photo_sha256 = \"{photo}\"\nposted_on = {posted}\ninspected_at = {inspected}\ninspected_by = \"demo\"\n\n",
            photo = "5e1f".repeat(16),
            posted = date(-20),
            inspected = format_utc(Stamp::from_ns(now.ns() - DAY_NS)),
        );
    }
    let zones: Vec<String> = media.clips.iter().map(|(stream, _)| format!("{stream:?}")).collect();
    for (purpose, _persons) in &media.watched {
        let _infallible = write!(
            text,
            "[[purpose]]\npurpose = \"{purpose}\"\nzones = [{}]\nassessment = \"pia-demo-1\"\nreview_on = {}\n\
             basis = {{ kind = \"public-safety\", statute = \"PIPL Art. 26\", authority = \"Demo City Public Security Bureau\", from = {}, until = {} }}\n\n",
            zones.join(", "),
            date(90),
            date(-20),
            date(30),
        );
    }
    text
}

/// One RTSP stream per clip.
pub fn pipeline_toml(media: &Media, rtsp_port: u16) -> String {
    let mut text = String::from(
        "# Written by `placard demo`.\nname = \"demo\"\n\n[detect]\nmodel = \"yunet-n-dynamic\"\ninput_px = 640\n\n\
         [embed]\nmodel = \"mobileface-v2\"\n\n[decide]\nthreshold = 0.65\n\n[http]\nlisten = \"127.0.0.1:0\"\n",
    );
    for (stream, _clip) in &media.clips {
        let detect_every = if stream == "hall" { 1 } else { 3 };
        // Portraits against portraits: the hall's threshold is the one measured for photographs, averaged over shots.
        let _infallible = write!(
            text,
            "\n[[stream]]\nname = \"{stream}\"\nsource = \"rtsp://127.0.0.1:{rtsp_port}/{stream}\"\ndetect_every = {detect_every}\n"
        );
        if stream == "hall" {
            text.push_str("threshold = 0.55\n");
        }
    }
    text
}

/// `name<TAB>photograph` lines for `placard enrol --list`.
pub fn enrol_tsv(persons: &[super::media::Person]) -> String {
    persons.iter().map(|p| format!("{}\t{}\n", p.identity, p.photograph.display())).collect()
}
