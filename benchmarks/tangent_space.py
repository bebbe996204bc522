"""Tangent spaces of a decoder: forward derivatives of all latent dimensions, and one backward pass per pixel.

Srinivas et al. (2023), section 4: the span of J = d decode(z) / dz, with many more pixels than latent
dimensions. Their public code computes J row by row. Both give the same J; the spans are compared in float64.
The row-wise way is timed without the gradients of weights, which it does not need.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from _measure import bar, compared, note, relative_error
from pagrepro.load import freeze
from pagrepro.tangent import decoder_jacobian, tangent_basis

NAME = "tangent spaces of a decoder"

TIME_LIMIT = 1 / 20  # of one backward pass per pixel
ERROR_LIMIT = 1e-10  # between projectors, float64
FORWARD = "forward, all latent dimensions"
FORWARD_LOOP = "forward, one dimension at a time"
BACKWARD_LOOP = "one backward pass per pixel"

# (decoder, z (N, latent)) -> J (N, latent, *shape)
Jacobian = Callable[[nn.Module, Tensor], Tensor]


def backward_per_pixel(decode: nn.Module, z: Tensor) -> Tensor:
    """Image by image, row by row, over one graph that is kept."""
    found = []
    for one in z.split(1):
        one = one.clone().requires_grad_()
        made = decode(one)
        # By index: iterating over the pixels would add one graph node with an output for each of them.
        pixels = made.flatten()
        rows = [torch.autograd.grad(pixels[k], one, retain_graph=True)[0][0] for k in range(len(pixels))]
        found.append(torch.stack(rows, 1).unflatten(1, made.shape[1:]))
    return torch.stack(found)


VARIANTS: dict[str, Jacobian] = {
    FORWARD: decoder_jacobian,
    FORWARD_LOOP: functools.partial(decoder_jacobian, chunk=1),
    BACKWARD_LOOP: backward_per_pixel,
}


def decoder(latent: int, width: int, side: int, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Three convolutions to colour images of side x side, with batch statistics of some batch; untrained."""
    torch.manual_seed(0)
    low = side // 4
    made = nn.Sequential(
        nn.Linear(latent, 4 * width * low * low), nn.Unflatten(1, (4 * width, low, low)),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1),
        nn.BatchNorm2d(2 * width, momentum=None), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.BatchNorm2d(width, momentum=None), nn.ReLU(),
        nn.Conv2d(width, 3, 3, 1, 1), nn.Sigmoid(),
    )  # fmt: skip
    with torch.no_grad():
        made(torch.randn(64, latent))
    return freeze(made.to(device, dtype))


def latents(count: int, latent: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.randn(count, latent, generator=torch.Generator().manual_seed(1)).to(device, dtype)


def projectors(jacobian: Tensor) -> Tensor:
    """P (N, pixels, pixels) of the spans."""
    rows = tangent_basis(jacobian)[0].flatten(2)
    return rows.transpose(1, 2) @ rows


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: smaller images, fewer of them and one round."""
    latent, width, side, n, rounds, slice_s = (16, 8, 16, 1, 1, 0.05) if quick else (128, 32, 32, 1, 3, 0.2)
    exact = {"device": device, "dtype": torch.float64}
    note("  spans in float64")
    double, z = decoder(latent, width, side, **exact), latents(1, latent, **exact)
    found = {name: projectors(variant(double, z)) for name, variant in VARIANTS.items()}
    error = {name: relative_error(p, found[BACKWARD_LOOP]) for name, p in found.items()}
    single = {"device": device, "dtype": torch.float32}
    network, z = decoder(latent, width, side, **single), latents(n, latent, **single)
    calls = {name: functools.partial(variant, network, z) for name, variant in VARIANTS.items()}
    found = compared(calls, BACKWARD_LOOP, rounds, device, slice_s)
    rows = [{"variant": name, **found[name], "error": error[name]} for name in VARIANTS]
    settings = {"latent": latent, "pixels": 3 * side * side, "width": width, "images": n, "rounds": rounds}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def bars(rows: list[dict]) -> list[dict]:
    """The same span, in a twentieth of the time."""
    found = {row["variant"]: row for row in rows}
    return [
        bar(f"{FORWARD}: span", found[FORWARD]["error"], ERROR_LIMIT, "apart, in float64"),
        bar(f"{FORWARD}: time", found[FORWARD]["time ratio"], TIME_LIMIT, f"times {BACKWARD_LOOP}"),
    ]
