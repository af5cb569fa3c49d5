#!/usr/bin/env bash
# 1080p streams at 15 frames a second that one core carries: rendered halls at 1920×1080 in H.264, bundled models, 100 people enrolled,
# Placard pinned to one core and given frames as fast as it takes them; frames per CPU-second divided by 15. Video decoding is in it, on the
# processor. Prints one JSON object for each way of looking: every frame, every third; in 8 bits where the start finds that it pays, in fp32.
# ROUNDS=3 by default. Needs GStreamer's x264enc, as the tests do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
placard=${PLACARD:-target/release/placard}
[ -x "$placard" ] || { echo "run: make build" >&2; exit 1; }
state=$work/state
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }

echo "drawing and enlarging the clips" >&2
for scene in concourse gates; do
  quietly "$placard" render clip "$scene" --seed 5 --seconds "${SECONDS_OF_CLIP:-20}" --out "$work/$scene.small.mkv"
  quietly gst-launch-1.0 -q filesrc location="$work/$scene.small.mkv" ! matroskademux ! h264parse ! avdec_h264 ! videoconvert ! videoscale ! videorate ! \
    video/x-raw,format=I420,width=1920,height=1080,framerate=15/1 ! x264enc speed-preset=medium bitrate=4000 key-int-max=30 ! h264parse ! matroskamux ! filesink location="$work/$scene.mkv"
done
quietly "$placard" render faces --out "$work/faces" --identities 100 --per 1 --size 320 --difficulty 0
python3 - "$work" <<'PY'
import datetime, pathlib, sys
work = pathlib.Path(sys.argv[1])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
site = ['[site]\nname = "bench"\nmode = "commissioning"\ncontroller = "bench"\ncontact = "bench@bench.invalid"\n', '[[zone]]\nid = "hall"\nkind = "public"\n',
    f'[[sign]]\nid = "hall-sign"\nzone = "hall"\ntext = "Face recognition in use"\nlanguages = ["en"]\nposition = "door"\nphoto_sha256 = "{"5e1f" * 16}"\n'
    f'posted_on = {(now - 20 * day).date()}\ninspected_at = {(now - day).strftime("%Y-%m-%dT%H:%M:%SZ")}\ninspected_by = "bench"\n',
    f'[[purpose]]\npurpose = "crime-prevention:bench"\nzones = ["hall"]\nassessment = "pia"\nreview_on = {(now + 90 * day).date()}\n'
    f'basis = {{ kind = "public-safety", statute = "PIPL Art. 26", authority = "bench", from = {(now - 20 * day).date()}, until = {(now + 30 * day).date()} }}\n']
streams = ''
for name in ("concourse", "gates"):
    site.append(f'[[area]]\nstream = "{name}"\nzone = "hall"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\n')
    streams += f'[[stream]]\nname = "{name}"\nsource = "file:{work}/{name}.mkv"\nrealtime = false\ndetect_every = EVERY\n'
(work / "site.toml").write_text("\n".join(site))
for numbers in ("int8", "fp32"):
    engine = '' if numbers == "int8" else 'detector = "onnxruntime"\n'
    for every in (1, 3):
        (work / f"{numbers}-{every}.toml").write_text(f'name = "bench"\n[engine]\ndetect_workers = 1\nembed_workers = 1\n{engine}[detect]\nmodel = "concourse-detector"\ninput_px = 640\nscore_threshold = 0.85\n'
            f'[embed]\nmodel = "concourse-embedder"\nint8 = {"true" if numbers == "int8" else "false"}\n[decide]\nthreshold = 0.74\n[http]\nlisten = "none"\n' + streams.replace("EVERY", str(every)))
(work / "enrol.tsv").write_text("".join(f"{p.parent.name}\t{p}\n" for p in sorted(work.glob("faces/**/*")) if p.suffix in (".png", ".jpg") and p == sorted(p.parent.iterdir())[0]))
PY
quietly "$placard" --state "$state" commission "$work/site.toml"
"$placard" --state "$state" --json enrol --adult --purpose crime-prevention:bench --list "$work/enrol.tsv" >"$work/enrolled" 2>"$work/log" || [ $? -eq 4 ] || { cat "$work/log" >&2; exit 1; }
cpu=$(( $(nproc) - 1 ))
for round in $(seq "${ROUNDS:-3}"); do
  echo "round $round of ${ROUNDS:-3}" >&2
  for way in int8-3 int8-1 fp32-3 fp32-1; do
    rm -rf "$state/journal"
    taskset -c "$cpu" "$placard" --state "$state" --json run "$work/$way.toml" --until-end 2>"$work/log" | tail -n 1 | sed "s/^{/{\"way\": \"$way\", /" >>"$work/runs" || { cat "$work/log" >&2; exit 1; }
  done
done
python3 - "$work/runs" "$work/enrolled" <<'PY'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
people = sum('"subject"' in line for line in open(sys.argv[2]))
for way in dict.fromkeys(run["way"] for run in runs):
    of = [run for run in runs if run["way"] == way]
    rates = sorted(run["frames_per_cpu_s"] for run in of)
    numbers, every = way.split("-")
    print(json.dumps({"numbers": numbers, "detect_every": int(every), "people_enrolled": people, "frames": of[0]["frames"], "embeddings": of[-1]["embeddings"], "hits": len(of[-1]["hits"]),
        "frames_per_cpu_s": [round(rate, 1) for rate in rates], "streams_1080p15_per_core": round(statistics.median(rates) / 15, 1)}))
PY
