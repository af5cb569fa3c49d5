//! Mutation: every barrier and every wait of every kernel is left out in turn, and some case must notice.

use std::collections::BTreeSet;
use std::io::Write;

use crate::battery::Case;
use crate::compiler::{root, runner, sources};
use crate::job::Site;

/// How a barrier or a wait is written.
const WRITTEN: [&str; 3] = ["__syncthreads()", "__syncwarp(", "copy_wait<"];

/// The folder whose kernels are run, and what runs them.
type Battery = (&'static str, fn() -> Vec<Case>);

fn batteries() -> Vec<Battery> {
    vec![
        ("kernels/align", crate::align::cases),
        ("kernels/detect", || crate::faces::cases().into_iter().chain(crate::prepare::cases()).collect()),
        ("kernels/embed", crate::embed::cases),
        ("kernels/engine", crate::layers::cases),
        ("kernels/gallery", crate::gallery::cases),
    ]
}

/// Every barrier and wait that stands in a folder's files, and of which kind it is.
fn written(folder: &str) -> Vec<(Site, &'static str)> {
    let mut sites = Vec::new();
    for file in sources(folder, &["cu", "cuh"]) {
        let text = std::fs::read_to_string(root().join(&file)).expect("readable source");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(kind) = WRITTEN.iter().find(|w| code.contains(**w)) {
                let site = Site { file: file.to_string_lossy().into_owned(), line: u32::try_from(number + 1).expect("a short file") };
                sites.push((site, *kind));
            }
        }
    }
    sites
}

#[test]
fn every_kernel_is_launched_by_its_folders_battery() {
    for file in sources("kernels", &["cu"]) {
        let cases = batteries().into_iter().filter(|(folder, _)| file.starts_with(folder)).flat_map(|(_, cases)| cases());
        let launched: BTreeSet<String> = cases.flat_map(|case| case.job.kernels().map(str::to_owned).collect::<Vec<_>>()).collect();
        let text = std::fs::read_to_string(root().join(&file)).expect("readable source");
        let kernels: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("KERNEL(")?.strip_suffix(')')).collect();
        assert!(!kernels.is_empty(), "{}: no KERNEL(name)", file.display());
        assert!(text.matches("__global__").count() == kernels.len(), "{}: a kernel that is not named with KERNEL", file.display());
        for kernel in kernels {
            assert!(launched.contains(kernel), "{}: no case launches {kernel}", file.display());
        }
    }
}

/// The block that every kernel's file begins with.
#[test]
fn every_kernel_says_what_it_does_and_within_which_limits() {
    let fields =
        ["KERNEL", "MATH", "SHAPES", "UNITS", "LAUNCH", "BYTES", "ARITH", "NUMERICS", "LIMITS", "TWIN", "TEST", "BENCH", "MEASURED"];
    for file in sources("kernels", &["cu"]) {
        let text = std::fs::read_to_string(root().join(&file)).expect("readable source");
        let head: String = text.lines().take_while(|line| line.starts_with("//")).collect::<Vec<_>>().join("\n");
        for field in fields {
            assert!(head.contains(&format!("{field} ")), "{}: its head has no {field}", file.display());
        }
        for word in head.split_whitespace().filter(|word| word.starts_with("src/") || word.starts_with("tests/")) {
            let path = word.trim_end_matches([',', '.', ')']);
            assert!(root().join(path).exists(), "{}: there is no {path}", file.display());
        }
    }
}

#[test]
fn no_barrier_and_no_wait_can_be_left_out_unnoticed() {
    let Some(runner) = runner() else { return };
    let mut unnoticed = Vec::new();
    let mut told = std::io::stdout().lock();
    for kind in WRITTEN {
        let count = batteries().iter().flat_map(|(folder, _)| written(folder)).filter(|(_, of)| *of == kind).count();
        writeln!(told, "{count} places with {kind}").expect("standard output is open");
    }
    for (folder, cases) in batteries() {
        let cases = cases();
        for (site, _) in written(folder) {
            let noticed = cases.iter().find_map(|case| case.run(runner, Some(&site)).err());
            let place = format!("{}:{}", site.file, site.line);
            match noticed {
                Some(by) => writeln!(told, "left out {place}: {by}").expect("standard output is open"),
                None => unnoticed.push(place),
            }
        }
    }
    assert!(unnoticed.is_empty(), "left out, and nobody noticed: {}", unnoticed.join(", "));
}
