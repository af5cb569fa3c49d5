//! `placard enrol` and `placard search` as an operator runs them: the program itself, exit codes, what is in the vault. Pictures of rendered
//! people; and once more of real ones, where there are any.

#[path = "support/desk.rs"]
mod desk;
#[path = "support/people.rs"]
mod people;
#[path = "support/register.rs"]
mod register;
mod support;

use std::path::{Path, PathBuf};

use desk::{Answer, Desk, PURPOSE, REGISTER, SITE};
use image::{DynamicImage, imageops};
use placard::clock::{Clock, SystemClock};
use placard::gallery::seal::SiteKey;
use placard::gallery::vault::Vault;
use serde_json::Value;

/// Beside the desk's own.
const MORE: &str = r#"
[[purpose]]
purpose = "missing-person:mp-8"
zones = ["hall"]

[[purpose]]
purpose = "missing-person:mp-1"
zones = ["hall"]
basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2020-01-01, until = 2200-01-01 }
assessment = "pia-3"
review_on = 2200-01-01
"#;

struct Site {
    desk: Desk,
    /// Photographs of real people; none: rendered ones.
    data: Option<PathBuf>,
}

impl std::ops::Deref for Site {
    type Target = Desk;
    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Site {
    /// With the bundled models.
    fn rendered() -> Self {
        Self { desk: Desk::new(MORE), data: None }
    }

    /// With YuNet and MobileFace in its store. `None`: no test data.
    fn real() -> Option<Self> {
        let data = support::test_data()?;
        let site = Self { data: Some(data.clone()), ..Self::rendered() };
        for model in ["yunet_n_640_640.onnx", "mobileface_v2_112.onnx"] {
            let added = site.run(&["model", "add", data.join("models").join(model).to_str().unwrap()]);
            assert_eq!(added.exit, 0, "{}", added.errors);
        }
        Some(site)
    }

    fn enrol(&self, arguments: &[&str]) -> Answer {
        self.run(&[&["enrol", "--adult", "--purpose", PURPOSE], arguments].concat())
    }

    /// Rules or codes of what stands in the record, oldest first; the record is whole and names nobody, no file neither.
    fn kept(&self, what: &str) -> Vec<String> {
        let answer = self.run(&["record", "--last", "999"]);
        assert_eq!(answer.exit, 0, "{}", answer.errors);
        let record = answer.lines[0].to_string();
        assert!(!record.contains("Somebody") && !record.contains(".png") && !record.contains(".jpg"), "{record}");
        let entries = answer.lines[0]["entries"].as_array().unwrap();
        let of = entries.iter().filter(|entry| entry["what"] == what && !text(&entry["purpose"]).is_empty());
        of.map(|entry| text(&entry["rule"]).to_owned()).collect()
    }

    fn search(&self, image: &Path) -> Answer {
        self.run(&["search", "--purpose", PURPOSE, image.to_str().unwrap(), "--top", "3"])
    }

    /// Photograph `a` (as for a passport) or `b` (on another day) of somebody.
    fn portrait(&self, person: &str, which: char) -> PathBuf {
        if let Some(data) = &self.data {
            return data.join(format!("images/identities/{person}_{which}.jpg"));
        }
        let path = self.directory.path().join(format!("{person}_{which}.png"));
        if !path.exists() {
            let seed = person.parse().unwrap();
            let shot = if which == 'a' { people::official(seed) } else { people::everyday(seed, 1) };
            shot.image.save(&path).unwrap();
        }
        path
    }

    /// The first `count` people with two photographs.
    fn people(&self, count: usize) -> Vec<String> {
        let Some(data) = &self.data else { return (0..count).map(|seed| seed.to_string()).collect() };
        let table = std::fs::read_to_string(data.join("images/identities.tsv")).unwrap();
        let rows = table.lines().map(|l| l.split('\t').collect::<Vec<_>>());
        rows.filter(|r| r[2] == "probe").map(|r| r[1].to_owned()).take(count).collect()
    }

    fn subjects_in_vault(&self) -> usize {
        let state = self.state();
        let vault = Vault::open(&state, &SiteKey::load_or_create(&state).unwrap()).unwrap();
        let listed = vault.list(None).unwrap().len();
        assert_eq!(listed, vault.subjects().unwrap().len());
        listed
    }

    /// Writes a picture into the state directory.
    fn picture(&self, name: &str, picture: &DynamicImage) -> String {
        let path = self.directory.path().join(name);
        picture.save(&path).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn one_portrait_enrols_is_found_and_is_not_enrolled_twice() {
    one_portrait(&Site::rendered());
}

#[test]
fn a_real_portrait_is_found_with_the_score_that_others_measured() {
    let Some(site) = Site::real() else { return };
    // NOTES gives 0.8440 for this pair.
    let score = one_portrait(&site);
    assert!((score - 0.844).abs() < 0.03, "{score}");
}

/// The score of the other photograph.
fn one_portrait(site: &Site) -> f64 {
    let person = if site.data.is_some() { "A000369" } else { "0" };
    let (portrait, other) = (site.portrait(person, 'a'), site.portrait(person, 'b'));
    let answer = site.enrol(&["--name", "Somebody", portrait.to_str().unwrap(), "--expires", "2"]);
    assert_eq!(answer.exit, 0, "{}", answer.errors);
    let enrolled = &answer.lines[0];
    assert_eq!((text(&enrolled["outcome"]), text(&enrolled["name"])), ("enrolled", "Somebody"));
    assert!(enrolled["images"][0]["quality"]["width_px"].as_f64().unwrap() > 100.0);
    let found = site.search(&other);
    assert_eq!(found.exit, 0, "{}", found.errors);
    let best = &found.lines[0]["results"][0];
    assert_eq!((&best["subject"], text(&best["name"])), (&enrolled["subject"], "Somebody"));
    let again = site.enrol(&[portrait.to_str().unwrap()]);
    assert_eq!((again.exit, text(&again.lines[0]["reason"]["code"])), (4, "already-enrolled"));
    assert!(text(&again.lines[0]["reason"]["message"]).contains(text(&enrolled["subject"])));
    assert_eq!((site.kept("searched").len(), site.kept("refused")), (1, vec!["already-enrolled".to_owned()]));
    assert_eq!(site.subjects_in_vault(), 1);
    let log_free_of_names = !found.errors.contains("Somebody");
    assert!(log_free_of_names, "{}", found.errors);
    let state = site.state();
    let vault = Vault::open(&state, &SiteKey::load(&state).unwrap()).unwrap();
    let entry = vault.list(None).unwrap().remove(0);
    assert_eq!(entry.expires_at.since_ns(entry.enrolled_at), 2 * 86_400_000_000_000);
    assert!(SystemClock.utc() >= entry.enrolled_at);
    best["score"].as_f64().unwrap()
}

#[test]
fn a_deleted_subject_is_found_nowhere_and_may_be_enrolled_again() {
    let site = Site::rendered();
    let (portrait, other) = (site.portrait("2", 'a'), site.portrait("2", 'b'));
    let enrolled = site.enrol(&["--name", "Somebody", portrait.to_str().unwrap()]);
    let subject = text(&enrolled.lines[0]["subject"]).to_owned();
    assert_eq!(site.enrol(&["--name", "Neighbour", site.portrait("3", 'a').to_str().unwrap()]).exit, 0);

    // Nobody can be asked: standard input is no terminal.
    let asked = site.run(&["delete", &subject]);
    assert!(asked.exit == 4 && asked.errors.contains("--yes"), "{} {}", asked.exit, asked.errors);
    assert_eq!(site.subjects_in_vault(), 2);
    for (id, words) in [("Somebody", "not a subject id"), ("0123456789abcdef0123456789abcdef", "there is no subject")] {
        let unknown = site.run(&["delete", id, "--yes"]);
        assert!(unknown.exit == 2 && unknown.errors.contains(words), "{} {}", unknown.exit, unknown.errors);
    }
    let deleted = site.run(&["delete", &subject, "--yes"]);
    assert_eq!(deleted.exit, 0, "{}", deleted.errors);
    let answer = &deleted.lines[0];
    assert_eq!((text(&answer["outcome"]), text(&answer["subject"]), text(&answer["service"])), ("deleted", &*subject, "not-running"));
    assert_eq!((&answer["name"], &answer["traces"]), (&true.into(), &false.into()));
    let sought = &answer["sought"][0];
    assert_eq!(
        (text(&sought["purpose"]), &sought["searched"], &sought["found"], sought["templates"].as_u64()),
        (PURPOSE, &true.into(), &false.into(), Some(1))
    );
    assert!(!deleted.errors.contains("Somebody"), "no name in the log: {}", deleted.errors);

    let found = site.search(&other);
    assert!(found.lines[0]["results"].as_array().unwrap().iter().all(|r| text(&r["subject"]) != subject), "{:?}", found.lines);
    assert_eq!(site.subjects_in_vault(), 1);
    for file in ["gallery/vault.redb", "gallery/identities.redb"] {
        let bytes = std::fs::read(site.directory.path().join(file)).unwrap();
        assert!(!bytes.windows(subject.len()).any(|w| w == subject.as_bytes()), "{file}");
    }
    assert_eq!(site.run(&["delete", &subject, "--yes"]).exit, 2, "there is nobody left to delete");
    assert_eq!(site.enrol(&[portrait.to_str().unwrap()]).exit, 0, "whoever was deleted is no duplicate");

    // No purpose, sign or basis stands in the way of a deletion.
    site.register("");
    let remaining = Vault::open(&site.state(), &SiteKey::load(&site.state()).unwrap());
    let remaining = remaining.unwrap().subjects().unwrap();
    for subject in remaining {
        let deleted = site.run(&["delete", &subject.to_string(), "--yes"]);
        assert_eq!((deleted.exit, &deleted.lines[0]["sought"][0]["searched"]), (0, &false.into()), "{}", deleted.errors);
    }
    assert_eq!(site.subjects_in_vault(), 0);
}

#[test]
fn every_refusal_names_reason_and_value_and_leaves_nothing_behind() {
    let site = Site::rendered();
    let portrait = image::open(site.portrait("0", 'a')).unwrap();
    let mut four = image::RgbImage::new(640, 640);
    for (person, (x, y)) in site.people(4).iter().zip([(0, 0), (320, 0), (0, 320), (320, 320)]) {
        imageops::replace(&mut four, &image::open(site.portrait(person, 'a')).unwrap().into_rgb8(), x, y);
    }
    let group = site.picture("group.png", &DynamicImage::ImageRgb8(four));
    let tiny = site.picture("tiny.png", &portrait.resize(110, 110, imageops::FilterType::Triangle));
    let grey = site.picture("grey.png", &DynamicImage::ImageRgb8(image::RgbImage::from_pixel(640, 480, image::Rgb([120; 3]))));
    let text_file = site.directory.path().join("text.jpg");
    std::fs::write(&text_file, "not a picture").unwrap();
    let reason = |path: &str| {
        let answer = site.enrol(&[path]);
        assert_eq!(answer.exit, 4, "{path}: {}", answer.errors);
        assert_eq!(answer.lines[0]["outcome"], "refused");
        let reason = answer.lines[0]["reason"].clone();
        (text(&reason["code"]).to_owned(), reason["value"].as_f64().unwrap_or(f64::NAN), reason["need"].as_f64().unwrap_or(f64::NAN))
    };
    let (code, faces, need) = reason(&group);
    assert_eq!((code.as_str(), faces, need), ("several-faces", 4.0, 1.0));
    let (code, width, need) = reason(&tiny);
    assert_eq!((code.as_str(), need), ("too-small", 64.0));
    assert!((30.0..50.0).contains(&width), "{width} px");
    let (code, score, _) = reason(&grey);
    assert_eq!(code, "no-face");
    assert!(score < 0.8, "{score}");
    assert_eq!(reason(text_file.to_str().unwrap()).0, "unreadable");
    let (a, b) = (site.portrait("2", 'a'), site.portrait("3", 'a'));
    let strangers = site.enrol(&[a.to_str().unwrap(), b.to_str().unwrap()]);
    assert_eq!((strangers.exit, text(&strangers.lines[0]["reason"]["code"])), (4, "unlike"));
    assert_eq!(site.search(Path::new(&grey)).exit, 4);
    assert_eq!(site.kept("refused"), ["several-faces", "too-small", "no-face", "unreadable", "unlike", "no-face"]);
    // Where it cannot be put on record, nothing of a search is shown.
    std::fs::remove_file(site.directory.path().join("record.jsonl")).unwrap();
    std::fs::create_dir(site.directory.path().join("record.jsonl")).unwrap();
    let unseen = site.search(&site.portrait("0", 'a'));
    assert!(unseen.exit != 0 && unseen.lines.is_empty() && unseen.errors.contains("on record"), "{}", unseen.errors);
    assert_eq!(site.subjects_in_vault(), 0);
}

#[test]
fn a_blurred_picture_is_refused_as_blurred_while_its_face_is_still_found() {
    let site = Site::rendered();
    let portrait = image::open(site.portrait("0", 'a')).unwrap();
    let refused = [3.0_f32, 4.5, 6.0, 7.5].into_iter().find_map(|sigma| {
        let answer = site.enrol(&[&site.picture("blurred.png", &portrait.blur(sigma))]);
        let reason = answer.lines[0]["reason"].clone();
        // A milder blur may have been enrolled, or be known by then.
        (answer.exit == 4 && reason["code"] != "already-enrolled").then_some(reason)
    });
    let reason = refused.expect("even the most blurred picture was taken");
    assert_eq!(text(&reason["code"]), "too-blurred");
    let (value, need) = (reason["value"].as_f64().unwrap(), reason["need"].as_f64().unwrap());
    assert!((need - 0.8).abs() < 1e-6 && (0.3..need).contains(&value), "{reason}");
}

#[test]
fn the_register_and_the_site_have_the_last_word() {
    let site = Site::rendered();
    let portrait = site.portrait("0", 'a').to_str().unwrap().to_owned();
    for (purpose, rule) in
        [("missing-person:mp-9", "purpose-named"), ("missing-person:mp-8", "basis-in-force"), ("mask-check", "purpose-named")]
    {
        for command in ["enrol", "search"] {
            let answer = site.run(&[command, "--purpose", purpose, &portrait]);
            assert_eq!(answer.exit, 4, "{command} {purpose}: {}", answer.errors);
            assert!(answer.errors.contains(rule), "{}", answer.errors);
        }
    }
    assert_eq!(site.kept("refused").len(), 6);
    assert_eq!(site.run(&["enrol", "--purpose", "marketing", &portrait]).exit, 2);
    assert_eq!(site.enrol(&[]).exit, 2);
    assert_eq!(site.enrol(&[&portrait, &portrait, &portrait, &portrait, &portrait, &portrait]).exit, 2);
    assert_eq!(site.enrol(&["--expires", "181", &portrait]).exit, 2);
    std::fs::remove_file(site.directory.path().join("register.redb")).unwrap();
    assert_eq!(site.enrol(&[&portrait]).exit, 3);
    assert!(!site.directory.path().join("gallery").exists(), "nothing was written");
}

#[test]
fn the_key_of_an_operational_site_is_never_made_in_passing() {
    let Some(site) = Site::real() else { return };
    let portrait = site.portrait("A000369", 'a').to_str().unwrap().to_owned();
    std::fs::write(site.directory.path().join("site.toml"), SITE.replace("commissioning", "operational")).unwrap();
    let answer = site.enrol(&[&portrait]);
    assert_eq!(answer.exit, 3, "{}", answer.errors);
    assert!(answer.errors.contains("placard commission"), "{}", answer.errors);
    assert!(!site.directory.path().join("gallery").exists(), "nothing was written");
}

#[test]
fn a_directory_enrols_many_and_sorts_out_the_same_person() {
    let site = Site::rendered();
    let people = site.people(3);
    let root = site.directory.path().join("new");
    for (folder, person, which) in [("first", 0, "a"), ("second", 1, "a"), ("second", 1, "b"), ("third", 2, "a"), ("twice", 0, "a")] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        let source = site.portrait(&people[person], which.chars().next().unwrap());
        // Reached by any name, in any case of the extension.
        std::fs::copy(source, root.join(folder).join(format!("{which}.JPG"))).unwrap();
    }
    let answer = site.enrol(&["--list", root.to_str().unwrap()]);
    assert_eq!(answer.exit, 4, "{}", answer.errors);
    let verdicts: Vec<(&str, &str)> = answer.lines[..4].iter().map(|l| (text(&l["name"]), text(&l["outcome"]))).collect();
    let second_photograph_is_large_enough = verdicts[1].1;
    assert_eq!(verdicts[0], ("first", "enrolled"));
    assert_eq!((verdicts[2], verdicts[3]), (("third", "enrolled"), ("twice", "refused")));
    assert_eq!(text(&answer.lines[3]["reason"]["code"]), "already-enrolled");
    let enrolled = 2 + u64::from(second_photograph_is_large_enough == "enrolled");
    assert_eq!(answer.lines[4]["enrolled"].as_u64(), Some(enrolled));
    assert_eq!(site.subjects_in_vault() as u64, enrolled);
}

#[test]
fn search_puts_the_right_person_first_among_forty() {
    forty(&Site::rendered());
}

#[test]
fn search_puts_the_right_real_person_first_among_forty() {
    let Some(site) = Site::real() else { return };
    forty(&site);
}

fn forty(site: &Site) {
    let people = site.people(40);
    let list: String = people.iter().map(|p| format!("{p}\t{}\n", site.portrait(p, 'a').display())).collect();
    let path = site.directory.path().join("list.tsv");
    std::fs::write(&path, list).unwrap();
    let answer = site.enrol(&["--list", path.to_str().unwrap()]);
    assert_eq!(answer.exit, 0, "{}", answer.errors);
    assert_eq!((answer.lines.len(), answer.lines[40]["enrolled"].as_u64()), (41, Some(40)));
    let mut wrong = Vec::new();
    for person in &people {
        let found = site.search(&site.portrait(person, 'b'));
        let first = found.lines.first().map(|l| l["results"][0]["name"].clone());
        if first.as_ref().and_then(Value::as_str) != Some(person) {
            wrong.push((person, found.lines, found.errors));
        }
    }
    assert!(wrong.len() <= 1, "{wrong:?}");
}

/// A mother's consent to look for her child, born seven years before today. `more`: further lines.
fn mothers_consent(subject: &str, more: &str) -> String {
    format!(
        "\n[[consent]]\nid = \"mother\"\nsubject = \"{subject}\"\npurpose = \"missing-person:mp-1\"\nnotice_sha256 = \"{}\"\n\
         method = \"written\"\nseparate = true\ngiven_at = 2020-01-01\nuntil = 2200-01-01\n\
         guardian = {{ reference = \"g-1\", relation = \"mother\", given_at = 2020-01-01 }}\n{more}",
        "5e1f".repeat(16)
    )
}

#[test]
fn age_is_declared_a_child_has_a_guardian_and_a_case_has_one_person() {
    let site = Site::rendered();
    let [anna, ben] = ["0", "1"].map(|person| site.portrait(person, 'a').to_str().unwrap().to_owned());
    let year: i32 = placard::clock::format_utc(SystemClock.utc())[..4].parse().unwrap();
    let child = format!("{}-01-01", year - 7);
    let enrol = |arguments: &[&str]| site.run(&[&["enrol", "--purpose", "missing-person:mp-1"], arguments].concat());
    let refused: [(&[&str], &str); 6] = [
        (&[&anna], "age-declared"),
        (&["--birth-date", "2250-01-01", &anna], "age-declared"),
        (&["--birth-date", &child, &anna], "guardian-consents"),
        (&["--birth-date", &child, "--guardian-consent", "mother", &anna], "consent-given"),
        (&["--adult", "--consent", "mother", &anna], "consent-given"),
        (&["--adult", "--expires", "31", &anna], "gallery-capped"),
    ];
    for (arguments, rule) in refused {
        let answer = enrol(arguments);
        assert_eq!(answer.exit, 4, "{arguments:?}: {}", answer.errors);
        assert!(answer.errors.contains(rule), "{arguments:?}: {}", answer.errors);
    }
    assert_eq!(site.kept("refused"), refused.map(|(_, rule)| rule));
    assert!(!site.directory.path().join("gallery").exists(), "nothing was written");
    for contradiction in [["--adult", "--birth-date", "1988-04-12"], ["--birth-date", "soon", "--adult"]] {
        assert_eq!(enrol(&[&contradiction[..], &[&anna]].concat()).exit, 2);
    }

    let subject = "0123456789abcdef0123456789abcdef";
    let put = |more: &str| site.register(&format!("{REGISTER}{MORE}{}", mothers_consent(subject, more)));
    put("");
    let answer = enrol(&["--birth-date", &child, "--guardian-consent", "mother", &anna]);
    assert_eq!(answer.exit, 0, "{}", answer.errors);
    assert_eq!(text(&answer.lines[0]["subject"]), subject, "the consent's subject, so that its end is the template's");
    // One case, one person.
    let answer = enrol(&["--adult", &ben]);
    assert_eq!((answer.exit, text(&answer.lines[0]["reason"]["code"])), (4, "gallery-capped"));
    let found = || {
        let answer = site.run(&["search", "--purpose", "missing-person:mp-1", &anna]);
        assert_eq!(answer.exit, 0, "{}", answer.errors);
        answer.lines[0].to_string().contains(subject)
    };
    assert!(found());
    // The consent is withdrawn: nobody finds the child, and the next who writes the vault erases it.
    put("withdrawn = { at = 2026-01-01, by = \"g-1\" }\n");
    assert!(!found());
    assert_eq!(enrol(&["--adult", &ben]).exit, 0, "there is room again");
    assert_eq!(site.subjects_in_vault(), 1);
}
