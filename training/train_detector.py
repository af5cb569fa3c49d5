"""Trains the detector: `python train_detector.py SCENES FACES --out detector.pt`. Continues from `--out` where it exists.

Pictures are 256 x 256 pieces: of frames of rendered halls, at scales that spread the faces' sizes, and mosaics of photographs of one face
each, because walking crowds show few large faces. With `--mine` the network that training begins from is shown all frames first,
and what it wrongly takes for a face is shown again and again: backs of heads, hands, the code on the sign. Cells are assigned to faces as in SimOTA (Ge et al., "YOLOX", 2021).
"""

import argparse
import math
import pathlib
import time

import cv2
import numpy
import torch
from torch.nn import functional

import spoil
from detector import Detector, boxes_of, cells
from pictures import labels, photographs

SIDE = 256
# Smaller faces are neither asked for nor held against the network.
LEAST = 7.0
SWAP = [1, 0, 2, 4, 3]


class Pictures:
    """Pieces of pictures with the faces in them: boxes (corners), points, and whether a face counts (0: it may be found or not)."""

    def __init__(self, scenes, faces):
        self.scenes = [(str(pathlib.Path(folder) / file), found) for folder in scenes for file, found in labels(folder)]
        self.faces = photographs(*faces)
        self.kept = {}
        # (scene, x, y) of what was wrongly taken for a face.
        self.mistaken = []

    def scene(self, i):
        if i not in self.kept:
            file, found = self.scenes[i]
            self.kept[i] = cv2.imread(file)
        found = self.scenes[i][1]
        return self.kept[i], [(box, points, visible > 0.35) for box, points, _, _, visible in found]

    def piece(self, rng):
        """Somewhere in a frame; in most cases where there is a face."""
        mistake = self.mistaken[int(rng.integers(len(self.mistaken)))] if self.mistaken and rng.random() < 0.45 else None
        image, found = self.scene(mistake[0] if mistake else int(rng.integers(len(self.scenes))))
        scale = math.exp(rng.uniform(math.log(0.45), math.log(2.4)))
        if mistake:
            x, y = mistake[1:]
        elif found and rng.random() < 0.75:
            box, _, _ = found[int(rng.integers(len(found)))]
            x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
            if rng.random() < 0.4:
                scale = math.exp(rng.uniform(math.log(9), math.log(110))) / box[2]
                scale = min(max(scale, 0.3), 4.0)
        else:
            x, y = rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0])
        left, top = x - rng.uniform(0.1, 0.9) * SIDE / scale, y - rng.uniform(0.1, 0.9) * SIDE / scale
        matrix = numpy.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
        return warped(image, matrix, border), [self.placed(face, matrix) for face in found]

    @staticmethod
    def placed(face, matrix):
        (x, y, w, h), points, counts = face
        corners = numpy.array([[x, y], [x + w, y + h]]) @ matrix[:, :2].T + matrix[:, 2]
        return corners.flatten(), points @ matrix[:, :2].T + matrix[:, 2], counts

    def mosaic(self, rng):
        """Photographs of one face each on a background, turned a little, some pasted over others' edges."""
        faces = self.faces
        image = self.ground(rng)
        found = []
        for _ in range(int(rng.choice([1, 2, 4, 6]))):
            i = int(rng.integers(len(faces["identities"])))
            raw, (x, y, w, h) = faces["raw"][i], faces["boxes"][i]
            wide = math.exp(rng.uniform(math.log(9), math.log(150)))
            matrix = cv2.getRotationMatrix2D((float(x + w / 2), float(y + h / 2)), rng.normal(0, 12), wide / w)
            at = rng.uniform(0, SIDE, 2)
            matrix[:, 2] += at - (x + w / 2, y + h / 2)
            corners = numpy.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]) @ matrix[:, :2].T + matrix[:, 2]
            box = numpy.concatenate([corners.min(0), corners.max(0)])
            # A turned box's extent is too large: take the size of the box that was not turned.
            centre, half = (box[:2] + box[2:]) / 2, numpy.array([w, h]) * wide / w / 2
            box = numpy.concatenate([centre - half, centre + half])
            if any(overlap(box, other) > 0.02 for other, _, _ in found):
                continue
            shape = numpy.array([[0, 0], [raw.shape[0], 0], [raw.shape[0]] * 2, [0, raw.shape[0]]]) @ matrix[:, :2].T + matrix[:, 2]
            mask = numpy.zeros((SIDE, SIDE), numpy.uint8)
            cv2.fillConvexPoly(mask, shape.astype(numpy.int32), 255)
            keep = numpy.zeros_like(mask)
            for other, _, _ in found:
                grown = other + numpy.array([-1, -1, 1, 1]) * 0.1 * (other[2] - other[0])
                a, b = numpy.clip(grown[:2], 0, SIDE).astype(int), numpy.clip(grown[2:], 0, SIDE).astype(int)
                keep[a[1] : b[1], a[0] : b[0]] = 255
            pasted = warped(raw, matrix)
            there = (mask > 0) & (keep == 0)
            image[there] = pasted[there]
            points = faces["points"][i] @ matrix[:, :2].T + matrix[:, 2]
            found.append((box, points, True))
        return image, found

    def ground(self, rng):
        kind = rng.random()
        if kind < 0.5:
            # A hall from which the faces have been taken.
            image, found = self.scene(int(rng.integers(len(self.scenes))))
            left, top = int(rng.integers(0, max(1, image.shape[1] - SIDE))), int(rng.integers(0, max(1, image.shape[0] - SIDE)))
            image = image[top : top + SIDE, left : left + SIDE].copy()
            for (x, y, w, h), _, _ in found:
                a, b = (max(0, int(x - w / 2) - left), max(0, int(y - h / 2) - top)), (int(x + 1.5 * w) - left, int(y + 1.5 * h) - top)
                if b[0] > 0 and b[1] > 0:
                    image[a[1] : b[1], a[0] : b[0]] = rng.integers(0, 255, 3)
            return image
        small = int(rng.integers(2, 48))
        if kind > 0.85:
            return self.shapes(rng)
        blobs = rng.uniform(0, 255, (small, small, 3)).astype(numpy.float32)
        how = cv2.INTER_CUBIC if kind < 0.72 else cv2.INTER_NEAREST
        return numpy.clip(cv2.resize(blobs, (SIDE, SIDE), interpolation=how), 0, 255).astype(numpy.uint8)

    @staticmethod
    def shapes(rng):
        """Discs in discs, stripes, wedges: what badges, ties and knots have in common with faces."""
        image = numpy.full((SIDE, SIDE, 3), rng.integers(0, 255, 3), numpy.uint8)
        colour = lambda: tuple(int(v) for v in rng.integers(0, 255, 3))
        for _ in range(int(rng.integers(4, 20))):
            centre, turn = rng.integers(0, SIDE, 2), int(rng.integers(0, 180))
            axes = numpy.exp(rng.uniform(1.2, 3.8, 2) if rng.random() < 0.3 else rng.uniform(1.2, 3.8))
            axes = (axes * numpy.ones(2)).astype(int)
            for part in range(int(rng.integers(1, 4))):
                at = tuple(int(v) for v in centre + rng.normal(0, 0.2, 2) * axes * (part > 0))
                size = tuple(int(max(1, v)) for v in axes * (1 - 0.3 * part) * rng.uniform(0.7, 1, 2))
                cv2.ellipse(image, at, size, turn, 0, 360, colour(), -1 if rng.random() < 0.8 else 2)
            for _ in range(int(rng.integers(0, 6))):
                a, b = (tuple(int(v) for v in centre + rng.normal(0, 0.5, 2) * axes) for _ in range(2))
                cv2.line(image, a, b, colour(), int(rng.integers(1, 4)))
        return image

    def mine(self, network, device, least=0.35):
        """Shows every frame to `network` and remembers what is no face."""
        network.eval()
        for i in range(len(self.scenes)):
            image, found = self.scene(i)
            height, width = (v // 32 * 32 for v in image.shape[:2])
            batch = torch.from_numpy(image[:height, :width].transpose(2, 0, 1)[None].astype(numpy.float32))
            with torch.no_grad():
                out = {kind: values.cpu() for kind, values in network(batch.to(device)).items()}
            score = (out["cls"].sigmoid() * out["obj"].sigmoid()).sqrt()[0, :, 0]
            grid = cells(height, width)
            for cell in (score > least).nonzero()[:, 0]:
                x, y = ((grid[cell, :2] + 0.5) * grid[cell, 2]).tolist()
                near = any(abs(x - b[0] - b[2] / 2) < 0.7 * b[2] and abs(y - b[1] - b[3] / 2) < 0.7 * b[3] for b, _, _ in found)
                if not near:
                    self.mistaken.append((i, x, y))
        print(f"{len(self.mistaken)} cells of {len(self.scenes)} frames were mistaken for faces", flush=True)

    def draw(self, rng):
        image, found = self.piece(rng) if rng.random() < 0.55 else self.mosaic(rng)
        if rng.random() < 0.5:
            image = image[:, ::-1]
            flipped = []
            for box, points, counts in found:
                points = points[SWAP].copy()
                points[:, 0] = SIDE - points[:, 0]
                flipped.append((numpy.array([SIDE - box[2], box[1], SIDE - box[0], box[3]]), points, counts))
            found = flipped
        image = spoil.camera(spoil.colours(image, rng), rng, strength=0.6, least=0.6)
        truth = []
        for box, points, counts in found:
            centre = (box[:2] + box[2:]) / 2
            if (centre < 0).any() or (centre >= SIDE).any():
                continue
            inside = numpy.minimum(box[2:], SIDE) - numpy.maximum(box[:2], 0)
            whole = (box[2:] - box[:2]).prod()
            counts = counts and box[2] - box[0] >= LEAST and inside.prod() > 0.6 * whole and box[2] - box[0] < 0.95 * SIDE
            truth.append(numpy.concatenate([box, points.flatten(), [float(counts)]]))
        return image.transpose(2, 0, 1).astype(numpy.float32), numpy.array(truth, numpy.float32).reshape(-1, 15)


def warped(image, matrix, border=cv2.BORDER_CONSTANT):
    """`image` through `matrix`; what becomes smaller is averaged first, or fine patterns would turn into noise that no camera shows."""
    scale = math.sqrt(abs(numpy.linalg.det(matrix[:, :2])))
    while scale < 0.6:
        h, w = image.shape[:2]
        image = cv2.resize(image, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
        halved = numpy.diag([w / (w // 2), h / (h // 2)])
        # Pixel centres: x = 2 x' + 1/2.
        matrix = numpy.hstack([matrix[:, :2] @ halved, (matrix[:, 2] + matrix[:, :2] @ numpy.array([0.5, 0.5]))[:, None]])
        scale *= 2
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=border)


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0) * max(h, 0) / ((a[2:] - a[:2]).prod() + 1e-6)


def pairwise(a, b):
    """IoU of each of `a` with each of `b`."""
    low, high = torch.max(a[:, None, :2], b[None, :, :2]), torch.min(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = lambda x: (x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1)
    return shared / (area(a)[:, None] + area(b)[None] - shared + 1e-6)


def assign(truth, boxes, score, grid):
    """Cells and the faces they answer for: (cells, faces, IoU)."""
    size, centre = truth[:, 2:4] - truth[:, :2], (truth[:, :2] + truth[:, 2:4]) / 2
    stride = grid[:, 2]
    at = (grid[:, :2] + 0.5) * stride[:, None]
    near = ((at[None] - centre[:, None]).abs() < 1.5 * stride[None, :, None]).all(-1)
    fits = (size.mean(1)[:, None] / stride[None] > 0.7) & (size.mean(1)[:, None] / stride[None] < 9)
    candidates = near & fits
    ious = pairwise(truth[:, :4], boxes)
    cost = 3 * -torch.log(ious + 1e-6) - torch.log(score + 1e-6)[None] + 1e5 * ~candidates
    count = ious.mul(candidates).topk(10, 1)[0].sum(1).int().clamp(min=1)
    owner = torch.full((len(grid),), -1)
    best = torch.full((len(grid),), 9e4)
    for face in range(len(truth)):
        value, place = cost[face].topk(int(count[face]), largest=False)
        better = value < best[place]
        owner[place[better]], best[place[better]] = face, value[better]
    chosen = (owner >= 0).nonzero()[:, 0]
    return chosen, owner[chosen], ious[owner[chosen], chosen]


def eiou(found, truth):
    """1 - IoU, and how far centres and sizes differ (Zhang et al. 2021)."""
    low, high = torch.max(found[:, :2], truth[:, :2]), torch.min(found[:, 2:], truth[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    sizes, wanted = found[:, 2:] - found[:, :2], truth[:, 2:] - truth[:, :2]
    iou = shared / (sizes.prod(-1) + wanted.prod(-1) - shared + 1e-6)
    hull = torch.max(found[:, 2:], truth[:, 2:]) - torch.min(found[:, :2], truth[:, :2])
    apart = ((found[:, :2] + found[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2).pow(2).sum(-1)
    return 1 - iou + apart / hull.pow(2).sum(-1) + ((sizes - wanted).pow(2) / hull.pow(2)).sum(-1)


def loss_of(out, truths, grid):
    boxes = boxes_of(out["bbox"], grid)
    score = (out["cls"].sigmoid() * out["obj"].sigmoid()).sqrt()[..., 0].detach()
    wanted, weight = torch.zeros_like(out["obj"][..., 0]), torch.ones_like(out["obj"][..., 0])
    box_loss = point_loss = class_loss = out["obj"].sum() * 0
    total = 0
    for i, truth in enumerate(truths):
        counted = truth[truth[:, 14] > 0]
        for face in truth[truth[:, 14] == 0]:
            at = (grid[:, :2] + 0.5) * grid[:, 2:]
            grown = 0.25 * (face[2:4] - face[:2])
            inside = (at > face[:2] - grown).all(1) & (at < face[2:4] + grown).all(1)
            weight[i, inside] = 0
        if not len(counted):
            continue
        chosen, owner, ious = assign(counted, boxes[i].detach(), score[i], grid)
        weight[i, chosen] = 1
        wanted[i, chosen] = 1.0
        mine = counted[owner]
        box_loss = box_loss + eiou(boxes[i, chosen], mine[:, :4]).sum()
        stride = grid[chosen, 2:, None]
        points = (mine[:, 4:14].view(-1, 5, 2) / stride - grid[chosen, None, :2]).flatten(1)
        wide = ((mine[:, 2] - mine[:, 0]) / grid[chosen, 2])[:, None]
        point_loss = point_loss + (functional.smooth_l1_loss(out["kps"][i, chosen] / wide, points / wide, reduction="none", beta=0.05).sum())
        class_loss = class_loss + functional.binary_cross_entropy_with_logits(out["cls"][i, chosen, 0], ious.clamp(0, 1), reduction="sum")
        total += len(chosen)
    object_loss = (functional.binary_cross_entropy_with_logits(out["obj"][..., 0], wanted, reduction="none") * weight).sum()
    n = max(total, 1)
    return 3 * box_loss / n, 2 * point_loss / n, class_loss / n, object_loss / n


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenes")
    parser.add_argument("--more-scenes", nargs="*", default=[], help="further folders of halls")
    parser.add_argument("faces", nargs="+")
    parser.add_argument("--out", default="detector.pt")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--warm", help="weights to begin from, with a new schedule")
    parser.add_argument("--mine", action="store_true", help="learn from what the weights to begin from get wrong")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(given.seed)
    pictures, network = Pictures([given.scenes, *given.more_scenes], given.faces), Detector().to(given.device, memory_format=torch.channels_last)
    grid = cells(SIDE, SIDE)
    optimiser = torch.optim.AdamW(network.parameters(), lr=given.rate, weight_decay=5e-4)
    step, out = 0, pathlib.Path(given.out)
    if out.exists():
        kept = torch.load(out, map_location=given.device)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        step = kept["step"]
    elif given.warm:
        network.load_state_dict(torch.load(given.warm, map_location=given.device)["network"])
    if given.mine:
        pictures.mine(network, given.device)
    begun, first, means = time.monotonic(), step, numpy.zeros(4)
    while step < given.steps:
        rng = numpy.random.default_rng([given.seed, step])
        step += 1
        for group in optimiser.param_groups:
            group["lr"] = given.rate * min(1, step / 150) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / given.steps)))
        drawn = [pictures.draw(rng) for _ in range(given.batch)]
        network.train()
        batch = torch.from_numpy(numpy.stack([image for image, _ in drawn])).to(given.device, memory_format=torch.channels_last)
        # Sixteen bits are enough to learn by; the last part of the way is gone with all.
        with torch.autocast(given.device, dtype=torch.bfloat16, enabled=step < 0.85 * given.steps):
            found = network(batch)
        # Assigning cells to faces is many small steps: the processor's work.
        found = {kind: values.cpu() for kind, values in found.items()}
        parts = loss_of(found, [torch.from_numpy(truth) for _, truth in drawn], grid)
        loss = sum(parts)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        means += 0.03 * (numpy.array([p.item() for p in parts]) - means)
        if step % 50 == 0:
            each = "  ".join(f"{name} {value:.3f}" for name, value in zip(("box", "points", "class", "object"), means))
            print(f"step {step}/{given.steps}  {each}  {(time.monotonic() - begun) / (step - first):.2f} s a step", flush=True)
        if step % 250 == 0 or step == given.steps:
            torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, out.with_suffix(".tmp"))
            out.with_suffix(".tmp").rename(out)


if __name__ == "__main__":
    main()
