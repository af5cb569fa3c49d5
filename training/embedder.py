"""The embedder: a small residual network, 112 x 112 to 256 numbers of unit length.

The first layer looks at every fourth pixel only (7 x 7, stride 4): faces on cameras in halls are 40 to 100 pixels wide, there is little to
see at full resolution, and three quarters of the usual cost lies there. Trained with CosFace's margin (Wang et al. 2018).
"""

import torch
from torch import nn

DIM = 256


def unit(inputs, outputs, kernel, stride=1, padding=0, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)
    )


class Residual(nn.Module):
    def __init__(self, channels, convolutions=2):
        super().__init__()
        self.units = nn.ModuleList(unit(channels, channels, 3, padding=1) for _ in range(convolutions))

    def forward(self, x):
        y = x
        for layer in self.units:
            y = layer(y)
        return x + y


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            unit(3, 48, 7, 4, 3),  # 28 x 28
            Residual(48, 1),
            unit(48, 96, 3, 2, 1),  # 14 x 14
            Residual(96),
            Residual(96),
            unit(96, 144, 3, 2, 1),  # 7 x 7
            Residual(144),
            unit(144, 448, 1),
        )
        # Each channel weighs its own places (MobileFaceNet's global depth-wise convolution, Chen et al. 2018).
        self.places = nn.Sequential(nn.Conv2d(448, 448, 7, groups=448, bias=False), nn.BatchNorm2d(448))
        self.last = nn.Sequential(nn.Conv2d(448, DIM, 1, bias=False), nn.BatchNorm2d(DIM))

    def forward(self, x):
        """`x`: RGB, 0..255. Not yet of unit length."""
        return self.last(self.places(self.body((x - 127.5) / 128))).flatten(1)


def write(network, graph):
    """The network's evaluation as ONNX nodes."""
    x = graph.input("data", ["batch", 3, 112, 112])
    x = graph.node("Sub", [x, graph.constant(127.5)])
    x = graph.node("Mul", [x, graph.constant(1 / 128)])

    def add_unit(x, layers):
        x = graph.convolution(x, layers[0], layers[1])
        slope = layers[2].weight.detach().numpy()[:, None, None]
        return graph.node("PRelu", [x, graph.constant(slope)])

    for layer in network.body:
        if isinstance(layer, Residual):
            y = x
            for inner in layer.units:
                y = add_unit(y, inner)
            x = graph.node("Add", [x, y])
        else:
            x = add_unit(x, layer)
    for conv, norm in (network.places, network.last):
        x = graph.convolution(x, conv, norm)
    x = graph.node("Flatten", [x], axis=1)
    graph.node("LpNormalization", [x], name="embedding", axis=1, p=2)
    graph.output("embedding", ["batch", DIM])


class Margin(nn.Module):
    """CosFace: the right identity's cosine must lead by `margin`."""

    def __init__(self, identities, margin=0.35, scale=30.0):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(identities, DIM) * 0.05)
        self.margin, self.scale = margin, scale

    def forward(self, embeddings, identities, share=1.0):
        cosines = nn.functional.linear(nn.functional.normalize(embeddings.float()), nn.functional.normalize(self.centres))
        lead = nn.functional.one_hot(identities, cosines.shape[1]) * (self.margin * share)
        return nn.functional.cross_entropy(self.scale * (cosines - lead), identities, label_smoothing=0.02)
