"""Writes `../models/concourse-*.onnx` and their manifests from what was trained, and checks that ONNX Runtime computes the same.

`python export.py detector detector.pt --data "..." [--accuracy "..."]...`
"""

import argparse
import datetime
import hashlib
import json
import pathlib

import numpy
import onnxruntime
import torch

import detector
import embedder
import mask
from graph import Graph

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
KINDS = {
    "detector": {
        "network": detector.Detector,
        "write": detector.write,
        "task": "face-detector",
        "input": 'name = "input"\nchannels = "bgr"\nmultiple_of = 32\nresize = "letterbox"',
        "decode": 'layout = "yunet"',
    },
    "embedder": {
        "network": embedder.Embedder,
        "write": embedder.write,
        "task": "face-embedder",
        "input": 'name = "data"\nchannels = "rgb"\nwidth = 112\nheight = 112\nresize = "aligned-crop"',
        "decode": f'layout = "embedding"\noutput = "embedding"\ndim = {embedder.DIM}\nnormalised = true',
    },
    "mask": {
        "network": mask.Mask,
        "write": mask.write,
        "task": "mask-classifier",
        "input": 'name = "data"\nchannels = "rgb"\nwidth = 112\nheight = 112\nresize = "aligned-crop"',
        "decode": f'layout = "logits"\noutput = "logits"\nclasses = {json.dumps(mask.CLASSES)}',
    },
}


def check(kind, network, path):
    """The same pictures through PyTorch and through the file."""
    side = (3, 96, 160) if kind == "detector" else (3, 112, 112)
    pictures = numpy.random.default_rng(0).uniform(0, 255, (2, *side)).astype(numpy.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {session.get_inputs()[0].name: pictures})))
    with torch.no_grad():
        out = network(torch.from_numpy(pictures))
    if kind == "embedder":
        out = {"embedding": torch.nn.functional.normalize(out)}
    elif kind == "mask":
        out = {"logits": out}
    else:
        ends = numpy.cumsum([side[1] // s * (side[2] // s) for s in detector.STRIDES])[:-1]
        parts = {}
        for name, values in out.items():
            values = values.sigmoid() if name in ("cls", "obj") else values
            parts |= {f"{name}_{s}": part for s, part in zip(detector.STRIDES, torch.tensor_split(values, tuple(ends), 1))}
        out = parts
    assert out.keys() == found.keys(), (out.keys(), found.keys())
    return max(float(numpy.abs(found[name] - value.numpy()).max()) for name, value in out.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("weights")
    parser.add_argument("--data", required=True, help="what it was trained on: the commands, the seeds")
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--accuracy", action="append", default=[], help="a line of what was measured")
    parser.add_argument("--out", default=str(MODELS))
    given = parser.parse_args()
    kind = KINDS[given.kind]
    network = kind["network"]()
    kept = torch.load(given.weights, map_location="cpu")
    network.load_state_dict(kept["network"])
    network.eval()
    name = f"concourse-{given.kind}"
    graph = Graph(name)
    kind["write"](network, graph)
    out = pathlib.Path(given.out)
    out.mkdir(exist_ok=True)
    path = out / f"{name}.onnx"
    graph.save(path)
    apart = check(given.kind, network, path)
    assert apart < 5e-3, f"ONNX Runtime and PyTorch differ by {apart}"
    lines = [f"trained on renders only: {given.data}; {kept['step']} steps; {given.date}", *given.accuracy]
    listed = "".join(f"    {json.dumps(line, ensure_ascii=False)},\n" for line in lines)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (out / f"{name}.toml").write_text(
        f'name = "{name}"\ntask = "{kind["task"]}"\nsha256 = "{digest}"\nlicence = "Apache-2.0 OR MIT"\npublisher = "Placard"\n'
        f'intended_use = "commissioning"\naccuracy = [\n{listed}]\n\n[input]\n{kind["input"]}\n\n[decode]\n{kind["decode"]}\n'
    )
    print(f"{path}: {path.stat().st_size} bytes, {apart:.1e} from PyTorch")


if __name__ == "__main__":
    main()
