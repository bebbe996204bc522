"""Cross-entropy plus alignment of class-conditional input gradients with given directions.

Ganz et al. (2022), section 3, eq. 1 and 2:
    L(x, y) = CE(f(x), y) + lambda * sum_t Lcos(d f(x)_t / dx, g(x, t)),
    Lcos(v, u) = 1 - v.u / max(||v|| ||u||, eps).
The network never sees an attacked image. Defaults follow the paper's text where it speaks (logits, sum
over all classes, own class included). Differences from the public code: one augmentation draw, one
forward pass and one update of batch-norm statistics per step instead of two, every image once instead
of C times, logits instead of log-probabilities (`gradient_of`), and a floor of 1e-12 for each norm.
"""

import functools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pagrepro.attention import require_explicit_attention
from pagrepro.augment import Draw
from pagrepro.batch import Batch
from pagrepro.batchnorm import batch_norm_mode
from pagrepro.compiled_gradient import Pull, compiled_gradients
from pagrepro.gradients import class_cosines, cosine, scores
from pagrepro.options import Compiled, Number, Strict, added

REVISION = 1
ROLES = {"targets": "field"}


class Config(Strict):
    """weight: lambda. gradient_of: the differentiated scalar. reduce: over the classes. cosine_floor,
    cosine_eps: see `gradients.cosine`. drop_own_class: leave out t = y. classes: K random classes per
    step without replacement, weighted C / K (unbiased); null takes all.

    augment_gradient: "pre" differentiates through crop and flip with respect to the un-augmented x and
    compares with g(x); "post" takes the gradient at the augmented image and augments g alike (filled
    with 0); "recompute" reads g at the augmented image. mask_invisible: in "pre", zero g on pixels
    that the crop removed, where the gradient is zero whatever the network does.

    batchnorm: "train" differentiates through the batch statistics; "eval" uses running ones; "frozen"
    takes this batch's as constants; the last two use a forward pass of their own. shared_forward: in
    "train", cross-entropy and gradients from one pass; false is the public code's two passes, which
    updates running statistics twice per step.

    method: "loop" is the reference; "batched" one vectorised backward pass; "recompute" half the memory.
    compiled: the loop, with the forward pass, as one compiled function, with CUDA graphs if "cudagraphs"; for
    fits in one process.
    """

    weight: Number = Field(ge=0)
    gradient_of: Literal["logit", "log_probability"] = "logit"
    reduce: Literal["sum", "mean"] = "sum"
    cosine_floor: Literal["each", "product"] = "each"
    cosine_eps: Number = Field(1e-12, gt=0)
    augment_gradient: Literal["pre", "post", "recompute"] = "pre"
    mask_invisible: bool = False
    batchnorm: Literal["train", "eval", "frozen"] = "train"
    shared_forward: bool = True
    classes: int | None = Field(None, ge=1)
    drop_own_class: bool = False
    method: Literal["loop", "batched", "recompute"] = "loop"
    compiled: Compiled = added(False)

    @model_validator(mode="after")
    def _consistent(self):
        if self.mask_invisible and self.augment_gradient != "pre":
            raise ValueError("mask_invisible needs augment_gradient: pre")
        if self.compiled and (self.method != "loop" or not self.shared_forward):
            raise ValueError("compiled is for method: loop and shared_forward: true")
        return self


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy, alignment (sum or
    mean of Lcos, before lambda) and cosine (mean over classes). Needs the field "targets", directions
    (B, C, *shape). generator: draws the class subset. Raises ValueError for more classes than there are."""

    logits_and_cosines = _compiled(config) if config.compiled else functools.partial(_plain, config)

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        require_explicit_attention(model)
        x, draw = _differentiated(config, batch)
        directions = _targets(config, batch, x)
        count = directions.shape[1]
        classes = _choose(config, count, generator).to(x.device)
        targets = directions[:, classes].to(x)
        logits, cosines = logits_and_cosines(model, x, draw, targets, classes)
        cross_entropy = F.cross_entropy(logits, batch.target, reduction="none")
        included = torch.ones_like(cosines, dtype=torch.bool)
        if config.drop_own_class:
            included = classes != batch.y[:, None]
        alignment = _alignment(config, cosines, included, count)
        # A zero direction has Lcos = 1 and no gradient; its cosine says nothing and is not reported.
        known = included & (targets.flatten(2) != 0).any(2)
        return {
            "loss": cross_entropy + config.weight * alignment,
            "cross_entropy": cross_entropy.detach(),
            "alignment": alignment.detach(),
            "cosine": _mean_cosine(cosines.detach(), known),
        }

    return objective


def _plain(
    config: Config, model: nn.Module, x: Tensor, draw: Draw | None, targets: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (B, C) for the cross-entropy, and cosines (B, K) of K class gradients with their targets."""
    x = x.detach().requires_grad_()
    seen = _seen(x, draw)
    trained = logits = model(seen)
    if config.batchnorm != "train" or not config.shared_forward:
        with batch_norm_mode(model, config.batchnorm):
            logits = model(seen)
    values = scores(logits, config.gradient_of)
    options = (config.cosine_floor, config.cosine_eps, config.method)
    return trained, class_cosines(values, x, targets, classes, *options)


def _compiled(config: Config) -> Callable[..., tuple[Tensor, Tensor]]:
    """The same as one compiled function, its loop over classes unrolled; a forward pass of its own for the
    cross-entropy stays outside."""

    def values(logits: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
        return scores(logits, config.gradient_of)

    def use(pull: Pull, values: Tensor, logits: Tensor, targets: Tensor, classes: Tensor):
        chosen = F.one_hot(classes, values.shape[1]).to(values)  # (K, C)
        columns = [
            cosine(
                pull(chosen[k].expand_as(values)), targets[:, k], 1, config.cosine_floor, config.cosine_eps
            )
            for k in range(len(chosen))
        ]
        return logits, torch.stack(columns, 1)

    run = compiled_gradients(values, use, config.compiled)

    def both(model: nn.Module, x: Tensor, draw: Draw | None, targets: Tensor, classes: Tensor):
        if config.batchnorm == "train":
            return run(model, x, draw, targets, classes)
        trained = model(_seen(x, draw))
        with batch_norm_mode(model, config.batchnorm):
            return trained, run(model, x, draw, targets, classes)[1]

    return both


def _differentiated(config: Config, batch: Batch) -> tuple[Tensor, Draw | None]:
    """The x that v_t is a gradient of, and the crop and flip between it and the network."""
    if config.augment_gradient == "pre":
        return batch.x.detach(), batch.draw
    return batch.augmented().detach(), None


def _seen(x: Tensor, draw: Draw | None) -> Tensor:
    """The images the network sees."""
    return x if draw is None else draw.apply(x)


def _targets(config: Config, batch: Batch, x: Tensor) -> Tensor:
    """Directions g (B, C, *shape) in the coordinates of x, the tensor that is differentiated."""
    read = batch.fields["targets"]
    if config.augment_gradient == "recompute":
        return read(batch.index, x)
    directions = read(batch.index, batch.x)
    if batch.draw is None:
        return directions
    if config.augment_gradient == "post":
        return batch.draw.apply(directions, fill=0.0)
    return directions * _visible(batch)[:, None] if config.mask_invisible else directions


def _visible(batch: Batch) -> Tensor:
    """(B, 1, H, W): 1 where a pixel of x survives the crop, else 0. The crop is linear, so its derivative
    says which pixels it reads."""
    with torch.enable_grad():
        probe = torch.ones_like(batch.x[:, :1]).requires_grad_()
        reads = torch.autograd.grad(batch.draw.apply(probe, fill=0.0).sum(), probe)[0]
    return (reads > 0).to(batch.x)


def _choose(config: Config, classes: int, generator: torch.Generator) -> Tensor:
    """The classes of this step: all C, or K of them without replacement, the same for all examples."""
    if config.classes is None or config.classes == classes:
        return torch.arange(classes)
    if config.classes > classes:
        raise ValueError(f"objective option classes: {config.classes}, but there are {classes} classes")
    return torch.randperm(classes, generator=generator, device=generator.device)[: config.classes]


def _alignment(config: Config, cosines: Tensor, included: Tensor, classes: int) -> Tensor:
    """Sum (or mean) over classes of Lcos = 1 - cos, estimated from K of C classes: (B, K) -> (B,)."""
    total = ((1 - cosines) * included).sum(1) * (classes / cosines.shape[1])
    if config.reduce == "sum":
        return total
    return total / (classes - 1 if config.drop_own_class else classes)


def _mean_cosine(cosines: Tensor, known: Tensor) -> Tensor:
    """(B,): mean over the known pairs of each example. An example without any gets the mean of the others,
    so that the mean over the batch is that of the examples that have one (0 if none has)."""
    pairs = known.sum(1)
    mean = (cosines * known).sum(1) / pairs.clamp_min(1)
    overall = mean.sum() / (pairs > 0).sum().clamp_min(1)
    return torch.where(pairs > 0, mean, overall)
