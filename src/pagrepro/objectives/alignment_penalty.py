"""Cross-entropy minus the alignment of one input gradient with the direction to the closest class.

Lanfredi et al. (2020), section 2.2, Eq. 8 and 9:
    L(x, y) = CE(f(x), y) - lambda_alpha cos(grad_x ell(x), Delta x),   ell = logit_c~ - logit_y (Eq. 6),
where Delta x leads from x to the closest example of class c~. c~ is chosen anew in every step, by the
distances of Lemma 1 in the network as it trains, and is constant for the gradient. Two classes leave no
choice and need no Jacobian; otherwise one pass over all classes without a graph finds c~, and one double
backward pass serves the penalty. Differences from the public code: ell for two classes too, where it
differentiates the cross-entropy (the same direction, but its size underflows for confident networks:
`gradient`), and no shift of vectors by 1e-15: a zero gradient has cosine 0.
"""

import functools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.attention import require_explicit_attention
from pagrepro.batch import Batch
from pagrepro.closest_class import class_distances, closest_class, ell, is_zero, of_class
from pagrepro.compiled_gradient import Pull, compiled_gradients
from pagrepro.gradients import class_gradients, cosine
from pagrepro.options import Compiled, Number, Strict, added

REVISION = 1
ROLES = {"targets": "field"}


class Config(Strict):
    """weight: lambda_alpha. ctilde: the closest class by signed distances, or by their magnitude (Eq. 5).
    gradient: of ell, or (two classes only) of the cross-entropy. cosine_eps: floor of each norm. compiled:
    network and gradients as one compiled function, with CUDA graphs if "cudagraphs"; for fits in one
    process."""

    weight: Number = Field(ge=0)
    ctilde: Literal["signed", "abs"] = "signed"
    gradient: Literal["ell", "loss"] = "ell"
    cosine_eps: Number = Field(1e-12, gt=0)
    compiled: Compiled = added(False)


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy, alignment (the
    cosine) and missing (1 where the direction is exactly zero: a pair that was not computed; such an example
    has its cross-entropy only, and stands at the mean of the others in `alignment`). Needs the field
    "targets", directions (B, C, *shape) at the un-augmented x; with augmentation they are cropped and
    flipped like x and filled with 0, which no experiment of the paper does. No randomness of its own. Raises
    ValueError for `gradient: loss` with more than two classes, where its direction is another."""

    run = _compiled(config) if config.compiled else functools.partial(_plain, config)

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        require_explicit_attention(model)
        slope, logits, c = run(model, batch.augmented().detach(), None, batch.target, batch.y)
        cross_entropy = F.cross_entropy(logits, batch.target, reduction="none")
        direction = _direction(batch, c).to(slope)
        alignment = cosine(slope, direction, eps=config.cosine_eps)
        missing = is_zero(direction)
        return {
            "loss": cross_entropy - config.weight * alignment,
            "cross_entropy": cross_entropy.detach(),
            "alignment": _reported(alignment.detach(), missing),
            "missing": missing.to(cross_entropy),
        }

    return objective


def _plain(
    config: Config, model: nn.Module, x: Tensor, draw: None, target: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The differentiable gradient (B, *shape), the logits (B, C) and c~ (B,)."""
    x = x.requires_grad_()
    logits = model(x)
    _check(config, logits)
    c = _closest(config, logits, x, y)
    value = ell(logits, y, c) if config.gradient == "ell" else _values(config, logits, target, y)
    # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
    return torch.autograd.grad(value.sum(), x, create_graph=True)[0], logits, c


def _compiled(config: Config) -> Callable[..., tuple[Tensor, ...]]:
    """The same as one compiled function: gradients of all classes come from one forward pass."""

    def use(pull: Pull, values: Tensor, logits: Tensor, target: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        _check(config, logits)
        classes = torch.eye(logits.shape[1], dtype=values.dtype, device=values.device)
        c = 1 - y
        if len(classes) > 2:
            gradients = torch.stack([pull(row.expand_as(values)).detach() for row in classes], 1)
            c = closest_class(class_distances(logits.detach(), gradients, y), y, config.ctilde)
        # ell = z_c - z_y.
        weights = classes[c] - classes[y] if config.gradient == "ell" else torch.ones_like(values)
        return pull(weights), logits, c

    return compiled_gradients(functools.partial(_values, config), use, config.compiled)


def _values(config: Config, logits: Tensor, target: Tensor, y: Tensor) -> Tensor:
    """What gradients are taken of: all logits (B, C), which ell is made of, or the cross-entropy (B,)."""
    return logits if config.gradient == "ell" else F.cross_entropy(logits, target, reduction="none")


def _check(config: Config, logits: Tensor) -> None:
    if config.gradient == "loss" and logits.shape[1] != 2:
        raise ValueError(f"objective option gradient: loss is for 2 classes, found {logits.shape[1]}")


def _closest(config: Config, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """c~ (B,) in the network that gave these logits (B, C); their graph is kept."""
    if logits.shape[1] == 2:
        return 1 - y
    gradients = class_gradients(logits, x).detach()
    return closest_class(class_distances(logits.detach(), gradients, y), y, config.ctilde)


def _direction(batch: Batch, c: Tensor) -> Tensor:
    """Delta x (B, *shape) to class c, in the coordinates of the augmented image."""
    direction = of_class(batch.fields["targets"](batch.index, batch.x), c)
    return direction if batch.draw is None else batch.draw.apply(direction, fill=0.0)


def _reported(alignment: Tensor, missing: Tensor) -> Tensor:
    """(B,): examples without a direction stand at the mean of the others, so that the mean over the batch is
    that of the examples that have one (0 if none has)."""
    known = ~missing
    return torch.where(known, alignment, (alignment * known).sum() / known.sum().clamp_min(1))
