//! Keys and types of a TOML file, compared with the schema of the Rust type that it is for.
//!
//! serde stops at the first fault; an operator wants them all, with line and column, and the nearest key that exists. The known keys
//! come from the schema that `schemars` derives from the type itself, so the list cannot go stale. Unknown keys are *removed* from the
//! table once reported, so that the rest of the file can still be checked.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Map, Value};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// From 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `stream[2].detect_every`: positions count from 0, as in the file's order. Empty where the file as a whole is meant.
    pub key: String,
    pub message: String,
}

/// Byte offsets of a text → lines and columns.
pub struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    pub const fn of(text: &'a str) -> Self {
        Self { text }
    }
    /// (line, column), from 1. A byte within a character counts as that character.
    pub fn at(&self, byte: usize) -> (usize, usize) {
        let mut end = byte.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
    pub fn problem(&self, span: Range<usize>, key: impl Into<String>, message: impl Into<String>) -> Problem {
        let (line, column) = self.at(span.start);
        Problem { line, column, key: key.into(), message: message.into() }
    }
}

/// What the check of one file found.
#[derive(Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    /// A value has the wrong type or is missing: there is no point in reading the table any further.
    pub unreadable: bool,
}

/// Compares `table` with `schema` (of the whole file); removes the keys it reports as unknown.
pub fn check(schema: &Value, table: &mut Spanned<DeTable<'_>>, lines: &Lines<'_>) -> Findings {
    let mut walk = Walk { root: schema, lines, findings: Findings::default() };
    // An empty file's table spans nothing: its problems point at the first line.
    let span = table.span();
    walk.table(schema, table.get_mut(), span, "");
    walk.findings.problems.sort_by_key(|p| (p.line, p.column));
    walk.findings
}

struct Walk<'a> {
    root: &'a Value,
    lines: &'a Lines<'a>,
    findings: Findings,
}

impl<'a> Walk<'a> {
    fn report(&mut self, span: Range<usize>, key: &str, message: String) {
        self.findings.problems.push(self.lines.problem(span, key, message));
    }

    fn unreadable(&mut self, span: Range<usize>, key: &str, message: String) {
        self.findings.unreadable = true;
        self.report(span, key, message);
    }

    fn table(&mut self, schema: &'a Value, table: &mut DeTable<'_>, span: Range<usize>, path: &str) {
        // A table without described keys (a map) takes any.
        let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        let mut meant = Vec::new();
        let unknown = table.keys().filter(|k| closed && !known.contains_key(k.get_ref().as_ref()));
        let unknown: Vec<(String, Range<usize>)> = unknown.map(|k| (k.get_ref().to_string(), k.span())).collect();
        for (key, at) in unknown {
            let (advice, nearest) = self.advise(known, &key);
            meant.extend(nearest);
            self.report(at, &join(path, &key), advice);
            table.remove(key.as_str());
        }
        for (key, value) in table.iter_mut() {
            if let Some(property) = known.get(key.get_ref().as_ref()) {
                self.value(property, value, &join(path, key.get_ref()));
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(required) {
                self.findings.unreadable = true;
                // A mistyped key has been reported already, with the key that was meant.
                if !meant.iter().any(|m| m == required) {
                    let at = join(path, required);
                    let message = match kind(resolve(self.root, &known[required])) {
                        "object" => format!("missing: add the section `[{at}]`"),
                        "array" => format!("missing: add at least one `[[{at}]]`"),
                        _ => format!("missing: {}", what(self.root, &known[required])),
                    };
                    self.report(span.clone(), &at, message);
                }
            }
        }
    }

    fn value(&mut self, schema: &'a Value, value: &mut Spanned<DeValue<'_>>, path: &str) {
        let schema = resolve(self.root, schema);
        let span = value.span();
        if matches!(kind(schema), "object") {
            return match value.get_mut() {
                DeValue::Table(table) => self.table(schema, table, span, path),
                other => {
                    let message = format!("expected a section `[{path}]`, found {}", found(other));
                    self.unreadable(span, path, message);
                }
            };
        }
        if let (DeValue::Array(items), Some(item_schema)) = (value.get_mut(), schema.get("items")) {
            for (i, item) in items.iter_mut().enumerate() {
                self.value(item_schema, item, &format!("{path}[{i}]"));
            }
            return;
        }
        if !fits(schema, value.get_ref()) {
            let section = if kind(schema) == "array" { format!(" (write `[[{path}]]`)") } else { String::new() };
            let message = format!("expected {}, found {}{section}", what(self.root, schema), found(value.get_ref()));
            self.unreadable(span, path, message);
        }
    }

    /// What to tell about an unknown key, and the key of this table that was probably meant.
    fn advise(&self, known: &Map<String, Value>, key: &str) -> (String, Option<String>) {
        let nearness = |k: &&String| (strsim::jaro_winkler(k, key) * 1e6) as u64;
        let Some(nearest) = known.keys().max_by_key(nearness) else {
            return ("unknown key: nothing may be set here".to_owned(), None);
        };
        let typo = strsim::damerau_levenshtein(nearest, key) <= (key.len() / 4).max(2) || strsim::jaro_winkler(nearest, key) > 0.92;
        if typo {
            return (format!("unknown key; did you mean `{nearest}`?"), Some(nearest.clone()));
        }
        if let Some(section) = section_of(self.root, key) {
            return (format!("unknown key here; `{key}` belongs in `{section}`"), None);
        }
        let all = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        (format!("unknown key; the nearest known one is `{nearest}` (known here: {all})"), None)
    }
}

/// The section whose table knows `key`, if exactly one does: `[detect]`, `[[stream]]`.
fn section_of(root: &Value, key: &str) -> Option<String> {
    let properties = root.get("properties")?.as_object()?;
    let mut found = None;
    for (name, property) in properties {
        let table = resolve(root, property);
        let (table, section) = match table.get("items") {
            Some(item) => (resolve(root, item), format!("[[{name}]]")),
            None => (table, format!("[{name}]")),
        };
        if table.get("properties").is_some_and(|p| p.get(key).is_some()) && found.replace(section).is_some() {
            return None;
        }
    }
    found
}

/// Follows `$ref` and looks through `Option` (`anyOf` with null).
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
        return root.get("$defs").and_then(|d| d.get(name)).map_or(schema, |s| resolve(root, s));
    }
    let options = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    match options.filter(|o| kind(o) != "null").collect::<Vec<_>>().as_slice() {
        [only] => resolve(root, only),
        _ => schema,
    }
}

/// The schema's type, `null` left aside; empty where it has none (an enum of names).
pub(super) fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or_default(),
        _ => "",
    }
}

/// The names that an enum allows; empty for anything else.
pub(super) fn names(schema: &Value) -> Vec<&str> {
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let documented = variants.filter_map(|v| v.get("const").and_then(Value::as_str));
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    documented.chain(plain).collect()
}

fn fits(schema: &Value, value: &DeValue<'_>) -> bool {
    let allowed = names(schema);
    match value {
        DeValue::String(text) if !allowed.is_empty() => allowed.contains(&text.as_ref()),
        DeValue::String(_) => matches!(kind(schema), "string" | ""),
        DeValue::Integer(number) => match kind(schema) {
            "number" => true,
            "integer" => {
                let low = schema.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN);
                let high = match schema.get("format").and_then(Value::as_str) {
                    Some("uint8") => i64::from(u8::MAX),
                    Some("uint16") => i64::from(u16::MAX),
                    Some("uint32") => i64::from(u32::MAX),
                    Some("int32") => i64::from(i32::MAX),
                    _ => i64::MAX,
                };
                i64::from_str_radix(number.as_str(), number.radix()).is_ok_and(|n| (low..=high).contains(&n))
            }
            _ => false,
        },
        DeValue::Float(_) => kind(schema) == "number",
        DeValue::Boolean(_) => kind(schema) == "boolean",
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => false,
    }
}

/// What a value of `schema` looks like, for an operator.
pub(super) fn what(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    let allowed = names(schema);
    if !allowed.is_empty() {
        return format!("one of {}", allowed.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", "));
    }
    match kind(schema) {
        "string" => "a text in quotes".to_owned(),
        "integer" if schema.get("minimum").and_then(Value::as_i64) == Some(0) => "a whole number from 0 up".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a section".to_owned(),
        _ => "another value".to_owned(),
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 24 && !text.contains('@') => format!("the text \"{text}\""),
        DeValue::String(_) => "a text".to_owned(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Where `path` (`stream[2].detect_every`) stands in the file; where it is left out, its nearest surrounding table.
pub fn locate(table: &Spanned<DeTable<'_>>, path: &str) -> Range<usize> {
    let mut span = table.span();
    let mut here: Option<&DeValue<'_>> = None;
    for (depth, segment) in path.split('.').enumerate() {
        let (name, index) = match segment.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (segment, None),
        };
        let parent = if depth == 0 { Some(table.get_ref()) } else { here.and_then(DeValue::as_table) };
        let Some((key, value)) = parent.and_then(|t| t.get_key_value(name)) else { break };
        (span, here) = (key.span(), Some(value.get_ref()));
        if let Some(index) = index {
            let Some(item) = here.and_then(DeValue::as_array).and_then(|a| a.get(index)) else { break };
            (span, here) = (item.span(), Some(item.get_ref()));
        }
    }
    span
}
