"""Estimated directions to the other classes beside the true ones, and what moving along them gives.

Bigolin Lanfredi et al. (2020), section 4.1 and Table 1: the cosine of the estimated and the true step from
x to the closest example of another class, and the norms of x, of the step, and of where it ends. Pictures
of the same: Figures 4, 5 and S1-S6. The run that is measured is the one that made the estimate; the model
itself is not asked.
"""

from collections.abc import Callable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from pagrepro.checks import check_range
from pagrepro.gradients import cosine
from pagrepro.options import Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

ROLES = {"estimate": "field", "truth": "field?"}


class Config(Strict):
    """examples: per class (the first ones of the split), whose images are kept."""

    examples: int = Field(5, ge=0)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: missing (share of the pairs of an example and another class that have no estimate, which are
    left out of everything else); per class k of the example, in the data's units: norm_x_class{k},
    norm_direction_class{k} and norm_moved_class{k} (x plus direction), and with `truth` norm_truth_class{k}
    (x plus true direction), cosine_class{k}, and cosine over all examples. An example's number is its mean
    over the other classes. NaN where there is nothing to take the mean of.

    arrays: with `truth` cosine (N,); of the first `examples` of each class, in order of classes, x
    (E, *shape), moved and, with `truth`, truth (E, C, *shape): x plus the direction to every class (x itself
    where there is none); labels (E,). Row i of a field is read for example i.
    """
    check_range(request.x, request.low, request.high)
    parts = [_batch(request, *batch) for batch in batches(request)]
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    missing = found.pop("missing")
    y = request.y.cpu()
    values = {"missing": missing.double().mean().item()}
    for name, per_example in found.items():
        for k in range(request.classes):
            values[f"{name}_class{k}"] = per_example[y == k].nanmean().item()
    arrays = _examples(config, request)
    if "cosine" in found:
        values["cosine"] = found["cosine"].nanmean().item()
        arrays["cosine"] = found["cosine"].float().numpy()
    flags = ["directions_missing"] if values["missing"] else []
    return Measurement(values, arrays, flags)


def _batch(request: MeasureRequest, start: int, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Means over the other classes (B,), NaN where an example has none; missing: share of its classes
    (B,)."""
    rows = torch.arange(start, start + len(x), device=x.device)
    directions = {role: request.inputs[role].read(rows, x).flatten(2) for role in _roles(request)}
    other = ~one_hot(y, request.classes).bool()
    # A direction that is exactly zero was not computed.
    there = other & torch.stack([(d != 0).any(2) for d in directions.values()]).all(0)
    flat, estimate = x.flatten(1), directions["estimate"]

    def mean(per_class: Tensor) -> Tensor:
        return per_class.double().where(there, torch.nan).nanmean(1).cpu()

    found = {
        "missing": ((other & ~there).sum(1) / other.sum(1)).cpu(),
        "norm_x": flat.norm(dim=1).double().cpu(),
        "norm_direction": mean(estimate.norm(dim=2)),
        "norm_moved": mean((flat[:, None] + estimate).norm(dim=2)),
    }
    if "truth" in directions:
        found["norm_truth"] = mean((flat[:, None] + directions["truth"]).norm(dim=2))
        found["cosine"] = mean(cosine(estimate, directions["truth"], batch_dims=2))
    return found


def _roles(request: MeasureRequest) -> list[str]:
    return [role for role in ROLES if role in request.inputs]


def _examples(config: Config, request: MeasureRequest) -> dict[str, np.ndarray]:
    """The first examples of each class, moved to every class."""
    y = request.y.cpu()
    rows = torch.cat([(y == k).nonzero()[: config.examples, 0] for k in range(request.classes)])
    x = request.x[rows.to(request.x.device)].to(request.device)
    arrays = {"x": x, "labels": y[rows]}
    read: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        role: request.inputs[role].read for role in _roles(request)
    }
    for role, name in (("estimate", "moved"), ("truth", "truth")):
        if role in read:
            arrays[name] = x[:, None] + read[role](rows.to(x.device), x)
    return {name: values.cpu().numpy() for name, values in arrays.items()}
