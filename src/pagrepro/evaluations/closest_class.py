"""The closest classes of every example and the distance of the linearised decision boundary.

Lanfredi et al. (2020), Lemma 1 (Eq. 3 to 5): the estimate of robustness of Figure 7, and the classes c~ that
directions are needed for. A wrongly classified example has two distances: the smallest signed one is that of
the class it violates most, the smallest magnitude that of the nearest boundary.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.closest_class import class_distances, closest_classes, linearised
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """most: how many closest classes are stored; ctilde: by signed distances, or by their magnitude (Eq. 5);
    unit: distances are given in this many of the data's units; gradient_batch: examples per backward pass,
    where it has to be smaller than the evaluation's batch size."""

    most: Annotated[int, Field(ge=1)] = 1
    ctilde: Literal["signed", "abs"] = "signed"
    unit: Annotated[Number, Field(gt=0)] = 1.0
    gradient_batch: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: distance, the mean over examples of min_c d_c; distance_abs, that of min_c |d_c|;
    disagreement, the share of examples in which the two belong to different classes; infinite, the share of
    examples without a finite distance, left out of both means, with a flag.

    arrays: closest (N, most) int64, the closest first; distance, distance_abs (N,) float32, in units.
    Raises DataError for more classes than there are others.
    """
    check_range(request.x, request.low, request.high)
    if config.most >= request.classes:
        raise DataError(f"closest_class: most: {config.most}; {request.classes} classes have fewer others")
    parts = []
    for _, x, y in batches(replace(request, batch_size=config.gradient_batch or request.batch_size)):
        parts.append(_batch(config, *linearised(request.model, x), y))
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    finite = found["distance"].isfinite() & found["distance_abs"].isfinite()
    values = {name: found[name].double()[finite].mean().item() for name in ("distance", "distance_abs")} | {
        "disagreement": found["disagreement"].double().mean().item(),
        "infinite": (~finite).double().mean().item(),
    }
    arrays = {name: found[name].float().numpy() for name in ("distance", "distance_abs")}
    flags = [] if bool(finite.all()) else ["infinite_distances"]
    return Measurement(values, {"closest": found["closest"].numpy(), **arrays}, flags)


def _batch(config: Config, logits: Tensor, gradients: Tensor, y: Tensor) -> dict[str, Tensor]:
    distances = class_distances(logits, gradients, y, config.unit)
    by_sign, by_size = (closest_classes(distances, y, choice, config.most) for choice in ("signed", "abs"))
    return {
        "closest": by_sign if config.ctilde == "signed" else by_size,
        "distance": distances.amin(1),
        "distance_abs": distances.abs().amin(1),
        "disagreement": by_sign[:, 0] != by_size[:, 0],
    }
