"""Local linearity error: how far the loss between two noisy copies of an image is from linear.

Rodriguez-Munoz, Wang and Torralba (2024), appendix A.2, Eq. 5, Table 7 and Figure 10, after Rocamora et al.
(2023), by `curvature.linearity_error`: noise e1, e2 uniform in [-eps, eps] per entry, the place a between
them uniform in [0, 1], one triple per image. (Eq. 5 puts a on e1, the public code on e2; the two have the
same distribution.) The triple depends on the image's row alone and is the same for every model.
"""

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.curvature import linearity_error
from pagrepro.image_noise import uniform_noise
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """eps: half width of the noise, in the data's units; log_floor: added to the error before its
    logarithm."""

    eps: Number = Field(4 / 255, gt=0)
    log_floor: Number = Field(1e-17, gt=0)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: error and log10_error, means over the examples, with standard deviations (n - 1) error_std and
    log10_error_std; zero, the share of examples whose error is exactly 0 (of float32 losses: rounding).

    arrays: error (N,) float64. Means leave out errors that are not finite, with a flag.
    """
    check_range(request.x, request.low, request.high)
    error = torch.cat([_batch(config, request, *batch) for batch in batches(request)]).cpu()
    finite = error[error.isfinite()]
    values = {}
    for name, value in (("error", finite), ("log10_error", (finite + config.log_floor).log10())):
        values[name] = value.mean().item()
        values[f"{name}_std"] = value.std().item() if len(value) > 1 else float("nan")
    values["zero"] = (error == 0).double().mean().item()
    flags = ["nonfinite_errors"] if len(finite) < len(error) else []
    return Measurement(values, {"error": error.numpy()}, flags)


def _batch(config: Config, request: MeasureRequest, start: int, x: Tensor, y: Tensor) -> Tensor:
    index, shape = request.index[start : start + len(x)], tuple(x.shape[1:])
    drawn = uniform_noise(request.seed, "linearity/noise", index, (2, *shape)).to(x)
    noise = config.eps * (2 * drawn - 1)
    share = uniform_noise(request.seed, "linearity/share", index, ()).to(x)
    return linearity_error(request.model, x, y, (noise[:, 0], noise[:, 1]), share)
