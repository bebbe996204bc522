"""The smallest perturbation that an attack finds for each image, and accuracy over its size.

Rodriguez-Munoz, Wang and Torralba (2024), section 5.1 and Figure 2, as in the public code: the budget of an
image starts at 2/255 and is doubled, up to five times, until the attack succeeds; then ten bisections. Every
trial is PGD-100 from a new random start, with a step of a quarter of the budget. What counts is the largest
entry of x_adv - x of the smallest budget that succeeded; an image that is wrong without an attack has 0, one
that no budget breaks is robust at every size. Accuracy at eps is the share of images above eps.

Success of an attack need not be monotone in the budget, and a bisection trusts that it is: this is an upper
bound of the smallest perturbation, as every attack gives.
"""

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.options import Number, Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: an untargeted attack in the Linf ball; its own budget does not matter, steps have to grow with
    the budget (for `pgd`: `relative_step`, steps / 4 for a quarter of it). first: the first budget;
    doublings, bisections: how many; largest, points: accuracy is given at so many places from 0 to largest.
    Budgets in the data's units."""

    attack: plugin("attacks")
    first: Number = Field(2 / 255, gt=0)
    doublings: int = Field(5, ge=0)
    bisections: int = Field(10, ge=0)
    largest: Number = Field(32 / 255, gt=0)
    points: int = Field(100, ge=2)

    @model_validator(mode="after")
    def _attack_fits(self):
        attack = self.attack
        if "eps" not in attack or attack.get("norm", "linf") != "linf" or attack.get("targeted"):
            raise ValueError("attack: an untargeted one in the Linf ball (norm: linf, option eps)")
        if attack.get("step_size") is not None:
            raise ValueError("attack: steps have to grow with the budget; give relative_step, not step_size")
        return self


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: clean_accuracy, median (of distance, infinite ones included; NaN where that is infinite),
    never_broken (share of images), accuracy_at_largest.

    arrays: eps, accuracy (points,) float64; distance (N,) float64, inf where no budget succeeded.
    Starts are drawn for a whole batch, trial by trial: an image's do not depend on which others are done.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack)
    distance = torch.cat([_search(config, request, attack, *batch) for batch in batches(request)]).cpu()
    eps = torch.linspace(0, config.largest, config.points, dtype=torch.float64)
    accuracy = (distance[:, None] > eps).double().mean(0)
    median = distance.sort().values[(len(distance) - 1) // 2].item()
    values = {
        "clean_accuracy": (distance > 0).double().mean().item(),
        "median": median if median < float("inf") else float("nan"),
        "never_broken": distance.isinf().double().mean().item(),
        "accuracy_at_largest": accuracy[-1].item(),
    }
    arrays = {"eps": eps.numpy(), "accuracy": accuracy.numpy(), "distance": distance.numpy()}
    flags = [] if median < float("inf") else ["half of the images are never broken"]
    return Measurement(values, arrays, flags)


def _search(config: Config, request: MeasureRequest, attack: Any, start: int, x: Tensor, y: Tensor) -> Tensor:
    """Distances (B,) float64 of one batch."""
    right = predicted(logits(request.model, x, len(x))) == y
    distance = torch.where(right, torch.inf, 0.0).double()
    # The smallest successful budget lies between these.
    low, high = torch.zeros_like(distance), torch.full_like(distance, torch.inf)
    for trial in range(1 + config.doublings + config.bisections):
        doubling = trial <= config.doublings
        # An image whose first success came early rests until the bisections.
        active = right & (high.isinf() if doubling else high.isfinite())
        if not bool(active.any()):
            continue
        middle = torch.where(active, (low + high) / 2, config.first)
        budget = torch.full_like(middle, config.first * 2**trial) if doubling else middle
        noise = seeding.generator(request.seed, "attack", start, trial, device=x.device)
        x_adv = attack.perturb(
            request.model, x, y, noise, budget.to(x), request.low, request.high, active=active
        )
        broken = active & (predicted(logits(request.model, x_adv, len(x))) != y)
        size = (x_adv - x).double().abs().flatten(1).amax(1)
        distance = torch.where(broken, size, distance)
        low, high = torch.where(active & ~broken, budget, low), torch.where(broken, budget, high)
    return distance
