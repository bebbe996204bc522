"""Relative off-manifold robustness and on-manifold gradient alignment of a classifier.

Srinivas, Bordt and Lakkaraju (2023), Definitions 1 and 2 and Theorem 1 (`off_manifold.py`), with tangent
spaces of an autoencoder. The scalar is the logit of the class that is predicted at the clean x, also at
perturbed points. Both numbers are taken at each image, rho_1 with its own expectation over u, and averaged
over images.
"""

import copy
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pagrepro.checks import check_range
from pagrepro.image_noise import image_noise
from pagrepro.off_manifold import off_manifold_change, off_manifold_gradient
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

ROLES = {"tangent": "field"}


class Config(Strict):
    """sigmas: standard deviations of the noise, in the data's units. draws: of u per image."""

    sigmas: Annotated[tuple[Annotated[Number, Field(gt=0)], ...], Field(min_length=1)] = (0.001, 0.01, 0.1)
    draws: int = Field(64, ge=4, multiple_of=2)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: rho1 (at the smallest sigma), rho2, both means over the images at which they are defined;
    error, |rho1 - rho2| / rho2.

    arrays: sigma (S,), rising; rho1 (S,), means over images; rho2 (N,). Computed in float64. Row i of the
    field is read for example i.
    """
    check_range(request.x, request.low, request.high)
    model = copy.deepcopy(request.model).double()
    sigmas, changes, gradients = sorted(config.sigmas), [], []
    for start, x, _ in batches(request):
        rows = torch.arange(start, start + len(x), device=x.device)
        x = x.double()
        basis = request.inputs["tangent"].read(rows, x)
        f = predicted_logit(model, x)
        index = request.index[start : start + len(x)]
        noise = (
            image_noise(request.seed, f"off_manifold/{k}", index, x.shape[1:]) for k in range(config.draws)
        )
        changes.append(off_manifold_change(f, x, basis, (u.to(x) for u in noise), sigmas))
        gradients.append(off_manifold_gradient(f, x, basis))
    rho1, rho2 = torch.cat(changes, 1).cpu(), torch.cat(gradients).cpu()
    there = rho2.isfinite() & rho1.isfinite().all(0)
    means, mean = rho1[:, there].mean(1), rho2[there].mean().item()
    values = {
        "rho1": means[0].item(),
        "rho2": mean,
        "error": abs(means[0].item() - mean) / mean if mean else torch.nan,
    }
    arrays = {
        "sigma": torch.tensor(sigmas, dtype=torch.float64).numpy(),
        "rho1": means.numpy(),
        "rho2": rho2.numpy(),
    }
    return Measurement(values, arrays, [] if bool(there.all()) else ["zero_or_nonfinite_gradients"])


def predicted_logit(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """f: points (B, *shape) near x -> (B,) logits of the classes predicted at x."""
    with torch.no_grad():
        classes = model(x).argmax(1, keepdim=True)
    return lambda points: model(points).gather(1, classes).squeeze(1)
