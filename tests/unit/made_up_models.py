"""Small networks with the faults that people's models have, for the checks of a model of one's own."""

import torch
from torch import nn

# A data set of the form that the made-up models take.
DATA = {"name": "made up", "label": "made up", "shape": [1, 4, 4], "classes": 3, "low": 0.0, "high": 1.0}


def linear(inputs: int, classes: int, seed: int = 0) -> nn.Module:
    """Flattened examples -> logits, weights drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


class Changed(nn.Module):
    """A network whose input or output goes through a function."""

    def __init__(self, network, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x):
        return self.after(self.network(self.before(x)))


class Templates(nn.Module):
    """Logits (B, C) by distance to one image per class: knows which range its inputs are in."""

    def __init__(self, images):
        super().__init__()
        self.register_buffer("images", images.flatten(1))

    def forward(self, x):
        return -torch.cdist(x.flatten(1), self.images)


def blobs(n: int = 300, classes: int = 3, seed: int = 0):
    """Images in [0, 1] around one image per class: x (n, 1, 4, 4), y (n,), and those images (C, 1, 4, 4)."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(classes, 1, 4, 4, generator=generator)
    y = torch.arange(n) % classes
    x = (centres[y] + 0.1 * torch.randn(n, 1, 4, 4, generator=generator)).clamp(0, 1)
    return x, y, centres
