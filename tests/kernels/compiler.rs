//! Builds the runner: the shim, every kernel and the broken ones of `shim.rs`, in one program that a test gives jobs.
//!
//! Objects are kept in cargo's directory for tests, named by the digest of what they were made of. Built once a process, by whoever asks first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::support::skipped;

/// A barrier or a wait must be where the source says it is, and no multiplication may be fused with an addition.
const FLAGS: &[&str] =
    &["-std=c++17", "-O1", "-g", "-ffp-contract=off", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"];
const SANITIZERS: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

/// A compiler, and whether its sanitizers work here.
struct Compiler {
    program: String,
    sanitizes: bool,
}

pub struct Runner {
    pub program: PathBuf,
    pub sanitizes: bool,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The runner; `None` after saying that there is no compiler.
pub fn runner() -> Option<&'static Runner> {
    static RUNNER: OnceLock<Option<Runner>> = OnceLock::new();
    let runner = RUNNER.get_or_init(|| {
        let workshop = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
        std::fs::create_dir_all(&workshop).expect("a directory for objects");
        let named = std::env::var("CXX").ok();
        let programs: Vec<String> = named.into_iter().chain(["clang++", "g++", "c++"].map(str::to_owned)).collect();
        let compiler =
            find(&workshop, &programs, std::env::var("CI").is_ok_and(|ci| ci == "true")).unwrap_or_else(|why| panic!("{why}"))?;
        Some(build(&compiler, &workshop))
    });
    if runner.is_none() {
        skipped("no C++ compiler for the kernels' host shim");
    }
    runner.as_ref()
}

/// Files below `folder` with one of these endings, sorted, relative to the root.
pub fn sources(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("readable directory").flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| endings.iter().any(|wanted| e == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The first compiler whose sanitizers work, else the first that works. Where CI judges, only the first will do: what is skipped there, nobody sees.
fn find(workshop: &Path, programs: &[String], is_ci: bool) -> Result<Option<Compiler>, String> {
    let works = |program: &str, sanitizers: &[&str]| {
        let (source, probe) = (workshop.join("probe.cpp"), workshop.join(format!("probe-{}", std::process::id())));
        std::fs::write(&source, "int main() { return 0; }\n").expect("a file in the directory for objects");
        let compiled = Command::new(program).args(sanitizers).arg(&source).arg("-o").arg(&probe).output();
        let runs = compiled.is_ok_and(|o| o.status.success()) && Command::new(&probe).output().is_ok_and(|o| o.status.success());
        std::fs::remove_file(&probe).unwrap_or_default();
        runs
    };
    if let Some(program) = programs.iter().find(|program| works(program, SANITIZERS)) {
        return Ok(Some(Compiler { program: program.clone(), sanitizes: true }));
    }
    if is_ci {
        return Err(format!("CI=true, and of {programs:?} none compiles with {SANITIZERS:?}: scripts/install-packages.sh installs one"));
    }
    let Some(program) = programs.iter().find(|program| works(program, &[])) else { return Ok(None) };
    skipped("the kernels run without sanitizers: no C++ compiler here has them");
    Ok(Some(Compiler { program: program.clone(), sanitizes: false }))
}

#[test]
fn without_a_compiler_ci_fails_and_others_skip() {
    let (workshop, programs) = (Path::new(env!("CARGO_TARGET_TMPDIR")), ["no-such-compiler".to_owned()]);
    assert!(matches!(find(workshop, &programs, false), Ok(None)));
    assert!(find(workshop, &programs, true).is_err_and(|why| why.contains("install-packages.sh")));
}

fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// Runs the compiler unless `product` is there; whole or not at all.
fn make(compiler: &Compiler, product: &Path, arguments: &[&std::ffi::OsStr]) {
    if product.is_file() {
        return;
    }
    let unfinished = product.with_extension(format!("{}.part", std::process::id()));
    let mut command = Command::new(&compiler.program);
    command
        .current_dir(root())
        .args(FLAGS)
        .args(if compiler.sanitizes { SANITIZERS } else { &[] })
        .args(arguments)
        .arg("-o")
        .arg(&unfinished);
    let output = command.output().expect("the compiler that was found starts");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&unfinished, product).expect("a file in the directory for objects");
}

fn build(compiler: &Compiler, workshop: &Path) -> Runner {
    let read = |file: &Path| std::fs::read(root().join(file)).expect("readable source");
    let headers: Vec<u8> = sources("kernels", &["h", "cuh"]).iter().flat_map(|file| read(file)).collect();
    let version = Command::new(&compiler.program).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    let flags = format!("{} {} {FLAGS:?} {SANITIZERS:?}", compiler.program, compiler.sanitizes);
    let mut units = sources("kernels", &["cu", "cpp"]);
    units.extend(sources("tests/kernels", &["cu"]));
    let mut objects = Vec::new();
    for unit in &units {
        let name = unit.to_string_lossy().replace(['/', '.'], "-");
        let object = workshop.join(format!("{name}-{}.o", digest(&[flags.as_bytes(), &version, &headers, &read(unit)])));
        make(compiler, &object, &["-c".as_ref(), "-x".as_ref(), "c++".as_ref(), unit.as_os_str()]);
        objects.push(object);
    }
    let names: String = objects.iter().map(|object| object.to_string_lossy()).collect();
    let program = workshop.join(format!("runner-{}", digest(&[names.as_bytes()])));
    make(compiler, &program, &objects.iter().map(|object| object.as_os_str()).collect::<Vec<_>>());
    sweep(workshop, &objects, &program);
    Runner { program, sanitizes: compiler.sanitizes }
}

/// Takes away what earlier sources left.
fn sweep(workshop: &Path, objects: &[PathBuf], program: &Path) {
    for entry in std::fs::read_dir(workshop).expect("readable directory").flatten() {
        let path = entry.path();
        let ours = path.extension().is_some_and(|e| e == "o") || entry.file_name().to_string_lossy().starts_with("runner-");
        if ours && path != program && !objects.contains(&path) {
            std::fs::remove_file(&path).unwrap_or_default();
        }
    }
}
