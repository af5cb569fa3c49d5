"""Trains the embedder: `python train_embedder.py FACES --out embedder.pt`. Continues from `--out` where it exists."""

import argparse
import math
import pathlib
import time

import cv2
import numpy
import torch

import spoil
from embedder import Embedder, Margin
from pictures import CROP, MARGIN, photographs


def moved(crop, rng, strength=1.0):
    """The crop as a detector that is a little wrong would have aligned it; half of them mirrored. RGB planes, float. `strength`: of what
    the camera does to it."""
    angle, scale = rng.normal(0, 3.0), math.exp(rng.normal(0, 0.035))
    matrix = cv2.getRotationMatrix2D((CROP / 2, CROP / 2), angle, scale)
    matrix[:, 2] += rng.normal(0, 1.4, 2) - MARGIN
    image = cv2.warpAffine(crop, matrix, (112, 112), flags=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    image = spoil.camera(spoil.colours(image, rng, strength), rng, strength, least=0.33)
    if rng.random() < 0.12 * strength:
        image = spoil.covered(image, rng)
    return numpy.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1), numpy.float32)


def batches(faces, size, seed, done, strength):
    """Endless batches; every photograph once an epoch. Batch number `done` is the first."""
    count = len(faces["identities"])
    number = done
    while True:
        epoch, at = divmod(number * size, count)
        order = numpy.random.default_rng([seed, epoch]).permutation(count)
        rng = numpy.random.default_rng([seed, 1, number])
        picked = order[at : at + size]
        if len(picked) == size:
            yield torch.from_numpy(numpy.stack([moved(faces["crops"][i], rng, strength) for i in picked])), torch.from_numpy(faces["identities"][picked])
        else:
            yield None
        number += 1


@torch.no_grad()
def place(centres, first, network, faces, device):
    """Identities from `first` on begin where the network already sees them."""
    network.eval()
    length = centres[:first].norm(dim=1).mean()
    shown = {}
    for i, identity in enumerate(faces["identities"]):
        if identity >= first and len(shown.setdefault(int(identity), [])) < 4:
            shown[int(identity)].append(i)
    for identity, photographs in shown.items():
        crops = [faces["crops"][i][MARGIN:-MARGIN, MARGIN:-MARGIN, ::-1].transpose(2, 0, 1) for i in photographs]
        found = network(torch.from_numpy(numpy.stack(crops).astype(numpy.float32)).to(device))
        centres[identity] = torch.nn.functional.normalize(torch.nn.functional.normalize(found).mean(0), dim=0) * length


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", nargs="+")
    parser.add_argument("--out", default="embedder.pt")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--warm", help="weights to begin from, with a new schedule; identities that it knew come first in FACES")
    parser.add_argument("--strength", type=float, default=1.0, help="of what cameras do to the pictures, 0 to 1")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(given.seed)
    faces = photographs(*given.faces)
    identities = int(faces["identities"].max()) + 1
    network = Embedder().to(given.device, memory_format=torch.channels_last)
    margin = Margin(identities).to(given.device)
    weights = [p for p in network.parameters() if p.ndim > 1] + [margin.centres]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=given.rate)
    step = 0
    out = pathlib.Path(given.out)
    if out.exists():
        kept = torch.load(out, map_location=given.device)
        network.load_state_dict(kept["network"])
        margin.load_state_dict(kept["margin"])
        optimiser.load_state_dict(kept["optimiser"])
        step = kept["step"]
    elif given.warm:
        kept = torch.load(given.warm, map_location=given.device)
        network.load_state_dict(kept["network"])
        known = kept["margin"]["centres"]
        margin.centres.data[: len(known)] = known
        place(margin.centres.data, len(known), network, faces, given.device)
    begun, mean, right = time.monotonic(), 0.0, 0.0
    stream = batches(faces, given.batch, given.seed, step, given.strength)
    first = step

    def keep():
        kept = {"network": network.state_dict(), "margin": margin.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
        torch.save(kept, out.with_suffix(".tmp"))
        out.with_suffix(".tmp").rename(out)

    while step < given.steps:
        batch = next(stream)
        step += 1
        if batch is None:
            continue
        warm, share = min(1, step / 200), step / given.steps
        for group in optimiser.param_groups:
            group["lr"] = given.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        pictures, wanted = (part.to(given.device, non_blocking=True) for part in batch)
        network.train()
        with torch.autocast(given.device, dtype=torch.bfloat16):
            found = network(pictures.to(memory_format=torch.channels_last))
        loss = margin(found, wanted, 1 if given.warm else min(1, step / 800))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        mean += 0.02 * (loss.item() - mean)
        if step % 50 == 0:
            seconds = (time.monotonic() - begun) / (step - first)
            print(f"step {step}/{given.steps}  loss {mean:.3f}  {seconds:.2f} s a step", flush=True)
        if step % 250 == 0:
            keep()
    keep()


if __name__ == "__main__":
    main()
