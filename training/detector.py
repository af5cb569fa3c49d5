"""The detector: YuNet's architecture (Wu, Peng & Yu, "YuNet: a tiny millisecond-level face detector", 2023), one anchor a cell at strides
8, 16 and 32, with boxes and five landmarks. Written from the paper; no weights of theirs were used."""

import torch
from torch import nn

STRIDES = (8, 16, 32)
# Channels of each stage; pictures are halved by the stem, and again before stages 1, 3, 4 and 5.
STAGES = ((16, 32), (32, 64), (64, 64), (64, 64), (64, 64))
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
WIDTH = 64


class Unit(nn.Module):
    """1 x 1, then 3 x 3 each channel by itself; then, unless it is a head, normalisation and ReLU."""

    def __init__(self, inputs, outputs, last=False):
        super().__init__()
        self.mix = nn.Conv2d(inputs, outputs, 1)
        self.look = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.norm = None if last else nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = self.look(self.mix(x))
        return x if self.norm is None else torch.relu(self.norm(x))


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.stem_norm = nn.BatchNorm2d(16)
        self.stem_unit = Unit(16, 16)
        self.stages = nn.ModuleList(nn.ModuleList([Unit(a, a), Unit(a, b)]) for a, b in STAGES)
        self.lateral = nn.ModuleList(Unit(WIDTH, WIDTH) for _ in STRIDES)
        self.shared = nn.ModuleList(Unit(WIDTH, WIDTH) for _ in STRIDES)
        self.heads = nn.ModuleList(nn.ModuleDict({k: Unit(WIDTH, n, last=True) for k, n in HEADS.items()}) for _ in STRIDES)
        for heads in self.heads:
            for kind in ("cls", "obj"):
                nn.init.constant_(heads[kind].look.bias, -4.0)

    def forward(self, x):
        """`x`: BGR, 0..255. For each kind of head [batch, cells of all strides, numbers]; cls and obj are logits."""
        x = self.stem_unit(torch.relu(self.stem_norm(self.stem(x))))
        levels = []
        for i, stage in enumerate(self.stages):
            if i != 1:
                x = nn.functional.max_pool2d(x, 2)
            for unit in stage:
                x = unit(x)
            if i >= 2:
                levels.append(x)
        for i in (2, 1, 0):
            levels[i] = self.lateral[i](levels[i])
            if i:
                levels[i - 1] = levels[i - 1] + nn.functional.interpolate(levels[i], scale_factor=2.0, mode="nearest")
        out = {kind: [] for kind in HEADS}
        for i, level in enumerate(levels):
            shared = self.shared[i](level)
            for kind, head in self.heads[i].items():
                out[kind].append(head(shared).flatten(2).transpose(1, 2))
        return {kind: torch.cat(parts, 1).float() for kind, parts in out.items()}


def cells(height, width):
    """Column, row and stride of every cell, in the order of the outputs."""
    parts = []
    for stride in STRIDES:
        rows, columns = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        parts.append(torch.stack([columns.flatten(), rows.flatten(), torch.full((rows.numel(),), stride)], 1))
    return torch.cat(parts).float()


def boxes_of(raw, grid):
    """`bbox` as corners, pixels: centre (column + b0, row + b1) x stride, size exp(b2, b3) x stride."""
    stride = grid[:, 2:]
    centre = (grid[:, :2] + raw[..., :2]) * stride
    half = torch.exp(raw[..., 2:].clamp(-6, 8)) * stride / 2
    return torch.cat([centre - half, centre + half], -1)


def write(network, graph):
    """The network's evaluation as ONNX nodes, with YuNet's names for input and outputs."""
    import numpy

    def relu(x):
        return graph.node("Relu", [x])

    def unit(x, layer):
        x = graph.convolution(graph.convolution(x, layer.mix), layer.look, layer.norm)
        return x if layer.norm is None else relu(x)

    def pool(x):
        return graph.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    x = graph.input("input", ["batch", 3, "height", "width"])
    x = unit(relu(graph.convolution(x, network.stem, network.stem_norm)), network.stem_unit)
    levels = []
    for i, stage in enumerate(network.stages):
        if i != 1:
            x = pool(x)
        for layer in stage:
            x = unit(x, layer)
        if i >= 2:
            levels.append(x)
    for i in (2, 1, 0):
        levels[i] = unit(levels[i], network.lateral[i])
        if i:
            scales = graph.constant([1, 1, 2, 2])
            larger = graph.node(
                "Resize", [levels[i], "", scales], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
            )
            levels[i - 1] = graph.node("Add", [levels[i - 1], larger])
    shared = [unit(level, network.shared[i]) for i, level in enumerate(levels)]
    for kind, numbers in HEADS.items():
        for i, stride in enumerate(STRIDES):
            name = f"{kind}_{stride}"
            y = unit(shared[i], network.heads[i][kind])
            y = graph.node("Transpose", [y], perm=[0, 2, 3, 1])
            shape = graph.constant([0, -1, numbers], numpy.int64)
            if kind in ("cls", "obj"):
                graph.node("Sigmoid", [graph.node("Reshape", [y, shape])], name=name)
            else:
                graph.node("Reshape", [y, shape], name=name)
            graph.output(name, ["batch", f"cells_{stride}", numbers])
