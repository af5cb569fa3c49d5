#!/usr/bin/env bash
# An exact search of many templates: Placard beside FAISS, usearch and NumPy, the same rows and queries, equal threads, in turn in one run.
# Prints one JSON object with every figure and the ratios. TEMPLATES=1000000 DIM=512 THREADS=1 ROUNDS=15 QUERIES=1,8,32 THRESHOLD=0.4 by default.
# Needs about four times the templates' bytes of memory, and their bytes once in WORK (a directory of its own; by default below /tmp).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

placard=${PLACARD:-target/release/placard}
[ -x "$placard" ] || { echo "run: make build" >&2; exit 1; }
templates=${TEMPLATES:-1000000} dim=${DIM:-512} threads=${THREADS:-1} rounds=${ROUNDS:-15} queries=${QUERIES:-1,8,32} threshold=${THRESHOLD:-0.4}

work=$(mktemp -d "${WORK:-/tmp}/gallery-XXXXXX")
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then
  python3 -m venv "$work/venv"
  python=$work/venv/bin/python
  grep -E '^(numpy|faiss-cpu|usearch)==' benches/peers/requirements.txt > "$work/requirements.txt"
  "$python" -m pip install --quiet --disable-pip-version-check -r "$work/requirements.txt"
fi
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
# As many processors as threads, the same for all, so that nobody has help.
pin() { taskset -c "$(( $(nproc) - threads ))-$(( $(nproc) - 1 ))" "$@"; }
ours() {
  pin "$placard" --json bench gallery --templates "$templates" --dim "$dim" --threads "$threads" --rounds "$rounds" --queries "$queries" \
    --threshold "$threshold" --rows "$work/rows.f32" --probes "$work/probes.f32" --found
}

"$python" benches/gallery/peers.py make --templates "$templates" --dim "$dim" --directory "$work" >&2
echo "placard, before the peers" >&2
ours > "$work/ours-1.json"
pin "$python" benches/gallery/peers.py run --templates "$templates" --dim "$dim" --directory "$work" --threads "$threads" --rounds "$rounds" \
  --queries "$queries" --threshold "$threshold" > "$work/peers.json"
echo "placard, after the peers" >&2
ours > "$work/ours-2.json"
"$python" benches/gallery/ratios.py "$work"
