"""Medians and ratios of the runs on standard input (one JSON object a line) as one JSON object. Usage: ratios.py ENROLLED, where ENROLLED
is what `placard enrol --json` printed: Placard reports opaque subject ids, the others names."""

import json
import os
import platform
import statistics
import sys

with open(sys.argv[1], encoding="utf-8") as lines:
    enrolled = [json.loads(line) for line in lines]
names = {e["subject"]: e["name"] for e in enrolled if "subject" in e}
runs = [json.loads(line) for line in sys.stdin if line.startswith("{")]
programs = {}
for run in runs:
    programs.setdefault(run["program"], []).append(run)
rate = {name: statistics.median(r["frames_per_cpu_s"] for r in of) for name, of in programs.items()}
ours = next(name for name in programs if name.startswith("placard"))
# A hit is (clip, person); clips and streams are named alike but for the file's ending and the underscore.
hits = {name: sorted({(c.split(".")[0].replace("_", "-"), names.get(who, who)) for c, who in of[-1]["hits"]}) for name, of in programs.items()}
print(json.dumps({
    "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
    "frames": runs[0]["frames"],
    "frames_per_cpu_s": {n: round(v, 2) for n, v in rate.items()},
    "runs": {n: [r["frames_per_cpu_s"] for r in of] for n, of in programs.items()},
    "ratios": {f"{ours} / {n}": round(rate[ours] / v, 2) for n, v in rate.items() if n != ours},
    "hits": {n: len(h) for n, h in hits.items()},
    "equal_hits": len({json.dumps(h) for h in hits.values()}) == 1,
    "ms_per_frame": {n: of[-1].get("ms_per_frame") for n, of in programs.items() if n != ours},
    "ours": {k: programs[ours][-1][k] for k in ("frames_detected", "embeddings", "cpu_s", "detect_s", "embed_s")},
    "hits_listed": hits,
}, indent=2))
