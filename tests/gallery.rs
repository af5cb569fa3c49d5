//! `placard gallery` as an operator runs it: import, list, check, compact, proof; and killed at any moment, again and again: what was acknowledged is
//! there, who was deleted is not.

#[path = "support/desk.rs"]
mod desk;
#[path = "support/register.rs"]
mod register;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use desk::{Answer, DIM, Desk, PURPOSE, REGISTER, values};
use serde_json::Value;

struct Site(Desk);

impl std::ops::Deref for Site {
    type Target = Desk;
    fn deref(&self) -> &Desk {
        &self.0
    }
}

impl Site {
    fn new() -> Self {
        Self(Desk::new(""))
    }

    /// An .npy file of the templates of `numbers`, and a list of their names.
    fn files(&self, name: &str, numbers: impl IntoIterator<Item = u64>, column: &str) -> [PathBuf; 2] {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {DIM}), }}\n", numbers.len());
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(numbers.iter().flat_map(|n| values(*n)).flat_map(f32::to_le_bytes));
        let [npy, ids] = ["npy", "tsv"].map(|kind| self.directory.path().join(format!("{name}.{kind}")));
        std::fs::write(&npy, bytes).unwrap();
        std::fs::write(&ids, numbers.iter().map(|n| format!("person {n}{column}\n")).collect::<String>()).unwrap();
        [npy, ids]
    }

    fn import_arguments([npy, ids]: &[PathBuf; 2]) -> [&str; 8] {
        let [npy, ids] = [npy, ids].map(|path| path.to_str().unwrap());
        ["gallery", "import", npy, "--ids", ids, "--source", "test", "--purpose"]
    }

    fn import(&self, files: &[PathBuf; 2]) -> Answer {
        self.run(&[&Self::import_arguments(files)[..], &[PURPOSE]].concat())
    }

    /// Ids of all who are enrolled, as the list has them.
    fn listed(&self) -> BTreeSet<String> {
        let answer = self.run(&["gallery", "list"]);
        assert_eq!(answer.exit, 0, "{}", answer.errors);
        answer.lines.iter().map(|line| line["subject"].as_str().unwrap().to_owned()).collect()
    }

    /// What a kill left of a shard, compacting mends; what it left of the vault must be whole.
    fn mended(&self) {
        let answer = self.run(&["gallery", "check"]);
        if answer.exit != 0 {
            let shards = answer.lines[0]["found"].as_array().unwrap().iter().all(|f| f["file"].as_str().unwrap().ends_with(".shard"));
            assert!(shards, "{:?}", answer.lines);
            assert_eq!(self.run(&["gallery", "compact"]).exit, 0);
            self.whole();
        }
    }

    fn whole(&self) -> Value {
        let answer = self.run(&["gallery", "check"]);
        assert_eq!(answer.exit, 0, "{} {:?}", answer.errors, answer.lines);
        answer.lines[0].clone()
    }

    fn shards(&self) -> Vec<PathBuf> {
        let directory = self.state().shards();
        std::fs::read_dir(directory).map_or_else(|_| Vec::new(), |all| all.map(|e| e.unwrap().path()).collect())
    }
}

fn outcomes(answer: &Answer, outcome: &str) -> Vec<Value> {
    answer.lines.iter().filter(|line| line["outcome"] == outcome).cloned().collect()
}

#[test]
fn templates_from_elsewhere_come_in_under_the_law_and_once() {
    let site = Site::new();
    assert_eq!(site.run(&["gallery", "check"]).exit, 6, "there is nothing to check yet");
    let created = site.run(&["gallery", "create"]);
    assert_eq!((created.exit, &created.lines[0]["open"][0]), (0, &PURPOSE.into()), "{}", created.errors);
    // Whose age nobody declared, and who is a child, stays out.
    let undeclared = site.import(&site.files("u", 0..2, ""));
    assert_eq!((undeclared.exit, outcomes(&undeclared, "refused").len()), (4, 2));
    assert!(undeclared.lines[0]["reason"].as_str().unwrap().contains("age"), "{:?}", undeclared.lines[0]);
    let child = site.import(&site.files("c", 0..1, "\t2020-01-01"));
    assert!(child.exit == 4 && child.lines[0]["reason"].as_str().unwrap().contains("guardian"), "{:?}", child.lines);
    assert!(site.listed().is_empty());
    let files = site.files("t", 0..600, "\tadult");
    let taken = site.import(&files);
    assert_eq!((taken.exit, outcomes(&taken, "enrolled").len()), (0, 600), "{}", taken.errors);
    assert_eq!(site.listed().len(), 600);
    // The same people in other files are found to be enrolled; what is no template is refused.
    let again = site.import(&site.files("again", 590..610, "\tadult"));
    assert_eq!((outcomes(&again, "enrolled").len(), outcomes(&again, "refused").len()), (10, 10));
    let why = outcomes(&again, "refused")[0]["reason"].as_str().unwrap().to_owned();
    assert!(
        why.contains("this is already subject ") && why.contains(&format!("for purpose {PURPOSE}: ")) && why.contains("already-enrolled"),
        "{why}"
    );
    let twice = site.import(&site.files("twice", [700, 700], "\tadult"));
    assert_eq!((outcomes(&twice, "enrolled").len(), twice.exit), (1, 0), "one name twice is one subject with two templates");
    let strangers = site.files("strangers", [800, 801], "");
    std::fs::write(&strangers[1], "A\tadult\nA\tadult\n").unwrap();
    let strangers = site.import(&strangers);
    assert!(strangers.exit == 4 && strangers.lines[0]["reason"].as_str().unwrap().contains("different people"), "{:?}", strangers.lines);
    for (bytes, exit) in [(&b"no numpy"[..], 2), (b"\x93NUMPY\x01\x00\xff\xff", 2)] {
        std::fs::write(&files[0], bytes).unwrap();
        assert_eq!(site.import(&files).exit, exit);
    }
    let stats = site.run(&["gallery", "stats"]);
    assert_eq!((stats.lines[0]["persons"].as_u64(), stats.lines[0]["purposes"][0]["templates"].as_u64()), (Some(611), Some(612)));
}

#[test]
fn somebody_who_is_enrolled_for_another_purpose_is_told_of_under_its_own_leave() {
    const OTHER: &str = "crime-prevention:2026-8";
    let site = Site::new();
    site.register(&format!(
        "{REGISTER}{}",
        REGISTER.split_once("[[purpose]]").map(|(_, p)| format!("\n[[purpose]]{p}")).unwrap().replace(PURPOSE, OTHER)
    ));
    assert_eq!(site.import(&site.files("a", 0..3, "\tadult")).exit, 0);
    let known = site.listed();
    let import = |name: &str, numbers: std::ops::Range<u64>, more: &[&str]| {
        let files = site.files(name, numbers, "\tadult");
        site.run(&[&Site::import_arguments(&files)[..], &[OTHER], more].concat())
    };
    let told = import("b", 2..5, &["--look-also", PURPOSE]);
    let enrolled = outcomes(&told, "enrolled");
    assert_eq!((told.exit, enrolled.len()), (0, 3), "it refuses nobody: {}", told.errors);
    let also = |name: &str| enrolled.iter().find(|line| line["name"] == name).unwrap()["also"].clone();
    let same = also("person 2");
    assert!(known.contains(same[0]["subject"].as_str().unwrap()) && same[0]["purpose"] == PURPOSE, "{same}");
    assert!(same[0]["similarity"].as_f64().unwrap() > 0.99 && same.as_array().unwrap().len() == 1);
    assert_eq!((also("person 3"), also("person 4")), (serde_json::json!([]), serde_json::json!([])));
    let record = std::fs::read_to_string(site.state().record()).unwrap();
    let searches: Vec<&str> = record.lines().filter(|line| line.contains("\"searched\"")).collect();
    assert!(searches.len() == 1 && searches[0].contains(PURPOSE) && searches[0].contains("3 who are enrolled for"), "{record}");
    // Unless it is asked for, nobody's other purposes are looked through.
    let unasked = import("c", 0..1, &[]);
    assert_eq!((unasked.exit, &unasked.lines[0]["also"]), (0, &serde_json::json!([])));
    // And only while the register has the other purpose in force.
    for (of, exit, part) in
        [(OTHER, 2, "--look-also"), ("crime-prevention:2026-9", 4, "is not in the register"), ("access-verification", 4, "never searched")]
    {
        let refused = import("d", 1..2, &["--look-also", of]);
        assert!(refused.exit == exit && refused.errors.contains(part), "{of}: {} {}", refused.exit, refused.errors);
    }
}

#[test]
fn damage_is_named_and_compacting_mends_it_and_proofs_tell_the_same_bytes_apart() {
    let site = Site::new();
    assert_eq!(site.import(&site.files("t", 0..70, "\tadult")).exit, 0);
    let compacted = site.run(&["gallery", "compact"]);
    assert_eq!((compacted.exit, compacted.lines[0]["shards"].as_u64()), (0, Some(1)), "{}", compacted.errors);
    let whole = site.whole();
    assert_eq!((whole["templates"].as_u64(), whole["shard_templates"].as_u64()), (Some(70), Some(70)));
    let proof = |site: &Site| -> Value {
        let answer = site.run(&["gallery", "export-proof"]);
        assert_eq!(answer.exit, 0, "{}", answer.errors);
        serde_json::from_str(answer.lines[0]["statement"].as_str().unwrap()).unwrap()
    };
    let before = proof(&site);
    assert_eq!(before["shards"][0]["root"], proof(&site)["shards"][0]["root"], "the same bytes, the same root");
    let [path] = &site.shards()[..] else { panic!("one shard") };
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - 1_000;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let damaged = site.run(&["gallery", "check"]);
    assert_eq!(damaged.exit, 6);
    let found: Vec<&str> = damaged.lines[0]["found"].as_array().unwrap().iter().map(|f| f["place"].as_str().unwrap()).collect();
    assert!(found.contains(&"block 2") && found.iter().any(|place| place.starts_with("block 2, slot 6")), "{found:?}");
    assert!(damaged.lines[0]["found"][0]["remedy"].as_str().unwrap().contains("compact"));
    assert_eq!(site.listed().len(), 70, "nobody is lost");
    let unproven = site.run(&["gallery", "export-proof"]);
    assert!(unproven.exit == 6 && unproven.lines.is_empty(), "what is damaged is not signed: {:?}", unproven.lines);
    assert!(unproven.errors.contains("block 2") && unproven.errors.contains("compact"), "{}", unproven.errors);
    assert_eq!(site.run(&["gallery", "compact"]).exit, 0);
    site.whole();
    let subject = site.listed().pop_first().unwrap();
    assert_eq!(site.run(&["delete", &subject, "--yes"]).exit, 0);
    let after = site.whole();
    assert_eq!((after["templates"].as_u64(), after["shard_templates"].as_u64()), (Some(69), Some(69)), "it left the shard in place");
    assert_ne!(before["shards"][0]["root"], proof(&site)["shards"][0]["root"]);
}

#[test]
fn after_a_rekeying_the_gallery_opens_with_both_keys_and_with_neither_alone() {
    let site = Site::new();
    assert_eq!(site.import(&site.files("t", 0..40, "\tadult")).exit, 0);
    assert_eq!(site.run(&["gallery", "compact"]).exit, 0);
    let (state, before) = (site.state(), site.listed());
    let wrapped_before = std::fs::read(&site.shards()[0]).unwrap();
    // Under another key nothing is begun.
    let right = std::fs::read(state.site_key()).unwrap();
    std::fs::write(state.site_key(), [7; 32]).unwrap();
    let foreign = site.run(&["gallery", "rekey"]);
    assert!(
        foreign.exit != 0 && foreign.errors.contains("40 of 40") && foreign.errors.contains("nothing was re-keyed"),
        "{}",
        foreign.errors
    );
    std::fs::remove_file(state.site_key()).unwrap();
    assert!(site.run(&["gallery", "rekey"]).exit != 0 && !state.site_key().exists(), "no key is made that opens nothing");
    std::fs::write(state.site_key(), right).unwrap();
    std::fs::set_permissions(state.site_key(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(site.listed(), before);
    let rekeyed = site.run(&["gallery", "rekey"]);
    assert_eq!((rekeyed.exit, rekeyed.lines[0]["keys"].as_u64()), (0, Some(40)), "{}", rekeyed.errors);
    assert_eq!(site.listed(), before);
    assert_eq!(site.whole()["shard_templates"].as_u64(), Some(40));
    let [shard] = &site.shards()[..] else { panic!("one shard") };
    assert_ne!(std::fs::read(shard).unwrap(), wrapped_before);
    let names = site.run(&["gallery", "list", "--names"]);
    assert!(names.lines.iter().all(|line| line["name"].as_str().unwrap().starts_with("person ")), "names were sealed anew");
    // Without the new key, or with another, nothing opens; with it back, all of it does.
    let key = std::fs::read(state.gallery_key()).unwrap();
    std::fs::remove_file(state.gallery_key()).unwrap();
    let without = site.run(&["gallery", "list"]);
    assert!(without.exit != 0 && without.errors.contains("gallery.key"), "{}", without.errors);
    // As a re-keying leaves it that was cut short before the last step.
    std::fs::write(state.gallery_key().with_extension("key.new"), &key).unwrap();
    std::fs::set_permissions(state.gallery_key().with_extension("key.new"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(site.listed(), before);
    let again = site.run(&["gallery", "rekey"]);
    assert_eq!((again.exit, again.lines[0]["keys"].as_u64()), (0, Some(0)), "it was only ended: {}", again.errors);
    assert_eq!(std::fs::read(state.gallery_key()).unwrap(), key);
    assert_eq!(site.listed(), before);
    // And a second time, for good.
    assert_eq!(site.run(&["gallery", "rekey"]).lines[0]["keys"].as_u64(), Some(40));
    assert_ne!(std::fs::read(state.gallery_key()).unwrap(), key);
    assert_eq!(site.listed(), before);
    site.whole();
}

#[test]
fn a_finished_import_says_so_when_it_is_run_again_and_is_done_anew_where_that_is_asked_for() {
    let site = Site::new();
    let files = site.files("t", 0..300, "\tadult");
    assert_eq!(site.import(&files).exit, 0);
    let again = site.import(&files);
    assert_eq!((again.exit, &again.lines[0]["outcome"], again.lines[0]["people"].as_u64()), (0, &"done-before".into(), Some(300)));
    assert_eq!(again.lines.len(), 1, "nobody is refused: {:?}", again.lines);
    let subject = site.listed().pop_first().unwrap();
    assert_eq!(site.run(&["delete", &subject, "--yes"]).exit, 0);
    let anew = site.run(&[&Site::import_arguments(&files)[..], &[PURPOSE, "--again"]].concat());
    assert_eq!((outcomes(&anew, "enrolled").len(), outcomes(&anew, "refused").len()), (1, 299), "{}", anew.errors);
    let elsewhere = site.run(&[&Site::import_arguments(&files)[..], &[PURPOSE, "--zone", "roof"]].concat());
    assert!(elsewhere.exit == 4 && elsewhere.errors.contains("`roof` is none of"), "{}", elsewhere.errors);
    let listed = site.run(&["gallery", "list"]);
    assert!(listed.lines.iter().all(|line| line["zones"] == serde_json::json!(["hall"])), "{:?}", listed.lines.first());
    // Where they come from is told in a few words, once more on one line.
    for words in ["x".repeat(257), "two\nlines".to_owned(), String::new()] {
        let [npy, ids] = files.each_ref().map(|path| path.to_str().unwrap());
        let refused = site.run(&["gallery", "import", npy, "--ids", ids, "--source", &words, "--purpose", PURPOSE]);
        assert_eq!(refused.exit, 2, "{}", refused.errors);
    }
}

#[test]
fn an_import_stops_where_what_it_rests_on_has_fallen_and_goes_on_once_it_stands_again() {
    let site = Site::new();
    let files = site.files("t", 0..4_000, "\tadult");
    let mut import = site.command(&[&Site::import_arguments(&files)[..], &[PURPOSE]].concat());
    let mut child = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    // Whoever is not read does not go on: a pipe holds some hundred of its lines, and there are thousands.
    let first = told.next().unwrap().unwrap();
    assert!(first.contains("enrolled"), "{first}");
    site.register(&REGISTER.replace("until = 2200-01-01 }", "until = 2021-01-01 }"));
    let enrolled = 1 + told.map_while(Result::ok).filter(|line| line.contains("enrolled")).count();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(4) && enrolled < 2_500, "{enrolled} enrolled: {errors}");
    assert!(errors.contains("basis-in-force") && errors.contains("the import stops here"), "{errors}");
    assert_eq!(site.listed().len(), enrolled);
    site.register(REGISTER);
    let rest = site.import(&files);
    assert_eq!(
        (rest.exit, outcomes(&rest, "enrolled").len(), rest.lines.last().unwrap()["before"].as_u64()),
        (0, 4_000 - enrolled, Some(enrolled as u64))
    );
}

#[test]
fn a_vault_that_was_put_back_is_not_searched_until_it_is_taken_as_it_is() {
    let site = Site::new();
    assert_eq!(site.import(&site.files("t", 0..20, "\tadult")).exit, 0);
    let (backup, before) = (std::fs::read(site.state().vault()).unwrap(), site.listed());
    let gone = before.first().unwrap();
    assert_eq!(site.run(&["delete", gone, "--yes"]).exit, 0);
    assert_eq!(site.import(&site.files("later", 30..31, "\tadult")).exit, 0);
    assert_eq!(site.run(&["gallery", "compact"]).exit, 0);
    let later: Vec<String> = site.listed().difference(&before).cloned().collect();
    std::fs::write(site.state().vault(), backup).unwrap();
    for command in [&["gallery", "compact"][..], &["gallery", "rekey"], &["gallery", "export-proof"]] {
        let closed = site.run(command);
        let named = ["is of generation 1 for crime-prevention:2026-7", "of generation 3", "--older-vault"];
        assert!(closed.exit != 0 && named.iter().all(|part| closed.errors.contains(part)), "{command:?}: {}", closed.errors);
    }
    assert_ne!(site.import(&site.files("new", 40..41, "\tadult")).exit, 0);
    let checked = site.run(&["gallery", "check"]);
    assert!(checked.exit == 6 && checked.lines[0]["found"].to_string().contains("--older-vault"), "{:?}", checked.lines);
    // Who is lost is told by name, while the name is there and nothing was changed: whoever hears nothing of it has lost nothing.
    let vault = std::fs::read(site.state().vault()).unwrap();
    let deaf = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let untold = site.command(&["gallery", "compact", "--older-vault"]).stdout(deaf).stderr(Stdio::null()).status().unwrap();
    assert!(!untold.success() && site.run(&["gallery", "check"]).exit == 6, "it is as closed as before");
    assert_eq!(std::fs::read(site.state().vault()).unwrap().len(), vault.len());
    let taken = site.run(&["gallery", "compact", "--older-vault"]);
    assert_eq!(taken.exit, 0, "{}", taken.errors);
    let [told, done] = &taken.lines[..] else { panic!("{:?}", taken.lines) };
    assert_eq!((&told["outcome"], &told["deleted_again"][0]["subject"]), (&"older-vault".into(), &gone.as_str().into()));
    assert_eq!((&told["lost"][0]["subject"], &told["lost"][0]["name"]), (&later[0].as_str().into(), &"person 30".into()));
    assert_eq!((&done["deleted_again"][0], &done["lost"][0]), (&gone.as_str().into(), &later[0].as_str().into()));
    assert_eq!(site.listed(), before.iter().filter(|subject| *subject != gone).cloned().collect());
    site.whole();
}

/// Kills `command` after it has acknowledged `lines` lines and `wait_ms` more have passed, or lets it end; the subjects it acknowledged.
fn killed_after(command: &mut Command, lines: usize, wait_ms: u64) -> Vec<String> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut acknowledged = Vec::new();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..lines {
        let Some(Ok(line)) = told.next() else { break };
        acknowledged.push(line);
    }
    // The moment is anybody's: nothing is decided by it.
    let begun_at = Instant::now();
    while begun_at.elapsed() < Duration::from_millis(wait_ms) && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    // What it said before it died counts.
    acknowledged.extend(told.map_while(Result::ok));
    child.wait().unwrap();
    let subject =
        |line: &String| serde_json::from_str::<Value>(line).ok().filter(|l| l["outcome"] == "enrolled" || l["outcome"] == "deleted");
    acknowledged.iter().filter_map(subject).map(|line| line["subject"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_acknowledged_and_goes_on_where_it_was() {
    let rounds: u64 = std::env::var("PLACARD_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let site = Site::new();
    let files = site.files("t", 0..8_000, "\tadult");
    let (mut enrolled, mut deleted): (BTreeSet<String>, BTreeSet<String>) = (BTreeSet::new(), BTreeSet::new());
    let mut dice = 0x2545_f491_u64;
    for round in 0..rounds {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
        let (lines, wait_ms) = (usize::try_from((dice >> 33) % 400).unwrap(), (dice >> 20) % 400);
        if round % 4 == 1 {
            killed_after(&mut site.command(&["gallery", "compact"]), 0, wait_ms);
        } else if round % 4 == 3 {
            // Deletions are killed too: before they say anything, or after.
            let Some(subject) = enrolled.iter().next().cloned() else { continue };
            let gone = killed_after(&mut site.command(&["delete", &subject, "--yes"]), 0, wait_ms);
            enrolled.remove(&subject);
            if gone.is_empty() {
                // Nobody was told: it may be either, and saying it again makes it so.
                let again = site.run(&["delete", &subject, "--yes"]);
                assert!([0, 2].contains(&again.exit), "round {round}: {}", again.errors);
            }
            deleted.insert(subject);
        } else {
            enrolled.extend(killed_after(
                &mut site.command(&[&Site::import_arguments(&files)[..], &[PURPOSE]].concat()),
                lines,
                wait_ms % 20,
            ));
        }
        let listed = site.listed();
        let lost: Vec<_> = enrolled.difference(&listed).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} who were acknowledged are lost", lost.len(), enrolled.len());
        assert!(listed.is_disjoint(&deleted), "round {round}: somebody who was deleted is there");
        site.mended();
    }
    let rest = site.import(&files);
    assert_eq!(rest.exit, 0, "it goes on, and refuses nobody as enrolled already: {:?}", outcomes(&rest, "refused").first());
    let (before, listed) = (rest.lines.last().unwrap()["before"].as_u64().unwrap(), site.listed());
    assert!(before > 0, "an import that was cut short was gone on with");
    assert_eq!(listed.len() + deleted.len(), 8_000, "everybody once");
    assert_eq!(site.run(&["gallery", "compact"]).exit, 0);
    assert_eq!(site.whole()["shard_templates"].as_u64(), Some(listed.len() as u64));
}

#[test]
#[ignore = "100,000 templates; says how long each step took"]
fn a_hundred_thousand_come_in_and_are_there_though_the_import_was_killed_half_way() {
    let count: u64 = std::env::var("PLACARD_TEMPLATES").ok().and_then(|n| n.parse().ok()).unwrap_or(99_000);
    let site = Site::new();
    let files = site.files("t", 0..count, "\tadult");
    let took = |what: &str, begun_at: Instant| {
        use std::io::Write;
        writeln!(std::io::stderr(), "{what}: {:.1} s", begun_at.elapsed().as_secs_f64()).unwrap();
    };
    let begun_at = Instant::now();
    let first = killed_after(
        &mut site.command(&[&Site::import_arguments(&files)[..], &[PURPOSE]].concat()),
        usize::try_from(count / 2).unwrap(),
        0,
    );
    assert!(first.len() as u64 >= count / 2);
    took("half, then killed", begun_at);
    let begun_at = Instant::now();
    let rest = site.import(&files);
    assert_eq!((rest.exit, outcomes(&rest, "refused").len()), (0, 0), "{}", rest.errors);
    took("the rest", begun_at);
    let begun_at = Instant::now();
    assert_eq!(site.listed().len() as u64, count);
    took("list", begun_at);
    let begun_at = Instant::now();
    assert_eq!(site.run(&["gallery", "compact"]).exit, 0);
    took("compact: shard and vault anew", begun_at);
    let begun_at = Instant::now();
    assert_eq!(site.whole()["shard_templates"].as_u64(), Some(count));
    took("check", begun_at);
    let begun_at = Instant::now();
    assert_eq!(site.run(&["delete", first.first().unwrap(), "--yes"]).exit, 0);
    took("delete", begun_at);
}
