#!/usr/bin/env bash
# libFuzzer over every parser, one after the other: SECONDS_EACH seconds each (60), or RUNS executions. What it finds lies in fuzz/artifacts/; what it learns
# stays in fuzz/target/corpus/, beside the whole examples of fuzz/corpus/.
#   scripts/fuzz.sh [TARGET …]
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(shard record npy manifest heads)
bound=(-max_total_time="${SECONDS_EACH:-60}")
[ -z "${RUNS:-}" ] || bound=(-runs="$RUNS")
for target in "${targets[@]}"; do
  mkdir -p "target/corpus/$target"
  # None of these targets takes more than one page of the longest example and as much again.
  cargo +nightly fuzz run --fuzz-dir . --sanitizer none "$target" "target/corpus/$target" "corpus/$target" -- \
    -max_len=65536 -print_final_stats=1 -use_value_profile=0 "${bound[@]}" 2>&1 | grep -E "DONE|stat::|cov:.*DONE|ERROR|panicked|Test unit" \
    | sed "s/^/$target: /"
done
