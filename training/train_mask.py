"""Trains the mask classifier: `python train_mask.py FACES --out mask.pt`."""

import argparse
import math
import time

import cv2
import numpy
import torch
from torch.nn import functional

from mask import Mask
from pictures import photographs
from train_embedder import moved


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", nargs="+")
    parser.add_argument("--out", default="mask.pt")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(given.seed)
    faces = photographs(*given.faces)
    kinds = [numpy.flatnonzero(~faces["masks"]), numpy.flatnonzero(faces["masks"])]
    network = Mask().to(given.device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=given.rate, weight_decay=0.01)
    begun, mean, right = time.monotonic(), 0.0, 0.5
    for step in range(1, given.steps + 1):
        rng = numpy.random.default_rng([given.seed, step])
        wanted = rng.integers(0, 2, given.batch)
        drawn = [moved(faces["crops"][rng.choice(kinds[kind])], rng) for kind in wanted]
        for group in optimiser.param_groups:
            group["lr"] = given.rate * min(1, step / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / given.steps)))
        logits = network(torch.from_numpy(numpy.stack(drawn)).to(given.device, memory_format=torch.channels_last))
        target = torch.from_numpy(wanted).to(given.device)
        loss = functional.cross_entropy(logits, target, label_smoothing=0.02)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        mean += 0.02 * (loss.item() - mean)
        right += 0.02 * ((logits.argmax(1) == target).float().mean().item() - right)
        if step % 100 == 0:
            print(f"step {step}/{given.steps}  loss {mean:.3f}  right {right:.4f}  {(time.monotonic() - begun) / step:.2f} s a step", flush=True)
    torch.save({"network": network.state_dict(), "step": given.steps}, given.out)


if __name__ == "__main__":
    main()
