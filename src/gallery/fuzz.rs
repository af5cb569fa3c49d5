//! Everything that reads bytes which somebody else may have written, held against bytes that nobody would write: no panic, no memory that the bytes do
//! not pay for, and what is taken is what it says. A seeded mutator over whole examples; on stable, without instruments.
//!
//! `PLACARD_FUZZ=N cargo test --release --lib gallery::fuzz -- --nocapture --ignored` runs N a target and says how many a second;
//! `PLACARD_SEED` begins elsewhere. A failure prints the seed of the input that failed.

use std::io::Write;
use std::time::Instant;

use super::SubjectId;
use super::npy;
use super::record::{Channel, FORMAT, Header, Record};
use super::seal::SealingKey;
use super::shard::tests::faulty::Dice;
use super::shard::tests::fuzzed;
use crate::engine::manifest::Manifest;

/// A commit's portion, each target.
const PORTION: u64 = 20_000;

/// Changes some bytes: flips, special values, copies, cuts, and words that parsers know.
fn mutated(example: &[u8], other: &[u8], words: &[&[u8]], dice: &mut Dice, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(example);
    for _ in 0..=dice.below(4) {
        let length = into.len();
        let at = dice.index(length.max(1)).min(length);
        match dice.below(8) {
            0 if length > 0 => into[at] ^= 1 << dice.below(8),
            1 if length > 0 => into[at] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'"', b'{'][dice.index(8)],
            2 => into.truncate(at),
            3 => {
                let (from, count) = (dice.index(other.len().max(1)), dice.index(64));
                let piece: Vec<u8> = other.iter().skip(from).take(count).copied().collect();
                into.splice(at..at, piece);
            }
            4 if !words.is_empty() => {
                into.splice(at..at, words[dice.index(words.len())].iter().copied());
            }
            5 if length > 4 => {
                let to = at.min(length - 4);
                let number = [0, 1, u32::MAX, u32::MAX - 63, 1 << 31, 64, 4_096][dice.index(7)];
                into[to..to + 4].copy_from_slice(&number.to_le_bytes());
            }
            6 if length > 0 => {
                let count = dice.index(32).min(length - at);
                into.drain(at..at + count);
            }
            _ => into.push(u8::try_from(dice.below(256)).unwrap_or(0)),
        }
    }
}

fn run(name: &str, examples: &[Vec<u8>], words: &[&[u8]], executions: u64, target: &mut dyn FnMut(&[u8])) {
    let first: u64 = std::env::var("PLACARD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let (begun_at, mut input) = (Instant::now(), Vec::new());
    for seed in first..first + executions {
        let mut dice = Dice::new(seed);
        let (example, other) = (&examples[dice.index(examples.len())], &examples[dice.index(examples.len())]);
        mutated(example, other, words, &mut dice, &mut input);
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
        assert!(survived.is_ok(), "{name}: seed {seed}: {input:02x?}");
    }
    let a_second = executions as f64 / begun_at.elapsed().as_secs_f64();
    writeln!(std::io::stderr(), "fuzz {name}: {executions} executions, {a_second:.0} a second").expect("standard error is open");
}

fn npy_files() -> Vec<Vec<u8>> {
    let of = |version: u8, text: &str| {
        let length = u32::try_from(text.len()).expect("short").to_le_bytes();
        [b"\x93NUMPY", &[version, 0][..], &length[..if version == 1 { 2 } else { 4 }], text.as_bytes()].concat()
    };
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (100, 512), }\n";
    vec![of(1, text), of(2, text), of(3, "{'shape':(3,4),'fortran_order':False,'descr':'<f4'}")]
}

fn fuzz_npy(executions: u64) {
    let words: [&[u8]; 9] = [b"'shape'", b"(", b")", b"'descr': ", b"True", b"False", b",", b"18446744073709551615", b"}"];
    run("npy", &npy_files(), &words, executions, &mut |bytes| {
        if let Ok(shape) = npy::header(bytes) {
            assert!(shape.values > 0 && shape.begins_at <= bytes.len() as u64);
            assert!(shape.rows.checked_mul(shape.values as u64 * 4).is_some());
        }
    });
}

fn record(consent: Option<&str>, key: &SealingKey) -> Vec<u8> {
    let header = Header {
        format: FORMAT,
        subject: SubjectId("0123456789abcdef0123456789abcdef".into()),
        purpose: "missing-person:mp-7".parse().expect("purpose"),
        ordinal: 1,
        model: "m".into(),
        model_sha256: "aa".into(),
        dim: 4,
        enrolled_at_ns: 1,
        expires_at_ns: 2,
        channel: Channel::ImageFile,
        consent: consent.map(str::to_owned),
        source: None,
        zones: Some(vec!["hall".to_owned()]),
    };
    header.seal(key, &[0.5; 4]).expect("sealed")
}

fn fuzz_record(executions: u64) {
    let key = SealingKey::new(&[7; 32]).expect("key");
    let examples = vec![record(None, &key), record(Some("c-1"), &key)];
    let words: [&[u8]; 7] = [b"\"format\":1", b"\"dim\":18446744073709551615", b",", b"{", b"\"consent\":null", b"-1", b"\\u0000"];
    let whole = examples.clone();
    run("record", &examples, &words, executions, &mut |bytes| {
        if let Ok(record) = Record::read(bytes)
            && record.open(&key).is_ok()
        {
            assert!(whole.iter().any(|w| w == bytes), "opened, and was altered");
        }
    });
}

fn fuzz_shard(executions: u64) {
    let words: [&[u8]; 3] = [b"PLACSHRD", &[0xff; 8], &[0; 16]];
    run("shard", &fuzzed::examples(), &words, executions, &mut fuzzed::open);
}

fn fuzz_manifest(executions: u64) {
    let examples: Vec<Vec<u8>> = crate::engine::bundled::all()
        .filter_map(|(_, model)| model.as_ref().ok())
        .map(|model| model.manifest.to_toml().expect("text").into_bytes())
        .collect();
    let words: [&[u8]; 6] = [b"[decode]\n", b"= ", b"\"\"\"", b"1e999", b"dim = 0\n", b"task = \"face-embedder\"\n"];
    run("manifest", &examples, &words, executions, &mut |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(manifest) = Manifest::from_toml(text) {
            assert!(manifest.check().is_ok(), "taken, and not checked");
        }
    });
}

#[test]
fn no_bytes_make_a_parser_panic() {
    fuzz_npy(PORTION);
    fuzz_record(PORTION);
    fuzz_shard(PORTION / 10);
    fuzz_manifest(PORTION / 40);
}

fn asked() -> u64 {
    std::env::var("PLACARD_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

#[test]
#[ignore = "as many as PLACARD_FUZZ says"]
fn npy_for_long() {
    fuzz_npy(asked());
}

#[test]
#[ignore = "as many as PLACARD_FUZZ says"]
fn record_for_long() {
    fuzz_record(asked());
}

#[test]
#[ignore = "as many as PLACARD_FUZZ says"]
fn shard_for_long() {
    fuzz_shard(asked());
}

#[test]
#[ignore = "as many as PLACARD_FUZZ says"]
fn manifest_for_long() {
    fuzz_manifest(asked());
}
