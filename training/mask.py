"""The mask classifier: an aligned 112 x 112 crop to two logits, bare and masked."""

import torch
from torch import nn

CLASSES = ("bare", "masked")


def unit(inputs, outputs, kernel, stride, padding):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Mask(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(unit(3, 16, 7, 4, 3), unit(16, 32, 3, 2, 1), unit(32, 48, 3, 2, 1), unit(48, 48, 3, 1, 1))
        self.last = nn.Conv2d(48, len(CLASSES), 7)

    def forward(self, x):
        """`x`: RGB, 0..255."""
        return self.last(self.body((x - 127.5) / 128)).flatten(1)


def write(network, graph):
    x = graph.input("data", ["batch", 3, 112, 112])
    x = graph.node("Sub", [x, graph.constant(127.5)])
    x = graph.node("Mul", [x, graph.constant(1 / 128)])
    for conv, norm, _ in network.body:
        x = graph.node("Relu", [graph.convolution(x, conv, norm)])
    graph.node("Flatten", [graph.convolution(x, network.last)], name="logits", axis=1)
    graph.output("logits", ["batch", len(CLASSES)])
