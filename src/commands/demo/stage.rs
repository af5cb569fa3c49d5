//! What the demonstration shows: which halls, how they reach the appliance, and what each is looked at for.
//!
//! Every hall comes again after one turn of 14 s, so everybody passes several times: before a sign is taken down and after, before a
//! deletion and after.

use std::ops::Range;

use crate::commands::render::clip::Take;
use crate::ingest::rendered::FPS;

/// One case, one person.
pub const MISSING: &str = "missing-person:mp-7";
pub const OTHER_CASE: &str = "crime-prevention:2026-0177";
pub const CASE: &str = "crime-prevention:2026-0142";
/// Never leads to an identity.
pub const MASKS: &str = "mask-check";

/// How a hall reaches the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A clip, sent by a real RTSP server.
    Rtsp,
    /// A clip, read as a file.
    File,
    /// Drawn by the appliance itself (`rendered:`).
    Direct,
}

impl Via {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Rtsp => "a clip from an RTSP server",
            Self::File => "a clip as a file",
            Self::Direct => "drawn while it runs",
        }
    }
}

/// One stream.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    pub stream: &'static str,
    pub place: &'static str,
    pub scene: &'static str,
    pub seed: u64,
    /// Whether half of the people wear a mask.
    pub masks: bool,
    pub via: Via,
    pub purposes: &'static [&'static str],
}

/// The sign of this stream's zone is taken down half-way.
pub const WITHDRAWN_STREAM: &str = "gates";
pub const WITHDRAWN_SIGN: &str = "gates-sign";

/// This stream's camera sees its zone's sign, and a sheet hangs over the sign for a while.
pub const WATCHED_STREAM: &str = "stairs";
pub const WATCHED_SIGN: &str = "stairs-sign";
/// Seconds of the scene, after most streams have begun and before the other sign goes.
const COVERED_S: Range<u64> = 8..12;
/// How long the sign may go unread.
pub const ATTEST_EVERY_S: u64 = 2;

/// Frames of the watched stream in which nobody is expected: from the sheet to when the stream is lit again for certain.
pub const UNSEEN: Range<u64> = COVERED_S.start * FPS as u64..(COVERED_S.end + 2) * FPS as u64;

pub const SHOWS: [Show; 5] = [
    Show { stream: "hall", place: "Main hall", scene: "concourse", seed: 7, masks: false, via: Via::Rtsp, purposes: &[CASE] },
    Show { stream: WITHDRAWN_STREAM, place: "Ticket gates", scene: "gates", seed: 3, masks: false, via: Via::Rtsp, purposes: &[CASE] },
    Show {
        stream: "passage",
        place: "Passage to platform 2",
        scene: "corridor",
        seed: 1,
        masks: false,
        via: Via::File,
        purposes: &[MISSING, OTHER_CASE],
    },
    Show {
        stream: "stairs",
        place: "Stairs to platform 3",
        scene: "corridor",
        seed: 2,
        masks: false,
        via: Via::Direct,
        purposes: &[OTHER_CASE, CASE],
    },
    Show { stream: "entrance", place: "South entrance", scene: "gates", seed: 5, masks: true, via: Via::File, purposes: &[MASKS] },
];

impl Show {
    pub fn take(&self) -> Take {
        Take { scene: self.scene.to_owned(), seed: self.seed, turns: 1, masked: self.masks.then_some(0.5) }
    }

    /// Whether anybody may be identified there.
    pub fn identifies(&self) -> bool {
        !self.purposes.contains(&MASKS)
    }

    pub const fn is_clip(&self) -> bool {
        !matches!(self.via, Via::Direct)
    }

    /// As the pipeline file names it. `clip`: where it lies, if it is one.
    pub fn source(&self, rtsp_port: u16, clip: Option<&std::path::Path>) -> String {
        match (self.via, clip) {
            (Via::Rtsp, _) => format!("rtsp://127.0.0.1:{rtsp_port}/{}", self.stream),
            (Via::File, Some(clip)) => format!("file:{}", clip.display()),
            _ => format!("rendered:{}?seed={}&turns=1", self.scene, self.seed),
        }
    }

    /// As [`Show::source`], with a true code on the sign, and the sheet that comes over it, if it does.
    pub fn signed(source: &str, code: &str, covered: bool) -> String {
        let sheet = if covered { format!("&covered={}-{}", COVERED_S.start, COVERED_S.end) } else { String::new() };
        format!("{source}&sign={code}{sheet}")
    }

    /// Short, for people.
    pub fn shown_source(&self) -> String {
        format!("scene `{}`, seed {}: {}", self.scene, self.seed, self.via.words())
    }
}
