# Sourced by compare.sh and profile.sh: packages, the list of people, the clips, a commissioned site. Sets data, work, placard, python,
# state, clips and quietly(). DETECT_EVERY in the environment: every which frame Placard looks at (default 3); INT8=0: networks in fp32.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

data=${PLACARD_TEST_DATA:-../shared/data}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
placard=${PLACARD:-target/release/placard}
python=.venv-peers/bin/python

[ -x "$placard" ] || { echo "run: make build" >&2; exit 1; }
if [ ! -x "$python" ]; then
  python3 -m venv .venv-peers
  .venv-peers/bin/pip install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
fi

"$python" benches/journey/prepare.py "$data" "$work/photos" >&2
mapfile -t clips < "$work/photos/clips.txt"
"$python" benches/journey/site.py "$data" "$work" "${clips[@]}" >&2

state=$work/state
quietly() { "$placard" --state "$state" "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }
quietly commission "$work/site.toml"
# As an operator would: 8 bits are used where they were measured to be as good, and faster here. INT8=0 leaves them out.
if [ "${INT8:-1}" = 1 ]; then
  for model in yunet_n_dynamic mobileface_v2_112; do quietly model add "$data/models/$model.onnx" --int8; done
fi
# Faces in the clips are 51 to 71 pixels wide: below what an operational site should enrol from, enough to compare programs.
"$placard" --state "$state" --json enrol --adult --purpose crime-prevention:bench --min-face-width-px 48 --list "$work/photos/enrol.tsv" \
  >"$work/enrolled" 2>"$work/log" || [ $? -eq 4 ] || { cat "$work/log" >&2; exit 1; }

cpu=$(( $(nproc) - 1 ))
