"""Adversarial training: cross-entropy on attacked images (Madry et al., 2018, Eq. 2.1).

The teachers of Ganz et al. (2022) for STL-10 and Fig. 1, and the usual point of comparison. Each step attacks
the augmented images and takes the cross-entropy there; clean images are not trained on. Srinivas et al.
(2023) draw the budget of every batch from a short list for one of their networks (`budgets`; public code).
Rodriguez-Munoz et al. (2024) let the steps of PGD-3 grow over the first epochs, as the public code they build
on does, epoch by epoch; here they grow step by step (`ramp`).
"""

from contextlib import nullcontext
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.batchnorm import evaluation_mode
from pagrepro.compiling import constant_weights
from pagrepro.options import Number, Strict, plugin
from pagrepro.plugins import instantiate

REVISION = 1
FIRST_ORDER = True


class Config(Strict):
    """attack: the inner maximisation; attack_mode: "eval" attacks the network with running batch-norm
    statistics, "train" attacks it as it trains, which updates them at every attack step too. budgets: one of
    them, drawn anew for every batch, takes the place of the attack's eps; in the data's units. ramp: over
    this fraction of the training, steps of the attack grow from nothing to what its options say."""

    attack: plugin("attacks")
    attack_mode: Literal["eval", "train"] = "eval"
    budgets: Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(min_length=1)] | None = None
    ramp: Number = Field(0.0, ge=0)


def build(config: Config):
    """Objective: (model, batch, generator) -> {"loss": (B,)}; generator: the budget, then the attack's
    starts. The attack differentiates with respect to images only, so it leaves no trace in the weights'
    gradients."""
    whole = instantiate("attacks", config.attack)

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        attack = _with_steps(config, whole, batch.progress)
        x, eps = batch.augmented().detach(), _budget(config, generator)
        mode = evaluation_mode(model) if config.attack_mode == "eval" else nullcontext()
        with mode, constant_weights(model):
            x_adv = attack.perturb(model, x, batch.target, generator, eps, batch.low, batch.high)
        return {"loss": F.cross_entropy(model(x_adv), batch.target, reduction="none")}

    return objective


def _with_steps(config: Config, whole: Any, progress: float) -> Any:
    """The attack with the steps that it has at this progress; `whole`: with those of its options."""
    if progress >= config.ramp:
        return whole
    # A step of 0 is none: at the very beginning only the random start is left, to all intents.
    share = max(progress / config.ramp, 1e-6)
    given = {key: config.attack[key] for key in ("step_size", "relative_step") if config.attack.get(key)}
    return instantiate("attacks", config.attack | {key: share * value for key, value in given.items()})


def _budget(config: Config, generator: torch.Generator) -> float | None:
    """The budget of this batch; None for the attack's own, without a draw."""
    if config.budgets is None:
        return None
    place = torch.randint(len(config.budgets), (), generator=generator, device=generator.device)
    return config.budgets[int(place)]
