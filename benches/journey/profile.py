"""Sorts perf's samples (standard input: `comm time: ip symbol (library)` a line) into parts of the journey and prints their shares as
JSON. Start-up (loading models, optimising graphs, opening galleries) does not count: a run begins with its first detection.
Usage: profile.py SUMMARIES, where SUMMARIES holds what `placard run --until-end --json` printed, a line per run."""

import collections
import json
import os
import re
import sys

LINE = re.compile(r"^\s*(?P<comm>.+?)\s+(?P<time>\d+\.\d+):\s+(?P<ip>[0-9a-f]+)\s+(?P<sym>.*)\s+\((?P<dso>[^()]*)\)\s*$")
# First match wins: (part, library, symbol, thread).
PARTS = [
    ("network inference", r"libonnxruntime", r"", r""),
    ("video decoding", r"libav(codec|util)|libswresample|libx26|libopenh264|libgstlibav", r"", r""),
    ("demultiplexing, parsing, buffers (GStreamer, GLib)", r"libgst|libglib|libgobject|libgmodule|liborc", r"", r""),
    ("mask, letterbox, colour, normalise", r"placard", r"preprocess", r""),
    ("decoding of the detector's outputs, NMS", r"placard", r"detect::(decode|nms|detector)", r""),
    ("tracking and shots", r"placard", r"placard::track", r""),
    ("alignment, crops", r"placard", r"placard::(align|embed)", r""),
    ("matching", r"placard", r"placard::(matching|gallery)", r""),
    ("policy thread", r"placard", r"placard::policy", r""),
    ("rest of Placard", r"placard", r"", r""),
    ("kernel", r"\[kernel|\[guest|\[unknown\]|\[vdso\]|vmlinux", r"", r""),
    ("C library, by decoding threads", r"libc|libm|ld-linux|libpthread", r"", r"av:|multiqueue|matroska|queue|src|qtdemux|typefind|gst|task"),
    ("C library, by our threads", r"libc|libm|ld-linux|libpthread|libstdc|libgcc", r"", r""),
]


def part(match):
    for name, dso, sym, comm in PARTS:
        if re.search(dso, os.path.basename(match["dso"]) if "/" in match["dso"] else match["dso"]) and re.search(sym, match["sym"]) and re.search(comm, match["comm"]):
            return name
    return "other libraries"


before = 0
running = False
parts, threads, symbols = collections.Counter(), collections.Counter(), collections.defaultdict(collections.Counter)
for line in sys.stdin:
    match = LINE.match(line)
    if line.startswith("# run"):
        running = False
    if not match:
        continue
    running = running or match["comm"].startswith("detect-")
    if not running:
        before += 1
        continue
    name = part(match)
    parts[name] += 1
    threads[re.sub(r"[-:]?\d+$", "", match["comm"])] += 1
    symbols[name][f'{match["sym"].split("+")[0]} ({os.path.basename(match["dso"])})'] += 1
total = sum(parts.values())
with open(sys.argv[1], encoding="utf-8") as lines:
    runs = [json.loads(line) for line in lines]
print(json.dumps({
    "samples": total,
    "samples_of_start_up": before,
    "frames": runs[0]["frames"],
    "frames_detected": runs[0]["frames_detected"],
    "frames_per_cpu_s": [round(r["frames_per_cpu_s"], 1) for r in runs],
    "not_inference": round(1 - parts["network inference"] / total, 4),
    "share": {name: round(count / total, 4) for name, count in parts.most_common()},
    "threads": {name: round(count / total, 4) for name, count in threads.most_common(14)},
    "functions": {name: {s: round(c / total, 4) for s, c in symbols[name].most_common(6)} for name, _ in parts.most_common()},
}, indent=2))
