//! Which site a register belongs to: a key pair derived from the site's key. Its public half names the site in everything that people sign
//! there, and its secret half signs the founding, so that the register of another site, whoever signed it, is not believed here.

use std::path::Path;

use super::digest::Digest;
use super::keys::{KeyError, PersonKey, verifies};
use crate::seal::{SealError, SiteKey};
use crate::state::StateDirectory;

/// A site as its register knows it.
pub struct SiteIdentity(PersonKey);

#[derive(Debug, thiserror::Error)]
pub enum NoIdentity {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SiteIdentity {
    /// Of the site whose register is, or will be, at `register`.
    pub fn beside(register: &Path) -> Result<Self, NoIdentity> {
        let state = StateDirectory::new(register.parent().unwrap_or(Path::new(".")));
        let seed = SiteKey::load(&state)?.derive_seed("placard/1/register")?;
        Ok(Self(PersonKey::from_seed(&seed)?))
    }

    /// What people sign their approvals for.
    pub fn id(&self) -> Digest {
        self.0.public()
    }

    pub(super) fn sign(&self, message: &[u8]) -> String {
        self.0.sign(message)
    }

    pub(super) fn signed(&self, message: &[u8], signature: &str) -> bool {
        verifies(&self.id(), message, signature)
    }
}
