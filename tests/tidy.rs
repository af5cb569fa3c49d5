//! Style as a test: what a reviewer would otherwise have to look for.
//!
//! It reads the tracked files as text. Rules of the code: every file begins by saying what it is for, stays short, has a name that says
//! something, and points only at modules earlier in the journey; `unsafe` and the keys to the pixels stay where they belong; every counter
//! counts; links in the documents lead somewhere; `docs/controls.md` names every control and only files that exist; and nothing in
//! here knows the machine it was written on.
#![allow(clippy::print_stderr, reason = "warnings that do not fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest file; a warning is printed from [`WARN_LINES`] on.
const MAX_LINES: usize = 600;
const WARN_LINES: usize = 500;

/// The order of the journey: a module may use those before it, never those after.
const ORDER: &[&str] = &[
    "counters",
    "hex",
    "clock",
    "area",
    "purpose",
    "embedding",
    "frame",
    "progress",
    "shutdown",
    "queue",
    "latency",
    "state",
    "seal",
    "config",
    "engine",
    "policy",
    "gallery",
    "signs",
    "render",
    "ingest",
    "batch",
    "detect",
    "track",
    "align",
    "embed",
    "matching",
    "decide",
    "mask_check",
    "emit",
    "console",
    "appliance",
    "commands",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files that git tracks, or that it would (new, not ignored), relative to the root; where git has nothing to say, all files.
fn files() -> Vec<PathBuf> {
    let asked = Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output();
    let listed = asked.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let mut files: Vec<PathBuf> = listed.iter().flat_map(|text| text.lines()).map(PathBuf::from).collect();
    if files.is_empty() {
        walk(root(), &mut files);
    }
    files.retain(|f| root().join(f).is_file());
    files.sort();
    files.dedup();
    assert!(files.iter().any(|f| f.ends_with("src/lib.rs")), "the list of files has no src/lib.rs");
    files
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("readable directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = ["target", "lib", "out"].iter().any(|s| name == *s) || name.to_string_lossy().starts_with('.');
        match path.is_dir() {
            true if !skipped => walk(&path, files),
            false => files.push(path.strip_prefix(root()).expect("below the root").to_owned()),
            true => {}
        }
    }
}

fn text(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(root().join(file)).expect("readable file")).into_owned()
}

fn rust_files(below: &[&str]) -> Vec<PathBuf> {
    let wanted = |f: &PathBuf| f.extension().is_some_and(|e| e == "rs") && below.iter().any(|b| f.starts_with(b));
    files().into_iter().filter(wanted).collect()
}

fn is_test_file(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem == "tests" || stem == "fake" || stem.ends_with("_tests") || file.components().any(|c| c.as_os_str() == "tests")
}

/// The product's code in a file: without comments, and without what stands only in test builds at its end.
fn code(file: &Path) -> String {
    let whole = text(file);
    let end = whole.find("\n#[cfg(test)]\nmod ").unwrap_or(whole.len());
    whole[..end].lines().filter(|l| !l.trim_start().starts_with("//")).fold(String::new(), |all, l| all + l + "\n")
}

/// Fails with all of `faults`, one a line.
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_file_begins_with_its_purpose_and_stays_short() {
    let mut faults = Vec::new();
    for file in rust_files(&["src", "tests", "benches", "build.rs"]) {
        let (name, contents) = (file.display(), text(&file));
        let begins = contents.starts_with("//!") || (contents.starts_with("#!") && contents.contains("\n//!"));
        if !begins {
            faults.push(format!("{name}: begin with `//!` prose: what is this file for?"));
        }
        let lines = contents.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{name}: {lines} lines; divide it (at most {MAX_LINES})"));
        } else if lines > WARN_LINES {
            eprintln!("warning: {name} has {lines} lines: it grows too long");
        }
    }
    none(faults);
}

#[test]
fn names_say_something() {
    let grab_bags = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let mut faults = Vec::new();
    for file in files() {
        let parts = file.components().map(|c| c.as_os_str().to_string_lossy().into_owned());
        if parts.map(|p| p.split('.').next().unwrap_or_default().to_owned()).any(|p| grab_bags.contains(&&*p)) {
            faults.push(format!("{}: a name that would fit anything", file.display()));
        }
    }
    none(faults);
}

/// The modules of this crate that `code` names: `crate::a::…` and `use crate::{a, b::c}`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
        };
        for name in names {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
            found.insert(name[..end].to_owned());
        }
    }
    found
}

#[test]
fn arrows_run_one_way() {
    let place = |module: &str| ORDER.iter().position(|m| *m == module);
    let mut faults = Vec::new();
    for file in rust_files(&["src"]).into_iter().filter(|f| !is_test_file(f)) {
        let Some(first) = file.components().nth(1) else { continue };
        let first = first.as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let Some(own) = place(module) else {
            faults.push(format!("{}: module `{module}` has no place in the journey (ORDER in tests/tidy.rs)", file.display()));
            continue;
        };
        for used in modules_used(&code(&file)).iter().filter_map(|m| place(m)) {
            if used > own {
                faults.push(format!("{}: `{module}` uses `{}`, which comes later", file.display(), ORDER[used]));
            }
        }
    }
    none(faults);
}

#[test]
fn unsafe_stays_where_it_belongs() {
    let allowed = ["src/ingest", "src/detect/preprocess", "src/gallery", "src/engine/fused", "src/engine/cuda"];
    let mut faults = Vec::new();
    for file in rust_files(&["src", "tests", "benches"]) {
        let contents = code(&file);
        let has = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"].iter().any(|u| contents.contains(u));
        if has && !is_test_file(&file) && !allowed.iter().any(|a| file.starts_with(a)) {
            faults.push(format!("{}: `unsafe` outside {}", file.display(), allowed.join(", ")));
        }
    }
    none(faults);
}

#[test]
fn the_lease_table_alone_holds_the_keys_to_the_pixels() {
    let mut faults = Vec::new();
    for file in rust_files(&["src"]).into_iter().filter(|f| *f != Path::new("src/policy/lease.rs")) {
        for (number, line) in text(&file).lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            let opens = (line.contains("impl") && line.contains("MayRead for")) || line.contains("sealed::Sealed for");
            if opens {
                faults.push(format!("{}:{}: only policy/lease.rs may say what opens pixels", file.display(), number + 1));
            }
        }
        let writes = code(&file);
        let inside_policy = file.starts_with("src/policy");
        if !inside_policy && (writes.contains("LeaseWriter::") || writes.contains("publish_until(")) {
            faults.push(format!("{}: only the policy module grants", file.display()));
        }
    }
    none(faults);
}

/// The names that `counters!` blocks in `contents` declare.
fn counters_declared(contents: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in contents.lines() {
        let line = line.trim();
        if line.ends_with("counters! {") {
            inside = true;
        } else if inside && line == "}" && !names.is_empty() {
            inside = false;
        } else if inside && !line.starts_with("//") {
            let name = line.split(": \"").next().filter(|n| *n != line);
            names.extend(name.filter(|n| n.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')).map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_counter_counts() {
    let product = rust_files(&["src"]).into_iter().filter(|f| !is_test_file(f));
    let sources: Vec<(PathBuf, String)> = product.map(|f| (f.clone(), code(&f))).collect();
    let all: String = sources.iter().map(|(_, c)| c.split_whitespace().collect::<String>()).collect();
    let mut faults = Vec::new();
    let mut declared = 0;
    for (file, contents) in &sources {
        for name in counters_declared(contents) {
            declared += 1;
            if !all.contains(&format!(".{name}.increment()")) && !all.contains(&format!(".{name}.add(")) {
                faults.push(format!("{}: counter `{name}` is never incremented", file.display()));
            }
        }
    }
    assert!(declared > 10, "only {declared} counters were found: the search is broken");
    none(faults);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for file in files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "md")) {
        let contents = text(&file);
        for (at, _) in contents.match_indices("](") {
            let target = contents[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !root().join(&file).with_file_name(path).exists() {
                faults.push(format!("{}: the link to `{target}` leads nowhere", file.display()));
            }
        }
    }
    none(faults);
}

#[test]
fn every_control_is_accounted_for() {
    let contents = text(Path::new("docs/controls.md"));
    let rows: Vec<Vec<&str>> = contents.lines().filter(|l| l.starts_with("| C")).map(|l| l.split('|').map(str::trim).collect()).collect();
    let mut faults = Vec::new();
    for number in 1..=40 {
        let id = format!("C{number:02}");
        let of_id: Vec<_> = rows.iter().filter(|r| r[1] == id).collect();
        if of_id.len() != 1 {
            faults.push(format!("docs/controls.md: {id} has {} rows", of_id.len()));
        }
    }
    for row in &rows {
        let [_, id, _control, state, code, test, _] = row[..] else {
            faults.push(format!("docs/controls.md: {} has {} columns", row[1], row.len() - 2));
            continue;
        };
        let known = state == "done" || state.starts_with("part: ") || state.starts_with("not yet: ");
        if !known {
            faults.push(format!("docs/controls.md: {id}: the state is `done`, `part: …` or `not yet: …`"));
        }
        if state == "done" && (code.is_empty() || test.is_empty()) {
            faults.push(format!("docs/controls.md: {id} is done, but where, and what proves it?"));
        }
        for quoted in format!("{code} {test}").split('`').skip(1).step_by(2) {
            let (path, item) = quoted.split_once("::").map_or((quoted, None), |(p, i)| (p, Some(i)));
            if !root().join(path).exists() {
                faults.push(format!("docs/controls.md: {id}: there is no `{path}`"));
            } else if let Some(item) = item.filter(|i| !text(Path::new(path)).contains(&format!("fn {i}("))) {
                faults.push(format!("docs/controls.md: {id}: `{path}` has no test `{item}`"));
            } else if let Some(item) = item.filter(|i| !is_run_test(&text(Path::new(path)), i)) {
                faults.push(format!("docs/controls.md: {id}: `{path}`: `{item}` is no test that runs"));
            }
        }
    }
    none(faults);
}

/// Whether `fn item` stands under `#[test]` (or in `proptest!`), and not under `#[ignore]`.
fn is_run_test(contents: &str, item: &str) -> bool {
    let before = contents.split(&format!("fn {item}(")).next().unwrap_or_default();
    let attributes: Vec<&str> = before.trim_end_matches(' ').lines().rev().take_while(|line| line.trim_start().starts_with("#[")).collect();
    attributes.iter().any(|line| line.contains("#[test]")) && !attributes.iter().any(|line| line.contains("#[ignore"))
}

#[test]
fn nothing_knows_the_machine_it_was_written_on() {
    let own = Path::new("tests/tidy.rs");
    let mut faults = Vec::new();
    for file in files().into_iter().filter(|f| f != own) {
        if file.starts_with(".cargo") {
            faults.push(format!("{}: where packages come from is each machine's own business", file.display()));
        }
        for (number, line) in text(&file).lines().enumerate() {
            let home = ["/root/", "/home/", "/Users/", "/work/"].iter().any(|p| line.contains(p));
            let mirror = ["--index-url", "--extra-index-url", "replace-with", "trusted-host"].iter().any(|m| line.contains(m));
            let source = line.starts_with("source = \"") && !line.contains("registry+https://github.com/rust-lang/crates.io-index");
            if home || mirror || (source && file == Path::new("Cargo.lock")) {
                let shown: String = line.trim().chars().take(100).collect();
                faults.push(format!("{}:{}: names a machine's own path or a package mirror: {shown}", file.display(), number + 1));
            }
        }
    }
    none(faults);
}
