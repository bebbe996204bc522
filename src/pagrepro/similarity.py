"""How alike two maps of an image are: cosine, SSIM and 1 - LPIPS of maps that are scaled by their largest
value.

Srinivas et al. (2023), section 4.2: alignment is 1 - LPIPS of input gradient and score, each divided by
its largest magnitude over channels and pixels. LPIPS alone says little (it is about 0.7 for networks
without any regularisation), so that cosine and SSIM (Wang et al. 2004) stand beside it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.gradients import cosine
from pagrepro.lpips_distance import Lpips, lpips_from_file, lpips_random
from pagrepro.map_options import Similarity
from pagrepro.seeding import generator

REVISION = 1

# Similarities (B,) of maps (B, *shape) to each of several others, 1 for equal maps.
Compare = Callable[[Tensor, Sequence[Tensor]], list[Tensor]]

# SSIM: window, its standard deviation, and constants, for pictures in [0, 1].
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def scaled_map(maps: Tensor) -> Tensor:
    """Maps (B, *shape) divided by their largest magnitude, one for each example: within [-1, 1]. Maps of
    zeros stay zeros, maps with values that are not finite become NaN."""
    largest = maps.abs().flatten(1).amax(1).view(-1, *[1] * (maps.dim() - 1))
    finite = largest.isfinite()
    return (maps / largest.where(finite & (largest != 0), 1.0)).where(finite, torch.nan)


def resized(maps: Tensor, size: int | None) -> Tensor:
    """Maps (B, C, H, W) at `size` x `size`, bilinear without antialiasing as in the paper's public code;
    None, or that size already: as they are. Raises DataError for maps that are not images."""
    if size is None or tuple(maps.shape[2:]) == (size, size):
        return maps
    if maps.dim() != 4:
        raise DataError(f"resize: {size} is for images, found maps of shape {tuple(maps.shape[1:])}")
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False, antialias=False)


def derangement(n: int, seed: int) -> Tensor:
    """Places (n,) int64 of "another example" of each of n >= 2: a permutation that leaves none in its
    place."""
    order = torch.randperm(n, generator=generator(seed, "another example"))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


def similarity(name: Similarity, like: Tensor, alexnet: Path | None = None) -> Compare:
    """The similarity of this name, for maps of the type and on the device of `like`.

    lpips: 1 - LPIPS with the weights in the file `alexnet`; lpips_random: the same with a random network,
    a substitute; cosine: over channels and pixels; ssim. Maps have to be within [-1, 1]. Raises DataError
    where lpips has no file.
    """
    if name == "lpips":
        if alexnet is None:
            raise DataError(
                "similarity lpips needs AlexNet's ImageNet weights: give the evaluation"
                " `inputs: {alexnet: {source: alexnet_imagenet}}`, or ask for lpips_random"
            )
        return _one_minus(lpips_from_file(Path(alexnet), like.device, like.dtype))
    if name == "lpips_random":
        return _one_minus(lpips_random(like.device, like.dtype))
    if name in ("cosine", "ssim"):
        measure = cosine if name == "cosine" else ssim
        return lambda maps, others: [measure(maps, other) for other in others]
    raise ValueError(f"similarity {name!r}; allowed: lpips, lpips_random, cosine, ssim")


def _one_minus(distance: Lpips) -> Compare:
    def compare(maps: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
        own = distance.features(maps)
        return [1 - distance.between(own, distance.features(other)) for other in others]

    return compare


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (B,) in [-1, 1] of maps (B, C, H, W) within [-1, 1]: the mean over channels
    and all windows that lie inside the map.

    Wang et al. (2004): Gaussian window of 11 x 11 with standard deviation 1.5, K1 = 0.01, K2 = 0.03. It
    is for pictures, so a map v is looked at as the picture (v + 1) / 2: of the signed map itself, the
    comparison of local means has the sign of their product, and a map resembles its negative. Maps with a
    side below 11 get the largest odd window that fits. Raises DataError for maps that are not images or
    differ in shape.
    """
    if a.dim() != 4 or a.shape != b.shape:
        raise DataError(f"SSIM is for two images of one shape, found {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = (a + 1) / 2, (b + 1) / 2
    window = _window(min(*a.shape[-2:], WINDOW), a)
    mean_a, mean_b, square_a, square_b, product = (
        _smoothed(z.flatten(0, 1)[:, None], window).unflatten(0, a.shape[:2])
        for z in (a, b, a * a, b * b, a * b)
    )
    c1, c2 = K1**2, K2**2
    variances = square_a - mean_a.square() + square_b - mean_b.square()
    covariance = product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).flatten(1).mean(1)


def _smoothed(images: Tensor, window: Tensor) -> Tensor:
    """Averages of images (B, 1, H, W) over all windows inside them, along one axis after the other."""
    return F.conv2d(F.conv2d(images, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))


def _window(side: int, like: Tensor) -> Tensor:
    """Weights (side,) of a Gaussian that sum to one; the next smaller odd side for an even one."""
    places = torch.arange(side - 1 + side % 2, device=like.device, dtype=like.dtype)
    weights = torch.exp(-((places - places.mean()) ** 2) / (2 * SIGMA**2))
    return weights / weights.sum()
