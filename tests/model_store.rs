//! The model store: what it refuses and how it says so, and what an interrupted import leaves behind. Nothing panics.

mod support;

use std::path::{Path, PathBuf};

use placard::config::schema;
use placard::engine::bundled;
use placard::engine::known;
use placard::engine::manifest::{IntendedUse, Manifest, Task};
use placard::engine::onnx::{
    AttributeProto, Dimension, DimensionValue, EXTERNAL, FunctionProto, GraphProto, ModelProto, NodeProto, Segment, SparseTensorProto,
    StringStringEntryProto, TensorProto, TrainingInfoProto, TypeValue, ValueInfoProto, element,
};
use placard::engine::store::{self, AddOptions, StoreError};
use placard::hex;
use placard::state::StateDirectory;
use prost::Message;

const FILE: &str = "yunet_n_320_320.onnx";
const NAME: &str = "yunet-n-320";

struct Bench {
    directory: tempfile::TempDir,
    state: StateDirectory,
    original: Vec<u8>,
}

impl Bench {
    fn new(data: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(directory.path().join("state"));
        let original = std::fs::read(data.join("models").join(FILE)).unwrap();
        Self { directory, state, original }
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// Adds a file under a manifest that has its digest, so that the digest is not what refuses it.
    fn add_described(&self, name: &str, bytes: &[u8]) -> Result<store::Added, StoreError> {
        let manifest = Manifest { sha256: hex::sha256(bytes), name: name.into(), ..known::by_name(NAME).unwrap() };
        let manifest = self.file(&format!("{name}.toml"), manifest.to_toml().unwrap().as_bytes());
        let options = AddOptions { manifest: Some(manifest), ..Default::default() };
        store::add(&self.state, &self.file(&format!("{name}.onnx"), bytes), &options)
    }
}

type Mutation = (&'static str, &'static str, fn(&mut ModelProto));

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

/// The first convolution's weights.
fn weights(model: &mut ModelProto) -> &mut TensorProto {
    graph(model).initializer.iter_mut().find(|t| t.data_type() == element::FLOAT && t.dims.len() == 4).unwrap()
}

fn set_weight(model: &mut ModelProto, value: f32) {
    weights(model).raw_data.as_mut().unwrap()[8..12].copy_from_slice(&value.to_le_bytes());
}

fn last_dimension(value: &mut ValueInfoProto) -> &mut Dimension {
    let Some(TypeValue::Tensor(tensor)) = &mut value.r#type.as_mut().unwrap().value else { panic!("no tensor") };
    tensor.shape.as_mut().unwrap().dim.last_mut().unwrap()
}

fn attribute(name: &str) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ..Default::default() }
}

fn entry() -> StringStringEntryProto {
    StringStringEntryProto { key: Some("location".into()), value: Some("/etc/shadow".into()) }
}

/// What is wrong, a part of the error, and how to make it wrong.
const MUTATIONS: [Mutation; 29] = [
    ("attribute-branch", "speaks of `gender`", |m| graph(m).node[3].name = Some("/backbone/stage1/fc_Gender2".into())),
    ("attribute-weights", "speaks of `emotion`", |m| weights(m).name = Some("emotion.weight".into())),
    ("external-location", "external data", |m| weights(m).data_location = Some(EXTERNAL)),
    ("external-entries", "external data", |m| weights(m).external_data.push(entry())),
    ("custom-operator", "domain `com.example`", |m| graph(m).node[3].domain = Some("com.example".into())),
    ("contrib-operator", "domain `com.microsoft`", |m| graph(m).node[0].domain = Some("com.microsoft".into())),
    ("extra-head", "output `age`", |m| {
        let mut head = graph(m).output[0].clone();
        head.name = Some("age".into());
        graph(m).output.push(head);
    }),
    ("same-head-twice", "output `cls_8`", |m| {
        let head = graph(m).output[0].clone();
        graph(m).output.push(head);
    }),
    ("renamed-head", "output `gender`", |m| graph(m).output[0].name = Some("gender".into())),
    ("missing-head", "no output `kps_32`", |m| graph(m).output.truncate(11)),
    ("wider-head", "`kps_32` has dimensions", |m| last_dimension(&mut graph(m).output[11]).value = Some(DimensionValue::Value(136))),
    ("undeclared-head", "`cls_8` is no tensor", |m| graph(m).output[0].r#type = None),
    ("free-head", "`bbox_8` has dimensions", |m| last_dimension(&mut graph(m).output[6]).value = None),
    ("huge-dimensions", "impossible dimensions", |m| weights(m).dims = vec![i64::MAX, i64::MAX]),
    ("large-dimensions", "do not fit", |m| weights(m).dims[0] = 1 << 40),
    ("negative-dimension", "impossible dimensions", |m| weights(m).dims[0] = -16),
    ("short-weights", "do not fit", |m| weights(m).raw_data.as_mut().unwrap().truncate(7)),
    ("not-a-number", "weights must be finite", |m| set_weight(m, f32::NAN)),
    ("infinite", "weights must be finite", |m| set_weight(m, f32::NEG_INFINITY)),
    ("string-weights", "element type 8", |m| weights(m).data_type = Some(8)),
    ("segment", "segment", |m| weights(m).segment = Some(Segment { begin: Some(0), end: Some(1 << 40) })),
    ("sparse-weights", "sparse", |m| graph(m).sparse_initializer.push(SparseTensorProto::default())),
    ("function", "function `placard::Relu`", |m| {
        m.functions.push(FunctionProto { name: Some("Relu".into()), domain: Some("placard".into()), ..Default::default() });
    }),
    ("hidden-graph", "holds a graph of its own", |m| {
        let hidden = AttributeProto { g: Some(GraphProto::default()), ..attribute("body") };
        graph(m).node[0].attribute.push(hidden);
    }),
    ("control-flow", "(Loop) holds a graph", |m| graph(m).node[5].op_type = Some("Loop".into())),
    ("training", "training graphs", |m| m.training_info.push(TrainingInfoProto::default())),
    ("second-input", "takes 2 inputs", |m| {
        let second = ValueInfoProto { name: Some("second".into()), ..graph(m).input[0].clone() };
        graph(m).input.push(second);
    }),
    ("other-size", "the graph's width is [640]", |m| last_dimension(&mut graph(m).input[0]).value = Some(DimensionValue::Value(640))),
    ("old-operators", "set 5", |m| m.opset_import[0].version = Some(5)),
];

#[test]
fn a_model_that_is_not_accounted_for_is_refused_by_name_and_reason() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    for (name, reason, mutate) in MUTATIONS {
        let mut model = ModelProto::decode(bench.original.as_slice()).unwrap();
        mutate(&mut model);
        let error = bench.add_described(name, &model.encode_to_vec()).expect_err(name);
        let text = error.to_string();
        assert!(matches!(error, StoreError::Refused { .. }), "{name}: {text}");
        assert!(text.contains(&format!("{name}.onnx")) && text.contains(reason), "{name}: {text}");
    }
    assert!(store::list(&bench.state).unwrap().is_empty(), "nothing of them is in the store");
}

#[test]
fn a_constant_is_checked_like_a_weight() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let mut model = ModelProto::decode(bench.original.as_slice()).unwrap();
    let value = TensorProto { data_type: Some(element::FLOAT), float_data: vec![f32::NAN], ..Default::default() };
    let constant = AttributeProto { t: Some(value), ..attribute("value") };
    let op_type = Some("Constant".into());
    graph(&mut model).node.push(NodeProto { output: vec!["c".into()], op_type, attribute: vec![constant], ..Default::default() });
    let error = bench.add_described("constant", &model.encode_to_vec()).unwrap_err().to_string();
    assert!(error.contains("c.value") && error.contains("finite"), "{error}");
}

#[test]
fn a_model_that_the_runtime_cannot_run_is_refused_when_it_is_added() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let mut model = ModelProto::decode(bench.original.as_slice()).unwrap();
    graph(&mut model).node[7].input[0] = "nowhere".into();
    let error = bench.add_described("dangling", &model.encode_to_vec()).unwrap_err();
    assert!(matches!(error, StoreError::Trial { .. }), "{error}");
    assert!(error.to_string().contains("dangling.onnx") && error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let original = &bench.original;
    let mut nested = GraphProto::default();
    for _ in 0..200 {
        let body = AttributeProto { g: Some(nested), ..attribute("body") };
        nested = GraphProto { node: vec![NodeProto { attribute: vec![body], ..Default::default() }], ..Default::default() };
    }
    let nested = ModelProto { ir_version: Some(8), graph: Some(nested), ..Default::default() }.encode_to_vec();
    let mut flipped = original.clone();
    flipped[0] ^= 0xff;
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty.onnx", b"", "no graph"),
        ("text.onnx", b"once upon a time", "not an ONNX model"),
        ("half.onnx", &original[..original.len() / 2], "not an ONNX model"),
        ("all-but-one.onnx", &original[..original.len() - 1], "not an ONNX model"),
        ("first-byte.onnx", &flipped, "not an ONNX model"),
        ("nested.onnx", &nested, "recursion limit"),
    ];
    for (name, bytes, reason) in cases {
        let error = store::add(&bench.state, &bench.file(name, bytes), &AddOptions::default()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(reason), "{name}: {error}");
    }

    let large = bench.file("large.onnx", b"");
    std::fs::OpenOptions::new().write(true).open(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    let error = store::add(&bench.state, &large, &AddOptions::default()).unwrap_err().to_string();
    assert!(error.contains("large.onnx") && error.contains("67108865 bytes") && error.contains("64 MiB"), "{error}");

    let error = store::add(&bench.state, bench.directory.path(), &AddOptions::default()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn a_wrong_digest_or_manifest_is_refused() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let described = |file: &Path, manifest: &str| {
        let manifest = bench.file("given.toml", manifest.as_bytes());
        let options = AddOptions { manifest: Some(manifest), ..Default::default() };
        store::add(&bench.state, file, &options).unwrap_err().to_string()
    };
    let known = known::by_name(NAME).unwrap();
    let mut model = ModelProto::decode(bench.original.as_slice()).unwrap();
    set_weight(&mut model, 0.5);
    let other = bench.file("other.onnx", &model.encode_to_vec());
    let error = described(&other, &known.to_toml().unwrap());
    assert!(error.contains("other.onnx") && error.contains(&known.sha256), "{error}");

    let file = bench.file(FILE, &bench.original);
    let embedder = Manifest { sha256: known.sha256.clone(), ..known::by_name("mobileface-v2").unwrap() };
    let error = described(&file, &embedder.to_toml().unwrap());
    assert!(error.contains(FILE) && error.contains("the graph calls it `input`, the manifest `data`"), "{error}");

    let error = described(&file, &known.to_toml().unwrap().replace("[decode]", "[decode]\nheads = 13"));
    assert!(error.contains("given.toml") && error.contains("decode.heads"), "{error}");

    let mut model = ModelProto::decode(std::fs::read(data.join("models/mobileface_v2_112.onnx")).unwrap().as_slice()).unwrap();
    // One that takes another mean off the picture is no MobileFace, whatever its shapes.
    let mean = graph(&mut model).initializer.iter_mut().find(|t| t.name() == "_minusscalar0_c").unwrap();
    (mean.raw_data, mean.float_data) = (Some(104f32.to_le_bytes().to_vec()), Vec::new());
    let unknown = bench.file("unknown.onnx", &model.encode_to_vec());
    let error = store::add(&bench.state, &unknown, &AddOptions::default()).unwrap_err().to_string();
    assert!(error.contains("unknown.onnx") && error.contains("--manifest"), "{error}");
}

/// A flipped byte is refused, or gives a network that loads and runs on a picture: whatever happens, an answer comes back.
#[test]
fn flipped_bytes_are_refused_or_harmless() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    // The bytes before the weights are the nodes: flips there change the graph, not only numbers.
    let nodes = bench.original.len() / 12;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut refused, mut accepted) = (0, 0);
    for round in 0..60 {
        let mut bytes = bench.original.clone();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(seed >> 33).unwrap() % if round % 2 == 0 { nodes } else { bytes.len() };
        bytes[place] ^= 1 << (seed >> 60 & 7);
        match bench.add_described(&format!("flip-{round}"), &bytes) {
            Ok(_) => accepted += 1,
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains(&format!("flip-{round}")), "{error}");
            }
        }
    }
    assert!(refused >= 10 && accepted >= 10, "{refused} refused, {accepted} accepted: the flips test nothing");
}

#[test]
fn the_store_gives_back_what_was_added_and_notices_damage() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let (engine, options) = (schema::Engine::default(), AddOptions::default());
    let file = bench.file(FILE, &bench.original);
    let added = store::add(&bench.state, &file, &options).unwrap();
    assert!(!added.already_there && store::add(&bench.state, &file, &options).unwrap().already_there);
    let network = store::load_network(&bench.state, NAME, Task::FaceDetector, &engine).unwrap();
    assert_eq!(network.manifest(), &added.manifest);
    let error = store::load_network(&bench.state, NAME, Task::FaceEmbedder, &engine).err().unwrap().to_string();
    assert!(error.contains("FaceDetector") && error.contains("FaceEmbedder"), "{error}");

    let error = store::open(&bench.state, "../yunet").unwrap_err().to_string();
    assert!(error.contains("no model `../yunet`") && error.contains(NAME), "{error}");

    let other = AddOptions { name: Some(NAME.into()), ..Default::default() };
    let error = store::add(&bench.state, &data.join("models/yunet_s_320_320.onnx"), &other).unwrap_err();
    assert!(matches!(error, StoreError::NameTaken { .. }), "{error}");

    let model = added.directory.as_ref().unwrap().join("model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let error = store::load_network(&bench.state, NAME, Task::FaceDetector, &engine).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("model.onnx"), "{error}");
    let again = store::add(&bench.state, &file, &options).unwrap();
    assert!(!again.already_there && store::open(&bench.state, NAME).is_ok(), "a damaged model is replaced by adding it again");

    let manifest = added.directory.as_ref().unwrap().join("manifest.toml");
    std::fs::write(&manifest, format!("colour = 1\n{}", added.manifest.to_toml().unwrap())).unwrap();
    let error = store::open(&bench.state, NAME).unwrap_err().to_string();
    assert!(error.contains("manifest.toml") && error.contains("colour"), "{error}");
    let listed = store::list(&bench.state).unwrap();
    assert!(listed.len() == 1 && listed[0].manifest.is_err(), "listed, with its error");
    assert!(store::add(&bench.state, &file, &options).is_ok_and(|a| !a.already_there) && store::open(&bench.state, NAME).is_ok());
    let left: Vec<_> = std::fs::read_dir(bench.state.models()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, [NAME], "nothing of the damaged one is left");
}

#[test]
fn a_model_put_into_the_store_by_hand_is_checked_too() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let added = store::add(&bench.state, &bench.file(FILE, &bench.original), &AddOptions::default()).unwrap();
    let mut model = ModelProto::decode(bench.original.as_slice()).unwrap();
    let mut head = graph(&mut model).output[0].clone();
    head.name = Some("age".into());
    graph(&mut model).output.push(head);
    let bytes = model.encode_to_vec();
    let manifest = Manifest { prepared_sha256: Some(hex::sha256(&bytes)), ..added.manifest };
    std::fs::write(added.directory.as_ref().unwrap().join("model.onnx"), bytes).unwrap();
    std::fs::write(added.directory.as_ref().unwrap().join("manifest.toml"), manifest.to_toml().unwrap()).unwrap();
    let error = store::open(&bench.state, NAME).unwrap_err().to_string();
    assert!(error.contains("model.onnx") && error.contains("output `age`"), "{error}");
}

#[test]
fn an_interrupted_import_leaves_nothing_that_is_taken_for_a_model() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    let models = bench.state.models();
    // As a crash leaves it: half a model, no manifest, of a process that is gone (ids end at 2^22).
    let half = models.join(format!(".{NAME}.4999999.tmp"));
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("model.onnx"), &bench.original[..1000]).unwrap();
    // Of a process that lives, so perhaps still being written.
    let alive = models.join(".other.1.tmp");
    std::fs::create_dir_all(&alive).unwrap();
    assert!(store::list(&bench.state).unwrap().is_empty());
    assert!(matches!(store::open(&bench.state, NAME), Err(StoreError::NotFound { .. })));
    assert!(matches!(store::open(&bench.state, &format!(".{NAME}.4999999.tmp")), Err(StoreError::NotFound { .. })));

    store::add(&bench.state, &bench.file(FILE, &bench.original), &AddOptions::default()).unwrap();
    store::open(&bench.state, NAME).unwrap();
    assert!(!half.exists() && alive.exists(), "the dead process's leftover is gone, the living one's is not");
    assert_eq!(store::list(&bench.state).unwrap().len(), 1);
}

#[test]
fn a_bundled_model_is_there_without_being_added_and_nothing_takes_its_name() {
    let Some((name, Ok(model))) = bundled::all().next() else { panic!("no bundled model that can be used") };
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::new(directory.path().join("state"));
    let file = directory.path().join("copy.onnx");
    std::fs::write(&file, model.file).unwrap();
    let (manifest, bytes) = store::open(&state, name).unwrap();
    assert_eq!((manifest.intended_use, &manifest, bytes == model.prepared), (IntendedUse::Commissioning, &model.manifest, true));
    assert!(store::load_network(&state, name, manifest.task, &schema::Engine::default()).is_ok());
    // Its own file is known for what it is.
    let added = store::add(&state, &file, &AddOptions::default()).unwrap();
    assert!(added.already_there && added.directory.is_none() && added.manifest == manifest);
    let renamed = AddOptions { name: Some("mine".into()), ..Default::default() };
    let error = store::add(&state, &file, &renamed).unwrap_err();
    assert!(matches!(&error, StoreError::IsBundled { .. }) && error.to_string().contains(name), "{error}");
    assert!(!state.models().exists(), "nothing is written");
    // A directory of that name is nobody's.
    let there = state.models().join(name);
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("model.onnx"), b"something else").unwrap();
    std::fs::write(there.join("manifest.toml"), manifest.to_toml().unwrap().replace("commissioning", "operational")).unwrap();
    assert_eq!(store::open(&state, name).unwrap().0.intended_use, IntendedUse::Commissioning);
    assert!(store::list(&state).unwrap().is_empty());
    let error = store::open(&state, "nobody").unwrap_err().to_string();
    assert!(error.contains("part of the program are") && error.contains(name), "{error}");
}

#[test]
fn a_relabelled_copy_of_a_bundled_model_stays_one_for_commissioning() {
    let Some(Ok(model)) = bundled::by_name("concourse-detector") else { panic!("no bundled detector that can be used") };
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::new(directory.path().join("state"));
    let mut altered = ModelProto::decode(model.file).unwrap();
    altered.doc_string = Some("an operational model".into());
    let altered = altered.encode_to_vec();
    let file = directory.path().join("operational.onnx");
    std::fs::write(&file, &altered).unwrap();
    let mut manifest = Manifest { name: "mine".into(), sha256: hex::sha256(&altered), prepared_sha256: None, ..model.manifest.clone() };
    manifest.intended_use = IntendedUse::Operational;
    let described = directory.path().join("mine.toml");
    std::fs::write(&described, manifest.to_toml().unwrap()).unwrap();
    let options = AddOptions { manifest: Some(described.clone()), ..Default::default() };
    let error = store::add(&state, &file, &options).unwrap_err();
    assert!(matches!(&error, StoreError::Relabelled { .. }), "{error}");
    assert!(error.to_string().contains("concourse-detector") && error.to_string().contains("placard model known"), "{error}");
    // Known by its graph alone, it is not taken for an operational model either.
    let by_graph = store::add(&state, &file, &AddOptions { name: Some("graph".into()), ..Default::default() }).unwrap();
    assert_eq!((by_graph.kin_of.as_deref(), by_graph.manifest.intended_use), (Some("concourse-detector"), IntendedUse::Commissioning));
    manifest.intended_use = IntendedUse::Commissioning;
    std::fs::write(&described, manifest.to_toml().unwrap()).unwrap();
    let added = store::add(&state, &file, &options).unwrap();
    // Its manifest in the store is edited by hand.
    let stored = added.directory.unwrap().join("manifest.toml");
    let text = std::fs::read_to_string(&stored).unwrap();
    std::fs::write(&stored, text.replace("\"commissioning\"", "\"operational\"")).unwrap();
    assert_eq!(store::open(&state, "mine").unwrap().0.intended_use, IntendedUse::Commissioning);
    let network = store::load_network(&state, "mine", Task::FaceDetector, &schema::Engine::default()).unwrap();
    assert_eq!(network.manifest().intended_use, IntendedUse::Commissioning);
}

/// A published file as somebody else exported it: the same graph, another digest.
#[test]
fn re_exported_files_are_known_by_their_graph_and_fed_as_the_published_ones() {
    let Some(data) = support::test_data() else { return };
    let bench = Bench::new(&data);
    for (file, published, family) in [
        ("yunet_n_320_320.onnx", "yunet-n-320", "yunet-320x320"),
        ("yunet_s_dynamic.onnx", "yunet-s-dynamic", "yunet-dynamic"),
        ("version-RFB-320.onnx", "rfb-320", "rfb-320x240"),
        ("mobileface_v2_112.onnx", "mobileface-v2", "mobileface-256"),
        ("mobileface_v3_112.onnx", "mobileface-v3", "mobileface-256"),
    ] {
        let mut model = ModelProto::decode(std::fs::read(data.join("models").join(file)).unwrap().as_slice()).unwrap();
        model.producer_name = Some("another exporter".into());
        graph(&mut model).doc_string = Some(file.into());
        let options = AddOptions { name: Some(format!("again-{published}")), ..Default::default() };
        let added = store::add(&bench.state, &bench.file(file, &model.encode_to_vec()), &options).unwrap();
        assert_eq!((added.recognised_by, added.kin_of.as_deref()), (Some(known::By::Signature), None), "{file}");
        let (found, known) = (added.manifest, known::by_name(published).unwrap());
        assert_eq!((found.task, &found.decode, &found.input), (known.task, &known.decode, &known.input), "{file}");
        assert!(found.licence.contains("unknown") && found.publisher == "unknown", "{file}");
        let assumed = added.assumed.unwrap();
        assert!(assumed.contains("placard model eval") && found.accuracy[0].contains(&assumed), "{assumed}");
        let unnamed = known::recognise("00", model.graph.as_ref().unwrap()).unwrap();
        assert_eq!(unnamed.manifest.name, family);
    }
    let faces = std::fs::read(data.join("models/2.7_80x80_MiniFASNetV2.onnx")).unwrap();
    let mut liveness = ModelProto::decode(faces.as_slice()).unwrap();
    liveness.producer_name = Some("another exporter".into());
    let error = store::add(&bench.state, &bench.file("liveness.onnx", &liveness.encode_to_vec()), &AddOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
}

#[test]
fn known_models_are_listed_with_what_is_needed_to_fetch_them_and_whether_they_are_here() {
    let Some(data) = support::test_data() else { return };
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_placard"));
        let output = command.arg("--state").arg(directory.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let file = data.join("models").join(FILE);
    run(&["model", "add", file.to_str().unwrap(), "--name", "small"]);
    let lines: Vec<serde_json::Value> = run(&["model", "known", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), known::all().count());
    for line in &lines {
        for key in ["name", "task", "licence", "publisher", "sha256", "published_as"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty() && !text.contains("://")), "{key}: {line}");
        }
        let here = if line["name"] == NAME { serde_json::Value::from("small") } else { serde_json::Value::Null };
        assert_eq!(line["in_store"], here, "{line}");
    }
    let text = run(&["model", "known"]);
    assert!(text.contains("in the store as `small`") && text.contains("face_recognition_sface_2021dec.onnx"), "{text}");
    let listed = run(&["model", "list"]);
    assert!(listed.lines().any(|l| l.starts_with("small") && l.contains("added") && l.contains("operational")), "{listed}");
    for name in bundled::names() {
        assert!(
            listed.lines().any(|l| l.starts_with(name) && l.contains("part of the program") && l.contains("commissioning")),
            "{listed}"
        );
    }
}
