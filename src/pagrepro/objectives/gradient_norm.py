"""Cross-entropy plus a penalty on the norm of an input gradient.

Srinivas, Bordt and Lakkaraju (2023), appendix B, objective 1 (and section 3.3, argument 1); Drucker and Le
Cun (1992), "double backpropagation":
    L(x, y) = CE(f(x), y) + lambda ||grad_x g(x)||_2^2.
The paper calls g "f", a point of the simplex. Its public code takes the gradient of the batch's mean
cross-entropy, with a constant: lambda 1e5 / B sum_k ||d mean CE / d x_k||^2 = lambda (1e5 / B^2) mean_k
||grad CE_k||^2, so that B = 128 images are penalised 6.1035 times as much as lambda says, and a last batch of
80 images 15.6 times. Here the penalty is a mean over examples whatever their number; `of: loss` with `scale:
6.103515625` (1e5 / 128^2) puts `weight` on the axis of the paper's figures.

With batch statistics the gradient of one example holds terms of the others, as in the public code. One double
backward pass; exact for piecewise linear networks, where finite differences of the gradient are not.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.gradients import class_gradients
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """weight, scale: the penalty is multiplied by weight * scale, for inputs in the data's own range. of:
    what is differentiated: the cross-entropy of an example, the logit of its label, the sum of its logits,
    the probability of its label, or all probabilities (the squared Frobenius norm of their Jacobian; C
    backward passes). norm: of the gradient of one example."""

    weight: Number = Field(ge=0)
    scale: Number = Field(1.0, gt=0)
    of: Literal["loss", "logit_label", "logit_sum", "probability_label", "probability_jacobian"] = "loss"
    norm: Literal["squared_l2"] = "squared_l2"


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy, penalty (before
    weight and scale). No randomness of its own. Raises DataError for the sum of the logits of a model with a
    single logit, which is 0 everywhere."""

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        if config.of == "logit_sum" and getattr(model, "single_logit", False):
            raise DataError(
                "objective option of: logit_sum; the model has a single logit f, returned as (-f/2, f/2),"
                " whose sum is 0 everywhere; take logit_label"
            )
        x = batch.augmented().detach().requires_grad_()
        logits = model(x)
        cross_entropy = F.cross_entropy(logits, batch.y, reduction="none")
        penalty = _size(_gradients(config, logits, cross_entropy, x, batch.y), config.norm)
        return {
            "loss": cross_entropy + config.weight * config.scale * penalty,
            "cross_entropy": cross_entropy.detach(),
            "penalty": penalty.detach(),
        }

    return objective


def _gradients(config: Config, logits: Tensor, cross_entropy: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Differentiable gradients (B, K, *shape): K = C for the Jacobian, otherwise 1."""
    if config.of == "probability_jacobian":
        return class_gradients(logits.softmax(1), x, create_graph=True)
    if config.of == "loss":
        values = cross_entropy
    elif config.of == "logit_sum":
        values = logits
    else:
        scores = logits if config.of == "logit_label" else logits.softmax(1)
        values = scores.gather(1, y[:, None])
    # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
    return torch.autograd.grad(values.sum(), x, create_graph=True)[0].unsqueeze(1)


def _size(gradients: Tensor, norm: str) -> Tensor:
    """(B, K, *shape) -> (B,): what is penalised."""
    if norm == "squared_l2":
        return gradients.flatten(1).square().sum(1)
    raise ValueError(f"norm {norm!r}; allowed: squared_l2")
