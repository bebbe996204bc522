"""Loss, gradient norm and curvature along the direction of an attack.

Rodriguez-Munoz, Wang and Torralba (2024), appendix A.3, Eq. 7 and Figure 11: at x + w (x_adv - x) for w from
0 to 2 in 16 points, x_adv by PGD-5 (so that w = 1 is its budget); nothing is clipped to the data's range.
Curvature is |u^T H u| / (||g||_2 + 1e-6) after 2 steps of power iteration (`curvature.py`) from u = g.
"""

import math
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.curvature import loss_gradient, power_iteration
from pagrepro.options import Number, Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

PROFILES = ("loss", "l1", "curvature")


class Config(Strict):
    """attack: the attack whose direction is followed (an untargeted one); points: evenly spaced in w from 0
    to reach; iterations: of the power iteration; gradient_floor: added to ||g||_2, per unit of x;
    gradient_batch: examples per attack and pass, where it has to be smaller than the evaluation's batch."""

    attack: plugin("attacks")
    points: Annotated[int, Field(ge=2)] = 16
    reach: Number = Field(2, gt=0)
    iterations: Annotated[int, Field(ge=1)] = 2
    gradient_floor: Number = Field(1e-6, gt=0)
    gradient_batch: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: for m in loss, l1 (||g||_1) and curvature, means over the examples at three points: m_start (w
    = 0), m_near (the second point), m_end (the last); excess_end, loss_end - ln(classes), above 0 where the
    network does worse than guessing; clean_accuracy, attack_accuracy (at x_adv).

    arrays: loss, l1, curvature (N, points) float32; correct (N, points) bool; weight (points,) float64, the
    w; mean_loss, mean_l1, mean_curvature (points,) float64. Means leave out examples that are not finite at
    every point, with a flag.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack)
    weight = torch.linspace(0, config.reach, config.points, dtype=torch.float64)
    smaller = replace(request, batch_size=config.gradient_batch or request.batch_size)
    parts = [_batch(config, smaller, attack, weight, *batch) for batch in batches(smaller)]
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    finite = torch.stack([found[m] for m in PROFILES]).isfinite().all(2).all(0)
    means = {m: found[m][finite].mean(0) for m in PROFILES}
    values = {
        f"{m}_{where}": means[m][place].item()
        for m in PROFILES
        for where, place in (("start", 0), ("near", 1), ("end", -1))
    } | {
        "excess_end": means["loss"][-1].item() - math.log(request.classes),
        "clean_accuracy": found["correct"][:, 0].double().mean().item(),
        "attack_accuracy": found.pop("held").double().mean().item(),
    }
    arrays = {m: found[m].float().numpy() for m in PROFILES} | {"correct": found["correct"].numpy()}
    arrays |= {"weight": weight.numpy()} | {f"mean_{m}": means[m].numpy() for m in PROFILES}
    return Measurement(values, arrays, [] if bool(finite.all()) else ["nonfinite_profiles"])


def _batch(
    config: Config, request: MeasureRequest, attack: Any, weight: Tensor, start: int, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Profiles (B, points), float64 but for `correct`, and whether the attack fails, held (B,)."""
    noise = seeding.generator(request.seed, "attack", start, device=x.device)
    x_adv = attack.perturb(request.model, x, y, noise, low=request.low, high=request.high)
    places = [_place(config, request, x + w * (x_adv - x), y) for w in weight.tolist()]
    found = {name: torch.stack([place[name] for place in places], 1) for name in places[0]}
    return found | {"held": predicted(logits(request.model, x_adv, len(x))) == y}


def _place(config: Config, request: MeasureRequest, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Numbers (B,) at x (B, *shape)."""
    inputs, loss, gradient = loss_gradient(request.model, x, y)
    spectrum = power_iteration(inputs, gradient, gradient, config.iterations)
    flat = gradient.detach().double().flatten(1)
    return {
        "loss": loss.double(),
        "l1": flat.abs().sum(1),
        "curvature": spectrum.quotients[-1].double().abs() / (flat.norm(dim=1) + config.gradient_floor),
        "correct": predicted(logits(request.model, x, len(x))) == y,
    }
