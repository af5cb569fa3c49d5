//! int8 end to end on a published embedder and real portraits: `PLACARD_TEST_DATA`, else `../shared/data`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::faces::{self, Extent};
use crate::align::golden::{Journey, embed_all};
use crate::commands::Context;
use crate::config::schema;
use crate::detect::golden::{reference, test_data};
use crate::embedding::Embedding;
use crate::engine::Network;
use crate::engine::manifest::{Int8, Manifest, Task};
use crate::engine::processor::processor;
use crate::engine::store::{self, AddOptions, Int8Outcome, Samples, StoreError};
use crate::state::StateDirectory;

const NAME: &str = "mobileface-v2";
const FILE: &str = "mobileface_v2_112.onnx";
/// Enough to judge by, few enough for a test.
const SMALL: Extent = Extent { calibration: 24, people: 6, occasions: 2 };

/// Drawn once for all tests.
static DRAWN: OnceLock<Samples> = OnceLock::new();

struct Bench {
    _directory: tempfile::TempDir,
    context: Context,
    data: PathBuf,
}

impl Bench {
    fn new(data: &Path) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path().join("state"));
        Self { _directory: directory, context: Context { state, json: true }, data: data.to_owned() }
    }

    fn state(&self) -> &StateDirectory {
        &self.context.state
    }

    fn add(&self, file: &str) -> Manifest {
        store::add(self.state(), &self.data.join("models").join(file), &AddOptions::default()).expect("added").manifest
    }

    fn samples(&self, manifest: &Manifest) -> Samples {
        DRAWN.get_or_init(|| faces::samples(&self.context, &manifest.input, None, SMALL).expect("faces are drawn")).clone()
    }

    fn fastest(&self) -> Result<Box<dyn Network>, StoreError> {
        store::load_fastest(self.state(), NAME, Task::FaceEmbedder, &schema::Engine::default())
    }

    fn fp32(&self) -> Box<dyn Network> {
        store::load_network(self.state(), NAME, Task::FaceEmbedder, &schema::Engine::default()).expect("loads")
    }

    fn manifest_path(&self) -> PathBuf {
        self.state().models().join(NAME).join("manifest.toml")
    }

    /// Says that int8 was measured to be this fast on that processor, whatever this machine thinks of it.
    fn pretend(&self, int8: &Int8, times_as_fast: f64, processor: &str) {
        let (manifest, _) = store::open(self.state(), NAME).expect("opens");
        let int8 = Int8 { times_as_fast, processor: processor.into(), ..int8.clone() };
        let text = Manifest { int8: Some(int8), ..manifest }.to_toml().expect("TOML");
        std::fs::write(self.manifest_path(), text).expect("written");
    }

    fn int8_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state().models().join(NAME)).expect("a directory");
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("int8-"))).collect()
    }
}

fn run(network: &mut dyn Network, picture: &[f32]) -> Vec<u32> {
    let mut bits = Vec::new();
    network.run(picture, [1, 3, 112, 112], &mut |outputs| bits = outputs[0].data.iter().map(|v| v.to_bits()).collect()).expect("runs");
    bits
}

/// How many probes find their own person first.
fn first(gallery: &std::collections::BTreeMap<String, Embedding>, probes: &std::collections::BTreeMap<String, Embedding>) -> usize {
    let nearest =
        |probe: &Embedding| gallery.iter().max_by(|a, b| probe.cosine(a.1).total_cmp(&probe.cosine(b.1))).map(|(name, _)| name.clone());
    probes.iter().filter(|(person, probe)| nearest(probe).as_ref() == Some(*person)).count()
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures belong to the test's report")]
fn int8_from_rendered_faces_recognises_photographed_people_as_fp32_does() {
    let Some(data) = test_data() else { return };
    let bench = Bench::new(&data);
    let manifest = bench.add(FILE);
    let samples = bench.samples(&manifest);
    let outcome = store::add_int8(bench.state(), NAME, &samples, None).expect("no fault");
    let Int8Outcome::Stored { int8, verdict, report } = outcome else { panic!("{outcome:?}") };
    eprintln!("{verdict:?}, {:.2} times as fast", int8.times_as_fast);
    assert_eq!((report.convolutions, report.products, report.sums), (37, 1, 8));
    assert_eq!((int8.calibrated_with.as_str(), int8.processor), ("24 rendered faces", processor()));
    let int8 = store::open(bench.state(), NAME).expect("opens").0.int8.expect("described");

    // Which one runs is what was measured, on this processor.
    let crop = &samples.calibration[0];
    let exact = run(&mut *bench.fp32(), crop);
    bench.pretend(&int8, 9.0, "another processor");
    assert!(run(&mut *bench.fastest().expect("loads"), crop) == exact, "measured elsewhere: fp32");
    bench.pretend(&int8, 1.05, &processor());
    assert!(run(&mut *bench.fastest().expect("loads"), crop) == exact, "hardly faster: fp32");
    bench.pretend(&int8, 1.5, &processor());
    assert!(run(&mut *bench.fastest().expect("loads"), crop) != exact, "faster: int8");

    let mut quick = Journey::with_embedder(&data, bench.fastest().expect("loads"));
    let mut worst = 1.0_f32;
    for (file, faces) in reference(&data).as_object().expect("files") {
        let Some(golden) = faces[0]["mobileface_v2"].as_array() else { continue };
        let mut golden: Vec<f32> = golden.iter().map(|v| v.as_f64().expect("a number") as f32).collect();
        let golden = Embedding::normalised(&mut golden).expect("an embedding");
        worst = worst.min(quick.embed(&data.join("images").join(file)).cosine(&golden));
    }
    assert!(worst >= 0.98, "{worst} to a golden embedding");

    // Templates in fp32, as enrolment makes them; probes in both.
    let mut exact = Journey::with_embedder(&data, bench.fp32());
    let gallery = embed_all(&mut exact, &data, "_a.jpg");
    let (probes, quick_probes) = (embed_all(&mut exact, &data, "_b.jpg"), embed_all(&mut quick, &data, "_b.jpg"));
    let (in_fp32, in_int8) = (first(&gallery, &probes), first(&gallery, &quick_probes));
    let cosines: Vec<f32> = probes.iter().map(|(person, probe)| probe.cosine(&quick_probes[person])).collect();
    let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
    let at = |probes: &std::collections::BTreeMap<String, Embedding>| probes.iter().filter(|(p, e)| e.cosine(&gallery[*p]) >= 0.45).count();
    eprintln!(
        "golden {worst:.4}; {} portraits: cosine {mean:.4} on average; rank-1 {in_int8} (fp32 {in_fp32}); at 0.45 {} ({})",
        probes.len(),
        at(&quick_probes),
        at(&probes)
    );
    assert!(probes.len() >= 80 && in_int8 == in_fp32, "{in_int8} and {in_fp32} of {}", probes.len());
    assert!(mean >= 0.98, "{mean}");
}

#[test]
fn a_changed_int8_file_is_refused_and_adding_the_model_again_mends_it() {
    let Some(data) = test_data() else { return };
    let bench = Bench::new(&data);
    let manifest = bench.add(FILE);
    let outcome = store::add_int8(bench.state(), NAME, &bench.samples(&manifest), None).expect("no fault");
    assert!(outcome.int8().is_some(), "{outcome:?}");
    assert_eq!(bench.add(FILE).int8.as_ref(), outcome.int8(), "adding it again leaves int8 alone");
    let [file] = &bench.int8_files()[..] else { panic!("one int8 file") };
    let mut bytes = std::fs::read(file).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(file, bytes).expect("written");
    for error in [bench.fastest().err(), store::open(bench.state(), NAME).err()] {
        let error = error.expect("refused");
        assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("int8-"), "{error}");
    }
    assert_eq!(bench.add(FILE), manifest, "as it was before int8");
    assert!(bench.int8_files().is_empty() && bench.fastest().is_ok());
}

#[test]
fn what_is_not_good_enough_stays_fp32_and_says_why() {
    let Some(data) = test_data() else { return };
    let bench = Bench::new(&data);
    let manifest = bench.add(FILE);
    let mut samples = bench.samples(&manifest);
    assert!(store::add_int8(bench.state(), NAME, &samples, None).expect("no fault").int8().is_some());
    // Ranges from pictures on which nothing is to be seen fit no face.
    samples.calibration.iter_mut().for_each(|picture| picture.fill(127.5));
    let outcome = store::add_int8(bench.state(), NAME, &samples, None).expect("no fault");
    assert!(matches!(&outcome, Int8Outcome::Kept { reason } if reason.contains("cosine to fp32")), "{outcome:?}");
    assert_eq!(store::open(bench.state(), NAME).expect("opens").0, manifest, "the variant of before is gone too");
    assert!(bench.int8_files().is_empty());
    samples.calibration.truncate(3);
    let outcome = store::add_int8(bench.state(), NAME, &samples, None).expect("no fault");
    assert!(matches!(&outcome, Int8Outcome::Kept { reason } if reason.contains("3 calibration pictures")), "{outcome:?}");

    let detector = bench.add("yunet_n_320_320.onnx");
    let outcome = store::add_int8(bench.state(), &detector.name, &samples, None).expect("no fault");
    assert!(matches!(&outcome, Int8Outcome::Kept { reason } if reason.contains("made of embedders")), "{outcome:?}");
}
