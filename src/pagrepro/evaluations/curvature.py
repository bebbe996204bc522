"""Geometry of the loss at the images: gradient norms, spectral norm of the Hessian, normalised curvature.

Rodriguez-Munoz, Wang and Torralba (2024), appendix A.1, Table 6 and Figure 9, after Srinivas et al. (2022):
    C = |u^T H u| / (||g||_2 + 1e-6), g and H gradient and Hessian of the cross-entropy in x,
u after 20 steps of power iteration from Gaussian noise (`curvature.py`), which depends on the image's row
alone and is the same for every model.
"""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.curvature import loss_gradient, power_iteration
from pagrepro.image_noise import image_noise
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

# Added to C before its logarithm, as in Figure 9.
LOG_FLOOR = 1e-16


class Config(Strict):
    """iterations: of the power iteration; also: smaller numbers of them whose estimates are kept too, to see
    whether it has converged; gradient_floor: added to ||g||_2 in C, per unit of x; gradient_batch: examples
    per double backward pass, where it has to be smaller than the evaluation's batch size."""

    iterations: Annotated[int, Field(ge=1)] = 20
    also: tuple[Annotated[int, Field(ge=0)], ...] = ()
    gradient_floor: Number = Field(1e-6, gt=0)
    gradient_batch: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _fewer(self):
        if any(k >= self.iterations for k in self.also):
            raise ValueError("`also` holds numbers of iterations below `iterations`")
        return self


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values, each a mean over the examples with its standard deviation (n - 1) as <name>_std: gradient_l1,
    gradient_l2, hessian (|u^T H u|), curvature (C), log10_curvature; means of hessian_at_<k> and
    curvature_at_<k> after k of `also`; residual, mean of ||H u - (u^T H u) u|| / |u^T H u|, 0 once converged;
    zero_hessian, share of examples whose estimate is exactly zero, left out of residual.

    arrays: gradient_l1, gradient_l2, hessian, curvature, residual, hessian_at_<k> (N,) float32. Means leave
    out examples whose numbers are not finite, with a flag.
    """
    check_range(request.x, request.low, request.high)
    smaller = replace(request, batch_size=config.gradient_batch or request.batch_size)
    parts = [_batch(config, request, *batch) for batch in batches(smaller)]
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    finite = found["curvature"].isfinite()
    kept = {name: value[finite] for name, value in found.items()}
    kept["log10_curvature"] = (kept["curvature"] + LOG_FLOOR).log10()
    values = {}
    for name in ("gradient_l1", "gradient_l2", "hessian", "curvature", "log10_curvature"):
        values[name] = kept[name].mean().item()
        values[f"{name}_std"] = kept[name].std().item() if len(kept[name]) > 1 else float("nan")
    for k in config.also:
        estimate = kept[f"hessian_at_{k}"]
        values[f"hessian_at_{k}"] = estimate.mean().item()
        curvature = estimate / (kept["gradient_l2"] + config.gradient_floor)
        values[f"curvature_at_{k}"] = curvature.mean().item()
    values["residual"] = kept["residual"].nanmean().item()
    values["zero_hessian"] = (kept["hessian"] == 0).double().mean().item()
    flags = {
        "nonfinite_curvature": not bool(finite.all()),
        "zero_hessians": values["zero_hessian"] > 0,
    }
    arrays = {name: value.float().numpy() for name, value in found.items()}
    return Measurement(values, arrays, [flag for flag, present in flags.items() if present])


def _batch(config: Config, request: MeasureRequest, start: int, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Per-example numbers (B,) float64."""
    index = request.index[start : start + len(x)]
    noise = image_noise(request.seed, "power_iteration", index, tuple(x.shape[1:])).to(x)
    inputs, _, gradient = loss_gradient(request.model, x, y)
    spectrum = power_iteration(inputs, gradient, noise, config.iterations)
    estimates = spectrum.quotients.double().abs()
    flat = gradient.detach().double().flatten(1)
    length = flat.norm(dim=1)
    found = {
        "gradient_l1": flat.abs().sum(1),
        "gradient_l2": length,
        "hessian": estimates[-1],
        "curvature": estimates[-1] / (length + config.gradient_floor),
        # 0 / 0 where the Hessian is zero: NaN, for which there is the share zero_hessian.
        "residual": spectrum.residual.double() / estimates[-1],
    }
    return found | {f"hessian_at_{k}": estimates[k] for k in config.also}
