//! Tests of loading: every kind of mistake is named with file, line, column and key, and all of them at once.

use std::path::Path;

use super::*;
use crate::config::source::SourceSpec;

const GOOD: &str = r#"
name = "wall"
[detect]
model = "yunet"
[embed]
model = "mobileface"
[[stream]]
name = "north"
source = "rtsp://10.0.0.1/a"
credential_file = "secrets/north"
[[stream]]
name = "south"
source = "file:clips/a.mkv"
threshold = 0.7
"#;

fn problems(text: &str) -> Vec<String> {
    let error = parse(text, Path::new("/etc/placard/wall.toml")).expect_err("must be refused");
    error.to_string().lines().map(str::to_owned).collect()
}

/// `GOOD` with one line replaced or, for an empty `from`, one appended.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    if from.is_empty() { format!("{GOOD}{to}\n") } else { GOOD.replacen(from, to, 1) }
}

#[test]
fn a_good_file_loads_with_absolute_paths_and_derived_values() {
    let loaded = parse(GOOD, Path::new("/etc/placard/wall.toml")).expect("good");
    assert_eq!(loaded.notes, []);
    let limits = &loaded.limits;
    assert!(limits.detect_workers >= 1 && limits.embed_workers == 1 && limits.max_batch == 1);
    assert_eq!(limits.http, Some("127.0.0.1:9464".parse().expect("address")));
    assert_eq!(limits.streams[1].source, SourceSpec::File { path: "/etc/placard/clips/a.mkv".into() });
    assert_eq!((limits.streams[0].threshold, limits.streams[1].threshold), (0.65, 0.7));
    assert_eq!(loaded.pipeline.streams[0].credential_file.as_deref(), Some(Path::new("/etc/placard/secrets/north")));
}

#[test]
fn unknown_keys_are_refused_with_place_and_nearest_key() {
    let typo = changed("threshold = 0.7", "treshold = 0.7");
    assert_eq!(problems(&typo), ["/etc/placard/wall.toml:14:1: stream[1].treshold: unknown key; did you mean `threshold`?"]);
    let misplaced = changed("model = \"yunet\"", "model = \"yunet\"\n  max_batch = 4");
    assert_eq!(problems(&misplaced), ["/etc/placard/wall.toml:5:3: detect.max_batch: unknown key here; `max_batch` belongs in `[batch]`"]);
    let strange = problems(&changed("", "[batch]\nzzz = 1"));
    assert!(strange[0].starts_with("/etc/placard/wall.toml:16:1: batch.zzz: unknown key; the nearest known one is `"), "{strange:?}");
    assert!(strange[0].ends_with("(known here: max_batch, max_wait_ms, ring_frames)"), "{strange:?}");
    let section = problems(&changed("[embed]", "[embeds]"));
    assert_eq!(section, ["/etc/placard/wall.toml:5:2: embeds: unknown key; did you mean `embed`?"]);
    // A required key under a wrong name is one problem, not two.
    let required = problems(&changed("model = \"yunet\"", "modle = \"yunet\""));
    assert_eq!(required, ["/etc/placard/wall.toml:4:1: detect.modle: unknown key; did you mean `model`?"]);
}

#[test]
fn wrong_types_and_missing_keys_say_what_is_expected() {
    let cases = [
        ("threshold = 0.7", "threshold = \"high\"", "14:13: stream[1].threshold: expected a number, found the text \"high\""),
        ("threshold = 0.7", "detect_every = 2.5", "14:16: stream[1].detect_every: expected a whole number from 0 up, found the number 2.5"),
        ("threshold = 0.7", "detect_every = -2", "14:16: stream[1].detect_every: expected a whole number from 0 up, found the number -2"),
        ("threshold = 0.7", "detect_every = 4294967296", "14:16: stream[1].detect_every: expected a whole number"),
        ("threshold = 0.7", "repeat = 1", "14:10: stream[1].repeat: expected true or false, found the number 1"),
        ("threshold = 0.7", "transport = \"tpc\"", "14:13: stream[1].transport: expected one of \"tcp\", \"udp\", found the text \"tpc\""),
        ("model = \"yunet\"", "", "detect.model: missing: a text in quotes"),
        ("name = \"wall\"", "", "1:1: name: missing: a text in quotes"),
        ("[embed]", "[[embed]]", "embed: expected a section `[embed]`, found a list"),
        ("name = \"wall\"", "name = 2026-11-21", "2:8: name: expected a text in quotes, found a date"),
    ];
    for (from, to, expected) in cases {
        let found = problems(&changed(from, to));
        assert!(found.len() == 1 && found[0].contains(expected), "{to}: {found:?}");
    }
    let single = problems("name = \"a\"\n[detect]\nmodel = \"m\"\n[stream]\nname = \"a\"\nsource = \"gst\"");
    assert!(
        single[0].contains("4:2: stream: expected a list, found a section (write `[[stream]]`)")
            || single[0].contains("write `[[stream]]`"),
        "{single:?}"
    );
}

#[test]
fn all_problems_are_listed_together() {
    let text = changed("name = \"north\"", "name = \"North\"\nunheard = 1\ndetect_every = 31")
        .replace("model = \"mobileface\"", "model = \"../m\"");
    let found = problems(&text);
    assert_eq!(found.len(), 4, "{found:?}");
    for (line, part) in found.iter().zip(["embed.model", "stream[0].name", "stream[0].unheard", "31 is outside 1 to 30"]) {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn values_are_checked_where_they_stand() {
    let cases = [
        ("[detect]", "[detect]\ninput_px = 330", "4:1: detect.input_px: 330 is not a multiple of 32; the nearest is 320"),
        ("[detect]", "[detect]\ninput_px = 32", "detect.input_px: 32 is outside 64 to 4096"),
        ("[detect]", "[detect]\nscore_threshold = nan", "detect.score_threshold: NaN is outside 0 to 1"),
        ("[embed]", "[track]\nlow_score = 0.7\n[embed]", "6:1: track.low_score: 0.7 is above `high_score` (0.6)"),
        ("threshold = 0.7", "name2 = 1", "stream[1].name2: unknown key; did you mean `name`?"),
        ("name = \"south\"", "name = \"north\"", "12:1: stream[1].name: another stream is called `north` already"),
        ("name = \"south\"", "name = \"South West\"", "stream[1].name: `South West` is not 1 to 32 lower-case"),
        ("rtsp://10.0.0.1/a", "rtsp://u:p@10.0.0.1/a", "9:1: stream[0].source: the address holds a user or password"),
        ("threshold = 0.7", "transport = \"udp\"", "stream[1].transport: a `file` source has no transport"),
        ("threshold = 0.7", "capture = \"native\"", "stream[1].capture: `native` reads capture devices only"),
        ("threshold = 0.7", "credential_file = \"x\"", "stream[1].credential_file: a `file` source takes no credential"),
        ("threshold = 0.7", "format = { width = 640, height = 480 }", "stream[1].format: a `file` source's format"),
        ("file:clips/a.mkv", "gst", "stream[1].source: `gst` needs the fragment"),
        (
            "rtsp://10.0.0.1/a\"",
            "rtsps://10.0.0.1/a\"\ntransport = \"udp\"",
            "stream[0].transport: over `rtsps://` pictures travel in the TLS connection",
        ),
        ("threshold = 0.7", "gst = \"rtspsrc location=rtsp://a:b@c/ ! x\"", "stream[1].gst: the fragment holds a user or password"),
        ("secrets/north", "~/north", "stream[0].credential_file: `~` is not expanded"),
        ("[detect]", "[http]\nlisten = \"0.0.0.0:9464\"\n[detect]", "http.listen: 0.0.0.0:9464 can be reached from outside"),
        ("[detect]", "[http]\nlisten = \"9464\"\n[detect]", "http.listen: `9464` is not an address and port"),
        ("[detect]", "[emit.mqtt]\nurl = \"tcp://b\"\n[detect]", "emit.mqtt.url: the address must start with mqtt:// or mqtts://"),
        ("[detect]", "[emit.mqtt]\nurl = \"mqtt://b\"\ntopic_prefix = \"a/#\"\n[detect]", "5:1: emit.mqtt.topic_prefix: `a/#` is no topic"),
        ("[detect]", "[emit.webhook]\nurl = \"https://u:p@h/\"\n[detect]", "emit.webhook.url: the address holds a user or password"),
        ("[detect]", "[batch]\nring_frames = 65\n[detect]", "batch.ring_frames: 65 is outside 1 to 64"),
        ("name = \"wall\"", "name = \"\"", "2:1: name: `` is not 1 to 64"),
    ];
    for (from, to, expected) in cases {
        let found = problems(&changed(from, to));
        assert!(found.len() == 1 && found[0].contains(expected), "{to}: {found:?}");
        assert!(!found[0].contains("u:p@") && !found[0].contains("a:b@"), "{found:?}");
    }
    assert!(problems("name = \"a\"\nstream = []\n[detect]\nmodel = \"m\"")[0].contains("2:1: stream: no stream"));
}

#[test]
fn clamped_values_are_noted_not_refused() {
    let loaded = parse(&changed("[detect]", "[batch]\nmax_batch = 8\n[detect]"), Path::new("wall.toml")).expect("allowed");
    assert_eq!(loaded.limits.max_batch, 2);
    assert_eq!(loaded.notes.len(), 1);
    assert_eq!((loaded.notes[0].line, loaded.notes[0].key.as_str()), (4, "batch.max_batch"));
}

#[test]
fn workers_leave_a_core_for_decoding() {
    let pipeline = parse(GOOD, Path::new("wall.toml")).expect("good").pipeline;
    for (cores, workers) in [(1, 1), (2, 1), (8, 7)] {
        let limits = limits::derive(&mut pipeline.clone(), Path::new("/"), cores).limits.expect("good");
        assert_eq!((limits.detect_workers, limits.embed_workers), (workers, 1));
    }
}

#[test]
fn what_cannot_be_read_is_told_apart() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let message = |path: &Path| load(path).expect_err("refused").to_string();
    assert!(message(&directory.path().join("missing.toml")).contains("missing.toml: cannot be read: No such file"));
    assert!(message(directory.path()).contains("cannot be read"));
    assert!(message(&file("latin1.toml", b"name = \"a\"\n# stra\xdfe\n")).contains("latin1.toml:2:7: not UTF-8"));
    let large = vec![b'#'; usize::try_from(MAX_BYTES).expect("small") + 1];
    assert!(message(&file("large.toml", &large)).contains("larger than 1024 KiB"));
    let broken = message(&file("broken.toml", b"name = \"a\"\n[detect\nmodel = 1"));
    assert!(broken.contains("broken.toml:2:8: this is not TOML: "), "{broken}");
    let twice = message(&file("twice.toml", b"name = \"a\"\nname = \"b\"\n"));
    assert!(twice.contains("twice.toml:2:1: this is not TOML: duplicate key"), "{twice}");
}
