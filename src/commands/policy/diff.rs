//! `placard policy diff OLD NEW`: two profiles, or two registers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{Said, config, library, profiles, table};
use crate::clock::{Clock, Stamp, SystemClock, Utc};
use crate::commands::{Context, Exit, Failed};
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::Register;
use crate::policy::file::read_register;
use crate::policy::observed::Observed;
use crate::policy::profile::Profile;
use crate::policy::rules::DecisionPlane;

/// One thing that differs.
struct Difference {
    what: String,
    old: String,
    new: String,
    /// `stricter`, `looser`, `other`: of the new one.
    verdict: &'static str,
}

pub(super) fn diff(context: &Context, old: &str, new: &str) -> Said {
    let is_file = |name: &str| Path::new(name).is_file();
    let differences = if is_file(old) && is_file(new) {
        let load = |name: &str| match Path::new(name).extension() {
            Some(end) if end == "redb" => Register::load(Path::new(name)).map_err(config),
            _ => read_register(Path::new(name)).map_err(config),
        };
        registers(&CedarPlane::new(library(context)), &load(old)?, &load(new)?, SystemClock.utc())?
    } else {
        profiles_differ(&*profile(context, old)?, &*profile(context, new)?)
    };
    let text = if context.json {
        let line = |d: &Difference| format!("{}\n", json!({ "what": d.what, "old": d.old, "new": d.new, "verdict": d.verdict }));
        differences.iter().map(line).collect()
    } else if differences.is_empty() {
        "No difference.\n".to_owned()
    } else {
        let head = ["WHAT", "OLD", "NEW", ""].map(str::to_owned).to_vec();
        let rows = differences.into_iter().map(|d| vec![d.what, d.old, d.new, d.verdict.to_owned()]);
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    };
    Ok((text, Exit::Success))
}

/// By name, or from a directory, signed or not.
pub(super) fn profile(context: &Context, name: &str) -> Result<Arc<Profile>, Failed> {
    if Path::new(name).is_dir() {
        return Ok(Arc::new(profiles::unsigned(Path::new(name))?.0));
    }
    library(context).profile(name).map_err(|reason| config(anyhow::anyhow!("{reason}")))
}

fn profiles_differ(old: &Profile, new: &Profile) -> Vec<Difference> {
    let mut all = Vec::new();
    let merged = old.values.strictest(&new.values).rows();
    for (((what, before), (_, after)), (_, strictest)) in old.values.rows().into_iter().zip(new.values.rows()).zip(merged) {
        if before != after {
            let verdict = if strictest == after {
                "stricter"
            } else if strictest == before {
                "looser"
            } else {
                "other"
            };
            all.push(Difference { what, old: before, new: after, verdict });
        }
    }
    let named = |p: &Profile| -> BTreeMap<String, (String, bool)> {
        let entry = |policy: &cedar_policy::Policy| {
            let permits = policy.effect() == cedar_policy::Effect::Permit;
            (policy.annotation("id").unwrap_or_default().to_owned(), (policy.to_string(), permits))
        };
        p.policies.policies().map(entry).collect()
    };
    let (before, after) = (named(old), named(new));
    let mut policy = |id: &str, old: &str, new: &str, verdict| {
        all.push(Difference { what: format!("policy {id}"), old: old.to_owned(), new: new.to_owned(), verdict });
    };
    for (id, (text, permits)) in &before {
        match after.get(id) {
            None => policy(id, "there", "-", if *permits { "stricter" } else { "looser" }),
            Some((other, _)) if other != text => policy(id, "there", "changed", "other"),
            Some(_) => {}
        }
    }
    for (id, (_, permits)) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
        policy(id, "-", "there", if *permits { "looser" } else { "stricter" });
    }
    all
}

/// Entries that differ, then what becomes of each stream now.
fn registers(plane: &CedarPlane, old: &Register, new: &Register, now: Stamp<Utc>) -> Result<Vec<Difference>, Failed> {
    let (before, after) = (entries(old)?, entries(new)?);
    let mut all = Vec::new();
    let brief = |value: Option<&String>| value.map_or_else(|| "-".to_owned(), |v| v.chars().take(60).collect());
    for name in before.keys().chain(after.keys().filter(|k| !before.contains_key(*k))) {
        let (a, b) = (before.get(name), after.get(name));
        if a != b {
            all.push(Difference { what: name.clone(), old: brief(a), new: brief(b), verdict: "" });
        }
    }
    let mut streams: Vec<&str> = old.areas.iter().chain(&new.areas).map(|a| a.stream.as_str()).collect();
    streams.sort_unstable();
    streams.dedup();
    for stream in streams {
        let say = |r: &Register| plane.decide(r, stream, Observed::all_well(r).on(now));
        let (a, b) = (say(old)?, say(new)?);
        let names = |d: &crate::policy::rules::Decision| {
            let purposes: Vec<String> = d.grants.iter().map(|g| g.purpose.to_string()).collect();
            format!("{} {}", d.state.name(), purposes.join(" ")).trim_end().to_owned()
        };
        let verdict = match a.state.cmp(&b.state) {
            std::cmp::Ordering::Greater => "stricter",
            std::cmp::Ordering::Less => "looser",
            std::cmp::Ordering::Equal => "other",
        };
        if names(&a) != names(&b) {
            all.push(Difference { what: format!("stream {stream} now"), old: names(&a), new: names(&b), verdict });
        }
    }
    Ok(all)
}

/// Every entry by table and name; where it has none, by its place.
fn entries(register: &Register) -> Result<BTreeMap<String, String>, Failed> {
    let mut all = BTreeMap::new();
    for (table, value) in toml::Table::try_from(register)? {
        let listed = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for (i, entry) in listed.iter().enumerate() {
            let named = ["id", "purpose", "stream"].iter().find_map(|k| entry.get(k).and_then(toml::Value::as_str));
            let name = named.map_or_else(|| (i + 1).to_string(), str::to_owned);
            let text = serde_json::to_string(entry)?;
            let mut key = format!("{table} {name}");
            while all.contains_key(&key) {
                key.push('+');
            }
            all.insert(key, text);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::testing::good;
    use crate::policy::profile::Library;
    use crate::policy::when::When;

    #[test]
    fn what_differs_is_named_and_judged() {
        let library = Library::bundled();
        let get = |name| library.profile(name).expect("bundled");
        let all = profiles_differ(&get("baseline"), &get("cn-pipl"));
        let verdict = |what: &str| all.iter().find(|d| d.what == what).map(|d| d.verdict);
        assert_eq!(verdict("sign.inspect_max_days"), Some("stricter"));
        assert_eq!(verdict("governance.required"), Some("stricter"));
        assert_eq!(verdict("policy cn-recognise"), Some("looser"), "one more permit");
        assert_eq!(verdict("minor.age"), None, "the same");
        let back = profiles_differ(&get("cn-pipl"), &get("baseline"));
        assert!(back.iter().any(|d| d.what == "emergency.max_hours" && d.verdict == "looser" && d.old == "168"));
        assert!(profiles_differ(&get("uk-ico"), &get("uk-ico")).is_empty());
    }

    #[test]
    fn registers_are_compared_entry_by_entry_and_by_what_follows() {
        let (old, mut new) = (good(), good());
        new.signs[0].photo_sha256 = None;
        new.purposes.clear();
        let now = "2026-11-21T12:00:00Z".parse::<When>().expect("date").at();
        let all = registers(&CedarPlane::bundled(), &old, &new, now).expect("compared");
        let what: Vec<(&str, &str)> = all.iter().map(|d| (&*d.what, d.verdict)).collect();
        assert_eq!(what, [("purpose missing-person:mp-7", ""), ("sign hall-1", ""), ("stream north now", "stricter")]);
    }
}
