//! An inspection of a sign: somebody went there and saw it hang. Recorded with who, when, and a photograph's digest where one was taken.
//!
//! It widens (a sign counts for some days more), so it is written first and counts when the policy thread has read it. It
//! does not undo a withdrawal.

use std::path::Path;

use crate::clock::{Stamp, Utc};

use super::facts::{NotInForce, Register, Sign};
use super::rules::CLOCK_SLACK_NS;
use super::store::{Needs, Outcome, StoreError};
use super::when::When;

/// Who saw a sign in its place, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    at: When,
    by: String,
    photo_sha256: Option<String>,
    /// When it was told: a recorded inspection beyond this is a slip, and may be replaced by an earlier one.
    told_at: Stamp<Utc>,
}

/// Why an inspection was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInspected {
    #[error("an inspection needs the name of whoever inspected")]
    Nobody,
    #[error("an inspection at {at} is still to come: it is {now} now (UTC)")]
    StillToCome { at: When, now: When },
    #[error("`{0}` is no photograph's SHA-256: 64 lower-case hex digits, not all zeros (`sha256sum photo.jpg`)")]
    Photograph(String),
    #[error("sign `{id}` was inspected later than {at} already: at {recorded}")]
    OlderThanRecorded { id: String, at: When, recorded: When },
    #[error("there is no sign `{id}`{}", nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean `{n}`?")))]
    UnknownSign { id: String, nearest: Option<String> },
    #[error("nobody in the register is called `{0}`: whoever inspects is a person of the register (`placard person list`)")]
    UnknownPerson(String),
    #[error("{0}: an inspection needs an inspector or an approver")]
    NotAnInspector(NotInForce),
}

impl Inspection {
    /// `at`: now, where nothing is said.
    pub fn new(by: &str, at: Option<When>, photo_sha256: Option<String>, now: Stamp<Utc>) -> Result<Self, NotInspected> {
        if by.trim().is_empty() {
            return Err(NotInspected::Nobody);
        }
        let now_text = When::to_the_millisecond(now);
        let at = at.unwrap_or_else(|| now_text.clone());
        if at.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
            return Err(NotInspected::StillToCome { at, now: now_text });
        }
        let hex = |p: &str| crate::hex::is_sha256(p) && p.bytes().any(|b| b != b'0');
        if let Some(photo) = photo_sha256.as_deref().filter(|p| !hex(p)) {
            return Err(NotInspected::Photograph(photo.to_owned()));
        }
        Ok(Self { at, by: by.trim().to_owned(), photo_sha256, told_at: now })
    }

    pub fn by(&self) -> &str {
        &self.by
    }
    pub fn at(&self) -> &When {
        &self.at
    }
}

/// Why a photograph is not the one that an inspection was recorded with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherPhotograph {
    #[error("no photograph was recorded for sign `{0}`")]
    NoneRecorded(String),
    #[error(
        "it is not the photograph of sign `{id}` that was recorded, or it was altered since: its SHA-256 is {found}, recorded was {recorded}. Withdraw the          sign, or inspect it again (`placard sign inspect {id} --photo FILE`)"
    )]
    Altered { id: String, recorded: String, found: String },
}

/// Whether the photograph with this digest is the one that the sign's inspection was recorded with. Placard does not keep photographs: whoever keeps them
/// asks.
pub fn is_the_photograph(sign: &Sign, found: &str) -> Result<(), OtherPhotograph> {
    let id = sign.id.clone();
    match sign.photo_sha256.as_deref().filter(|recorded| recorded.bytes().any(|b| b != b'0')) {
        None => Err(OtherPhotograph::NoneRecorded(id)),
        Some(recorded) if recorded == found => Ok(()),
        Some(recorded) => Err(OtherPhotograph::Altered { id, recorded: recorded.to_owned(), found: found.to_owned() }),
    }
}

/// Records the inspection, durably, or keeps it until two people who inspect have signed. Used by the running service and, when none runs,
/// by `placard sign`.
pub fn record_inspection(register: &Path, id: &str, inspection: &Inspection) -> Result<Result<Outcome, NotInspected>, StoreError> {
    let why = format!("sign `{id}` inspected");
    let (told, outcome) = Register::propose(register, &inspection.by, &why, inspection.told_at, |r| inspection.note(r, id))?;
    Ok(told.map(|()| outcome))
}

impl Inspection {
    /// Writes it into `register`, or says why not and leaves that as it is.
    pub fn note(&self, register: &mut Register, id: &str) -> Result<(), NotInspected> {
        let nearest = register.nearest_sign(id).map(str::to_owned);
        let people = register.people.clone();
        let Some(sign) = register.sign_mut(id) else { return Err(NotInspected::UnknownSign { id: id.to_owned(), nearest }) };
        let operational = !people.iter().any(|p| p.stand_in);
        match people.iter().find(|p| p.id == self.by) {
            Some(person) => person.may(Needs::TwoWhoInspect.roles(), self.at.at()).map_err(NotInspected::NotAnInspector)?,
            // A site that is being tried out has nobody yet but its stand-ins, who sign.
            None if operational => return Err(NotInspected::UnknownPerson(self.by.clone())),
            None => {}
        }
        let latest = self.told_at.ns().saturating_add(CLOCK_SLACK_NS);
        let newer = |recorded: &&When| recorded.at() > self.at.at() && recorded.at().ns() <= latest;
        if let Some(recorded) = sign.inspected_at.as_ref().filter(newer) {
            return Err(NotInspected::OlderThanRecorded { id: id.to_owned(), at: self.at.clone(), recorded: recorded.clone() });
        }
        sign.inspected_at = Some(self.at.clone());
        sign.inspected_by = Some(self.by.clone());
        // Named in what is signed: whoever inspects signs for these words and no others.
        sign.inspected_text_sha256 = Some(sign.text_sha256());
        if self.photo_sha256.is_some() {
            sign.photo_sha256.clone_from(&self.photo_sha256);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::good;
    use super::super::store::put_as_stand_ins;
    use super::*;

    fn when(text: &str) -> When {
        text.parse().expect("a date")
    }

    #[test]
    fn what_is_no_inspection_is_refused() {
        let now = when("2026-11-21T12:00:00Z").at();
        assert_eq!(Inspection::new("  ", None, None, now), Err(NotInspected::Nobody));
        let later = Inspection::new("w.chen", Some(when("2026-11-22")), None, now).expect_err("to come").to_string();
        assert!(later.contains("2026-11-22") && later.contains("2026-11-21T12:00:00Z"), "{later}");
        let photo = Inspection::new("w.chen", None, Some("AB".repeat(32)), now);
        assert!(matches!(photo, Err(NotInspected::Photograph(_))), "capitals are no digest the register would take");
        let photo = Inspection::new("w.chen", None, Some("0".repeat(64)), now);
        assert!(matches!(photo, Err(NotInspected::Photograph(_))), "a placeholder shows nothing");
        assert_eq!(Inspection::new(" w.chen ", None, None, now).expect("valid").by(), "w.chen");
    }

    #[test]
    fn an_altered_photograph_is_not_the_one_that_was_recorded() {
        let mut sign = good().signs[0].clone();
        let digest = "0f".repeat(32);
        sign.photo_sha256 = Some(digest.clone());
        assert_eq!(is_the_photograph(&sign, &digest), Ok(()));
        let altered = is_the_photograph(&sign, &"0e".repeat(32)).expect_err("altered");
        assert!(matches!(altered, OtherPhotograph::Altered { .. }) && altered.to_string().contains(&digest), "{altered}");
        for nothing in [None, Some("0".repeat(64))] {
            sign.photo_sha256 = nothing;
            assert!(matches!(is_the_photograph(&sign, &"0".repeat(64)), Err(OtherPhotograph::NoneRecorded(_))), "zeros are no photograph");
        }
    }

    #[test]
    fn an_inspection_replaces_who_when_and_photograph_and_never_an_earlier_for_a_later_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("register.redb");
        put_as_stand_ins(&path, &good(), when("2026-11-21").at()).expect("stored");
        let before = good().signs[0].clone();
        let now = when("2027-01-01").at();
        let digest = "0f".repeat(32);
        let inspection = Inspection::new("l.wu", None, Some(digest.clone()), now).expect("valid");
        record_inspection(&path, &before.id, &inspection).expect("written").expect("recorded");
        let sign = Register::load(&path).expect("load").signs[0].clone();
        assert_eq!((sign.inspected_by.as_deref(), sign.photo_sha256.as_ref()), (Some("l.wu"), Some(&digest)));
        assert_eq!(sign.inspected_at.as_ref().map(When::at), Some(now));
        let second = Inspection::new("w.chen", None, None, when("2027-01-02").at()).expect("valid");
        record_inspection(&path, &before.id, &second).expect("written").expect("recorded");
        let stored = Register::load(&path).expect("load");
        assert_eq!(stored.signs[0].photo_sha256, Some(digest), "without a new photograph the old one stands");
        let older = Inspection::new("l.wu", Some(when("2027-01-01")), None, when("2027-01-03").at()).expect("valid");
        let older = record_inspection(&path, &before.id, &older).expect("read").expect_err("older");
        assert!(matches!(older, NotInspected::OlderThanRecorded { .. }), "{older}");
        let unknown = record_inspection(&path, "nowhere", &second).expect("read").expect_err("no such sign");
        assert!(unknown.to_string().contains(&before.id), "{unknown}");
        assert_eq!(Register::load(&path).expect("load"), stored);
        // A recorded inspection of the day after tomorrow is a slip of the pen: it is not in the way of a true one.
        let (mut slip, today) = (stored, when("2027-01-03").at());
        slip.signs[0].inspected_at = Some(when("2027-01-05"));
        put_as_stand_ins(&path, &slip, today).expect("stored");
        let true_one = Inspection::new("l.wu", None, None, today).expect("valid");
        record_inspection(&path, &before.id, &true_one).expect("written").expect("recorded");
        assert_eq!(Register::load(&path).expect("load").signs[0].inspected_by.as_deref(), Some("l.wu"));
    }
}
