"""Adversarial training: cross-entropy on attacked images (Madry et al., 2018).

The teachers of Ganz et al. (2022) for STL-10 and Fig. 1, and the usual point of comparison. Each step attacks
the augmented images and takes the cross-entropy there; clean images are not trained on. Srinivas et al.
(2023) draw the budget of every batch from a short list for one of their networks (`budgets`; public code).
"""

from contextlib import nullcontext
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.batchnorm import evaluation_mode
from pagrepro.options import Number, Strict, plugin
from pagrepro.plugins import instantiate

REVISION = 1


class Config(Strict):
    """attack: the inner maximisation; attack_mode: "eval" attacks the network with running batch-norm
    statistics, "train" attacks it as it trains, which updates them at every attack step too. budgets: one of
    them, drawn anew for every batch, takes the place of the attack's eps; in the data's units."""

    attack: plugin("attacks")
    attack_mode: Literal["eval", "train"] = "eval"
    budgets: Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(min_length=1)] | None = None


def build(config: Config):
    """Objective: (model, batch, generator) -> {"loss": (B,)}; generator: the budget, then the attack's
    starts. The attack differentiates with respect to images only, so it leaves no trace in the weights'
    gradients."""
    attack = instantiate("attacks", config.attack)

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x, eps = batch.augmented().detach(), _budget(config, generator)
        with evaluation_mode(model) if config.attack_mode == "eval" else nullcontext():
            x_adv = attack.perturb(model, x, batch.y, generator, eps, batch.low, batch.high)
        return {"loss": F.cross_entropy(model(x_adv), batch.y, reduction="none")}

    return objective


def _budget(config: Config, generator: torch.Generator) -> float | None:
    """The budget of this batch; None for the attack's own, without a draw."""
    if config.budgets is None:
        return None
    place = torch.randint(len(config.budgets), (), generator=generator, device=generator.device)
    return config.budgets[int(place)]
