"""Takes turns: asks Placard's bench program for a round, then runs OpenVINO once, and so on. Prints one JSON object; see compare.sh.

Times are CPU time. `ratios`: ONNX Runtime's median divided by each other's. `share_of_peak`: products of the network by the median, over what the processor does at most in
fp32 or in 8 bits, measured in the same run. `two_threads`: pictures a second of two threads with a network each, over one's."""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import time


def openvino(path, width, height):
    try:
        import numpy
        import openvino as ov
    except ImportError:
        return None, None
    core = ov.Core()
    model = core.read_model(path)
    model.reshape([1, 3, height, width])
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    picture = numpy.random.default_rng(1).integers(0, 256, (1, 3, height, width)).astype(numpy.float32)
    request.infer({0: picture})

    def run():
        # Of all threads: OpenVINO computes in one of its own.
        began = time.process_time()
        request.infer({0: picture})
        return (time.process_time() - began) * 1e3

    return run, ov.__version__


def measure(arguments, size):
    width, height = (int(side) for side in size.split("x"))
    command = [arguments.program, arguments.model, arguments.manifest, str(width), str(height)]
    command += [arguments.ranges] if arguments.ranges else []
    ours = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(line):
        ours.stdin.write(line + "\n")
        ours.stdin.flush()
        return json.loads(ours.stdout.readline())

    about = json.loads(ours.stdout.readline())
    peer, version = openvino(arguments.model, width, height)
    times = {name: [] for name in about["networks"]}
    if peer:
        times["openvino-fp32"] = []
    for round_ in range(arguments.rounds + 3):
        took = ask("round")
        if peer:
            took["openvino-fp32"] = peer()
        if round_ >= 3:
            for name, ms in took.items():
                times[name].append(ms)
    # Two threads need two cores.
    os.sched_setaffinity(ours.pid, range(os.cpu_count()))
    two = ask("")
    ours.wait()
    median = {name: statistics.median(ms) for name, ms in times.items()}
    base = median["onnxruntime-fp32"]

    def share(name):
        peak = about["peak"]["int8" if "int8" in name else "fp32"]
        return round(2 * about["products"] / (median[name] * 1e-3) / peak, 3) if peak else None

    return {
        "size": size,
        "model": about["model"],
        "openvino": version,
        "median_ms": {name: round(ms, 3) for name, ms in median.items()},
        "least_ms": {name: round(min(ms), 3) for name, ms in times.items()},
        "ratios": {name: round(base / ms, 2) for name, ms in median.items() if name != "onnxruntime-fp32"},
        "share_of_peak": {name: share(name) for name in median},
        "two_threads": {name: round(gain, 2) for name, gain in two.items()},
        "peak_gops": {kind: rate and round(rate / 1e9, 1) for kind, rate in about["peak"].items()},
        "products": about["products"],
    }


def main():
    parser = argparse.ArgumentParser()
    for name in ("program", "model", "manifest", "ranges"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("sizes", nargs="+")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, [arguments.core])
    began = os.getloadavg()[0]
    runs = [measure(arguments, size) for size in arguments.sizes]
    with open("/proc/cpuinfo") as cpuinfo:
        processor = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "?")
    print(json.dumps({
        "date": datetime.date.today().isoformat(),
        "processor": processor,
        "load_at_begin": began,
        "rounds": arguments.rounds,
        "ratios": {run["size"]: run["ratios"] for run in runs},
        "runs": runs,
    }, indent=2))


if __name__ == "__main__":
    main()
