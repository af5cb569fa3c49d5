//! The register as it is read: verified, and remembered as verified, so that reading it again costs a digest for each old change and the
//! signatures of the new ones.
//!
//! What a reader has verified must still be there when it reads again: a file whose past is another is not believed until the service
//! starts anew, so that an older copy put in its place revives nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::Chain;
use super::change::Pending;
use super::ledger::{self, Contents};
use super::site::SiteIdentity;
use super::{PATIENCE, StoreError, identity, mode_agrees};
use crate::clock::{Stamp, Utc};
use crate::policy::facts::Register;
use crate::shutdown::Shutdown;

const PAUSE: Duration = Duration::from_millis(5);

/// What the file holds, believed.
#[derive(Clone)]
pub struct Present {
    pub(super) chain: Chain,
    pub(super) pending: Vec<Pending>,
}

impl Present {
    /// Reads and verifies the register at `path`. Waits for a moment while somebody writes it.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        Reader::new(path.to_owned()).read_within(PATIENCE)
    }

    /// The register as each change left it, oldest first, with when that change was recorded: all of it believed, or none.
    pub fn history(path: &Path) -> Result<Vec<(Stamp<Utc>, Register)>, StoreError> {
        let believed = Self::load(path)?;
        let path = &path.canonicalize().map_err(|source| StoreError::of_file(path, source))?;
        let (site, contents) = (identity(path)?, ledger::read(path)?);
        let (mut chain, mut past) = (Chain::new(&site), Vec::new());
        for (seq, bytes) in (0..believed.chain.length()).zip(&contents.changes) {
            let disbelieved = |why| StoreError::Disbelieved { path: path.clone(), seq, why: Box::new(why) };
            let recorded_at = chain.follow(&site, bytes).map_err(disbelieved)?;
            past.push((recorded_at, chain.register().clone()));
        }
        Ok(past)
    }

    pub fn register(&self) -> &Register {
        self.chain.register()
    }
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Believes `contents` or says what is wrong. `known`: what was believed before, which must be their beginning.
    pub(super) fn verified(path: &Path, site: &SiteIdentity, contents: Contents, known: Option<&Chain>) -> Result<Self, StoreError> {
        let altered = |problem| StoreError::Altered { path: path.to_owned(), problem };
        if contents.changes.is_empty() {
            // What a power cut leaves of a founding.
            return Err(StoreError::Missing(path.to_owned()));
        }
        let mut chain = match known {
            Some(known) if known.begins(&contents.changes) => known.clone(),
            Some(_) => {
                let problem =
                    "it is not the one that was read before, continued: an older copy, or another. If that is meant, restart the service";
                return Err(altered(problem));
            }
            None => Chain::new(site),
        };
        let verified = usize::try_from(chain.length()).unwrap_or(usize::MAX);
        for (seq, change) in (chain.length()..).zip(contents.changes.iter().skip(verified)) {
            let disbelieved = |why| StoreError::Disbelieved { path: path.to_owned(), seq, why: Box::new(why) };
            chain.follow(site, change).map_err(disbelieved)?;
        }
        if contents.head != chain.head().0 || contents.register != chain.register().to_toml().as_bytes() {
            return Err(altered("the register that is kept beside the changes is not what they add up to"));
        }
        // What waits is in nobody's way: one that cannot be read is left out.
        let mut pending: Vec<Pending> = contents.pending.iter().filter_map(|p| serde_json::from_slice(p).ok()).collect();
        pending.sort_by(|a: &Pending, b| (a.proposal.at.at(), &a.proposal.nonce).cmp(&(b.proposal.at.at(), &b.proposal.nonce)));
        Ok(Self { chain, pending })
    }
}

/// Reads one register again and again.
pub struct Reader {
    path: PathBuf,
    known: Option<Chain>,
}

impl Reader {
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: None }
    }

    /// Never waits: [`StoreError::Busy`] while somebody writes.
    pub fn read(&mut self) -> Result<Present, StoreError> {
        // Through a link, as a bench's: the keys lie beside the file itself.
        let path = self.path.canonicalize().map_err(|source| StoreError::of_file(&self.path, source))?;
        let site = identity(&path)?;
        let present = Present::verified(&path, &site, ledger::read(&path)?, self.known.as_ref())?;
        if !mode_agrees(&path, present.chain.mode()) {
            let problem = "of the site's description and its register one is operational and the other is not: `placard commission SITE_FILE --force` founds \
                           a register anew that becomes operational, for two approvers to sign; the other way there is none";
            return Err(StoreError::Altered { path, problem });
        }
        self.known = Some(present.chain.clone());
        Ok(present)
    }

    /// Waits up to `patience` while somebody writes.
    pub fn read_within(&mut self, patience: Duration) -> Result<Present, StoreError> {
        let (pause, mut pauses_left) = (Shutdown::new(), patience.as_millis() / PAUSE.as_millis());
        loop {
            match self.read() {
                Err(StoreError::Busy(_)) if pauses_left > 0 => {
                    pauses_left -= 1;
                    pause.wait(PAUSE);
                }
                other => return other,
            }
        }
    }
}
