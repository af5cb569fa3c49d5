//! Which profiles there are, and what those that a register names come to together.
//!
//! A directory of the state (`profiles/NAME/`) goes before the bundled profile of the same name, provided its version is later; a
//! directory that is there and wrong is a refusal, never the bundled one in its place. Files are looked at again at each use and read
//! again when they changed. What was seen is remembered while the program runs: no earlier version, and no other text under the same
//! version, takes its place.
//!
//! A site's own profile, under a name that is not bundled, is one person's signature; two approvers decide that it holds: the register names it
//! with its digest, `NAME@DIGEST`, so another text under that name is none until two approvers have signed for it. A bundled name may be
//! given with a digest too; then no other version is used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::signature::{TrustedKey, from_hex, trusted_keys};
use super::{BASELINE, Profile, ProfileError, Texts, Values, Version};
use crate::clock::{Stamp, Utc};
use crate::hex;
use crate::policy::facts::{Register, Role};
use crate::policy::file::FileStamp;
use crate::policy::rules::{Reason, Rule};

macro_rules! bundled {
    ($($name:literal),*) => {
        [$(($name, Texts {
            values: include_str!(concat!("../../../profiles/", $name, "/profile.toml")),
            policies: include_str!(concat!("../../../profiles/", $name, "/policies.cedar")),
            signature: Some(include_str!(concat!("../../../profiles/", $name, "/signature"))),
        })),*]
    };
}

/// The profiles that come with the program, unread.
pub const BUNDLED: [(&str, Texts<'static>); 5] = bundled!("baseline", "cn-pipl", "eu-ai-act", "uk-ico", "us-bipa");

/// Combinations of profiles kept merged.
const MERGED_KEPT: usize = 64;

type Read = Result<Arc<Profile>, ProfileError>;

fn bundled(name: &str) -> Option<&'static Read> {
    static READ: OnceLock<BTreeMap<&'static str, Read>> = OnceLock::new();
    let read = |(name, texts): &(&'static str, Texts<'static>)| {
        let path = Path::new("profiles").join(name);
        (*name, Profile::verified(&path, *texts, &trusted_keys()).and_then(|p| named(p, name)).map(Arc::new))
    };
    READ.get_or_init(|| BUNDLED.iter().map(read).collect()).get(name)
}

fn named(profile: Profile, name: &str) -> Result<Profile, ProfileError> {
    if profile.id == name { Ok(profile) } else { Err(ProfileError::OtherName { said: profile.id, kept: name.to_owned() }) }
}

/// The profiles that hold together, merged.
#[derive(Clone, Debug)]
pub struct Regime {
    /// `baseline` first, then as the register names them.
    pub profiles: Vec<Arc<Profile>>,
    pub values: Values,
    /// When the first of them expires.
    pub ends: Option<Stamp<Utc>>,
    /// SHA-256 over their digests.
    pub hash: [u8; 32],
}

impl Regime {
    /// Languages in which signs announce what is done, by the texts that the regimes' signs are made from. What holds everywhere asks for no
    /// language of its own.
    pub fn languages(&self) -> BTreeSet<String> {
        let regimes = self.profiles.iter().filter(|p| p.id != BASELINE);
        regimes.flat_map(|p| p.values.languages()).map(str::to_owned).collect()
    }

    /// With one more profile.
    #[must_use]
    pub fn with(&self, added: &Arc<Profile>) -> Self {
        let profiles: Vec<_> = self.profiles.iter().chain(std::iter::once(added)).cloned().collect();
        let hash = Sha256::digest(profiles.iter().map(|p| p.digest).collect::<Vec<_>>().concat()).into();
        Self { profiles, values: self.values.strictest(&added.values), ends: self.ends, hash }
    }
}

/// Which contents a profile's directory had.
type Stamps = [Option<FileStamp>; 3];

#[derive(Default)]
struct Known {
    /// The site's own legal people, as the register has them now.
    legal: Vec<TrustedKey>,
    read: BTreeMap<String, (Stamps, Read)>,
    /// Latest version of each, and its digest.
    latest: BTreeMap<String, (Version, [u8; 32])>,
    /// By the digests of what was merged.
    merged: BTreeMap<Vec<[u8; 32]>, Arc<Regime>>,
}

/// Cloneable; all clones are one.
#[derive(Clone, Default)]
pub struct Library {
    directory: Option<PathBuf>,
    trusted: Vec<TrustedKey>,
    known: Arc<Mutex<Known>>,
}

impl Library {
    /// The bundled profiles alone.
    pub fn bundled() -> Self {
        static BUNDLED_ALONE: OnceLock<Library> = OnceLock::new();
        BUNDLED_ALONE.get_or_init(Self::default).clone()
    }

    /// Those of `directory` too, as far as one of `trusted` signed them, or one of the keys compiled in.
    pub fn with_directory(directory: PathBuf, trusted: Vec<TrustedKey>) -> Self {
        let trusted = trusted_keys().into_iter().chain(trusted).collect();
        Self { directory: Some(directory), trusted, known: Arc::default() }
    }

    /// The profiles of a site's state.
    pub fn of_site(state: &crate::state::StateDirectory) -> Self {
        Self::with_directory(state.profiles(), Vec::new())
    }

    /// Whether this is the name of a profile that comes with the program, which nobody's own can take.
    pub fn is_bundled(name: &str) -> bool {
        BUNDLED.iter().any(|(bundled, _)| *bundled == name)
    }

    /// The names of the bundled regimes: every bundled profile but what holds everywhere.
    pub fn regimes() -> Vec<&'static str> {
        BUNDLED.iter().map(|(name, _)| *name).filter(|name| *name != BASELINE).collect()
    }

    /// Every name that could be asked for: bundled ones, then the directory's own.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = BUNDLED.iter().map(|(n, _)| (*n).to_owned()).collect();
        let entries = self.directory.as_ref().and_then(|d| std::fs::read_dir(d).ok());
        let mut own: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| e.path().is_dir())
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| !names.contains(n))
            .collect();
        own.sort();
        names.append(&mut own);
        names
    }

    /// The profile `name`, or why there is none.
    pub fn profile(&self, name: &str) -> Result<Arc<Profile>, Reason> {
        let refused = |fact: String| Reason::new(Rule::ProfileKnown, fact, "`placard policy profiles list` tells what is wrong with each");
        let known = &mut *self.known.lock();
        let found = self.own(known, name).or_else(|| bundled(name).cloned());
        let Some(read) = found else {
            let names = BUNDLED.iter().map(|(n, _)| *n);
            let near = names.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
            let meant = near.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
            return Err(refused(format!("there is no profile `{name}`{meant}")));
        };
        let profile = read.map_err(|error| refused(format!("profile `{name}` is not used: {error}")))?;
        let floor = bundled(name).and_then(|b| b.as_ref().ok()).map(|b| (b.version.clone(), b.digest));
        for (version, digest) in known.latest.get(name).cloned().into_iter().chain(floor) {
            if profile.version < version || (profile.version == version && profile.digest != digest) {
                let fact = format!("profile `{name}` version {} is not later than one that was in force already", profile.version_text);
                return Err(refused(fact));
            }
        }
        known.latest.insert(name.to_owned(), (profile.version.clone(), profile.digest));
        Ok(profile)
    }

    /// The profile that a register names: `NAME`, or `NAME@DIGEST`, which a site's own must be named with.
    fn pinned(&self, named: &str) -> Result<Arc<Profile>, Reason> {
        let (name, digest) = named.split_once('@').map_or((named, None), |(name, digest)| (name, Some(digest)));
        let profile = self.profile(name)?;
        let is = hex::of(&profile.digest);
        let remedy = format!(
            "read it (`placard policy profiles show {name}`), then have two approvers sign for `{name}@{is}` in `[rules] profiles`"
        );
        match digest {
            Some(digest) if digest == is => Ok(profile),
            Some(_) => Err(Reason::new(
                Rule::ProfileKnown,
                format!("profile `{name}` is another than the one that two approvers signed for"),
                remedy,
            )),
            None if bundled(name).is_some() => Ok(profile),
            None => {
                let fact = format!("profile `{name}` is the site's own, and the register does not say which text of it holds");
                Err(Reason::new(Rule::ProfileKnown, fact, remedy))
            }
        }
    }

    /// From the directory, if it is there.
    fn own(&self, known: &mut Known, name: &str) -> Option<Read> {
        // A name that leaves the directory is no name.
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let path = self.directory.as_ref().filter(|_| plain)?.join(name);
        if !path.is_dir() {
            return None;
        }
        let files = ["profile.toml", "policies.cedar", "signature"].map(|f| path.join(f));
        let stamps = files.each_ref().map(|f| FileStamp::of(f).ok());
        if let Some((seen, read)) = known.read.get(name)
            && *seen == stamps
        {
            return Some(read.clone());
        }
        // What the law says is not one person's to change: under a bundled name the site's own people sign nothing.
        let of_site = if bundled(name).is_some() { &[][..] } else { &known.legal[..] };
        let trusted: Vec<TrustedKey> = self.trusted.iter().chain(of_site).cloned().collect();
        let read = read(&path, &files, name, &trusted).map(Arc::new);
        known.read.insert(name.to_owned(), (stamps, read.clone()));
        Some(read)
    }

    /// From now on people of `register` whose role is `legal`, in office and trained at `now`, are trusted to sign the site's own profiles, under
    /// names that are not bundled.
    pub fn believe(&self, register: &Register, now: Stamp<Utc>) {
        let in_office = register.people.iter().filter(|p| !p.stand_in && p.may(&[Role::Legal], now).is_ok());
        let legal: Vec<TrustedKey> = in_office.filter_map(|p| Some(TrustedKey { id: p.id.clone(), public: from_hex(&p.key)? })).collect();
        let known = &mut *self.known.lock();
        if known.legal != legal {
            // What was believed, or not, by other keys.
            known.read.clear();
            known.legal = legal;
        }
    }

    /// What the register's profiles and `baseline` come to at `now`, by the word of its legal people ([`believe`](Self::believe)).
    pub fn regime_of(&self, register: &Register, now: Stamp<Utc>) -> Result<Arc<Regime>, Reason> {
        self.believe(register, now);
        self.regime(&register.rules.profiles, now)
    }

    /// What the profiles `names` (as a register names them) and `baseline` come to at `now`.
    pub fn regime(&self, names: &[String], now: Stamp<Utc>) -> Result<Arc<Regime>, Reason> {
        let mut profiles = vec![self.profile(BASELINE)?];
        for name in names.iter().filter(|n| *n != BASELINE) {
            profiles.push(self.pinned(name)?);
        }
        let mut ends: Option<Stamp<Utc>> = None;
        for p in &profiles {
            let refused = |fact: String, remedy: &str| Err(Reason::new(Rule::ProfileKnown, fact, remedy));
            if now < p.valid_from.at() {
                return refused(format!("profile `{}` is valid from {}", p.id, p.valid_from), "wait, or correct the wall clock");
            }
            if let Some(until) = &p.valid_until {
                if now >= until.at() {
                    return refused(format!("profile `{}` was valid until {until}", p.id), "install its next version");
                }
                ends = Some(ends.map_or(until.at(), |e| e.min(until.at())));
            }
        }
        let digests: Vec<[u8; 32]> = profiles.iter().map(|p| p.digest).collect();
        let known = &mut *self.known.lock();
        if let Some(regime) = known.merged.get(&digests) {
            return Ok(Arc::clone(regime));
        }
        if known.merged.len() > MERGED_KEPT {
            known.merged.clear();
        }
        let values = profiles.iter().fold(Values::loosest(), |all, p| all.strictest(&p.values));
        let hash = Sha256::digest(digests.concat()).into();
        let regime = Arc::new(Regime { profiles, values, ends, hash });
        known.merged.insert(digests, Arc::clone(&regime));
        Ok(regime)
    }
}

fn read(path: &Path, [values, policies, signature]: &[PathBuf; 3], name: &str, trusted: &[TrustedKey]) -> Result<Profile, ProfileError> {
    let text = |file: &Path| std::fs::read_to_string(file).map_err(|e| ProfileError::Unreadable(format!("{}: {e}", file.display())));
    let (values, policies) = (text(values)?, text(policies)?);
    let signature = std::fs::read_to_string(signature).ok();
    let texts = Texts { values: &values, policies: &policies, signature: signature.as_deref() };
    named(Profile::verified(path, texts, trusted)?, name)
}
