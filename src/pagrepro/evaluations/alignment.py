"""Alignment of class-conditional input gradients with given directions, on held-out examples.

Cosines of v_t = grad_x f_t(x) with g(x, t) for every class t: what Eq. 1 and 2 of Ganz et al. (2022) train,
measured at x and, with an attack, at the point the attack ends in, where directions towards a
representative are taken from that point (r_t - x_adv).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.gradients import class_gradients, cosine
from pagrepro.options import Strict, plugin
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

ROLES = {"targets": "field"}


class Config(Strict):
    """gradient_of: the class score that is differentiated; attack: measure at its result too; gradient_batch:
    examples per backward pass, where it has to be smaller than the evaluation's batch size."""

    gradient_of: Literal["logit", "log_probability"] = "logit"
    attack: plugin("attacks") | None = None
    gradient_batch: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: cosine (mean over examples and classes), cosine_own (t = y), cosine_other (t != y), dropped
    (share of pairs without a gradient or without a direction, left out of the means); with an attack the
    same with the ending _attacked. A mean over no pair at all is NaN, with a flag.

    arrays: cosine (N, C) float32, NaN where dropped; with an attack cosine_attacked (N, C).
    Row i of the field is read for example i: a field with values per row belongs to the very rows that are
    evaluated; one with a direction towards the same representatives for all rows may come from other rows.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack) if config.attack else None
    found: dict[str, list[Tensor]] = {"": [], "_attacked": []}
    for start, x, y in batches(request):
        rows = torch.arange(start, start + len(x), device=x.device)
        found[""].append(_cosines(config, request, rows, x))
        if attack:
            generator = seeding.generator(request.seed, "attack", start, device=x.device)
            x_adv = attack.perturb(request.model, x, y, generator, low=request.low, high=request.high)
            found["_attacked"].append(_cosines(config, request, rows, x_adv))
    values, arrays = {}, {}
    own = torch.nn.functional.one_hot(request.y.cpu(), request.classes).bool()
    for ending, parts in found.items():
        if parts:
            cosines = torch.cat(parts).cpu()
            arrays[f"cosine{ending}"] = cosines.float().numpy()
            values |= {f"{name}{ending}": value for name, value in _means(cosines.double(), own).items()}
    flags = ["no_direction_at_all"] if any(v != v for v in values.values()) else []
    return Measurement(values, arrays, flags)


def _means(cosines: Tensor, own: Tensor) -> dict[str, float]:
    """cosines: (N, C) with NaN where dropped; own: (N, C), true for the label."""
    return {
        "cosine": cosines.nanmean().item(),
        "cosine_own": cosines[own].nanmean().item(),
        "cosine_other": cosines[~own].nanmean().item(),
        "dropped": cosines.isnan().double().mean().item(),
    }


def _cosines(config: Config, request: MeasureRequest, rows: Tensor, x: Tensor) -> Tensor:
    """Cosines (B, C) at x (B, *shape); NaN for a pair of which one vector is zero or not finite."""
    targets = request.inputs["targets"]
    parts = []
    size = config.gradient_batch or len(x)
    for some_rows, some_x in zip(rows.split(size), x.split(size)):
        v = class_gradients(request.model, some_x, config.gradient_of).detach().flatten(2)
        u = targets.read(some_rows, some_x).flatten(2)
        usable = (v != 0).any(2) & (u != 0).any(2)
        # Norms of confident log-probabilities' gradients underflow when squared; cosines have no scale.
        v = v / v.abs().amax(2, keepdim=True).where(usable[..., None], 1.0)
        values = cosine(v, u, batch_dims=2)
        parts.append(values.where(usable & values.isfinite(), torch.nan))
    return torch.cat(parts)
