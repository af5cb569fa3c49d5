#!/usr/bin/env bash
# Runs every test and says at the end how many were skipped, and why: a skipped test must not look like a passed one.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log"
echo "skipped: $(grep -c 'SKIPPED: ' "$log" || true)"
grep -o 'SKIPPED: .*' "$log" | sort | uniq -c || true
