//! Nothing acts on a hit (C32). A hit is a line in the journal that a person reads; how many people must confirm it before anybody does anything
//! stands in it; and there is no setting, no command and no code by which Placard opens a door, calls somebody or runs something for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every source file below `directory`.
fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn a_hit_is_told_to_a_journal_and_to_two_kinds_of_receivers_and_to_nothing_else() {
    // The headings of `[emit]` and what lies below it, as the reference of every setting has them, which is made from the program.
    let reference = read(&root().join("docs/configuration.md"));
    let emit: BTreeSet<&str> = reference
        .split(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c)))
        .filter_map(|word| word.strip_prefix("emit."))
        .filter_map(|rest| rest.split('.').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(emit, BTreeSet::from(["journal", "mqtt", "record", "webhook"]), "whoever adds a receiver asks what it does with a hit");
    let settings = reference.to_lowercase();
    for word in ["relay", "unlock", "gpio", "on_hit", "on_match"] {
        assert!(!settings.contains(word), "`{word}` in docs/configuration.md: nothing acts on a hit");
    }
}

#[test]
fn no_code_of_the_service_runs_a_program_or_moves_a_pin() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 200, "the sources are here");
    // The program starts itself anew without telemetry; the demonstration starts the program. Neither is the service's.
    let may = ["src/main.rs", "src/commands/demo/"];
    for file in files {
        let name = file.strip_prefix(root()).expect("below").to_string_lossy().into_owned();
        let tests = name.contains("/tests") || name.ends_with("tests.rs");
        let text = read(&file);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for word in ["process::Command", "Command::new(", "posix_spawn", "/dev/gpio", "gpiochip"] {
            assert!(tests || may.iter().any(|m| name.starts_with(m)) || !code.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn a_hit_says_that_a_person_has_to_look_and_how_many() {
    let schema: Value = serde_json::from_str(&read(&root().join("docs/events.schema.json"))).expect("JSON");
    let text = schema.to_string();
    assert!(text.contains("\"confirmations\""), "how many people must confirm it");
    let of = |name: &str| schema["$defs"][name].clone();
    let hit = of("FaceMatch");
    assert!(hit["properties"]["confirmations"].is_object() && hit["properties"]["review"].is_object(), "{hit}");
    let required: Vec<&str> = hit["required"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(required.contains(&"review"), "{required:?}");
    // What a review is, the schema says too: there is one value, and it asks a person.
    let review = of("Review").to_string();
    assert!(review.contains("pending") && review.contains("task for a human"), "{review}");
    for word in ["\"action\"", "\"command\"", "\"unlock\"", "\"allow\"", "\"deny\""] {
        assert!(!text.contains(word), "{word} in an event");
    }
}
