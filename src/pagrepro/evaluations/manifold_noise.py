"""The manifold of an autoencoder: reconstructions, random directions on and off it, its dimensions.

Srinivas, Bordt and Lakkaraju (2023), Figure 6: images with random noise projected to the tangent space and
to its complement. The run that is measured is the autoencoder that the tangent spaces are of. Beside the
pictures: how well it reconstructs, and whether it uses all of its latent dimensions, for a collapsed one
makes the tangent spaces too small.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pagrepro.autoencoder_networks import Autoencoder
from pagrepro.checks import check_range
from pagrepro.errors import DataError
from pagrepro.image_noise import image_noise
from pagrepro.options import Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest
from pagrepro.tangent import decoder_jacobian, project, rank, rank_threshold, tangent_basis

REVISION = 1

ROLES = {"tangent": "field"}


class Config(Strict):
    """images: the first ones of the split, which are kept with their directions. chunk: latent dimensions
    at a time."""

    images: int = Field(25, ge=0)
    chunk: int = Field(32, ge=1)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: reconstruction, root mean squared error per pixel in the data's units; relative_error, mean
    of ||x - x_hat|| / ||x||; rank, mean dimension of the tangent spaces; latent, dimensions of z;
    condition, median of the largest over the smallest singular value of the decoder's derivative (infinite
    for an unused dimension).

    arrays: singular_values (N, k), k = min(latent, pixels); of the first images: images, reconstructions,
    on, off (K, *shape), the last two of length 1 (zero where there is no such direction). A flag says when
    a tangent space lacks dimensions. Row i of the field is read for example i. Raises DataError when the
    run is no autoencoder, or not the one of the field.
    """
    _check(request)
    check_range(request.x, request.low, request.high)
    parts, shown = [], []
    for start, x, _ in batches(request):
        rows = torch.arange(start, start + len(x), device=x.device)
        basis = request.inputs["tangent"].read(rows, x)
        parts.append(_batch(config, request.model, x, basis))
        if start < config.images:
            noise = image_noise(
                request.seed, "manifold/0", request.index[start : start + len(x)], x.shape[1:]
            )
            shown.append(_pictures(request.model, x, basis, noise.to(x)))
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    singular, ranks = found["singular_values"], found["rank"]
    values = {
        "reconstruction": found["squared"].mean().sqrt().item(),
        "relative_error": found["relative"].mean().item(),
        "rank": ranks.double().mean().item(),
        "latent": float(request.model.latent),
        "condition": (singular[:, 0] / singular[:, -1]).median().item(),
    }
    arrays = {name: _joined(shown, name, request.x)[: config.images] for name in PICTURES}
    arrays["singular_values"] = singular.float().numpy()
    return Measurement(values, arrays, _collapsed(request, ranks))


PICTURES = ("images", "reconstructions", "on", "off")


def _check(request: MeasureRequest) -> None:
    if not isinstance(request.model, Autoencoder):
        raise DataError("manifold_noise: expected a run of task autoencoder")
    measured = request.spec.get("run") or {}
    tangent = request.inputs["tangent"].spec.get("inputs", {}).get("autoencoder", measured)
    if any(tangent.get(key) != measured.get(key) for key in ("hash", "weights")):
        raise DataError(f"manifold_noise: role tangent: of {tangent}, but measured is {measured}")


@torch.no_grad()
def _batch(config: Config, network: Autoencoder, x: Tensor, basis: Tensor) -> dict[str, Tensor]:
    z = network.encode(x)
    error = (network.decode(z) - x).flatten(1).double()
    return {
        "squared": error.square().mean(1),
        "relative": error.norm(dim=1) / x.flatten(1).double().norm(dim=1),
        "rank": rank(basis),
        "singular_values": tangent_basis(decoder_jacobian(network.decode, z, config.chunk))[1],
    }


@torch.no_grad()
def _pictures(network: Autoencoder, x: Tensor, basis: Tensor, u: Tensor) -> dict[str, Tensor]:
    on = project(basis, u)
    unit = {"on": _unit(on), "off": _unit(u - on)}
    return {"images": x, "reconstructions": network(x), **unit}


def _unit(directions: Tensor) -> Tensor:
    """(B, *shape) divided by their norms, zero staying zero."""
    return torch.nn.functional.normalize(directions.flatten(1), dim=1).view_as(directions)


def _joined(parts: list[dict[str, Tensor]], name: str, like: Tensor) -> np.ndarray:
    tensors = [part[name].cpu() for part in parts] or [like[:0].cpu()]
    return torch.cat(tensors).float().numpy()


def _collapsed(request: MeasureRequest, ranks: Tensor) -> list[str]:
    """The flag for tangent spaces of fewer dimensions than there could be."""
    pixels, lowest = request.x[0].numel(), int(ranks.min())
    full = min(request.model.latent, pixels)
    if lowest == full:
        return []
    given = request.inputs["tangent"].spec.get("field", {}).get("threshold")
    threshold = rank_threshold(given, request.model.latent, pixels)
    return [f"tangent rank {lowest} of {full} at threshold {threshold:.2g}"]
