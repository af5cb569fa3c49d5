//! Leave to use image files that an operator hands over: to enrol a subject for one purpose, or to search that purpose's gallery.
//!
//! No camera is involved, so no sign, no area and no other way in are asked for; the purpose is. It must stand in the register with a basis and an
//! assessment in force, it must be one that identifies, and every regime's policies must permit it in one of its zones ([`counsel`]). A desk has a lease table of its own with one slot, for
//! [`StreamIndex::DESK`], which no camera's frame carries, and it renews that lease only while the purpose holds.
//!
//! Whom it may be, [`eligible`] says: consent, age, orders, room.
//!
//! Owner: the thread of one command. The register is read once, when the desk is opened; a command is over in minutes.

mod counsel;
pub mod eligible;

use std::time::Duration;

use crate::area::Area;
use crate::clock::{SharedClock, Stamp, Utc};
use crate::frame::{StreamIndex, TableId};
use crate::purpose::{Purpose, PurposeKind};

use super::facts::Register;
use super::lease::{Grant, LeaseTable, LeaseTerms, LeaseWriter, MAX_LEASE, Match, Permit, PixelStage, Place, StreamState, Withheld};
use super::profile::Library;
use super::profile::values::Values;
use super::rules::{Reason, Rule, grant_of, purpose_stands};
use super::store::Present;
use super::wall_clock::{WallClockGuard, not_before};
use eligible::{Declared, Eligible, Enrolment, Standing};

const DESK: StreamIndex = StreamIndex::DESK;

/// Mints permits for image files, for one purpose.
pub struct EnrolmentDesk {
    writer: LeaseWriter,
    table: LeaseTable,
    terms: LeaseTerms,
    clock: SharedClock,
    clock_guard: WallClockGuard,
    purpose_ends: Stamp<Utc>,
    basis_ends: Stamp<Utc>,
    register: Register,
    purpose: Purpose,
    /// Under this age, in years, a guardian consents.
    minor_age: u32,
    /// Days that a template may be kept.
    templates_max_days: Option<u32>,
    filing: Option<Filing>,
}

/// How many distinct persons may be stored before a regime asks for a filing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filing {
    pub persons: u32,
    /// Told from this share on, percent.
    pub warn_pct: u32,
}

impl Filing {
    /// `None`: no regime asks.
    pub fn of(values: &Values) -> Option<Self> {
        values.filing_persons.map(|persons| Self { persons, warn_pct: values.filing_warn_pct.min(100) })
    }

    /// What to say of `stored` persons, all purposes together, once the limit is near; and by which rule.
    pub fn warning(self, stored: usize) -> Option<String> {
        let (persons, rule) = (self.persons, Rule::GalleryCapped.name());
        (stored >= self.warn_at() as usize).then(|| {
            format!(
                "{stored} of {persons} persons that may be stored before the site's regime asks for a filing (`count.distinct_persons_filing` of its \
                 profile): at {persons} nobody more is enrolled [{rule}]; delete whoever need not be stored"
            )
        })
    }

    pub fn warn_at(self) -> u32 {
        u32::try_from(u64::from(self.persons) * u64::from(self.warn_pct) / 100).unwrap_or(self.persons)
    }
}

/// Why a permit was not given.
#[derive(Debug, thiserror::Error)]
pub enum DeskClosed {
    #[error("{0}")]
    Rule(Reason),
    #[error(transparent)]
    Withheld(#[from] Withheld),
}

impl EnrolmentDesk {
    /// Refuses with the rule where the register does not let `purpose` identify anyone now. Knows the bundled profiles.
    pub fn open(register: &Register, purpose: &Purpose, clock: SharedClock) -> Result<Self, Reason> {
        Self::open_under(register, purpose, clock, &Library::bundled())
    }

    /// As [`open`](Self::open), of a site: under its profiles, and with a clock that its register does not contradict.
    pub fn of_site(present: &Present, purpose: &Purpose, clock: SharedClock, library: &Library) -> Result<Self, Reason> {
        not_before(clock.utc(), present.chain().signed_at())?;
        Self::open_under(present.register(), purpose, clock, library)
    }

    /// As [`open`](Self::open), under the profiles of a site.
    pub fn open_under(register: &Register, purpose: &Purpose, clock: SharedClock, library: &Library) -> Result<Self, Reason> {
        let now = clock.now();
        let mut clock_guard = WallClockGuard::default();
        clock_guard.check(now)?;
        if !purpose.kind().identifies() {
            let fact = format!("purpose `{purpose}` identifies nobody");
            return Err(Reason::new(Rule::PurposeNamed, fact, "name a purpose that does; there is nobody to enrol or find for this one"));
        }
        let regime = library.regime_of(register, now.utc)?;
        let mut refused = None;
        for fact in register.purposes.iter().filter(|f| f.purpose == *purpose) {
            let stands = purpose_stands(register, &regime.values, fact, now.utc).map_err(|refusal| refusal.reason);
            match stands.and_then(|ends| counsel::permitted_somewhere(register, fact, library, now.utc).map(|()| ends)) {
                Err(reason) => refused = refused.or(Some(reason)),
                Ok(purpose_ends) => {
                    let purpose_ends = regime.ends.map_or(purpose_ends, |ends| ends.min(purpose_ends));
                    let basis_ends = fact.basis.as_ref().and_then(|b| b.until.as_ref()).map_or(purpose_ends, |until| until.at());
                    let (writer, table) = LeaseWriter::for_desk(&clock);
                    let terms = LeaseTerms {
                        stream: DESK,
                        state: StreamState::Recognise,
                        grants: vec![Grant { place: Place::Desk, ..grant_of(fact, &regime.values) }],
                        area: Area::whole(),
                        profile_hash: register.hash(),
                        claim: None,
                    };
                    let (minor_age, templates_max_days) = (regime.values.minor_age, regime.values.templates_max_days);
                    let filing = Filing::of(&regime.values);
                    let (register, purpose) = (register.clone(), purpose.clone());
                    return Ok(Self {
                        writer,
                        table,
                        terms,
                        clock,
                        clock_guard,
                        purpose_ends,
                        basis_ends,
                        register,
                        purpose,
                        minor_age,
                        templates_max_days,
                        filing,
                    });
                }
            }
        }
        Err(refused.unwrap_or_else(|| not_in_register(register, purpose)))
    }

    /// The desk as the register and the profiles are now; `None`: as this one. An error: the purpose identifies nobody any more.
    pub fn anew(&self, present: &Present, library: &Library) -> Result<Option<Self>, Reason> {
        let next = Self::of_site(present, &self.purpose, self.clock.clone(), library)?;
        let bounds = |desk: &Self| (desk.purpose_ends, desk.basis_ends, desk.minor_age, desk.templates_max_days, desk.filing);
        Ok((self.terms != next.terms || bounds(self) != bounds(&next)).then_some(next))
    }

    /// Whose permits these are: image files and galleries are opened for it.
    pub const fn table(&self) -> TableId {
        self.table.id()
    }

    /// When the purpose's legal basis ends: nobody may stay enrolled for it longer.
    pub fn basis_ends(&self) -> Stamp<Utc> {
        self.basis_ends
    }

    /// Whether somebody of whom this was declared may be enrolled, and until when: the regime's age and longest keeping count.
    pub fn eligible(&self, declared: &Declared) -> Result<Eligible, Reason> {
        let now = self.clock.utc();
        let given = eligible::eligible(&self.register, &self.purpose, declared, self.minor_age, now)?;
        let longest = self.templates_max_days.map(|days| now.plus(Duration::from_secs(86_400 * u64::from(days))));
        Ok(Eligible { ends: given.ends.into_iter().chain(longest).min(), ..given })
    }

    /// As it was when the desk was opened.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// The zones that somebody may be looked for in: of those that the purpose has, the ones asked for, or all.
    pub fn zones(&self, asked: &[String]) -> Result<Vec<String>, Reason> {
        let of_purpose = self.register.purposes.iter().filter(|f| f.purpose == self.purpose);
        let mut all: Vec<String> = of_purpose.flat_map(|f| f.zones.iter().cloned()).collect();
        if let Some(other) = asked.iter().find(|zone| !all.contains(zone)) {
            let fact = format!("zone `{other}` is none of `{}`'s: {}", self.purpose, all.join(", "));
            return Err(Reason::new(Rule::PurposeNamed, fact, "name one of the purpose's zones, or record that it has another"));
        }
        all.retain(|zone| asked.is_empty() || asked.contains(zone));
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Whether one more has room beside `enrolled`, for `days`.
    pub fn has_room(&self, enrolled: usize, days: u32) -> Result<(), Reason> {
        eligible::has_room(&self.register, &self.purpose, enrolled, days)
    }

    /// Whether one distinct person more may be stored beside `stored`, counting all purposes together: no more than the regime lets anybody store
    /// without a filing. Says it too when the limit is near.
    pub fn may_store(&self, stored: usize) -> Result<Option<String>, Reason> {
        let Some(filing) = self.filing else { return Ok(None) };
        if stored >= filing.persons as usize {
            let fact = format!(
                "{stored} persons are stored, all purposes together; the site's regime asks for a filing from {} on",
                filing.persons
            );
            return Err(Reason::new(Rule::GalleryCapped, fact, "delete whoever need not be stored: no filing can be recorded here yet"));
        }
        Ok(filing.warning(stored))
    }

    /// What has become of what an enrolment rests on.
    pub fn standing(&self, enrolment: Enrolment<'_>) -> Standing {
        eligible::enrolment_stands(&self.register, &self.purpose, enrolment, self.clock.utc())
    }

    /// Leave to read the pixels of one image file.
    pub fn permit<S: PixelStage>(&mut self) -> Result<Permit<S>, DeskClosed> {
        self.renew()?;
        Ok(self.table.permit(DESK, self.clock.monotonic())?)
    }

    /// Leave to search the purpose's gallery. Never for a purpose that verifies claims: its gallery is not searched.
    pub fn match_permit(&mut self) -> Result<Permit<Match>, DeskClosed> {
        self.renew()?;
        let [grant] = &*self.terms.grants else { return Err(Withheld::Purpose.into()) };
        Ok(self.table.permit_for(DESK, &grant.purpose, self.clock.monotonic())?)
    }

    fn renew(&mut self) -> Result<(), DeskClosed> {
        let now = self.clock.now();
        self.clock_guard.check(now).map_err(DeskClosed::Rule)?;
        if now.utc >= self.purpose_ends {
            self.writer.revoke(DESK);
            return Err(Withheld::Expired.into());
        }
        let left_ns = u64::try_from(self.purpose_ends.since_ns(now.utc)).unwrap_or(0);
        let not_after = now.monotonic.plus(MAX_LEASE.min(Duration::from_nanos(left_ns)));
        self.writer.publish_until(&self.terms, now.monotonic, not_after);
        Ok(())
    }
}

fn not_in_register(register: &Register, purpose: &Purpose) -> Reason {
    let of_kind = |kind: PurposeKind| register.purposes.iter().filter(move |f| f.purpose.kind() == kind);
    let known: Vec<String> = of_kind(purpose.kind()).map(|f| format!("`{}`", f.purpose)).collect();
    let fact = format!("purpose `{purpose}` is not in the register");
    if known.is_empty() {
        Reason::new(Rule::PurposeNamed, fact, "record it with its basis and assessment")
    } else {
        Reason::new(Rule::PurposeNamed, fact, format!("record it, or use {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::facts::testing::good;
    use super::super::lease::{Detect, Embed, testing::grant_by};
    use super::*;
    use crate::clock::{Clock, SimulatedClock};
    use crate::frame::still::{desk_frame_from_rgb, frame_from_rgb};
    use crate::frame::{Frame, FrameError, FrameHeader, OwnedBuffer, ReadRefused};

    /// 2026-11-21T20:16:58Z; the example register's basis ends on 2026-12-15.
    const NOW: Stamp<Utc> = Stamp::from_ns(1_795_292_218_000_000_000);

    fn refusal(register: &Register, purpose: &str) -> Option<Rule> {
        let clock = SimulatedClock::starting_at(NOW);
        EnrolmentDesk::open(register, &purpose.parse().expect("purpose"), clock).err().map(|r| r.rule)
    }

    #[test]
    fn only_a_purpose_in_force_opens_the_desk() {
        let register = good();
        assert_eq!(refusal(&register, "missing-person:mp-7"), None);
        assert_eq!(refusal(&register, "missing-person:mp-8"), Some(Rule::PurposeNamed));
        assert_eq!(refusal(&register, "mask-check"), Some(Rule::PurposeNamed));
        let mut without = register.clone();
        without.purposes[0].basis = None;
        assert_eq!(refusal(&without, "missing-person:mp-7"), Some(Rule::BasisInForce));
        let mut without = register.clone();
        without.purposes[0].assessment = None;
        assert_eq!(refusal(&without, "missing-person:mp-7"), Some(Rule::AssessmentCurrent));
        let mut unsigned = register;
        unsigned.signs.clear();
        assert_eq!(refusal(&unsigned, "missing-person:mp-7"), None, "no camera, no sign");
    }

    #[test]
    fn permits_are_short_are_renewed_and_end_with_the_purpose() {
        let clock = SimulatedClock::starting_at(NOW);
        let purpose = "missing-person:mp-7".parse().expect("purpose");
        let mut desk = EnrolmentDesk::open(&good(), &purpose, clock.clone()).expect("open");
        let detect = desk.permit::<Detect>().expect("granted");
        clock.advance(MAX_LEASE * 4 / 5);
        assert!(detect.is_live(clock.monotonic()));
        clock.advance(MAX_LEASE);
        assert!(!detect.is_live(clock.monotonic()), "nobody renewed it");
        let matching = desk.match_permit().expect("granted");
        assert_eq!(matching.purpose(), &purpose);
        assert!(matching.basis().contains("PIPL Art. 26"));
        let ends = desk.basis_ends();
        clock.advance(Duration::from_nanos(u64::try_from(ends.since_ns(clock.utc()) - 1_000_000).expect("ahead")));
        let last = desk.permit::<Embed>().expect("one millisecond left");
        clock.advance(Duration::from_millis(1));
        assert!(!last.is_live(clock.monotonic()), "no permit runs past the basis");
        assert!(matches!(desk.permit::<Embed>(), Err(DeskClosed::Withheld(Withheld::Expired))));
    }

    #[test]
    fn the_regime_s_age_and_its_longest_keeping_count() {
        let clock = SimulatedClock::starting_at(NOW);
        let purpose = "missing-person:mp-7".parse().expect("purpose");
        let mut desk = EnrolmentDesk::open(&good(), &purpose, clock).expect("open");
        let fifteen = Declared { birth_date: Some("2011-06-01".parse().expect("date")), ..Declared::default() };
        assert_eq!(desk.eligible(&fifteen).expect("of age").ends, None, "nothing but the basis bounds it");
        assert_eq!(desk.may_store(1_000_000), Ok(None), "no regime of the example asks for a filing");
        desk.filing = Some(Filing { persons: 100, warn_pct: 80 });
        assert_eq!(desk.may_store(79), Ok(None));
        let near = desk.may_store(80).expect("there is room").expect("said");
        assert!(near.starts_with("80 of 100 persons") && near.contains("[gallery-capped]"), "{near}");
        assert!(desk.may_store(99).is_ok() && desk.may_store(100).is_err());
        (desk.minor_age, desk.templates_max_days) = (16, Some(90));
        assert_eq!(desk.eligible(&fifteen).err().map(|r| r.rule), Some(Rule::GuardianConsents));
        let adult = desk.eligible(&Declared { adult: true, ..Declared::default() }).expect("of age");
        assert_eq!(adult.ends.map(|e| e.since_ns(NOW)), Some(90 * 86_400_000_000_000));
    }

    #[test]
    fn a_clock_set_back_closes_the_desk() {
        let clock = SimulatedClock::starting_at(NOW);
        let mut desk = EnrolmentDesk::open(&good(), &"missing-person:mp-7".parse().expect("purpose"), clock.clone()).expect("open");
        clock.set_utc(Stamp::from_ns(NOW.ns() - 3_600_000_000_000));
        assert!(matches!(desk.permit::<Detect>(), Err(DeskClosed::Rule(r)) if r.rule == Rule::ClockBelievable));
    }

    #[test]
    fn a_desk_s_permit_opens_image_files_and_no_camera_s_frame() {
        let clock = SimulatedClock::starting_at(NOW);
        let mut desk = EnrolmentDesk::open(&good(), &"missing-person:mp-7".parse().expect("purpose"), clock.clone()).expect("open");
        let permit = desk.permit::<Embed>().expect("granted");
        let rgb = [90; 16 * 16 * 3];
        let (file, first_camera) =
            (desk_frame_from_rgb(desk.table(), 16, 16, &rgb).expect("valid"), frame_from_rgb(16, 16, &rgb).expect("valid"));
        assert!(file.read(&permit).is_ok());
        assert_eq!(first_camera.read(&permit).err(), Some(ReadRefused::OtherStream { permit_stream: u16::MAX, frame_stream: 0 }));
        let camera = grant_by(clock.clone(), StreamState::Recognise, &["missing-person:mp-7"], Area::whole());
        let cameras = camera.table.permit::<Embed>(StreamIndex(0), clock.monotonic()).expect("live");
        assert!(first_camera.read(&cameras).is_ok());
        assert_eq!(file.read(&cameras).err(), Some(ReadRefused::OtherStream { permit_stream: 0, frame_stream: u16::MAX }));
        assert_eq!(camera.table.permit::<Embed>(DESK, clock.monotonic()).err(), Some(Withheld::NoLease), "no camera's table has a desk");
        // A camera cannot deliver frames that claim to be files.
        let header = FrameHeader { stream: DESK, ..*first_camera.header() };
        let planes = vec![vec![0; 256]; 3];
        assert_eq!(Frame::new(header, TableId::NOBODY, Box::new(OwnedBuffer { planes })).err(), Some(FrameError::Desk { sequence: 0 }));
        clock.advance(MAX_LEASE);
        assert_eq!(file.read(&permit).err(), Some(ReadRefused::Ended { stream: u16::MAX }), "nobody renewed it");
    }
}
