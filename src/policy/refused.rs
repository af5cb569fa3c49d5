//! Uses that a court or authority refused, or took its leave back from: what came of them is erased (EU AI Act Art. 5(3), 26(10)).
//!
//! Such a use stops at once, because no zone is looked at under an authorisation that was refused (`rules/law.rs`). What is left of it goes
//! too: who was enrolled for its purpose since it began, with key, rows and name (`enrolment/eligible.rs`, `gallery/purge.rs`), and the events
//! of that purpose since then (`emit/journal/erasure.rs`).
//!
//! An authorisation names a purpose, case and all, and instants; neither an entry nor an event says under which of several it was made. So
//! what was made since the refused one began rests on it, unless another for the same purpose, which nobody refused, was in force at that instant.
//! A refused use has an end: the last instant at which anything could rest on it, which is when the authorisation would have ended, or was refused if
//! that is later, and a minute for what was under way. What is made for that purpose afterwards, under a regime that asks for no authorisation, is
//! another use. Zones are not asked: under a refusal nothing of that case is kept for having been seen next door. What was made before it began, under another,
//! stays, and ends as it would have.
//!
//! Pure. The refusal is a stop, which anybody records and two approvers alone take back; like a consent's withdrawal it erases, and that cannot be
//! taken back.

use std::time::Duration;

use super::facts::{Authorisation, Register};
use crate::clock::{Stamp, Utc};
use crate::purpose::Purpose;

/// What was under way when it ended is done by then, and clocks differ by less.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// One use that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedUse {
    /// Id of the authorisation.
    pub authorisation: String,
    pub purpose: Purpose,
    pub from: Stamp<Utc>,
    /// Nothing made from then on rests on it.
    pub until: Stamp<Utc>,
    /// First and last instants of the others for the same purpose: what was made then rests on them.
    others: Vec<(Stamp<Utc>, Stamp<Utc>)>,
}

impl RefusedUse {
    /// Whether what was made for `purpose` at `at` came of it.
    pub fn covers(&self, purpose: &Purpose, at: Stamp<Utc>) -> bool {
        *purpose == self.purpose
            && self.from <= at
            && at < self.until
            && !self.others.iter().any(|(from, until)| *from <= at && at < *until)
    }
}

/// All that `register` knows.
pub fn refused_uses(register: &Register) -> Vec<RefusedUse> {
    let end_of = |refused: &Authorisation| {
        let until = refused.until.at();
        refused.refused.as_ref().map_or(until, |refusal| until.max(refusal.at.at())).plus(UNDER_WAY)
    };
    let use_of = |refused: &Authorisation| RefusedUse {
        authorisation: refused.id.clone(),
        purpose: refused.purpose.clone(),
        from: refused.from.at(),
        until: end_of(refused),
        others: register
            .authorisations
            .iter()
            .filter(|other| other.refused.is_none() && other.purpose == refused.purpose)
            .map(|other| (other.from.at(), other.until.at()))
            .collect(),
    };
    register.authorisations.iter().filter(|a| a.refused.is_some()).map(use_of).collect()
}

/// The refused use that what was made for `purpose` at `at` came of.
pub fn came_of_a_refused_use(register: &Register, purpose: &Purpose, at: Stamp<Utc>) -> Option<RefusedUse> {
    refused_uses(register).into_iter().find(|refused| refused.covers(purpose, at))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::super::facts::Withdrawal;
    use super::*;

    /// From 2026-11-10 to 2026-12-10, for `purpose`.
    pub(crate) fn authorisation(id: &str, purpose: &Purpose) -> Authorisation {
        let when = |text: &str| text.parse().expect("a date");
        Authorisation {
            id: id.to_owned(),
            authority: "court".to_owned(),
            purpose: purpose.clone(),
            zones: vec!["hall".to_owned()],
            from: when("2026-11-10"),
            until: when("2026-12-10"),
            assessment: "fria".to_owned(),
            registration: "eu".to_owned(),
            pending_since: Some(when("2026-11-10")),
            refused: None,
        }
    }
    pub(crate) fn refused(id: &str, purpose: &Purpose) -> Authorisation {
        let refused = Withdrawal { at: "2026-11-12".parse().expect("a date"), by: "court".to_owned(), reason: String::new() };
        Authorisation { refused: Some(refused), ..authorisation(id, purpose) }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{authorisation, refused};
    use super::*;

    #[test]
    fn what_was_made_since_a_refused_authorisation_began_came_of_it_unless_another_was_in_force() {
        let (case, other_case): (Purpose, Purpose) =
            ("crime-prevention:7".parse().expect("one"), "crime-prevention:8".parse().expect("one"));
        let on = |date: &str| date.parse::<crate::policy::when::When>().expect("a date").at();
        let mut register = Register { authorisations: vec![authorisation("u-1", &case)], ..Register::default() };
        assert_eq!(refused_uses(&register), []);
        register.authorisations = vec![refused("u-1", &case)];
        let came_of = |register: &Register, purpose: &Purpose, date: &str| {
            came_of_a_refused_use(register, purpose, on(date)).map(|refused| refused.authorisation)
        };
        assert_eq!(came_of(&register, &case, "2026-11-10").as_deref(), Some("u-1"));
        assert_eq!(came_of(&register, &case, "2026-11-09T23:59:59Z"), None, "before it began");
        assert_eq!(came_of(&register, &other_case, "2026-11-11"), None);
        assert_eq!(came_of(&register, &case, "2026-11-20").as_deref(), Some("u-1"), "told late, it covers what was done meanwhile");
        let later = Authorisation { from: "2026-11-15".parse().expect("date"), ..authorisation("u-2", &case) };
        register.authorisations.push(later.clone());
        assert_eq!(came_of(&register, &case, "2026-11-20"), None, "under the one that was given since");
        assert_eq!(came_of(&register, &case, "2026-11-14").as_deref(), Some("u-1"));
        assert_eq!(came_of(&register, &case, "2026-12-10").as_deref(), Some("u-1"), "when the other one has ended nothing else carries it");
        assert_eq!(came_of(&register, &case, "2026-12-10T00:01:00Z"), None, "nothing rests on it after it would have ended");
        register.authorisations[0].refused.as_mut().expect("refused").at = "2026-12-20".parse().expect("date");
        assert_eq!(came_of(&register, &case, "2026-12-19").as_deref(), Some("u-1"), "nor after it was refused, if that is later");
        assert_eq!(came_of(&register, &case, "2026-12-20T00:01:00Z"), None);
        assert_eq!(came_of(&register, &case, "2036-01-01"), None);
        register.authorisations[1] = Authorisation { refused: register.authorisations[0].refused.clone(), ..later };
        assert!(came_of(&register, &case, "2026-11-20").is_some());
    }
}
