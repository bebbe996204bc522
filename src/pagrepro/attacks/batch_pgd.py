"""Projected gradient descent with one L2 budget for the whole batch.

Srinivas, Bordt and Lakkaraju (2023), Figures 2 to 4: the adversarial training of their public code on
CIFAR-10, ImageNet-64 and MNIST, whose budgets are those of the published axes. The perturbation of all B
images is one vector delta:
    delta_0 = (eps / 2) u / ||u||,   u uniform in [0, 1) per entry (so every start brightens),
    delta <- project(delta + relative_step (eps / steps) g / ||g||),   g the gradient of the mean CE,
with norms over the whole batch, no clipping of pixels, the last iterate. An image has eps / sqrt(B) in the
root mean square, and more where its gradient is large; a smaller last batch has the same budget for fewer
images. The paper's text speaks of a ball around each image, which is `pgd`. Their CIFAR-10 code also adds the
weight gradients of all attack steps to the update; here the attack leaves none.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.options import Number, Strict
from pagrepro.threat import L2, box_of, budgets, clip

REVISION = 1


class Config(Strict):
    """eps: L2 norm of the perturbation of a whole batch, in the data's units; steps: number of gradient
    steps, each of length relative_step * eps / steps over the batch. box: "none" as in the public code, or
    "data", which keeps x_adv in the range of the data."""

    eps: Number = Field(ge=0)
    steps: int = Field(ge=1)
    relative_step: Number = Field(2.0, gt=0)
    box: Literal["none", "data"] = "none"


class BatchPgd:
    """The attack. An example's perturbation depends on the others in its batch."""

    def __init__(self, config: Config):
        self.config = config

    def perturb(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator,
        eps: float | Tensor | None = None,
        low: float | None = 0.0,
        high: float | None = 1.0,
    ) -> Tensor:
        """Perturbed x, (B, *shape): the norm of x_adv - x over the batch is at most eps.

        model: called as it is given, in train mode for the paper's training; its weights get no gradient. x:
        (B, *shape) in [low, high] (None: unbounded); y: (B,) int64 labels. eps: overrides the configured
        budget, one number for the batch. generator: source of the start. Entries of a gradient that are not
        finite count as zero. Raises RangeError if x is outside [low, high], ValueError for several budgets.
        """
        check_range(x, low, high, "inputs of the attack")
        x, radius = x.detach(), self._budget(eps, x)
        box = box_of(self.config.box, low, high)
        step = self.config.relative_step * radius / self.config.steps
        start = torch.rand(x.shape, generator=generator, device=generator.device).to(x)
        # Kept apart from x: what a small budget gives one pixel would be lost in rounding x + delta.
        delta = _inside(x, _unit(start) * radius / 2, *box)
        for _ in range(self.config.steps):
            delta = delta + step * _unit(_gradient(model, x + delta, y))
            delta = _inside(x, L2.project(delta[None], radius)[0], *box)
        return clip(x + delta, *box)

    def _budget(self, eps: float | Tensor | None, x: Tensor) -> Tensor:
        """Budget of the batch, (1,)."""
        eps = self.config.eps if eps is None else eps
        if isinstance(eps, Tensor) and eps.numel() != 1:
            raise ValueError(f"batch_pgd has one budget for the whole batch, found {eps.numel()}")
        return budgets(eps, x[None])


def _unit(values: Tensor) -> Tensor:
    """(B, *shape) of norm 1 over the whole batch; zero stays zero."""
    return L2.steepest_step(values[None])[0]


def _gradient(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Gradient (B, *shape) of the cross-entropy, summed over the batch: the direction of that of the mean."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
    return torch.where(gradient.isfinite(), gradient, 0)


def _inside(x: Tensor, delta: Tensor, low: float | None, high: float | None) -> Tensor:
    """delta cut so that x + delta is in the box; it gets no longer by that, as x is in the box."""
    return delta if low is None and high is None else clip(x + delta, low, high) - x


def build(config: Config) -> BatchPgd:
    """The attack of this configuration."""
    return BatchPgd(config)
