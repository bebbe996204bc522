"""Accuracy under an attack: the share of examples still classified correctly at x_adv.

Ganz et al. (2022), section 5.2 and appendix C.2: PGD-20, untargeted cross-entropy, step
2 eps / 20, random start, last iterate. The attack and its budget are options of the attack plugin.
"""

from typing import Any

import torch
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.options import Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: the attack plugin with its options (an untargeted one)."""

    attack: plugin("attacks")


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy (fraction correct at x_adv), clean_accuracy, max_linf and max_l2 (largest perturbation
    in these norms), nonfinite (share of examples whose x_adv or logits are not finite, counted as wrong).

    arrays: correct (N,) bool at x_adv; clean_correct (N,) bool. Noise is drawn per batch from the seed and
    the batch's place: the numbers depend on seed, order and batch size of the evaluation, on nothing else.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack)
    parts = [_attack_batch(attack, request, *batch) for batch in batches(request)]
    joined = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    values = {
        "accuracy": joined["correct"].double().mean().item(),
        "clean_accuracy": joined["clean_correct"].double().mean().item(),
        "max_linf": joined["linf"].max().item(),
        "max_l2": joined["l2"].max().item(),
        "nonfinite": joined["nonfinite"].double().mean().item(),
    }
    flags = []
    if values["nonfinite"] > 0:
        flags.append("nonfinite_under_attack")
    if values["accuracy"] > values["clean_accuracy"]:
        flags.append("more_accurate_under_attack")
    arrays = {name: joined[name].numpy() for name in ("correct", "clean_correct")}
    return Measurement(values, arrays, flags)


def _attack_batch(
    attack: Any, request: MeasureRequest, start: int, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Per-example outcome (B,) of one batch."""
    generator = seeding.generator(request.seed, "attack", start, device=x.device)
    x_adv = attack.perturb(request.model, x, y, generator, low=request.low, high=request.high)
    scores = logits(request.model, x_adv, len(x))
    delta = (x_adv - x).flatten(1)
    finite = scores.isfinite().all(1) & delta.isfinite().all(1)
    return {
        "correct": (predicted(scores) == y) & finite,
        "clean_correct": predicted(logits(request.model, x, len(x))) == y,
        "linf": delta.abs().amax(1),
        "l2": delta.norm(dim=1),
        "nonfinite": ~finite,
    }
