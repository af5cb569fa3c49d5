//! The two people who stand in for approvers in a demonstration or commissioning site. Their keys lie in the state directory, so whoever may
//! use it signs with both: nobody's approval, and said so wherever approvals are shown. An operational register believes none.

use std::path::Path;

use super::change::{Approval, Proposal};
use super::digest::Digest;
use super::keys::{KeyError, PersonKey};
use crate::policy::facts::{Person, Role};
use crate::policy::when::When;
use crate::state::StateDirectory;

const NUMBERS: [u8; 2] = [1, 2];

fn id(number: u8) -> String {
    format!("stand-in-{number}")
}

fn state(register: &Path) -> StateDirectory {
    StateDirectory::new(register.parent().unwrap_or(Path::new(".")))
}

/// The two, with keys that are made if they are not there.
pub fn people(register: &Path) -> Result<Vec<Person>, KeyError> {
    let state = state(register);
    let one = |number: u8| {
        let path = state.stand_in_key(number);
        let key = match PersonKey::load(&path) {
            Err(KeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => PersonKey::create(&path)?,
            other => other?,
        };
        let ever = |text: &str| text.parse::<When>().map_err(|_| KeyError::Library("tell the time"));
        let roles = vec![Role::Approver, Role::Inspector, Role::Operator, Role::Legal, Role::Installer];
        let (from, trained_until) = (ever("1970-01-01")?, ever("2261-01-01")?);
        Ok(Person { id: id(number), key: key.public().to_string(), roles, from, until: None, trained_until, stand_in: true })
    };
    NUMBERS.into_iter().map(one).collect()
}

/// Both signatures; `None`: this site has no stand-ins, or they are not ours to use.
pub(super) fn approvals(register: &Path, site: &Digest, proposal: &Proposal, at: &When) -> Option<Vec<Approval>> {
    let state = state(register);
    let one = |number: u8| {
        let key = PersonKey::load(&state.stand_in_key(number)).ok()?;
        Some(Approval::sign(&id(number), &key, site, &proposal.digest(), at.clone()))
    };
    NUMBERS.into_iter().map(one).collect()
}
