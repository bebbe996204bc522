"""Options of the optimisers (`optimizers.py`). Torch-free, so that task options can hold them.

One class per optimiser: a momentum given to Adam is an error, not an option without effect.
"""

from typing import Annotated, Literal

from pydantic import Field

from pagrepro.options import Number, Strict


class Sgd(Strict):
    """Stochastic gradient descent; `weight_decay` is added to the gradient."""

    name: Literal["sgd"]
    lr: Number
    momentum: Number = 0.0
    weight_decay: Number = 0.0
    nesterov: bool = False


class Adam(Strict):
    """Adam; `weight_decay` is added to the gradient."""

    name: Literal["adam"]
    lr: Number
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Number = 1e-8
    weight_decay: Number = 0.0


class AdamW(Strict):
    """Adam with weight decay applied to the weights themselves; decay: of all of them, or of matrices (and
    filters) only, without biases, normalisation and what the network names in `no_weight_decay()`."""

    name: Literal["adamw"]
    lr: Number
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Number = 1e-8
    weight_decay: Number = 0.01
    decay: Literal["all", "matrices"] = "all"


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="name")]
