"""Site file and pipeline file for the journey bench. Usage: site.py DATA OUT CLIP…"""

import datetime
import os
import pathlib
import sys

data, out, clips = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), sys.argv[3:]
today = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
site = [
    '[site]\nname = "bench"\nmode = "commissioning"\ncontroller = "bench"\ncontact = "bench@bench.invalid"\n',
    f'[[model]]\nfile = "{data}/models/yunet_n_dynamic.onnx"\n',
    f'[[model]]\nfile = "{data}/models/mobileface_v2_112.onnx"\n',
    '[[zone]]\nid = "hall"\nkind = "public"\n',
    f'[[sign]]\nid = "hall-sign"\nzone = "hall"\ntext = "Faces are recognised: a named criminal case. Bench, desk 1"\nlanguages = ["en"]\n'
    f'controller = "Bench"\ncontact = "desk 1"\nannounces = [{{ purpose = "crime-prevention", language = "en", words = "a named criminal case" }}]\n'
    f'position = "door"\nphoto_sha256 = "{"5e1f" * 16}"\n'
    f'posted_on = {(today - 20 * day).date()}\ninspected_at = {(today - day).strftime("%Y-%m-%dT%H:%M:%SZ")}\ninspected_by = "bench"\n',
    '[[purpose]]\npurpose = "crime-prevention:bench"\nzones = ["hall"]\nassessment = "pia"\n'
    f'review_on = {(today + 90 * day).date()}\n'
    f'basis = {{ kind = "public-safety", statute = "PIPL Art. 26", authority = "bench", from = {(today - 20 * day).date()}, until = {(today + 30 * day).date()} }}\n',
]
pipeline = [
    'name = "bench"\n',
    '[engine]\ndetect_workers = 1\nembed_workers = 1\n',
    '[detect]\nmodel = "yunet-n-dynamic"\ninput_px = 640\n',
    '[embed]\nmodel = "mobileface-v2"\n',
    '[decide]\nthreshold = 0.65\n',
    '[http]\nlisten = "none"\n',
]
for clip in clips:
    name = os.path.basename(clip).split(".")[0].replace("_", "-")
    site.append(f'[[area]]\nstream = "{name}"\nzone = "hall"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\n')
    pipeline.append(
        f'[[stream]]\nname = "{name}"\nsource = "file:{os.path.abspath(clip)}"\nrealtime = false\n'
        f'detect_every = {os.environ.get("DETECT_EVERY", "3")}\n'
    )
(out / "site.toml").write_text("\n".join(site), encoding="utf-8")
(out / "pipeline.toml").write_text("\n".join(pipeline), encoding="utf-8")
