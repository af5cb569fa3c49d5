//! Everything that reads bytes which somebody else may have written, held against bytes that nobody would write: no panic, no memory that the bytes do
//! not pay for, and what is taken is what it says. A seeded mutator over whole examples; on stable, without instruments.
//!
//! `PLACARD_FUZZ=N cargo test --release --lib gallery::fuzz -- --nocapture --ignored` runs N a target and says how many a second;
//! `PLACARD_SEED` begins elsewhere. A failure prints the seed of the input that failed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::fuzzing;
use super::shard::tests::faulty::Dice;

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

fn fuzz(name: &str, words: &[&[u8]], executions: u64) {
    let (_, target) = fuzzing::TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
    run(name, &fuzzing::examples(name), words, executions, &mut |bytes| target(bytes));
}

fn fuzz_npy(executions: u64) {
    let words: [&[u8]; 9] = [b"'shape'", b"(", b")", b"'descr': ", b"True", b"False", b",", b"18446744073709551615", b"}"];
    fuzz("npy", &words, executions);
}

fn fuzz_record(executions: u64) {
    let words: [&[u8]; 7] = [b"\"format\":1", b"\"dim\":18446744073709551615", b",", b"{", b"\"consent\":null", b"-1", b"\\u0000"];
    fuzz("record", &words, executions);
}

fn fuzz_shard(executions: u64) {
    let words: [&[u8]; 3] = [b"PLACSHRD", &[0xff; 8], &[0; 16]];
    fuzz("shard", &words, executions);
}

fn fuzz_manifest(executions: u64) {
    let words: [&[u8]; 6] = [b"[decode]\n", b"= ", b"\"\"\"", b"1e999", b"dim = 0\n", b"task = \"face-embedder\"\n"];
    fuzz("manifest", &words, executions);
}

fn fuzz_heads(executions: u64) {
    let words: [&[u8]; 3] = [b"PLACHEAD", &[0xff; 4], &[0; 16]];
    fuzz("heads", &words, executions);
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn the_fuzzers_corpus_is_read_without_a_panic_and_has_whole_examples() {
    for (name, target) in fuzzing::TARGETS {
        let entries = std::fs::read_dir(corpus(name)).unwrap_or_else(|error| panic!("{}: {error}", corpus(name).display()));
        let files: Vec<Vec<u8>> = entries.map(|e| std::fs::read(e.expect("entry").path()).expect("read")).collect();
        assert!(files.len() >= fuzzing::examples(name).len(), "{name}: {} files", files.len());
        files.iter().for_each(|bytes| target(bytes));
    }
}

/// Whole examples for libFuzzer to begin with. Sealed under nonces of their own each time, so they are written when a format changes.
#[test]
#[ignore = "writes fuzz/corpus"]
fn write_the_corpus() {
    for (name, _) in fuzzing::TARGETS {
        std::fs::create_dir_all(corpus(name)).expect("made");
        for (number, bytes) in fuzzing::examples(name).into_iter().enumerate() {
            std::fs::write(corpus(name).join(format!("whole-{number}")), bytes).expect("written");
        }
    }
}

#[test]
fn no_bytes_make_a_parser_panic() {
    fuzz_npy(PORTION);
    fuzz_record(PORTION);
    fuzz_shard(PORTION / 10);
    fuzz_manifest(PORTION / 40);
    fuzz_heads(PORTION);
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

#[test]
#[ignore = "as many as PLACARD_FUZZ says"]
fn heads_for_long() {
    fuzz_heads(asked());
}
