"""One JSON object from the runs of compare.sh. `ratios`: how many times as long the peer takes, by medians of processor time a thread."""

import datetime
import json
import pathlib
import sys

directory = pathlib.Path(sys.argv[1])
before, after, peers = (json.loads((directory / name).read_text()) for name in ("ours-1.json", "ours-2.json", "peers.json"))
found = before.pop("found")
missed = sum(len(set(wanted) - {slot for slot, _ in hits}) for wanted, hits in zip(peers["above"], found))
other = found != after.pop("found")


def ours(queries, with_threshold):
    searches = [s for run in (before, after) for s in run["searches"] if s["queries"] == queries and (s["threshold"] is not None) == with_threshold]
    return sum(s["cpu_ms_per_thread"]["median"] for s in searches) / len(searches)


ratios = []
for peer in peers["peers"]:
    theirs = peer["cpu_ms_per_thread"]["median"]
    queries = peer["queries"]
    ratios.append({
        "peer": peer["peer"],
        "values": peer["values"],
        "queries": queries,
        "with_threshold": round(theirs / ours(queries, True), 2),
        "top_10": round(theirs / ours(queries, False), 2),
    })
of_fp32 = {}
for queries in sorted({r["queries"] for r in ratios}):
    best = min((p for p in peers["peers"] if p["queries"] == queries and p["values"] == "fp32"), key=lambda p: p["cpu_ms_per_thread"]["median"])
    of_fp32[str(queries)] = {"peer": best["peer"], "with_threshold": round(best["cpu_ms_per_thread"]["median"] / ours(queries, True), 2)}
json.dump(
    {
        "measures": "exact searches of the same rows in one run: placard, peers, placard; ratios of the medians of processor time a thread (peer / placard)",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "versions": peers["versions"],
        "above_threshold": sum(len(wanted) for wanted in peers["above"]),
        "above_threshold_missed": missed,
        "same_hits_in_both_runs": not other,
        "placard": [before, after],
        "peers": peers["peers"],
        "ratios": ratios,
        "best_fp32": of_fp32,
    },
    sys.stdout,
    indent=1,
)
print()
