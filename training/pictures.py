"""Rendered pictures and their truth, as arrays.

`placard render` writes JPEG files and `labels.json` (COCO key points: the person's own right eye first). Decoding and aligning them again
in every epoch would cost more than the training, so both are done once and kept beside the pictures as memory-mapped arrays.
"""

import json
import pathlib

import cv2
import numpy

# Five points of an aligned 112 x 112 crop: eye on the picture's left, eye on its right, nose tip, mouth's corners (ArcFace, Deng et al. 2019).
TEMPLATE = numpy.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], numpy.float32)
# A crop is kept with a margin, so that training can move, turn and scale it.
MARGIN = 12
CROP = 112 + 2 * MARGIN


def similarity(source, target):
    """The 2 x 3 similarity that maps `source` onto `target` with least squares (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, d, v = numpy.linalg.svd(b.T @ a)
    flip = numpy.array([1.0, numpy.sign(numpy.linalg.det(u @ v))])
    rotation = u @ numpy.diag(flip) @ v
    scale = (d * flip).sum() / (a**2).sum()
    matrix = scale * rotation
    return numpy.hstack([matrix, (target.mean(0) - matrix @ source.mean(0))[:, None]]).astype(numpy.float32)


def labels(folder):
    """[(file, [(box x y w h, points 5 x 2, masked, identity, visible)])] of a folder that `placard render` made."""
    read = json.loads((pathlib.Path(folder) / "labels.json").read_text())
    faces = {}
    for face in read["annotations"]:
        points = numpy.array(face["keypoints"], numpy.float32).reshape(5, 3)[:, :2]
        known = face["attributes"]
        faces.setdefault(face["image_id"], []).append((face["bbox"], points, known["mask"], known["identity"], known["visible"]))
    return [(image["file_name"], faces.get(image["id"], [])) for image in read["images"]]


def photographs(*folders):
    """Of several folders as of one; see `of_folder`."""
    parts = [of_folder(folder) for folder in folders]
    first = 0
    for part in parts:
        part["identities"] = part["identities"] + first
        first = int(part["identities"].max()) + 1
    joined = {name: numpy.concatenate([part[name] for part in parts]) for name in ("boxes", "points", "identities", "masks")}
    return joined | {name: Rows([part[name] for part in parts]) for name in ("raw", "crops")}


class Rows:
    """Arrays one after the other, without copying them."""

    def __init__(self, parts):
        self.parts, self.ends = parts, numpy.cumsum([len(part) for part in parts])

    def __getitem__(self, i):
        part = int(numpy.searchsorted(self.ends, i, side="right"))
        return self.parts[part][i - (self.ends[part - 1] if part else 0)]


def of_folder(folder):
    """Photographs of one face each: raw pictures, boxes, points, identity numbers and masks, cached in the folder."""
    folder = pathlib.Path(folder)
    cache = folder / "photographs.npz"
    raw, crops = folder / "raw.npy", folder / "crops.npy"
    if not cache.exists():
        listed = [(file, faces[0]) for file, faces in labels(folder) if len(faces) == 1]
        names = sorted({face[3] for _, face in listed})
        number = {name: i for i, name in enumerate(names)}
        size = cv2.imread(str(folder / listed[0][0])).shape[0]
        raws = numpy.lib.format.open_memmap(raw, "w+", numpy.uint8, (len(listed), size, size, 3))
        aligned = numpy.lib.format.open_memmap(crops, "w+", numpy.uint8, (len(listed), CROP, CROP, 3))
        for i, (file, face) in enumerate(listed):
            raws[i] = cv2.imread(str(folder / file))
            aligned[i] = cv2.warpAffine(raws[i], similarity(face[1], TEMPLATE + MARGIN), (CROP, CROP), flags=cv2.INTER_LINEAR)
        numpy.savez(
            cache,
            boxes=numpy.array([face[0] for _, face in listed], numpy.float32),
            points=numpy.stack([face[1] for _, face in listed]),
            identities=numpy.array([number[face[3]] for _, face in listed]),
            masks=numpy.array([face[2] for _, face in listed]),
        )
    kept = numpy.load(cache)
    return {name: kept[name] for name in kept.files} | {"raw": numpy.load(raw, mmap_mode="r"), "crops": numpy.load(crops, mmap_mode="r")}
