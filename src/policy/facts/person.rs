//! `[[person]]`: whose word counts for what, known by their signing key. A role counts while its holder is appointed and their
//! training is unexpired (C40).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::{Stamp, Utc};
use crate::policy::when::When;

/// Somebody whose signature counts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub id: String,
    /// Ed25519 public key, 64 hexadecimal digits (`placard person key` prints it).
    pub key: String,
    pub roles: Vec<Role>,
    pub from: When,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// The first instant at which the training no longer counts.
    pub trained_until: When,
    /// Made by `placard commission`, with a key that lies in the state directory: nobody's approval, and never in an operational site.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stand_in: bool,
}

/// What somebody may do. Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Operator,
    /// Two of them together may widen.
    Approver,
    /// Goes and looks at signs.
    Inspector,
    Legal,
    Installer,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Operator, Self::Approver, Self::Inspector, Self::Legal, Self::Installer];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Inspector => "inspector",
            Self::Legal => "legal",
            Self::Installer => "installer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role: operator, approver, inspector, legal or installer")]
pub struct NotARole(String);

impl FromStr for Role {
    type Err = NotARole;
    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| NotARole(text.to_owned()))
    }
}

/// Why somebody's role does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInForce {
    #[error("`{person}` does not have the role {role}")]
    Role { person: String, role: String },
    #[error("`{person}` is appointed from {from} only")]
    NotYet { person: String, from: When },
    #[error("`{person}` was appointed until {until}")]
    Over { person: String, until: When },
    #[error("the training of `{person}` ran out on {trained_until}: record a new one (`placard person add {person} --trained-until …`)")]
    Untrained { person: String, trained_until: When },
}

impl Person {
    /// Whether one of `roles` counts at `at`.
    pub fn may(&self, roles: &[Role], at: Stamp<Utc>) -> Result<(), NotInForce> {
        let person = self.id.clone();
        if !self.roles.iter().any(|r| roles.contains(r)) {
            let wanted: Vec<&str> = roles.iter().map(|r| r.name()).collect();
            return Err(NotInForce::Role { person, role: wanted.join(" or ") });
        }
        if at < self.from.at() {
            return Err(NotInForce::NotYet { person, from: self.from.clone() });
        }
        if let Some(until) = self.until.as_ref().filter(|u| at >= u.at()) {
            return Err(NotInForce::Over { person, until: until.clone() });
        }
        if at >= self.trained_until.at() {
            return Err(NotInForce::Untrained { person, trained_until: self.trained_until.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_counts_from_the_appointment_until_its_end_and_no_longer_than_the_training() {
        let when = |text: &str| text.parse::<When>().expect("date");
        let person = Person {
            id: "w.chen".to_owned(),
            key: "00".repeat(32),
            roles: vec![Role::Approver],
            from: when("2026-11-01"),
            until: Some(when("2027-11-01")),
            trained_until: when("2027-05-01"),
            stand_in: false,
        };
        let may = |role, at: &str| person.may(&[role], when(at).at());
        assert_eq!(may(Role::Approver, "2026-11-01"), Ok(()));
        assert!(matches!(may(Role::Inspector, "2026-11-01"), Err(NotInForce::Role { .. })));
        assert!(matches!(may(Role::Approver, "2026-10-31"), Err(NotInForce::NotYet { .. })));
        assert!(matches!(may(Role::Approver, "2027-05-01"), Err(NotInForce::Untrained { .. })));
        assert!(matches!(may(Role::Approver, "2027-11-01"), Err(NotInForce::Over { .. })));
        assert!(Role::ALL.iter().all(|r| r.name().parse::<Role>() == Ok(*r)) && "boss".parse::<Role>().is_err());
    }
}
