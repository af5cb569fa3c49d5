"""Face recognition on clips the way it is usually written, to compare with.

  decode    OpenCV's VideoCapture, every frame
  detect    --detector opencv: cv2.FaceDetectorYN;  --detector onnxruntime: the same network in ONNX Runtime, decoded with NumPy
  embed     every face of every frame, ONNX Runtime
  match     NumPy matrix product against the enrolled templates

One thread each. Prints one JSON object: frames, CPU seconds of the loop (user + system, model loading and enrolment not counted),
frames per CPU-second, and the hits as [clip, identity] pairs.
"""

import argparse
import json
import os
import resource
import time

import cv2
import numpy as np
import onnxruntime

TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class OpenCvDetector:
    def __init__(self, model, score, nms):
        self.net = cv2.FaceDetectorYN.create(model, "", (640, 480), score, nms, 500)

    def __call__(self, image):
        self.net.setInputSize((image.shape[1], image.shape[0]))
        _, faces = self.net.detect(image)
        return [] if faces is None else [(f[14], f[:4], f[4:14].reshape(5, 2)) for f in faces]


class OnnxDetector:
    """YuNet with free input size: the frame padded to multiples of 32."""

    def __init__(self, model, score, nms):
        self.session, self.score, self.nms = session(model), score, nms
        self.names = [o.name for o in self.session.get_outputs()]

    def __call__(self, image):
        h, w = image.shape[:2]
        H, W = -(-h // 32) * 32, -(-w // 32) * 32
        padded = cv2.copyMakeBorder(image, 0, H - h, 0, W - w, cv2.BORDER_CONSTANT)
        tensor = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
        out = dict(zip(self.names, self.session.run(None, {"input": tensor})))
        boxes, scores, points = [], [], []
        for s in (8, 16, 32):
            score = np.sqrt(np.clip(out[f"cls_{s}"][0, :, 0], 0, 1) * np.clip(out[f"obj_{s}"][0, :, 0], 0, 1))
            keep = np.nonzero(score >= self.score)[0]
            if keep.size == 0:
                continue
            row, col = keep // (W // s), keep % (W // s)
            b, k = out[f"bbox_{s}"][0, keep], out[f"kps_{s}"][0, keep]
            cx, cy = (col + b[:, 0]) * s, (row + b[:, 1]) * s
            bw, bh = np.exp(b[:, 2]) * s, np.exp(b[:, 3]) * s
            boxes.append(np.stack([cx - bw / 2, cy - bh / 2, bw, bh], 1))
            scores.append(score[keep])
            points.append(np.stack([(k[:, 0::2] + col[:, None]) * s, (k[:, 1::2] + row[:, None]) * s], 2))
        if not boxes:
            return []
        boxes, scores, points = np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)
        kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self.score, self.nms)).reshape(-1)
        return [(scores[i], boxes[i], points[i]) for i in kept]


def similarity(points):
    """Umeyama's least-squares similarity from `points` to TEMPLATE."""
    a, b = points.astype(np.float64), TEMPLATE
    ma, mb = a.mean(0), b.mean(0)
    u, d, vt = np.linalg.svd((b - mb).T @ (a - ma) / 5)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / (a - ma).var(0).sum()
    return np.hstack([scale * rotation, (mb - scale * rotation @ ma)[:, None]])


class Embedder:
    def __init__(self, model):
        self.session = session(model)
        self.name = self.session.get_inputs()[0].name

    def __call__(self, image, points):
        crop = cv2.warpAffine(image, similarity(points), (112, 112), flags=cv2.INTER_LINEAR)
        tensor = np.ascontiguousarray(crop[:, :, ::-1].transpose(2, 0, 1)[None], dtype=np.float32)
        vector = self.session.run(None, {self.name: tensor})[0][0]
        return vector / np.linalg.norm(vector)


def enrol(listing, detect, embed):
    names, rows = [], []
    with open(listing, encoding="utf-8") as lines:
        for line in lines:
            name, path = line.rstrip("\n").split("\t")[:2]
            image = cv2.imread(path)
            faces = sorted(detect(image), key=lambda f: -f[0])
            if faces:
                names.append(name)
                rows.append(embed(image, faces[0][2]))
    return names, np.stack(rows)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--detector", choices=["opencv", "onnxruntime"], required=True)
    arguments.add_argument("--detector-model", required=True)
    arguments.add_argument("--embedder-model", required=True)
    arguments.add_argument("--enrol", required=True, help="name<TAB>image per line")
    arguments.add_argument("--threshold", type=float, default=0.65)
    arguments.add_argument("--score", type=float, default=0.6)
    arguments.add_argument("--nms", type=float, default=0.45)
    arguments.add_argument("clips", nargs="+")
    a = arguments.parse_args()
    cv2.setNumThreads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    kind = OpenCvDetector if a.detector == "opencv" else OnnxDetector
    detect, embed = kind(a.detector_model, a.score, a.nms), Embedder(a.embedder_model)
    names, gallery = enrol(a.enrol, detect, embed)

    frames, hits, stages = 0, set(), {"decode": 0.0, "detect": 0.0, "embed": 0.0, "match": 0.0}
    begin = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter()
    for clip in a.clips:
        capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        while True:
            t0 = time.perf_counter()
            ok, image = capture.read()
            t1 = time.perf_counter()
            stages["decode"] += t1 - t0
            if not ok:
                break
            frames += 1
            faces = detect(image)
            t2 = time.perf_counter()
            stages["detect"] += t2 - t1
            vectors = [embed(image, face[2]) for face in faces]
            t3 = time.perf_counter()
            stages["embed"] += t3 - t2
            for vector in vectors:
                scores = gallery @ vector
                best = int(scores.argmax())
                if scores[best] >= a.threshold:
                    hits.add((os.path.basename(clip), names[best]))
            stages["match"] += time.perf_counter() - t3
    end = resource.getrusage(resource.RUSAGE_SELF)
    cpu = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
    print(json.dumps({
        "program": f"opencv + {a.detector}",
        "frames": frames,
        "cpu_s": round(cpu, 3),
        "wall_s": round(time.perf_counter() - wall, 3),
        "frames_per_cpu_s": round(frames / cpu, 2),
        "templates": len(names),
        "ms_per_frame": {k: round(1e3 * v / max(frames, 1), 3) for k, v in stages.items()},
        "hits": sorted(hits),
    }))


main()
