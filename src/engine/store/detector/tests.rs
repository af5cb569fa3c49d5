//! Which executor runs a detector, and what a table of ranges may do: on published detectors, `PLACARD_TEST_DATA`, else `../shared/data`.

use std::path::PathBuf;

use super::*;
use crate::detect::golden::test_data;
use crate::engine::store::{AddOptions, add, load_network};
use crate::hex;

fn recall(found: &[usize]) -> Vec<Recall> {
    [12, 16, 24].into_iter().zip(found).map(|(width_px, &found)| Recall { width_px, faces: 200, found }).collect()
}

#[test]
fn more_than_a_point_lost_at_any_width_from_16_pixels_on_is_refused() {
    let fp32 = recall(&[50, 120, 190]);
    assert_eq!(refusal(&fp32, &recall(&[50, 120, 190])), None);
    assert_eq!(refusal(&fp32, &recall(&[0, 118, 195])), None, "a point, and a width that nobody asks for");
    let reason = refusal(&fp32, &recall(&[50, 117, 190])).expect("1.5 points");
    assert!(reason.contains("16 px") && reason.contains("58.5 %") && !reason.contains("24 px"), "{reason}");
    assert!(refusal(&fp32, &recall(&[50, 120, 187])).expect("1.5 points").contains("24 px"));
    assert!(refusal(&[], &[]).is_some() && refusal(&fp32, &recall(&[50])).is_some(), "unmeasured is not accepted");
}

struct Site {
    _directory: tempfile::TempDir,
    state: StateDirectory,
    data: PathBuf,
}

impl Site {
    fn new() -> Option<Self> {
        let data = test_data()?;
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path().join("state"));
        Some(Self { _directory: directory, state, data })
    }

    fn add(&self, file: &str) -> String {
        add(&self.state, &self.data.join("models").join(file), &AddOptions::default()).expect("added").manifest.name
    }

    fn manifest(&self, name: &str) -> Manifest {
        open(&self.state, name).expect("opens").0
    }

    fn load(&self, name: &str, detector: DetectorEngine) -> Result<Box<dyn Network>, StoreError> {
        load_detector(&self.state, name, Task::FaceDetector, &schema::Engine { detector, ..schema::Engine::default() })
    }

    /// Makes a table from the self-test's picture; in 8 bits `found` of 200 faces are found.
    fn calibrate(&self, name: &str, found: usize) -> Int8Outcome {
        let picture = selftest::picture(&self.manifest(name));
        let calibration = Calibration { what: "a drawn picture".into(), pictures: vec![picture] };
        let mut judged = [recall(&[200, 200, 200]), recall(&[200, found, 200])].into_iter();
        let mut judge = |_: &mut dyn Network| Ok((judged.next().expect("fp32, then int8"), 0));
        add_int8_detector(&self.state, name, &calibration, &mut judge, &schema::Engine::default()).expect("no fault")
    }

    fn table(&self, name: &str) -> PathBuf {
        let manifest = self.manifest(name);
        path_of(&self.state, &manifest, manifest.int8.as_ref().expect("described"))
    }
}

fn answers(network: &mut dyn Network) -> Vec<u32> {
    let (picture, width, height) = selftest::picture(network.manifest());
    let mut bits = Vec::new();
    let read = &mut |outputs: &[crate::engine::Output<'_>]| bits = outputs.iter().flat_map(|o| o.data).map(|v| v.to_bits()).collect();
    network.run(&picture, [1, 3, height, width], read).expect("runs");
    bits
}

const FILE: &str = "yunet_s_320_320.onnx";

#[test]
fn a_table_is_used_for_cameras_alone_and_its_loss_refuses_it() {
    let Some(site) = Site::new() else { return };
    let name = &*site.add(FILE);
    let exact = answers(&mut *site.load(name, DetectorEngine::Onnxruntime).expect("loads"));
    let enrolled = answers(&mut *load_network(&site.state, name, Task::FaceDetector, &schema::Engine::default()).expect("loads"));
    assert!(enrolled == exact, "enrolment: fp32 on ONNX Runtime");

    let outcome = site.calibrate(name, 199);
    if bytes::Bytes::available().len() == 1 {
        assert!(matches!(&outcome, Int8Outcome::Kept { reason } if reason.contains("instructions")), "{outcome:?}");
        return;
    }
    assert!(outcome.int8().is_some(), "half a point is lost: {outcome:?}");
    let near = |bits: &[u32]| {
        let of = |bits: u32| f32::from_bits(bits);
        exact.iter().zip(bits).all(|(a, b)| (of(*a) - of(*b)).abs() < 2.0)
    };
    let quick = answers(&mut *site.load(name, DetectorEngine::Fused).expect("loads"));
    assert!(quick != exact && near(&quick), "int8");
    let enrolled = answers(&mut *load_network(&site.state, name, Task::FaceDetector, &schema::Engine::default()).expect("loads"));
    assert!(enrolled == exact, "never int8");
    let outcome = site.calibrate(name, 197);
    assert!(matches!(&outcome, Int8Outcome::Kept { reason } if reason.contains("16 px")), "{outcome:?}");
    assert_eq!(site.manifest(name).int8, None, "the table of before is gone too");
    let in_fp32 = answers(&mut *site.load(name, DetectorEngine::Fused).expect("loads"));
    assert!(in_fp32 != quick && near(&in_fp32), "without a table");
}

#[test]
fn an_approximation_must_be_worth_it_unless_the_executor_was_asked_for() {
    assert!(is_worth(Int8::LEAST_GAIN, 0.5, false) && !is_worth(1.09, 1.0, false) && !is_worth(f64::NAN, 1.0, false));
    assert!(!is_worth(1.3, 1.2, false) && is_worth(1.33, 1.2, false), "beside the fused executor in fp32");
    assert!(is_worth(0.5, 1.0, true), "[engine] detector = \"fused\"");
}

#[test]
fn a_table_that_was_changed_is_refused_and_one_that_does_not_agree_is_not_used() {
    let Some(site) = Site::new() else { return };
    if bytes::Bytes::available().len() == 1 {
        return;
    }
    let name = &*site.add(FILE);
    assert!(site.calibrate(name, 200).int8().is_some());
    let path = site.table(name);
    let table = std::fs::read(&path).expect("readable");
    // Another table, and the manifest says so: ranges that cut everything off.
    let mut ranges: Ranges = serde_json::from_slice(&table).expect("a table");
    for unit in &mut ranges.units {
        unit.most.iter_mut().chain(&mut unit.mixed_most).for_each(|v| *v *= 1e-3);
    }
    let cut = serde_json::to_vec(&ranges).expect("serialises");
    let manifest = site.manifest(name);
    let int8 = manifest.int8.clone().map(|int8| Int8 { sha256: hex::sha256(&cut), ..int8 });
    write_manifest(&site.state, &Manifest { int8, ..manifest.clone() }).expect("written");
    std::fs::write(path.with_file_name(format!("int8-{}.json", &hex::sha256(&cut)[..16])), &cut).expect("written");
    let exact = answers(&mut *site.load(name, DetectorEngine::Onnxruntime).expect("loads"));
    let of = |bits: u32| f32::from_bits(bits);
    let got = answers(&mut *site.load(name, DetectorEngine::Auto).expect("falls back"));
    assert!(exact.iter().zip(&got).all(|(a, b)| (of(*a) - of(*b)).abs() < 2e-3), "fp32 again");

    write_manifest(&site.state, &manifest).expect("written");
    std::fs::write(&path, &cut).expect("written");
    let error = site.load(name, DetectorEngine::Auto).err().expect("refused");
    assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("int8-"), "{error}");
}

#[test]
fn a_network_of_another_class_runs_on_onnx_runtime_unless_it_must_not() {
    let Some(site) = Site::new() else { return };
    let name = &*site.add("version-RFB-320.onnx");
    assert!(site.load(name, DetectorEngine::Auto).is_ok());
    let error = site.load(name, DetectorEngine::Fused).err().expect("refused").to_string();
    assert!(error.contains("detector = \"fused\"") && error.contains("node `"), "{error}");
    let outcome = site.calibrate(name, 200);
    assert!(matches!(&outcome, Int8Outcome::Kept { reason } if reason.contains("not for the fused executor")), "{outcome:?}");
}
