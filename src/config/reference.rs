//! `docs/configuration.md`, made from the schema: the doc comments in `schema.rs` are its text, `ranges.rs` its ranges. A test compares
//! the file with what this makes; `placard check --write-reference` brings it up to date.

use std::fmt::Write as _;

use serde_json::Value;

use super::keys::{kind, names, resolve};
use super::ranges::range_of;
use super::schema::Pipeline;

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from src/config/schema.rs by `placard check --write-reference docs/configuration.md`: edit there. -->

A pipeline is one TOML file (`pipelines/` has one for each common situation). `placard check FILE` says everything that is wrong with
it, with line, column and the key that was probably meant, without starting anything. What may be *looked at* is not configured
here: signs, areas, purposes and legal bases are facts in the site's register, and without them every stream stays off.

- An unknown key is an error, never ignored.
- Relative paths start at the directory of the file. `~` and environment variables are not expanded.
- Secrets are never written here: keys that end in `_file` name a file (mode 0600) or a systemd credential
  (`/run/credentials/placard.service/NAME`).
- `SIGHUP` (`systemctl reload placard`) reads the file again; if it is not valid, the running configuration stays in force.
";

/// The whole reference, as Markdown.
pub fn markdown() -> String {
    let root = schemars::schema_for!(Pipeline).to_value();
    let mut text = INTRODUCTION.to_owned();
    let mut sections = vec![Section { heading: "Top level".to_owned(), path: String::new(), schema: &root, needed: true, about: "" }];
    let mut next = 0;
    while next < sections.len() {
        let found = section(&root, &sections[next], &mut text);
        // A section's own sections follow it at once.
        sections.splice(next + 1..next + 1, found);
        next += 1;
    }
    text
}

struct Section<'a> {
    heading: String,
    path: String,
    schema: &'a Value,
    needed: bool,
    about: &'a str,
}

/// Writes one section; returns the sections within it.
fn section<'a>(root: &'a Value, section: &Section<'a>, text: &mut String) -> Vec<Section<'a>> {
    let Some(properties) = section.schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required: Vec<&str> =
        section.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let presence = if section.needed { "" } else { " Optional." };
    // Writing to a String cannot fail, here and below.
    let _infallible = write!(text, "\n## {}\n\n", section.heading);
    if !section.about.is_empty() {
        let _infallible = writeln!(text, "{}{presence}\n", one_line(section.about));
    }
    let mut rows = String::new();
    let mut inner = Vec::new();
    for (name, property) in properties {
        let path = if section.path.is_empty() { name.clone() } else { format!("{}.{name}", section.path) };
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let resolved = resolve(root, property);
        let (table, heading) = match resolved.get("items").map(|items| resolve(root, items)) {
            Some(item) => (item, format!("`[[{path}]]`")),
            None => (resolved, format!("`[{path}]`")),
        };
        if table.get("properties").is_some() {
            let own = table.get("description").and_then(Value::as_str).unwrap_or_default();
            // `[engine]` alone repeats the heading; anything after it is worth reading.
            let more = own.strip_prefix(heading.as_str()).unwrap_or(own).trim_start_matches(['.', ' ']);
            let about = if more.is_empty() { about } else { more };
            inner.push(Section { heading, path, schema: table, needed: required.contains(&name.as_str()), about });
            continue;
        }
        let default = match property.get("default") {
            _ if required.contains(&name.as_str()) => "**required**".to_owned(),
            None | Some(Value::Null) => "unset".to_owned(),
            Some(value) => format!("`{}`", shown(value)),
        };
        let _infallible = writeln!(rows, "| `{name}` | {} | {default} | {} |", type_of(resolved, &path), meaning(about, resolved));
    }
    if !rows.is_empty() {
        let _infallible = write!(text, "| key | type | default | meaning |\n|---|---|---|---|\n{rows}");
    }
    inner
}

fn type_of(schema: &Value, path: &str) -> String {
    if !names(schema).is_empty() {
        return names(schema).iter().map(|n| format!("`\"{n}\"`")).collect::<Vec<_>>().join(" or ");
    }
    let name = match kind(schema) {
        "integer" => "whole number",
        "number" => "number",
        "boolean" => "true or false",
        "array" => "list",
        _ => "text",
    };
    range_of(path).map_or_else(|| name.to_owned(), |range| format!("{name}, {} to {}", range.start(), range.end()))
}

/// The description, and what each name of an enum means.
fn meaning(about: &str, schema: &Value) -> String {
    let mut text = one_line(about);
    for variant in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(name), Some(about)) = (variant["const"].as_str(), variant["description"].as_str()) {
            let _infallible = write!(text, " `\"{name}\"`: {}", one_line(about));
        }
    }
    text.replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A default as it would be written. Fractions are `f32` in the program: 0.6 must not read 0.6000000238418579.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "it was an f32")]
        Some(number) if value.is_f64() => (number as f32).to_string(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_docs_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == markdown(), "run `placard check --write-reference docs/configuration.md`");
    }

    #[test]
    fn every_section_and_key_is_described() {
        let text = markdown();
        for part in ["## `[[stream]]`", "## `[emit.mqtt]`", "## `[stream.format]`", "| `detect_every` | whole number, 1 to 30 | `1` |"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.contains("| `score_threshold` | number, 0 to 1 | `0.6` |"), "{text}");
        for line in text.lines().filter(|l| l.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            assert!(cells.len() == 4 && cells[3].trim().len() > 5, "{line}");
        }
    }
}
