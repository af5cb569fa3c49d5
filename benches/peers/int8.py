"""Is int8 faster at equal accuracy? And what do the rewrites at import gain? ONNX Runtime, one thread, batch 1.

    .venv/bin/python benches/peers/int8.py [--data ../shared/data] [--rounds 31]

Prints Markdown rows. Each round runs every variant once, in a new random order, and takes the calling thread's CPU time: variants share whatever
else the machine does, and being preempted does not count. Figures are medians over rounds (smallest in brackets).

Variants: `published`; `prelu` (PRelu as a·x + (1−a)·Relu(x)); `flush` (|w| < 1e-20 set to 0); `prepared` (both, as `placard model add` does);
`int8` (prepared, then static QDQ quantisation: int8 weights per channel, uint8 activations, min-max ranges; `int8 2x`: ranges twice as wide).
Calibration pictures are of people who are not in the accuracy figures.
"""

import argparse
import os
import pathlib
import random
import statistics
import tempfile
import time
from unittest import mock

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import MinMaxCalibrater

TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def prelu_rewritten(model):
    graph = model.graph
    slopes = {t.name: t for t in graph.initializer}
    nodes = []
    for node in list(graph.node):
        if node.op_type != "PRelu" or node.input[1] not in slopes:
            nodes.append(node)
            continue
        x, a = node.input
        out, rest = node.output[0], a + "_complement"
        if rest not in slopes:
            slopes[rest] = numpy_helper.from_array(1 - numpy_helper.to_array(slopes[a]), rest)
            graph.initializer.append(slopes[rest])
        nodes.append(helper.make_node("Mul", [x, a], [out + "_scaled"], out + "_scaled"))
        nodes.append(helper.make_node("Relu", [x], [out + "_relu"], out + "_relu"))
        nodes.append(helper.make_node("Mul", [out + "_relu", rest], [out + "_kept"], out + "_kept"))
        nodes.append(helper.make_node("Add", [out + "_scaled", out + "_kept"], [out], out))
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def flushed(model):
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).copy()
            values[np.abs(values) < 1e-20] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


class Pictures(CalibrationDataReader):
    def __init__(self, name, tensors):
        self.feeds = iter([{name: tensor} for tensor in tensors])

    def get_next(self):
        return next(self.feeds, None)


class Widened(MinMaxCalibrater):
    """Activation ranges twice as wide as seen: small faces lie outside what portraits show."""

    def compute_data(self):
        ranges = super().compute_data()
        for value in ranges.data.values():
            value.lowest, value.highest = value.lowest * 2, value.highest * 2
        return ranges


def quantised(model, tensors, calibrater):
    with tempfile.TemporaryDirectory() as directory:
        source, target = os.path.join(directory, "in.onnx"), os.path.join(directory, "out.onnx")
        # Scales per channel need operator set 13.
        onnx.save(model if model.opset_import[0].version >= 13 else version_converter.convert_version(model, 13), source)
        with mock.patch("onnxruntime.quantization.calibrate.MinMaxCalibrater", calibrater):
            quantize_static(
                source, target, Pictures(model.graph.input[0].name, tensors), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            )
        return onnx.load(target)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def letterbox(image, size=640):
    ratio = min(size / image.shape[0], size / image.shape[1])
    small = cv2.resize(image, (round(image.shape[1] * ratio), round(image.shape[0] * ratio)))
    canvas = np.zeros((size, size, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas.transpose(2, 0, 1)[None].astype(np.float32), ratio


def detect(network, image, confidence=0.6):
    """YuNet: boxes (x, y, w, h) and five points in pixels of `image`, best first."""
    tensor, ratio = letterbox(image)
    names = [o.name for o in network.get_outputs()]
    out = dict(zip(names, network.run(None, {"input": tensor})))
    boxes, points, scores = [], [], []
    for stride in (8, 16, 32):
        cls, obj = (np.clip(out[f"{kind}_{stride}"][0, :, 0], 0, 1) for kind in ("cls", "obj"))
        score = np.sqrt(cls * obj)
        keep = np.flatnonzero(score >= confidence)
        column, row = keep % (640 // stride), keep // (640 // stride)
        box, kps = out[f"bbox_{stride}"][0, keep], out[f"kps_{stride}"][0, keep].reshape(-1, 5, 2)
        centre = (np.stack([column, row], 1) + box[:, :2]) * stride
        size = np.exp(box[:, 2:]) * stride
        boxes.append(np.concatenate([centre - size / 2, size], 1) / ratio)
        points.append((kps + np.stack([column, row], 1)[:, None]) * stride / ratio)
        scores.append(score[keep])
    boxes, points, scores = np.concatenate(boxes), np.concatenate(points), np.concatenate(scores)
    kept = list(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), confidence, 0.45)) if len(scores) else []
    return boxes[kept], points[kept]


def aligned(image, points):
    """Least-squares similarity to the five-point template."""
    source, target = points - points.mean(0), TEMPLATE - TEMPLATE.mean(0)
    u, s, vt = np.linalg.svd(target.T @ source)
    turn = u @ np.diag([1, np.sign(np.linalg.det(u @ vt))]) @ vt
    scale = (s * [1, np.sign(np.linalg.det(u @ vt))]).sum() / (source**2).sum()
    shift = TEMPLATE.mean(0) - scale * turn @ points.mean(0)
    return cv2.warpAffine(image, np.column_stack([scale * turn, shift]), (112, 112))


def crop_tensor(crop):
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)[None].astype(np.float32)


def pasted(portrait, box, width, place):
    """A grey 1280 × 720 picture with one portrait whose face is `width` pixels wide."""
    ratio = width / (box[2] - box[0])
    small = cv2.resize(portrait, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    picture = np.full((720, 1280, 3), 128, np.uint8)
    x, y = place
    picture[y : y + small.shape[0], x : x + small.shape[1]] = small
    return picture, np.array([box[0] * ratio + x, box[1] * ratio + y, (box[2] - box[0]) * ratio, (box[3] - box[1]) * ratio])


def overlap(a, b):
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    both = max(0, right - left) * max(0, bottom - top)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def detector_accuracy(network, data, people):
    groups = sum(len(detect(network, cv2.imread(str(p)))[0]) for p in sorted((data / "images/detection").glob("*.jpg")))
    recalls = []
    for width in (16, 24, 32, 48):
        found = 0
        for number, (portrait, box) in enumerate(people[:48]):
            picture, truth = pasted(portrait, box, width, (100 + number * 17, 60 + number * 8))
            found += any(overlap(b, truth) > 0.4 for b in detect(network, picture)[0])
        recalls.append(f"{width} px {found / len(people[:48]):.2f}")
    return f"faces in 4 group photos {groups}; recall " + ", ".join(recalls)


def embedder_accuracy(network, crops, reference):
    name = network.get_inputs()[0].name
    vectors = {file: network.run(None, {name: crop_tensor(crop)})[0][0] for file, crop in crops.items()}
    vectors = {file: v / np.linalg.norm(v) for file, v in vectors.items()}
    gallery = [f for f in vectors if f.endswith("_a.jpg")]
    probes = [f for f in vectors if f.endswith("_b.jpg")]
    scores = np.array([vectors[p] for p in probes]) @ np.array([vectors[g] for g in gallery]).T
    same = np.array([[p[:7] == g[:7] for g in gallery] for p in probes])
    rank1 = np.mean([same[i, scores[i].argmax()] for i in range(len(probes))])
    threshold = np.quantile(scores[~same], 0.999)
    text = f"rank-1 {rank1:.3f}; TAR {np.mean(scores[same] > threshold):.3f} at FAR 1e-3"
    if reference:
        text += f"; cosine to published: mean {np.mean([vectors[f] @ reference[f] for f in vectors]):.4f}"
    return text, vectors


def measure(variants, tensor, rounds):
    feeds = {label: {network.get_inputs()[0].name: tensor} for label, network in variants.items()}
    times = {label: [] for label in variants}
    for label, network in variants.items():
        for _ in range(3):
            network.run(None, feeds[label])
    for _ in range(rounds):
        for label in random.sample(sorted(variants), len(variants)):
            started = time.thread_time()
            variants[label].run(None, feeds[label])
            times[label].append((time.thread_time() - started) * 1e3)
    return times


def report(model, times, notes):
    base = statistics.median(times["published"])
    for label, values in times.items():
        median = statistics.median(values)
        print(f"| {model} | {label} | {median:.2f} ({min(values):.2f}) | {base / median:.2f} | {notes.get(label, '')} |", flush=True)


def variants_of(path, tensors):
    load = lambda: onnx.load(path)
    has_prelu = any(node.op_type == "PRelu" for node in load().graph.node)
    models = {"published": load()}
    if has_prelu:
        models["prelu"] = prelu_rewritten(load())
    models["flush"] = flushed(load())
    models["prepared"] = flushed(prelu_rewritten(load()))
    if tensors is not None:
        models["int8"] = quantised(models["prepared"], tensors, MinMaxCalibrater)
        models["int8 2x"] = quantised(models["prepared"], tensors, Widened)
    return {label: session(model) for label, model in models.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = pathlib.Path(__file__).resolve().parents[2] / "../shared/data"
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(os.environ.get("PLACARD_TEST_DATA", default)))
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    data = arguments.data
    random.seed(1)

    rows = [line.split("\t") for line in (data / "images/identities.tsv").read_text().splitlines()[1:]]
    pictures = {r[0]: (cv2.imread(str(data / "images/identities" / r[0])), np.array([float(v) for v in r[3].split(",")])) for r in rows}
    with_probe = {r[1] for r in rows if r[0].endswith("_b.jpg")}
    judged = {r[0]: pictures[r[0]] for r in rows if r[1] in with_probe}
    others = [pictures[r[0]] for r in rows if r[1] not in with_probe]

    print("| model | variant | ms of CPU: median (least) | × published | accuracy |\n|---|---|---|---|---|")
    yunet = data / "models/yunet_n_640_640.onnx"
    calibration = [letterbox(pasted(p, b, w, (200, 80))[0])[0] for (p, b), w in zip(others, [16, 24, 32, 48, 64, 96] * 12)]
    calibration += [letterbox(p)[0] for p, _ in others[:24]]
    networks = variants_of(yunet, calibration)
    people = list(judged.values())[:48]
    notes = {label: detector_accuracy(networks[label], data, people) for label in ("published", "int8", "int8 2x")}
    report("yunet-n-640", measure(networks, letterbox(people[0][0])[0], arguments.rounds), notes)

    find = networks["published"]
    crop_of = lambda image: (lambda points: aligned(image, points[0]) if len(points) else None)(detect(find, image)[1])
    crops = {file: crop for file, (image, _) in judged.items() if (crop := crop_of(image)) is not None}
    calibration = [crop_tensor(crop) for image, _ in others if (crop := crop_of(image)) is not None]
    networks = variants_of(data / "models/mobileface_v2_112.onnx", calibration)
    notes = {}
    notes["published"], reference = embedder_accuracy(networks["published"], crops, None)
    for label in ("prepared", "int8", "int8 2x"):
        notes[label] = embedder_accuracy(networks[label], crops, reference)[0]
    tensor = crop_tensor(next(iter(crops.values())))
    report("mobileface-v2", measure(networks, tensor, arguments.rounds), notes)
    report("mobileface-v3", measure(variants_of(data / "models/mobileface_v3_112.onnx", None), tensor, arguments.rounds), {})
    small = cv2.resize(people[0][0], (80, 80)).transpose(2, 0, 1)[None].astype(np.float32)
    report("minifasnet-v2", measure(variants_of(data / "models/2.7_80x80_MiniFASNetV2.onnx", None), small, arguments.rounds), {})


main()
