//! The real service on a real operating system with real V4L2 devices: this machine's release of Debian or Ubuntu in a virtual machine,
//! cameras from the kernel's virtual video driver, Placard installed as its package would install it and started by systemd.
//!
//! One boot serves every check; `appliance/guest/checks.sh` makes them and writes one line each, this file knows which there must be, so
//! that a guest that dies half-way is noticed. The image is kept under `target/appliance/`; the machine is emulated, which takes minutes:
//! hence only with `PLACARD_APPLIANCE_TEST=1` (`make test-appliance`). `PLACARD_APPLIANCE_BINARY` names another `placard` to test.
#![allow(clippy::print_stderr, reason = "a long test says what it does")]

#[path = "support/people.rs"]
mod people;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Who does not exist, is enrolled and then shown to a camera.
const WANTED: u64 = 0;

/// What the guest must report, in this order.
const CHECKS: &[&str] = &[
    "installed",
    "unit-verified",
    "commissioned",
    "enrolled",
    "owned",
    "shows-a-face",
    "probe-native",
    "probe-gstreamer",
    "started",
    "confined",
    "status-command",
    "live-in-the-dark",
    "withheld-without-signs",
    "recognise-with-signs",
    "gallery",
    "detecting",
    "geometry",
    "driver-clock",
    "recognised",
    "journalled",
    "dark-after-withdrawal",
    "other-zone-unmoved",
    "posted-not-inspected",
    "posted-again",
    "no-leak",
    "unplugged-hall",
    "plugged-in-hall",
    "unplugged-gate",
    "plugged-in-gate",
    "eio-native",
    "eio-gstreamer",
    "damaged-frames",
    "reqbufs-refused",
    "qbuf-refused",
    "streamon-refused",
    "stalled",
    "flows-again",
    "survived",
    "nothing-left-behind",
    "unbound",
    "bound-again",
    "killed-and-back",
    "journal-intact",
    "live-after-kill",
    "hung-and-back",
    "broken-reload",
    "good-reload",
    "hardening",
    "stopped",
    "no-panic",
    "finished",
];

const TOOLS: &[&str] = &["qemu-system-x86_64", "apt-get", "dpkg-deb", "mke2fs", "cpio", "zstd", "xz", "pkg-config"];

/// The boot is given up after this many seconds.
const BOOT_LIMIT_S: u32 = 1_500;

/// What is missing to run this test here, if anything.
fn obstacle() -> Option<String> {
    if std::env::var_os("PLACARD_APPLIANCE_TEST").is_none_or(|v| v != "1") {
        return Some("set PLACARD_APPLIANCE_TEST=1 (make test-appliance)".to_owned());
    }
    if !cfg!(target_arch = "x86_64") {
        return Some("the emulated machine is an x86-64".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("building the guest's image needs root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).collect::<Vec<_>>();
    directories.extend(["/usr/sbin".into(), "/sbin".into()]);
    let there = |tool: &str| directories.iter().any(|directory| directory.join(tool).is_file());
    let missing: Vec<&str> = TOOLS.iter().copied().filter(|tool| !there(tool)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {} (make test-appliance)", missing.join(", ")))
}

fn copy(from: &Path, into: &Path) {
    let to = into.join(from.file_name().expect("a file"));
    std::fs::copy(from, &to).unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), to.display()));
}

/// A photograph in the middle of a frame of 640 by 480, NV12, BT.601 in video range.
fn frame_of(photograph: image::RgbImage) -> Vec<u8> {
    const SIZE: (u32, u32) = (640, 480);
    let picture = image::DynamicImage::ImageRgb8(photograph).resize(SIZE.0, SIZE.1, image::imageops::FilterType::Triangle).to_rgb8();
    let left_top = ((SIZE.0 - picture.width()) / 2, (SIZE.1 - picture.height()) / 2);
    let mut frame = image::RgbImage::new(SIZE.0, SIZE.1);
    image::imageops::replace(&mut frame, &picture, i64::from(left_top.0), i64::from(left_top.1));
    let sample = |offset: f32, weights: [f32; 3], pixel: &image::Rgb<u8>| {
        let sum: f32 = weights.iter().zip(pixel.0).map(|(weight, value)| weight * f32::from(value)).sum();
        (offset + sum).round().clamp(0.0, 255.0) as u8
    };
    let mut planes: Vec<u8> = frame.pixels().map(|p| sample(16.0, [0.257, 0.504, 0.098], p)).collect();
    for (x, y) in (0..SIZE.1).step_by(2).flat_map(|y| (0..SIZE.0).step_by(2).map(move |x| (x, y))) {
        let pixel = frame.get_pixel(x, y);
        planes.push(sample(128.0, [-0.148, -0.291, 0.439], pixel));
        planes.push(sample(128.0, [0.439, -0.368, -0.071], pixel));
    }
    planes
}

/// The folder that the guest sees as /share.
fn share(share: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if share.exists() {
        std::fs::remove_dir_all(share).expect("last run's folder");
    }
    for directory in ["out", "systemd"] {
        std::fs::create_dir_all(share.join(directory)).expect("directory");
    }
    let binary = std::env::var_os("PLACARD_APPLIANCE_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_placard")), PathBuf::from);
    // Without debug information, for the guest reads it slowly.
    let stripped = Command::new("strip").arg("-o").args([&share.join("placard"), &binary]).status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(&binary, share.join("placard")).unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
    }
    copy(&placard::engine::onnxruntime::library_path(None), share);
    // Two photographs of one person: one to enrol, one that a camera shows.
    people::official(WANTED).image.save(share.join("wanted.png")).expect("photograph");
    std::fs::write(share.join("shown.nv12"), frame_of(people::everyday(WANTED, 1).image)).expect("frame");
    for file in ["placard.service", "placard.sysusers", "placard.tmpfiles"] {
        copy(&root.join("systemd").join(file), &share.join("systemd"));
    }
    for file in ["checks.sh", "site.sh", "pipeline.toml"] {
        copy(&root.join("tests/appliance/guest").join(file), share);
    }
}

fn text(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// `name ok|failed detail`, by name.
fn results(text: &str) -> BTreeMap<&str, (bool, &str)> {
    let parse = |line| {
        let mut words = str::splitn(line, 3, ' ');
        Some((words.next()?, (words.next()? == "ok", words.next().unwrap_or_default())))
    };
    text.lines().filter_map(parse).collect()
}

#[test]
fn results_are_read_as_they_are_written() {
    let read = results("a-b ok 3 of 4\nc failed\nd failed why: x\n");
    assert_eq!(read["a-b"], (true, "3 of 4"));
    assert_eq!((read["c"], read["d"]), ((false, ""), (false, "why: x")));
}

#[test]
fn the_service_in_a_virtual_machine() {
    if let Some(reason) = obstacle() {
        support::skipped(&reason);
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/appliance");
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory").join("appliance");
    let folder = work.join("share");
    std::fs::create_dir_all(&work).expect("directory");

    let began = Instant::now();
    let made = Command::new(here.join("image.sh")).arg(&work).status().expect("image.sh starts");
    assert!(made.success(), "the guest's image could not be made: {made}");
    eprintln!("image: {} s", began.elapsed().as_secs());

    share(&folder);
    let began = Instant::now();
    let booted = Command::new(here.join("boot.sh")).args([&work, &folder]).arg(BOOT_LIMIT_S.to_string()).status().expect("boot.sh starts");
    eprintln!("guest: {} s, {booted}", began.elapsed().as_secs());

    let out = folder.join("out");
    let reported = text(&out.join("results"));
    let results = results(&reported);
    let mut wrong = Vec::new();
    for name in CHECKS {
        match results.get(name) {
            Some((true, detail)) => eprintln!("ok      {name}: {detail}"),
            Some((false, detail)) => wrong.push(format!("FAILED  {name}: {detail}")),
            None => wrong.push(format!("MISSING {name}: the guest never came to it")),
        }
    }
    let unknown: Vec<_> = results.keys().filter(|name| !CHECKS.contains(name)).collect();
    assert!(unknown.is_empty(), "add these to CHECKS: {unknown:?}");
    let tail = |name: &str, lines: usize| {
        let text = text(&out.join(name));
        text.lines().skip(text.lines().count().saturating_sub(lines)).map(|l| format!("  {l}\n")).collect::<String>()
    };
    assert!(
        wrong.is_empty(),
        "{}\nthe guest's log:\n{}its console:\n{}everything: {}",
        wrong.join("\n"),
        tail("log", 60),
        tail("console", 15),
        out.display()
    );
}
