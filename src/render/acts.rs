//! What happens to the sign, and to the camera, in a scene: a true code on its board, and from one second to another something that should
//! not be.
//!
//! `sign=PAYLOAD` puts a code on the board in place of the stand-in; `covered`, `foreign`, `moved` and `panned`, each `=FROM-TO` in seconds
//! of the scene, or `=FROM-` for ever, are what attestation must notice. Each act has a background of its own, drawn when the scene is
//! opened; a scene without any of these is, to the byte, what it was before there were any.

use std::str::FromStr;

use super::hall::{Occluder, View};
use super::scene::{Scene, SceneError};
use super::sprite::Planes;
use crate::signs::code::modules;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A sheet hangs over the board.
    Covered,
    /// A code of the same kind that the site did not sign.
    Foreign,
    /// The board stands 8 cm further to the right.
    Moved,
    /// The camera is turned by a twelfth of the picture's width.
    Panned,
}

impl What {
    pub const ALL: [Self; 4] = [Self::Covered, Self::Foreign, Self::Moved, Self::Panned];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Foreign => "foreign",
            Self::Moved => "moved",
            Self::Panned => "panned",
        }
    }
}

/// Seconds of the scene: from, and to where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from_s: u32,
    pub to_s: Option<u32>,
}

impl Span {
    fn holds(self, at_s: f64) -> bool {
        at_s >= f64::from(self.from_s) && self.to_s.is_none_or(|to_s| at_s < f64::from(to_s))
    }
}

impl FromStr for Span {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('-').ok_or(())?;
        let from_s = from.parse().map_err(|_| ())?;
        let to_s = if to.is_empty() { None } else { Some(to.parse().map_err(|_| ())?) };
        if to_s.is_some_and(|to_s| to_s <= from_s) { Err(()) } else { Ok(Self { from_s, to_s }) }
    }
}

/// What a scene shows beside its people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// The text of the code on the board; none: the stand-in.
    pub sign: Option<String>,
    pub acts: Vec<(What, Span)>,
}

impl Acts {
    /// From a source's query.
    pub fn named(pairs: &[(String, String)]) -> Result<Self, SceneError> {
        let mut acts = Self::default();
        for (name, value) in pairs {
            let unknown = || SceneError::Act(format!("{name}={value}"));
            if name == "sign" {
                modules(value).map_err(|_| unknown())?;
                acts.sign = Some(value.clone());
                continue;
            }
            let what = What::ALL.into_iter().find(|w| w.name() == name).ok_or_else(unknown)?;
            acts.acts.push((what, value.parse().map_err(|()| unknown())?));
        }
        Ok(acts)
    }
}

/// An act's own hall.
pub(super) struct Staged {
    span: Span,
    view: View,
    background: Planes,
    occluders: Vec<Occluder>,
}

/// The same code with one character changed near its end, in the signature.
fn forged(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if let Some(c) = bytes.iter_mut().rev().nth(6) {
        *c = if *c == b'0' { b'1' } else { b'0' };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Scene {
    /// Draws what `acts` need; from then on the scene shows them.
    pub fn perform(&mut self, acts: &Acts, stop: &dyn Fn() -> bool) -> Result<(), SceneError> {
        let drawn = |text: &str| modules(text).unwrap_or_default();
        if let Some(text) = &acts.sign {
            self.hall.code = drawn(text);
            (self.background, self.occluders) = self.hall.draw(stop).ok_or(SceneError::Interrupted)?;
        }
        self.staged.clear();
        for &(what, span) in &acts.acts {
            let mut hall = self.hall.clone();
            match what {
                What::Covered => hall.covered = true,
                What::Foreign => hall.code = drawn(&forged(acts.sign.as_deref().unwrap_or("PLACARD1:NOBODY/S SIGN"))),
                What::Moved => hall.move_sign(8.0),
                What::Panned => hall.view.pan = hall.view.width as f32 / 12.0,
            }
            let (background, occluders) = hall.draw(stop).ok_or(SceneError::Interrupted)?;
            self.staged.push(Staged { span, view: hall.view, background, occluders });
        }
        Ok(())
    }

    /// Exchanges the hall for that of the act that is on, and back again.
    pub(super) fn swap_stage(&mut self, at_s: f64) {
        let Some(act) = self.staged.iter_mut().find(|a| a.span.holds(at_s)) else { return };
        std::mem::swap(&mut self.hall.view, &mut act.view);
        std::mem::swap(&mut self.background, &mut act.background);
        std::mem::swap(&mut self.occluders, &mut act.occluders);
    }
}
