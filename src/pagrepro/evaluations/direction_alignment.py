"""Alignment of the gradient of ell with the direction to the closest class, and with the example itself.

Lanfredi et al. (2020), Eq. 8: alpha_dx, the mean cosine between grad ell(x) and Delta x, the direction from
x to the closest example of its closest class c~. Beside it their Eq. 18 (after Etmann et al., 2019):
alpha_x, the mean of |cos(x, grad logit_m(x))| with the predicted class m(x), and the three other gradients
of their Table S2. With two classes all four are |cos(x, grad f)| of the single logit f = z_1 - z_0.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.closest_class import (
    class_distances,
    closest_class,
    ell_gradient,
    exact_cosine,
    is_zero,
    linearised,
    of_class,
)
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches
from pagrepro.request import LoadedField, Measurement, MeasureRequest

REVISION = 1

ROLES = {"targets": "field?"}

# The directions come from no run that the measured one was trained with.
INDEPENDENT = ("targets",)


class Config(Strict):
    """origin: of the coordinates in which alpha_x takes x, in the data's units; 0.5 makes [0, 1] images the
    paper's [-1, 1] ones. ctilde: the closest class by signed distances, or by their magnitude (Eq. 5).
    gradient_batch: examples per backward pass, where it has to be smaller than the evaluation's batch
    size."""

    origin: Number = 0.0
    ctilde: Literal["signed", "abs"] = "signed"
    gradient_batch: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: alpha_x; alpha_x_label (gradient of logit_y), alpha_x_pair (of logit_c~ - logit_y),
    alpha_x_predicted_pair (of logit_c* - logit_m, c* the closest class to the predicted one); disagreement,
    the share of examples whose c~ by sign and by magnitude differ; zero_gradient, the share with a gradient
    of ell that is exactly zero: its cosines count as 0. With the field "targets" (directions (B, C, *shape)
    for the rows that are measured): alpha_dx; missing_direction, the share of examples whose direction is
    exactly zero (a pair that was not computed), left out of alpha_dx, with a flag. All means are over right
    and wrong predictions alike.

    arrays: alpha_x (N,) float32 and closest (N,) int64; with "targets" alpha_dx (N,), NaN where missing.
    """
    check_range(request.x, request.low, request.high)
    targets = request.inputs.get("targets")
    parts = []
    for start, x, y in batches(replace(request, batch_size=config.gradient_batch or request.batch_size)):
        logits, gradients = linearised(request.model, x)
        part = _cosines(config, x, y, logits, gradients)
        if targets:
            rows = torch.arange(start, start + len(x), device=x.device)
            part |= _towards(targets, rows, x, part["closest"], ell_gradient(gradients, y, part["closest"]))
        parts.append(part)
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    values = {name: value.double().mean().item() for name, value in found.items() if name != "closest"}
    if targets:
        known = found["alpha_dx"][~found["missing_direction"]]
        values["alpha_dx"] = known.double().mean().item()
    arrays = {name: found[name].float().numpy() for name in ("alpha_x", "alpha_dx") if name in found}
    return Measurement(values, {**arrays, "closest": found["closest"].numpy()}, _flags(values))


def _cosines(config: Config, x: Tensor, y: Tensor, logits: Tensor, gradients: Tensor) -> dict[str, Tensor]:
    """Everything that needs no directions, each (B,)."""
    distances = class_distances(logits, gradients, y)
    by_sign, by_size = (closest_class(distances, y, choice) for choice in ("signed", "abs"))
    c = by_sign if config.ctilde == "signed" else by_size
    m = logits.argmax(1)
    nearest = closest_class(class_distances(logits, gradients, m), m, config.ctilde)
    of_ell = ell_gradient(gradients, y, c)
    chosen = {
        "alpha_x": of_class(gradients, m),
        "alpha_x_label": of_class(gradients, y),
        "alpha_x_pair": of_ell,
        "alpha_x_predicted_pair": ell_gradient(gradients, m, nearest),
    }
    found = {name: exact_cosine(x - config.origin, gradient).abs() for name, gradient in chosen.items()}
    return found | {"closest": c, "disagreement": by_sign != by_size, "zero_gradient": is_zero(of_ell)}


def _towards(targets: LoadedField, rows: Tensor, x: Tensor, c: Tensor, of_ell: Tensor) -> dict[str, Tensor]:
    """Cosine (B,) of the gradient of ell with the direction to class c; NaN where that is missing."""
    direction = of_class(targets.read(rows, x), c).to(x)
    missing = is_zero(direction)
    alpha = exact_cosine(of_ell, direction).where(~missing, torch.nan)
    return {"alpha_dx": alpha, "missing_direction": missing}


def _flags(values: dict[str, float]) -> list[str]:
    """Things a reader should know; a mean over no direction at all is not a number too."""
    flags = [f"{name}s" for name in ("zero_gradient", "missing_direction") if values.get(name, 0) > 0]
    return flags + (["not_finite"] if any(value != value for value in values.values()) else [])
