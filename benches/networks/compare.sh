#!/usr/bin/env bash
# One picture through a detector on one core: Placard's executor (fp32, int8), ONNX Runtime and OpenVINO, in turn in one run, so that what else the machine
# does falls on all alike. Prints one JSON object with every median and the `ratios`.
# MODEL=models/concourse-detector.onnx MANIFEST=models/concourse-detector.toml SIZES="640x640 320x320" ROUNDS=101 CORE=0 by default;
# MANIFEST=- for a published model that Placard knows. RANGES: a table of ranges, else the drawn picture's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

model=${MODEL:-models/concourse-detector.onnx} manifest=${MANIFEST:-models/concourse-detector.toml}
sizes=${SIZES:-640x640 320x320} rounds=${ROUNDS:-101} core=${CORE:-0}
program=${NETWORKS:-}
if [ -z "$program" ]; then
  program=$(cargo bench --bench networks --no-run --message-format=json | python3 -c '
import json, sys
print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m["target"]["name"] == "networks"][-1])')
fi
python=${PYTHON:-}
if [ -z "$python" ]; then
  work=$(mktemp -d /tmp/networks-XXXXXX)
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work/venv"
  python=$work/venv/bin/python
  grep -E '^(numpy|openvino)==' benches/peers/requirements.txt > "$work/requirements.txt"
  "$python" -m pip install --quiet --disable-pip-version-check -r "$work/requirements.txt"
fi
# shellcheck disable=SC2086 # sizes are words
"$python" benches/networks/turns.py --program "$program" --core "$core" --rounds "$rounds" --model "$model" --manifest "$manifest" \
  --ranges "${RANGES:-}" $sizes
