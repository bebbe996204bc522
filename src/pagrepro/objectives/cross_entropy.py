"""Plain training: softmax cross-entropy on the (augmented) images.

The baseline of all papers; eq. 1 of Ganz et al. (2022) with lambda = 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.options import Strict

REVISION = 1
FIRST_ORDER = True


class Config(Strict):
    """No options."""


def build(config: Config):
    """Objective: (model, batch, generator) -> {"loss": (B,)}. No randomness of its own."""

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(model(batch.augmented()), batch.target, reduction="none")}

    return objective
