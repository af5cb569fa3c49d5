//! Nothing kept: after a deletion the subject's plain template is in no file of the state directory and in no range of this process's memory, and
//! while it is loaded it lies once, and only where no core dump takes it.
//!
//! What lies in `memfd_secret` no file of `/proc` gives, to nobody; this process itself reads it by its addresses. A gallery small enough for that and one that is too
//! large, and so lies in locked memory, are looked through alike.
//!
//! What is sought is kept masked, and what was read to look through it is overwritten, so that the search does not find itself.

#[path = "support/desk.rs"]
mod desk;
#[path = "support/register.rs"]
mod register;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use desk::{DIM, PURPOSE, REGISTER, values};
use placard::clock::{Clock, SystemClock};
use placard::embedding::Embedding;
use placard::gallery::seal::SiteKey;
use placard::gallery::set::GallerySet;
use placard::gallery::vault::{Channel, NewSubject, Vault};
use placard::gallery::{Kept, SubjectId, TemplateModel};
use placard::policy::enrolment::EnrolmentDesk;
use placard::policy::facts::Register;
use placard::purpose::Purpose;
use placard::state::StateDirectory;
use zeroize::Zeroize;

const MASK: u8 = 0x5a;
/// Values that are looked for: 64 bytes of the template's middle.
const SOUGHT: std::ops::Range<usize> = 100..116;

fn embedding(number: u64) -> Embedding {
    Embedding::normalised(&mut values(number)).unwrap()
}

/// What the template of `number` looks like in memory, masked.
fn masked(number: u64) -> Vec<u8> {
    let mut values = values(number);
    let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    let masked = values[SOUGHT].iter().flat_map(|v| ((f64::from(*v) / norm) as f32).to_le_bytes().map(|b| b ^ MASK)).collect();
    values.zeroize();
    masked
}

fn holds(bytes: &[u8], masked: &[u8]) -> bool {
    bytes.windows(masked.len()).any(|w| w[0] ^ MASK == masked[0] && w.iter().zip(masked).all(|(b, m)| b ^ MASK == *m))
}

/// A range of this process's memory.
struct Range {
    from: u64,
    to: u64,
    /// `memfd_secret`, and this process may read it.
    secret: bool,
    /// Left out of core dumps.
    undumped: bool,
}

fn ranges() -> Vec<Range> {
    let mut all: Vec<Range> = Vec::new();
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if let Some((from, to)) = first.split_once('-') {
            let address = |text: &str| u64::from_str_radix(text, 16);
            if let (Ok(from), Ok(to)) = (address(from), address(to)) {
                let readable = words.next().is_some_and(|rights| rights.starts_with('r'));
                all.push(Range { from, to, secret: readable && line.contains("secretmem"), undumped: false });
            }
        } else if let Some(flags) = line.strip_prefix("VmFlags:") {
            all.last_mut().unwrap().undumped = flags.split_whitespace().any(|flag| flag == "dd");
        }
    }
    all
}

/// Ranges that nobody reads but the process by its own addresses (`memfd_secret`).
fn secret_ranges() -> usize {
    ranges().iter().filter(|range| range.secret).count()
}

/// How many ranges hold what is sought.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    /// Those that a core dump would take.
    dumped: usize,
    undumped: usize,
    /// Those that only this process can read.
    secret: usize,
}

impl Held {
    const NOWHERE: Self = Self { dumped: 0, undumped: 0, secret: 0 };
}

fn in_memory(masked: &[u8]) -> Held {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut held = Held::default();
    for range in ranges() {
        let own = piece.as_ptr() as u64;
        let mut at = range.from;
        let mut found = false;
        while at < range.to && !found {
            // Not the very memory that is read into.
            if (own..own + piece.len() as u64).contains(&at) {
                at = own + piece.len() as u64;
                continue;
            }
            let ends = if at < own { range.to.min(own) } else { range.to };
            let count = usize::try_from((ends - at).min(piece.len() as u64)).unwrap();
            let read = if range.secret {
                // SAFETY: the kernel has just listed these addresses as mapped into this process and readable. The only thread that makes or takes away such
                // mappings here is this one (the test runs alone in its process, and a gallery's memory goes with the gallery), so they stay while
                // they are read. Any bytes are `u8`s; `piece` is memory of its own, since it is no secret mapping, and has `count` bytes.
                unsafe { std::ptr::copy_nonoverlapping(at as *const u8, piece.as_mut_ptr(), count) };
                count
            } else {
                // Ranges that cannot be read (device memory, the kernel's own) hold nothing of ours.
                let Ok(read) = memory.read_at(&mut piece[..count], at) else { break };
                read
            };
            found = holds(&piece[..read], masked);
            if read == 0 {
                break;
            }
            // The end of one piece is looked at again with the next, unless this was the last.
            let kept = if at + (read as u64) < ends { masked.len().min(read - 1) } else { 0 };
            at += (read - kept) as u64;
        }
        match (found, range.secret, range.undumped) {
            (true, true, true) => held.secret += 1,
            (true, false, true) => held.undumped += 1,
            (true, _, false) => held.dumped += 1,
            _ => {}
        }
    }
    piece.zeroize();
    held
}

fn in_files(directory: &Path, masked: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { in_files(&path, masked) } else { std::fs::read(&path).is_ok_and(|bytes| holds(&bytes, masked)) }
    })
}

/// Somebody is deleted from a gallery of `people`, whose numbers begin at `first`. Answers how it was kept.
fn forget_one_of(people: u64, first: u64) -> Kept {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::new(directory.path());
    let key = SiteKey::create(&state).unwrap();
    let purpose: Purpose = PURPOSE.parse().unwrap();
    let register: Register = toml::from_str(REGISTER).unwrap();
    let clock = SystemClock::shared();
    let desk = EnrolmentDesk::open(&register, &purpose, clock.clone()).unwrap();
    let model = TemplateModel { name: "test".into(), sha256: "aa".into(), dim: DIM };
    let set = GallerySet::new(model.clone(), desk.table());
    let vault = Vault::open(&state, &key).unwrap();
    let now = SystemClock.utc();
    let enrol = |numbers: std::ops::Range<u64>| -> Vec<SubjectId> {
        let people: Vec<(SubjectId, Embedding)> = numbers.map(|number| (SubjectId::random().unwrap(), embedding(number))).collect();
        let subjects: Vec<NewSubject<'_>> = people
            .iter()
            .map(|person| NewSubject {
                subject: person.0.clone(),
                purpose: &purpose,
                model: &model,
                templates: vec![&person.1],
                channel: Channel::TemplateFile,
                consent: None,
                source: Some("test"),
                zones: &["hall"],
                enrolled_at: now,
                expires_at: now.plus(std::time::Duration::from_secs(3_600)),
            })
            .collect();
        vault.enrol(&subjects).unwrap();
        people.into_iter().map(|(subject, _)| subject).collect()
    };
    let going = enrol(first..first + people).swap_remove(0);
    let (going_is, staying_is) = (masked(first), masked(first + 1));
    assert_eq!((in_memory(&going_is), in_memory(&staying_is)), (Held::NOWHERE, Held::NOWHERE), "enrolment leaves nothing plain behind");
    vault.refresh_shards(now).unwrap();
    set.reload(&vault, &register, now).unwrap();
    let kept = placard::gallery::kept(DIM, usize::try_from(people).unwrap());
    let loaded = match kept {
        Kept::Secret => Held { secret: 1, ..Held::NOWHERE },
        Kept::Locked | Kept::Swappable => Held { undumped: 1, ..Held::NOWHERE },
    };
    assert_eq!(in_memory(&going_is), loaded, "what is loaded lies once, and only where no core dump takes it");
    assert_eq!(in_memory(&staying_is), loaded);
    let held = secret_ranges();

    vault.delete(&BTreeSet::from([going.clone()])).unwrap();
    vault.rewrite().unwrap();
    let vault = Vault::open(&state, &key).unwrap();
    set.reload(&vault, &register, now).unwrap();
    assert_eq!(in_memory(&going_is), Held::NOWHERE, "who was deleted is in no memory");
    assert_eq!(in_memory(&staying_is), loaded, "who was not is where they were");
    assert_eq!(secret_ranges(), held, "and the memory of the gallery before was given back, overwritten");
    for sought in [&going_is, &staying_is] {
        assert!(!in_files(directory.path(), sought), "no file holds a plain template");
    }
    assert!(!placard::gallery::is_mentioned(&state, &going).unwrap(), "no file spells the id");
    let bits = u128::from_str_radix(&going.0, 16).unwrap().to_be_bytes().map(|b| b ^ MASK);
    assert!(!in_files(directory.path(), &bits), "nor holds it as bits");
    kept
}

// One test: another beside it would make and take away memory that is looked through.
#[test]
fn after_a_deletion_the_template_is_in_no_file_and_in_no_memory() {
    let small = forget_one_of(2, 1);
    // Rows of more than 4 MiB are not taken from `memfd_secret`.
    let large = forget_one_of(4_200, 10);
    assert_ne!(large, Kept::Secret);
    writeln!(std::io::stdout(), "a small gallery was kept {small:?}, a large one {large:?}").unwrap();

    // The search does find what is there to be found.
    let mut planted = values(3);
    let norm = planted.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    planted.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    std::hint::black_box(&planted);
    assert!(in_memory(&masked(3)).dumped >= 1, "a plain template in ordinary memory is found");
    std::hint::black_box(&planted);
}
