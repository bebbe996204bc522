"""Layers that several architectures share."""

from collections.abc import Callable

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


def piecewise_linear(network: nn.Module) -> bool:
    """Whether the network has ReLUs, or says so (`smooth = False`): its logits then have no curvature."""
    return any(isinstance(m, nn.ReLU) or getattr(m, "smooth", True) is False for m in network.modules())


# --- batch normalisation ---------------------------------------------------------------------------


class _Frozen:
    """In eval mode for ever: running statistics as they are (0 and 1, or loaded ones), only scale and shift
    train. What Lanfredi et al. (2020) call "batch normalisation turned off" is this in their public code."""

    def __init__(self, features: int):
        super().__init__(features)
        self.eval()

    def train(self, mode: bool = True):
        return super().train(False)


class FrozenBatchNorm1d(_Frozen, nn.BatchNorm1d):
    """(B, features) or (B, features, L); names and shapes of weights are those of `nn.BatchNorm1d`."""


class FrozenBatchNorm2d(_Frozen, nn.BatchNorm2d):
    """(B, features, H, W); names and shapes of weights are those of `nn.BatchNorm2d`."""


def batch_norm(kind: str) -> Callable[[int], nn.Module]:
    """What makes the batch normalisation of a convolutional network from its number of channels.

    kind: "train", the usual one; "frozen", see `_Frozen`; "removed", none. Raises ValueError for another.
    """
    made: dict[str, Callable[[int], nn.Module]] = {
        "train": nn.BatchNorm2d,
        "frozen": FrozenBatchNorm2d,
        "removed": lambda channels: nn.Identity(),
    }
    if kind not in made:
        raise ValueError(f"bn {kind!r}; allowed: {', '.join(made)}")
    return made[kind]


# --- one logit for two classes ---------------------------------------------------------------------


def outputs(single_logit: bool, classes: int, model: str) -> int:
    """Units of the last layer; ValueError where one logit would have to tell more than two classes apart."""
    if single_logit and classes != 2:
        raise ValueError(f"model {model}: single_logit is for 2 classes, found {classes}")
    return 1 if single_logit else classes


def as_pair(f: Tensor) -> Tensor:
    """The single logit f (B, 1) of class 1 as two logits (-f/2, f/2): their difference is f, so their softmax
    cross-entropy is the binary one of f."""
    return torch.cat([-f / 2, f / 2], 1)
