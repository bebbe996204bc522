"""LPIPS: a perceptual distance between images, by the activations of AlexNet.

Zhang et al. (2018), as Srinivas et al. (2023), section 4.2, use it through the `lpips` package (net
"alex", version 0.1). Activations after the five ReLUs are normalised over their channels; squared
differences are weighted per channel, averaged over positions and summed over layers. The weights of the
channels ("heads") are read from the installed package, those of AlexNet from torchvision's file of
ImageNet weights, or drawn at random: a named substitute where that file cannot be had. The computation is
written out here, and tested to equal the package's, because importing the package costs 3 s of CPU in
every process, and its constructor downloads weights.
"""

import functools
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pagrepro import seeding, weights_file
from pagrepro.errors import DataError

REVISION = 1

# (place in torchvision's `alexnet().features`, channels in, channels out, kernel, stride, padding)
CONVOLUTIONS = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
POOLED_BEFORE = (3, 6)

# Input normalisation of version 0.1, for images in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

# Smaller images leave nothing for the last layers: they are enlarged to this side, by nearest neighbours.
SMALLEST = 32

# All models are judged by the same random network, whatever the seed of the measurement.
RANDOM_SEED = 0


class Lpips:
    """The distance with given weights. trunk: torchvision's names `features.<k>.weight`, `.bias` ->
    tensors; heads: five tensors (1, channels, 1, 1), not negative. Everything is computed in `dtype` on
    `device`."""

    def __init__(
        self, trunk: Mapping[str, Tensor], heads: list[Tensor], device: torch.device, dtype: torch.dtype
    ):
        self.trunk = {name: value.to(device, dtype) for name, value in trunk.items()}
        self.heads = [head.to(device, dtype) for head in heads]
        self.shift, self.scale = (
            torch.tensor(v, device=device, dtype=dtype).view(1, 3, 1, 1) for v in (SHIFT, SCALE)
        )

    @torch.no_grad()
    def features(self, images: Tensor) -> list[Tensor]:
        """Normalised activations [(B, channels, h, w)] of images (B, 1 or 3, H, W) in [-1, 1]. One
        channel is repeated; small images are enlarged."""
        h = (enlarged(images).expand(-1, 3, -1, -1) - self.shift) / self.scale
        found = []
        for place, _, _, _, stride, padding in CONVOLUTIONS:
            if place in POOLED_BEFORE:
                h = F.max_pool2d(h, 3, 2)
            weight, bias = (self.trunk[f"features.{place}.{part}"] for part in ("weight", "bias"))
            h = F.relu(F.conv2d(h, weight, bias, stride, padding))
            found.append(h / (h.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    @torch.no_grad()
    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distances (B,) of what `features` gives for two batches; 0 for equal images."""
        layers = zip(a, b, self.heads, strict=True)
        return sum(
            (F.conv2d((x - y).square(), head).mean((1, 2, 3)) for x, y, head in layers), a[0].new_zeros(())
        )


def enlarged(images: Tensor) -> Tensor:
    """Images (B, C, H, W) whose shorter side is below SMALLEST become (B, C, SMALLEST, SMALLEST), by
    nearest neighbours; others stay. Raises DataError for anything but one or three channels."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"LPIPS is for images of 1 or 3 channels, found shape {tuple(images.shape[1:])}")
    if min(images.shape[-2:]) >= SMALLEST:
        return images
    return F.interpolate(images, size=(SMALLEST, SMALLEST), mode="nearest")


@functools.lru_cache(maxsize=4)
def lpips_from_file(path: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> Lpips:
    """LPIPS with ImageNet weights from torchvision's file (a state dict of `alexnet`), read once per
    process.

    Raises DataError for a file that is missing, damaged, or of another network.
    """
    found = weights_file.read(path)
    wanted = _trunk_shapes()
    for name, shape in wanted.items():
        value = found.get(name) if isinstance(found, Mapping) else None
        there = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
        if there != shape:
            raise DataError(f"{path}: not torchvision's AlexNet; {name} is {there}, expected {shape}")
    return Lpips({name: found[name] for name in wanted}, package_heads(), device, dtype)


@functools.lru_cache(maxsize=4)
def lpips_random(device: torch.device, dtype: torch.dtype = torch.float32) -> Lpips:
    """LPIPS with a random AlexNet, drawn as torch draws new convolutions (uniform within 1/sqrt(fan in),
    biases too) from one fixed seed: a substitute, whose numbers are not those of LPIPS."""
    shapes, trunk = _trunk_shapes(), {}
    for name, shape in shapes.items():
        bound = 1 / math.sqrt(math.prod(shapes[f"{name.rpartition('.')[0]}.weight"][1:]))
        generator = seeding.generator(RANDOM_SEED, "random AlexNet", name)
        # float32 whatever the default: the same weights for every type.
        trunk[name] = torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
    return Lpips(trunk, package_heads(), device, dtype)


def package_heads() -> list[Tensor]:
    """Weights of the channels, five tensors (1, channels, 1, 1), from the installed `lpips` package,
    which is not imported. Raises DataError where it is not installed."""
    found = importlib.util.find_spec("lpips")
    if found is None:
        raise DataError("LPIPS needs the weights in the package lpips; pip install -r requirements.lock")
    path = Path(found.submodule_search_locations[0], "weights", "v0.1", "alex.pth")
    heads = weights_file.read(path)
    return [heads[f"lin{k}.model.1.weight"] for k in range(len(CONVOLUTIONS))]


def _trunk_shapes() -> dict[str, tuple[int, ...]]:
    found = {}
    for place, channels, out, kernel, _, _ in CONVOLUTIONS:
        found[f"features.{place}.weight"] = (out, channels, kernel, kernel)
        found[f"features.{place}.bias"] = (out,)
    return found
