"""Layers that several architectures share."""

import torch
from torch import Tensor, nn

REVISION = 1


class Normalize(nn.Module):
    """(x - mean) / std per channel: the first layer of every image model, so that attacks, budgets and
    target directions live in the data's own [0, 1] range.

    mean, std: one value, or one per channel. They are options of the model, not weights: buffers that
    are neither trained nor stored with the weights. Raises ValueError for another number of values.
    """

    def __init__(self, mean: list[float], std: list[float], channels: int):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise ValueError(f"{name}: {len(values)} values, expected 1 or {channels} (one per channel)")
            buffer = torch.tensor(values).view(-1, 1, 1).expand(channels, 1, 1).clone()
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def image_shape(shape: tuple[int, ...], model: str) -> tuple[int, int, int]:
    """(C, H, W), or ValueError saying that this model needs images."""
    if len(shape) != 3:
        raise ValueError(f"model {model} takes images (C, H, W), found data of shape {tuple(shape)}")
    return shape
