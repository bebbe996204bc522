"""How much more noise on the signal changes the output than noise on the distractor.

Srinivas et al. (2023), section 4.3 and Figure 4: relative noise robustness, over standard deviations sigma,
    R(sigma) = c_signal(sigma) / (c_distractor(sigma) + 1e-12),
    c(sigma) = mean over images of ||p(x + sigma e) - p(x)||_1, p the softmax, e ~ N(0, I) on one block only.

e is drawn once per image, from its row: all sigmas, places and models share it. (The public code draws it
anew every time, so that its curve is the rougher for it.) Noisy images are never clipped. R(0) is 0 by
construction and not among the sigmas. The mean of R over the middle of the grid is this project's summary.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pagrepro.checks import check_range
from pagrepro.distractors import add_noise, signal_mask
from pagrepro.image_noise import image_noise
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

EPSILON = 1e-12
# Below it the output does not depend on the distractor, but for rounding, and R is a quotient of nothing.
SMALLEST = 1e-7


class Config(Strict):
    """sigmas: standard deviations of the noise, in the data's units, ascending (default: 30 in equal ratios
    from 0.01 to 10); middle: the ends of the range that `ratio` is the mean over, both included."""

    sigmas: tuple[Annotated[Number, Field(gt=0)], ...] = Field(
        tuple(float(f"{10 ** (3 * step / 29 - 2):.6g}") for step in range(30)), min_length=1
    )
    middle: tuple[Number, Number] = (0.1, 1.0)

    @model_validator(mode="after")
    def _some_are_in_the_middle(self):
        if list(self.sigmas) != sorted(set(self.sigmas)):
            raise ValueError(f"sigmas: expected ascending numbers, found {list(self.sigmas)}")
        if not any(self.middle[0] <= sigma <= self.middle[1] for sigma in self.sigmas):
            raise ValueError(f"middle: none of the sigmas is within {list(self.middle)}")
        return self


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy on the clean examples; ratio, the mean of R over the middle; largest_ratio over all.

    arrays: sigma, ratio, signal, distractor, whole (S,) float64, the latter three mean L1 changes in 0..2
    with noise on the signal, the distractor, and everywhere; signal_changes, distractor_changes (N, S)
    float32. Raises DataError for data without a mask.
    """
    mask = signal_mask(request, "distractor_noise")
    check_range(request.x, request.low, request.high)
    parts, correct = [], []
    for start, x, y in batches(request):
        rows = slice(start, start + len(x))
        noise = image_noise(request.seed, "distractor_noise", request.index[rows], tuple(x.shape[1:])).to(x)
        clean = logits(request.model, x, len(x))
        correct.append(predicted(clean) == y)
        parts.append(_changes(request.model, x, noise, mask[rows].to(x.device), clean, config.sigmas))
    changes = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    mean = {name: change.mean(0).numpy() for name, change in changes.items()}
    ratio = mean["signal"] / (mean["distractor"] + EPSILON)
    sigma = np.array(config.sigmas)
    middle = (sigma >= config.middle[0]) & (sigma <= config.middle[1])
    values = {
        "accuracy": torch.cat(correct).double().mean().item(),
        "ratio": float(ratio[middle].mean()),
        "largest_ratio": float(ratio.max()),
    }
    by_image = {f"{name}_changes": changes[name].float().numpy() for name in ("signal", "distractor")}
    found = {
        "nonfinite_changes": not all(bool(change.isfinite().all()) for change in changes.values()),
        "no_change_by_the_distractor": bool((mean["distractor"] < SMALLEST).any()),
    }
    flags = [flag for flag, present in found.items() if present]
    return Measurement(values, {"sigma": sigma, "ratio": ratio, **mean, **by_image}, flags)


def _changes(
    model: nn.Module, x: Tensor, noise: Tensor, mask: Tensor, clean: Tensor, sigmas: tuple[float, ...]
) -> dict[str, Tensor]:
    """L1 changes of the softmax, (B, S) float64, by where the noise is."""
    places = {"signal": mask, "distractor": ~mask, "whole": torch.ones_like(mask)}
    before = clean.double().softmax(1)
    return {
        name: torch.stack(
            [
                (logits(model, add_noise(x, noise, sigma, where), len(x)).double().softmax(1) - before)
                .abs()
                .sum(1)
                for sigma in sigmas
            ],
            1,
        )
        for name, where in places.items()
    }
