#!/usr/bin/env bash
# Frames per CPU-second: Placard beside the usual programs, same clips, same models, same people, one thread each, in turn in one run.
# Prints one JSON object with every run and the ratios of the medians. ROUNDS=3 by default.
source "$(dirname "$0")/prepare.sh"

for round in $(seq "${ROUNDS:-3}"); do
  echo "round $round of ${ROUNDS:-3}" >&2
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
