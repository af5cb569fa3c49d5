//! Leave to measure models: on pictures that Placard draws, and on photographs that somebody brings for that end.
//!
//! An [`EvaluationDesk`] opens pictures of its own table and no camera's, and gives permits to read pixels only: no gallery is searched with it,
//! and what comes out are figures. Photographs show real people, and no purpose of a register covers measuring, so an operational site measures on
//! drawn pictures only ([`photographs`]).
//!
//! Owner: one thread of one command.

use std::path::Path;
use std::time::Duration;

use crate::area::Area;
use crate::clock::SharedClock;
use crate::frame::{StreamIndex, TableId};

use super::facts::{Mode, Site};
use super::file::FileError;
use super::lease::{Grant, LeaseTable, LeaseTerms, LeaseWriter, MAX_LEASE, Permit, PixelStage, Place, StreamState, Withheld};
use super::rules::{Reason, Rule};

const DESK: StreamIndex = StreamIndex::DESK;

/// Mints permits to read and embed pictures that are measured on.
pub struct EvaluationDesk {
    writer: LeaseWriter,
    table: LeaseTable,
    terms: LeaseTerms,
    clock: SharedClock,
}

impl EvaluationDesk {
    pub fn open(clock: SharedClock) -> Self {
        let (writer, table) = LeaseWriter::for_desk(&clock);
        // Embedding and mask checks each need a purpose that they serve. There is no gallery of these, and no permit to ask one.
        let purposes = ["missing-person:evaluation", "mask-check"].into_iter().filter_map(|name| name.parse().ok());
        let grants =
            purposes.map(|purpose| Grant { purpose, basis: "evaluation of models".into(), confirmations: 0, place: Place::Desk }).collect();
        let terms =
            LeaseTerms { stream: DESK, state: StreamState::Recognise, grants, area: Area::whole(), profile_hash: [0; 32], claim: None };
        Self { writer, table, terms, clock }
    }

    /// Whose permits these are: pictures are opened for it.
    pub const fn table(&self) -> TableId {
        self.table.id()
    }

    /// Leave to read the pixels of one picture.
    pub fn permit<S: PixelStage>(&mut self) -> Result<Permit<S>, Withheld> {
        let now = self.clock.monotonic();
        self.writer.publish_until(&self.terms, now, now.plus(MAX_LEASE.max(Duration::from_millis(1))));
        self.table.permit(DESK, now)
    }
}

/// Whether photographs may be measured on in the site that `path` describes. Where there is none, nobody can be enrolled or recognised.
pub fn photographs(path: &Path) -> Result<(), Reason> {
    let refused = |fact: String| {
        let remedy = "measure on photographs before the site is operational, or with --state of a site that is commissioned for it";
        Err(Reason::new(Rule::PurposeNamed, fact, remedy))
    };
    match Site::load(path) {
        Ok(Site { mode: Mode::Commissioning | Mode::Demo, .. }) => Ok(()),
        Ok(site) => {
            refused(format!("site `{}` is operational, and measuring models on people's photographs is no purpose of it", site.name))
        }
        Err(FileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => refused(format!("the site's mode cannot be read, which counts as operational ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::frame::still::desk_frame_from_rgb;
    use crate::policy::lease::{Detect, Embed, MaskCheck};

    #[test]
    fn a_desk_opens_its_own_pictures_for_as_long_as_a_lease_and_matches_nobody() {
        let clock = SimulatedClock::starting_at(crate::clock::Stamp::from_ns(0));
        let mut desk = EvaluationDesk::open(clock.clone());
        let picture = desk_frame_from_rgb(desk.table(), 16, 16, &[90; 16 * 16 * 3]).expect("valid");
        let permit = desk.permit::<Embed>().expect("granted");
        assert!(picture.read(&permit).is_ok());
        assert!(picture.read(&desk.permit::<MaskCheck>().expect("granted")).is_ok());
        let mut other = EvaluationDesk::open(clock.clone());
        assert!(picture.read(&other.permit::<Detect>().expect("granted")).is_err(), "another desk's");
        clock.advance(MAX_LEASE);
        assert!(picture.read(&permit).is_err(), "nobody renewed it");
    }

    #[test]
    fn photographs_are_not_for_an_operational_site() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("site.toml");
        assert_eq!(photographs(&path), Ok(()), "no site");
        for (mode, allowed) in [(Mode::Commissioning, true), (Mode::Demo, true), (Mode::Operational, false)] {
            Site { name: "east".into(), mode, controller: "c".into(), contact: "c".into(), status_page: None }
                .store(&path)
                .expect("written");
            assert_eq!(photographs(&path).is_ok(), allowed, "{mode:?}");
        }
        std::fs::write(&path, "[site]").expect("written");
        assert!(photographs(&path).is_err_and(|r| r.fact.contains("counts as operational")));
    }
}
