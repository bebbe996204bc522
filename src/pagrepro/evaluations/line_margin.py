"""Distance to the decision boundary, and direction of the decision gradient, for data on a line of the plane.

Ganz et al. (2022), section 5.1 and Figure 3, measured: the paper shows that target directions move the
boundary of the toy classifier away from the data, which lie on x2 = slope * x1. A boundary half-way
between the modes is crossed along the data line, so its normal is parallel to that line.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches, circle, logits, predicted, require_plane
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

BISECTIONS = 30


class Config(Strict):
    """slope: of the data line; directions: evenly spaced rays from each point, the first along the line;
    max_radius: length of the rays (half of the gap between modes of the toy data is 22.36); scan: steps at
    which each ray is looked at before bisection: a region thinner than max_radius / scan may be missed."""

    slope: Number = 2.0
    directions: Annotated[int, Field(ge=1)] = 36
    max_radius: Annotated[Number, Field(gt=0)] = 60.0
    scan: Annotated[int, Field(ge=1)] = 120


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: margin, the mean over examples of the smallest distance along the rays at which the prediction
    changes (capped at max_radius, right or wrong prediction alike); capped, the share of examples at the cap;
    abs_cosine, the mean |cos(grad_x(z1 - z0), (1, slope))| over examples with a gradient; zero_gradient, the
    share without one; accuracy. arrays: margin (N,), abs_cosine (N,), NaN without a gradient, correct (N,).

    On a straight boundary the margin exceeds the distance by at most a factor 1 / cos(pi / directions).
    Raises DataError unless the data are points of a plane in two classes.
    """
    require_plane(request, "line_margin")
    if request.classes != 2:
        raise DataError(f"line_margin compares z1 with z0: it is for 2 classes, found {request.classes}")
    rays = circle(config.directions, config.slope)
    margins, cosines, correct = [], [], []
    for _, x, y in batches(request):
        here = predicted(logits(request.model, x, len(x)))
        correct.append(here == y)
        margins.append(_distance(request.model, x, here, rays.to(x), config))
        cosines.append(_cosine(request.model, x, circle(1, config.slope)[0].to(x)))
    margin, cosine, right = (torch.cat(part).cpu() for part in (margins, cosines, correct))
    values = {
        "margin": margin.double().mean().item(),
        "capped": (margin >= config.max_radius).double().mean().item(),
        "abs_cosine": cosine.double().nanmean().item(),
        "zero_gradient": cosine.isnan().double().mean().item(),
        "accuracy": right.double().mean().item(),
    }
    return Measurement(
        values, {"margin": margin.numpy(), "abs_cosine": cosine.numpy(), "correct": right.numpy()}
    )


def _changed(model: nn.Module, x: Tensor, here: Tensor, steps: Tensor) -> Tensor:
    """Whether the prediction at x + step differs from the one at x. x: (B, 2); steps: (B, K, 2) -> (B, K)."""
    there = predicted(logits(model, (x[:, None] + steps).flatten(0, 1), 1 << 16))
    return there.view(steps.shape[:2]) != here[:, None]


def _distance(model: nn.Module, x: Tensor, here: Tensor, rays: Tensor, config: Config) -> Tensor:
    """Smallest radius (B,) over the rays (K, 2) at which the prediction changes, at most max_radius."""
    step = config.max_radius / config.scan
    first = torch.full((len(x), len(rays)), torch.inf, dtype=x.dtype, device=x.device)
    for k in range(config.scan, 0, -1):  # outside in: the innermost change is what remains
        changed = _changed(model, x, here, (rays * (k * step)).expand(len(x), -1, -1))
        first = torch.where(changed, k * step, first)
    outer = first.clamp(max=config.max_radius)
    inner = outer - step
    for _ in range(BISECTIONS):
        middle = (inner + outer) / 2
        changed = _changed(model, x, here, rays * middle[..., None])
        inner, outer = torch.where(changed, inner, middle), torch.where(changed, middle, outer)
    return torch.where(first.isinf(), config.max_radius, outer).amin(1)


def _cosine(model: nn.Module, x: Tensor, line: Tensor) -> Tensor:
    """|cos| (B,) of grad_x (z1 - z0) with the unit vector `line` (2,); NaN where the gradient is zero."""
    x = x.detach().requires_grad_(True)
    scores = model(x)
    (gradient,) = torch.autograd.grad((scores[:, 1] - scores[:, 0]).sum(), x)
    size = gradient.norm(dim=1)
    return ((gradient @ line).abs() / size).where(size > 0, torch.nan)
