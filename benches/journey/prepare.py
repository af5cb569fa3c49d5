"""Makes the enrolment list for the journey bench: one photograph per portrait identity, and for each person in the clips the frame of
one clip with the best face. The clips to search are the others: a program that met the very frame it enrolled would score 1.0 on it and
prove nothing. Writes OUT/enrol.tsv and OUT/clips.txt. Usage: prepare.py DATA OUT"""

import pathlib
import sys

import cv2

data, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
detector = cv2.FaceDetectorYN.create(str(data / "models/yunet_s_640_640.onnx"), "", (640, 480), 0.8, 0.45, 50)
lines = []
# One clip of each of the five people, to enrol them from.
enrolled_from = {"A": "again", "B": "milk", "C": "book", "D": "eat", "E": "hungry"}
for person, clip in enrolled_from.items():
    capture, best = cv2.VideoCapture(str(data / f"video/asl_{clip}.mkv")), (0.0, None)
    while True:
        ok, image = capture.read()
        if not ok:
            break
        detector.setInputSize((image.shape[1], image.shape[0]))
        _, faces = detector.detect(image)
        if faces is not None and len(faces) == 1 and faces[0][14] > best[0]:
            best = (float(faces[0][14]), image.copy())
    path = out / f"{person}.png"
    cv2.imwrite(str(path), best[1])
    lines.append(f"{person}\t{path}")
for photo in sorted((data / "images/identities").glob("*_a.jpg")):
    lines.append(f"{photo.name[:7]}\t{photo}")
(out / "enrol.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
clips = sorted(p for p in (data / "video").glob("asl_*.mkv") if p.stem.removeprefix("asl_") not in enrolled_from.values())
(out / "clips.txt").write_text("\n".join(map(str, clips)) + "\n", encoding="utf-8")
print(f"{len(lines)} identities in {out / 'enrol.tsv'}")
