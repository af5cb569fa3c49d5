#!/usr/bin/env bash
# Frames per CPU-second: Placard beside the usual programs, same clips, same models, same people, one thread each, in turn in one run.
# Prints one JSON object with every run and the ratios of the medians. ROUNDS=3 by default.
set -euo pipefail
cd "$(dirname "$0")/../.."

data=${PLACARD_TEST_DATA:-../shared/data}
rounds=${ROUNDS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
placard=target/release/placard
python=.venv-peers/bin/python

[ -x "$placard" ] || { echo "run: make build" >&2; exit 1; }
if [ ! -x "$python" ]; then
  python3 -m venv .venv-peers
  .venv-peers/bin/pip install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
fi

"$python" benches/journey/prepare.py "$data" "$work/photos" >&2
mapfile -t clips < <(ls "$data"/video/asl_*.mkv)
"$python" benches/journey/site.py "$data" "$work" "${clips[@]}" >&2

state=$work/state
quietly() { "$placard" --state "$state" "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }
quietly commission "$work/site.toml"
# Faces in the clips are 51 to 71 pixels wide: below what an operational site should enrol from, enough to compare programs.
"$placard" --state "$state" --json enrol --purpose missing-person:bench --min-face-width-px 48 --list "$work/photos/enrol.tsv" \
  >"$work/enrolled" 2>"$work/log" || [ $? -eq 4 ] || { cat "$work/log" >&2; exit 1; }

cpu=$(( $(nproc) - 1 ))
for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  for detector in opencv onnxruntime; do
    # The same weights: OpenCV 4 cannot read the file with a free input size and resizes the fixed one by itself.
    model=yunet_n_dynamic && [ "$detector" = opencv ] && model=yunet_n_640_640
    taskset -c "$cpu" "$python" benches/journey/peers.py --detector "$detector" --detector-model "$data/models/$model.onnx" \
      --embedder-model "$data/models/mobileface_v2_112.onnx" --enrol "$work/photos/enrol.tsv" "${clips[@]}" 2>"$work/log" >>"$work/runs" || { cat "$work/log" >&2; exit 1; }
  done
  rm -rf "$state/journal"
  taskset -c "$cpu" "$placard" --state "$state" --json run "$work/pipeline.toml" --until-end 2>"$work/log" | tail -n 1 >>"$work/runs" || { cat "$work/log" >&2; exit 1; }
done
"$python" benches/journey/ratios.py "$work/enrolled" <"$work/runs"
