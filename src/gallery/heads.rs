//! The witness of how far the vault has come: the newest generation of every purpose, and who was deleted, in a file of its own beside the vault.
//!
//! Sealed under the site's key itself, whatever key the gallery is under, so that it also bears witness of a vault from before a re-keying; and it stays
//! where a purpose's last person, and with that person its shard, has gone. `docs/formats.md` has the same map.
//!
//! ```text
//! two copies of the same, each L bytes: a multiple of 4,096, zero to its end; the file has 2 L
//! 0  magic "PLACHEAD" · 8 u16 format 1 · 10 u16 0 · 12 u32 bytes that are sealed · 16 sealed: nonce (12) | facts | tag (16); 0..16 is bound
//! facts: u32 purposes; each u16 length, text, u64 version, mark (16) · u32 deleted; each digest (16), i64 end of the last template, Unix ns
//! ```
//!
//! Of who was deleted it keeps a digest of the id under a key of its own, until the last of their templates would have ended: from then on no vault gives them
//! back. Replaced as a whole: written under another name, synced, renamed. A damaged copy costs nothing while the other opens.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac;
use parking_lot::Mutex;

use super::SubjectId;
use super::seal::{SealError, SealingKey, SiteKey};
use super::shard::disk::{Disk, DiskFile, read_exact_at, write_all_at};

const MAGIC: [u8; 8] = *b"PLACHEAD";
const FORMAT: u16 = 1;
const PAGE: usize = 4_096;
const BEGIN: usize = 16;

/// Version and mark of a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub version: u64,
    pub mark: [u8; 16],
}

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    pub purposes: BTreeMap<String, Head>,
    /// Digests of who was deleted, and when the last of their templates would have ended, Unix ns.
    pub gone: BTreeMap<[u8; 16], i64>,
}

/// What was found in the file.
pub(crate) enum Found {
    Absent,
    /// `damaged`: which of the two copies, 1 or 2, does not open.
    These {
        heads: Heads,
        damaged: Option<u8>,
    },
    /// Neither copy opens: damaged, or sealed under another site's key.
    Unreadable,
}

impl Heads {
    pub fn encode(&self) -> Vec<u8> {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut facts = count(self.purposes.len()).to_vec();
        for (purpose, Head { version, mark }) in &self.purposes {
            facts.extend(u16::try_from(purpose.len()).unwrap_or(u16::MAX).to_le_bytes());
            facts.extend(purpose.as_bytes());
            facts.extend(version.to_le_bytes());
            facts.extend(mark);
        }
        facts.extend(count(self.gone.len()));
        for (digest, until_ns) in &self.gone {
            facts.extend(digest);
            facts.extend(until_ns.to_le_bytes());
        }
        facts
    }

    /// `None`: these are no such facts. Takes no more memory than there are bytes.
    pub fn decode(facts: &[u8]) -> Option<Self> {
        let mut rest = facts;
        let mut heads = Self::default();
        for _ in 0..number(&mut rest)? {
            let length = u16::from_le_bytes(take(&mut rest)?);
            let (text, after) = rest.split_at_checked(length.into())?;
            rest = after;
            let head = Head { version: u64::from_le_bytes(take(&mut rest)?), mark: take(&mut rest)? };
            let before = heads.purposes.insert(std::str::from_utf8(text).ok()?.to_owned(), head);
            before.is_none().then_some(())?;
        }
        for _ in 0..number(&mut rest)? {
            let before = heads.gone.insert(take(&mut rest)?, i64::from_le_bytes(take(&mut rest)?));
            before.is_none().then_some(())?;
        }
        rest.is_empty().then_some(heads)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

/// A copy, to its last page.
fn sealed(heads: &Heads, key: &SealingKey) -> Result<Vec<u8>, SealError> {
    let facts = heads.encode();
    let mut copy = [&MAGIC[..], &FORMAT.to_le_bytes(), &[0; 2]].concat();
    // Nonce and tag.
    let length = u32::try_from(facts.len() + 28).map_err(|_| SealError::Library("fit what is known of the gallery into a file"))?;
    copy.extend(length.to_le_bytes());
    let sealed = key.seal(&copy, &facts)?;
    copy.extend(sealed);
    copy.resize(copy.len().next_multiple_of(PAGE), 0);
    Ok(copy)
}

/// `None`: damaged, or sealed under another key.
pub(super) fn opened(copy: &[u8], key: &SealingKey) -> Option<Heads> {
    let begin = copy.get(..BEGIN)?;
    let known = begin.starts_with(&MAGIC) && begin[8..10] == FORMAT.to_le_bytes();
    let length = usize::try_from(u32::from_le_bytes(begin[12..].try_into().ok()?)).ok()?;
    let sealed = copy.get(BEGIN..)?.get(..length).filter(|_| known)?;
    Heads::decode(&key.open(begin, sealed).ok()?)
}

/// The file `gallery/heads`.
pub(crate) struct HeadsFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    key: SealingKey,
    digests: hmac::Key,
    /// As it was read or written last; `None`: it does not open, or is gone though there was one.
    known: Mutex<Option<Heads>>,
}

impl HeadsFile {
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, site: &SiteKey) -> Result<Self, SealError> {
        let digests = hmac::Key::new(hmac::HMAC_SHA256, &site.derive_seed("placard/1/deleted")?[..]);
        Ok(Self { disk, path, key: site.derive("placard/1/heads")?, digests, known: Mutex::default() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known: nothing, where it neither could be read nor was [written](Self::write).
    pub fn known(&self) -> Option<Heads> {
        self.known.lock().clone()
    }

    /// From now on that is what is known. Not written.
    pub fn suppose(&self, heads: Option<Heads>) {
        *self.known.lock() = heads;
    }

    /// By which somebody who was deleted is known again, and nobody else.
    pub fn digest(&self, subject: &SubjectId) -> [u8; 16] {
        let tag = hmac::sign(&self.digests, subject.0.as_bytes());
        std::array::from_fn(|i| tag.as_ref()[i])
    }

    /// An error: the disk failed before anything could be told.
    pub fn read(&self) -> std::io::Result<Found> {
        let file = match self.disk.open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Absent),
            opened => opened?,
        };
        let length = file.len()?;
        let half = usize::try_from(length / 2).unwrap_or(0);
        if half == 0 || !half.is_multiple_of(PAGE) || length % 2 != 0 {
            return Ok(Found::Unreadable);
        }
        // A copy on a bad sector is a damaged one.
        let copy = |at: usize| {
            let mut copy = vec![0; half];
            read_exact_at(&*file, at as u64, &mut copy).ok().and_then(|()| opened(&copy, &self.key))
        };
        Ok(match (copy(0), copy(half)) {
            (Some(heads), Some(_)) => Found::These { heads, damaged: None },
            (Some(heads), None) => Found::These { heads, damaged: Some(2) },
            (None, Some(heads)) => Found::These { heads, damaged: Some(1) },
            (None, None) => Found::Unreadable,
        })
    }

    /// Durable when it returns.
    pub fn write(&self, heads: &Heads) -> std::io::Result<()> {
        let copy = sealed(heads, &self.key).map_err(std::io::Error::other)?;
        let new = self.path.with_extension("new");
        match self.disk.remove(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file: Box<dyn DiskFile> = self.disk.create_new(&new)?;
        write_all_at(&*file, 0, &copy)?;
        write_all_at(&*file, copy.len() as u64, &copy)?;
        file.sync()?;
        drop(file);
        self.disk.rename(&new, &self.path)?;
        self.disk.sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        *self.known.lock() = Some(heads.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::shard::tests::faulty::{FaultyDisk, Trouble};
    use crate::state::StateDirectory;

    fn site() -> (SiteKey, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("temporary directory");
        (SiteKey::create(&StateDirectory::new(directory.path())).expect("made"), directory)
    }

    fn some() -> Heads {
        let head = |version| Head { version, mark: [u8::try_from(version).expect("small"); 16] };
        Heads {
            purposes: [("missing-person:1".to_owned(), head(3)), ("crime-prevention:2".to_owned(), head(70))].into(),
            gone: [([1; 16], 5), ([2; 16], -5)].into(),
        }
    }

    #[test]
    fn what_was_written_is_read_and_either_copy_will_do() {
        let (site, _kept) = site();
        let disk = FaultyDisk::new(Trouble::None, 0, 1);
        let path = PathBuf::from("/gallery/heads");
        let file = |disk: &FaultyDisk| HeadsFile::new(Arc::new(disk.clone()), path.clone(), &site).expect("key");
        assert!(matches!(file(&disk).read().expect("reads"), Found::Absent));
        file(&disk).write(&some()).expect("written");
        let files = disk.seen();
        assert_eq!(files.keys().collect::<Vec<_>>(), [&path], "no temporary file is left");
        let bytes = &files[&path];
        assert!(!bytes.windows(14).any(|w| w == b"missing-person"), "a listing tells no case");
        let read = |bytes: Vec<u8>| {
            let disk = FaultyDisk::with([(path.clone(), bytes)].into(), Trouble::None, 0, 1);
            match file(&disk).read().expect("reads") {
                Found::These { heads, damaged } => Some((heads == some(), damaged)),
                _ => None,
            }
        };
        assert_eq!(read(bytes.clone()), Some((true, None)));
        for at in 0..60 {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(read(altered.clone()), Some((true, Some(1))), "byte {at}");
            altered[bytes.len() / 2 + 20] ^= 1;
            assert_eq!(read(altered), None, "byte {at}, and one of the other copy");
        }
        for length in [0, 1, PAGE, bytes.len() - 1, bytes.len() + 1] {
            let mut other = bytes.clone();
            other.resize(length, 0);
            assert_eq!(read(other), None, "{length} bytes");
        }
        let (other, _kept) = self::site();
        let foreign = HeadsFile::new(Arc::new(disk), path.clone(), &other).expect("key");
        assert!(matches!(foreign.read().expect("reads"), Found::Unreadable), "another site's");
        assert_ne!(foreign.digest(&SubjectId("a".into())), file(&FaultyDisk::new(Trouble::None, 0, 1)).digest(&SubjectId("a".into())));
    }

    #[test]
    fn facts_are_taken_whole_or_not_at_all() {
        let facts = some().encode();
        assert_eq!(Heads::decode(&facts), Some(some()));
        (0..facts.len()).for_each(|length| assert_eq!(Heads::decode(&facts[..length]), None, "{length} bytes"));
        assert_eq!(Heads::decode(&[facts, vec![0]].concat()), None);
        assert_eq!(Heads::decode(&[0xff; 64]), None, "counts that nothing pays for");
    }
}
