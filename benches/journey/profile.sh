#!/usr/bin/env bash
# Where our own CPU time goes: Placard replays the bench's clips under perf's CPU clock (997 samples a second), samples are sorted by
# library and function. Prints one JSON object; `not_inference` is the share of everything outside ONNX Runtime. Needs `perf`.
source "$(dirname "$0")/prepare.sh"
command -v perf >/dev/null || { echo "profile.sh needs perf: install linux-perf (Debian) or linux-tools (Ubuntu)" >&2; exit 1; }

for round in $(seq "${ROUNDS:-3}"); do
  echo "round $round of ${ROUNDS:-3}" >&2
  rm -rf "$state/journal"
  taskset -c "$cpu" perf record --quiet --event cpu-clock --freq 997 --output "$work/perf.data" -- \
    "$placard" --state "$state" --json run "$work/pipeline.toml" --until-end >"$work/summary" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  tail -n 1 "$work/summary" >>"$work/summaries"
  echo "# run $round" >>"$work/samples"
  perf script --input "$work/perf.data" --fields comm,time,ip,sym,dso 2>/dev/null >>"$work/samples"
done
"$python" benches/journey/profile.py "$work/summaries" <"$work/samples"
