"""Adversarial training: cross-entropy on attacked images (Madry et al., 2018).

The teachers of Ganz et al. (2022) for STL-10 and Fig. 1, and the usual point of comparison. Each step
attacks the augmented images and takes the cross-entropy there; clean images are not trained on.
"""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.batchnorm import evaluation_mode
from pagrepro.options import Strict, plugin
from pagrepro.plugins import instantiate

REVISION = 1


class Config(Strict):
    """attack: the inner maximisation; attack_mode: "eval" attacks the network with running batch-norm
    statistics, "train" attacks it as it trains, which updates them at every attack step too."""

    attack: plugin("attacks")
    attack_mode: Literal["eval", "train"] = "eval"


def build(config: Config):
    """Objective: (model, batch, generator) -> {"loss": (B,)}; generator: the attack's starts. The attack
    differentiates with respect to images only, so it leaves no trace in the weights' gradients."""
    attack = instantiate("attacks", config.attack)

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = batch.augmented().detach()
        with evaluation_mode(model) if config.attack_mode == "eval" else nullcontext():
            x_adv = attack.perturb(model, x, batch.y, generator, low=batch.low, high=batch.high)
        return {"loss": F.cross_entropy(model(x_adv), batch.y, reduction="none")}

    return objective
