"""Projected gradient descent on the input (Madry et al., 2018).

Ganz et al. (2022), algorithm 1 and section 5: 20 steps of 2 eps / 20, random start, last iterate.
Each step: x <- clip(x0 + project(x + step * steepest(gradient) - x0)). Differences from the public code,
all on purpose: the gradient norm of the L2 step has a floor (a zero gradient gave NaN images there), and
an L2 start lies in the ball (`start: pixel` is the public one, whose noise ignores eps).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.options import Number, Strict
from pagrepro.threat import NORMS, budgets, per_example

REVISION = 1

# Start noise of the public code, per entry, whatever eps is.
PIXEL_NOISE = 8 / 255


class Config(Strict):
    """norm, eps: the threat model, eps in the data's units; steps: number of gradient steps.

    step_size: absolute; relative_step: step = relative_step * eps / steps; exactly one of the two.
    start: "random" uniform in the ball, "zero" at x, "pixel" U[-8/255, 8/255] per entry.
    targeted: y is the class to reach, otherwise the class to leave. loss: "margin" is
    max_{j != y} z_j - z_y. restarts: independent starts. keep: "last" returns the last iterate (of the
    best restart), "worst" the first successful or else highest-loss point of x, starts and iterates.
    drop_fooled: successful examples leave the batch; only with keep "worst", whose result it keeps.
    """

    norm: Literal["linf", "l2"]
    eps: Number = Field(ge=0)
    steps: int = Field(ge=1)
    step_size: Number | None = Field(None, gt=0)
    relative_step: Number | None = Field(None, gt=0)
    start: Literal["random", "zero", "pixel"] = "random"
    targeted: bool = False
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    restarts: int = Field(1, ge=1)
    keep: Literal["last", "worst"] = "last"
    drop_fooled: bool = False

    @model_validator(mode="after")
    def _consistent(self):
        if (self.step_size is None) == (self.relative_step is None):
            raise ValueError("give exactly one of step_size and relative_step")
        if self.drop_fooled and self.keep != "worst":
            raise ValueError("drop_fooled needs keep: worst (dropping would change the last iterate)")
        return self


@dataclass(frozen=True)
class Problem:
    """What one call attacks: x (B, *shape), y (B,), radius (B,), and the box."""

    model: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    radius: Tensor
    low: float | None
    high: float | None

    def clip(self, x: Tensor) -> Tensor:
        """x within the data's range (as it is when the data are unbounded)."""
        return x if self.low is None and self.high is None else x.clamp(self.low, self.high)

    def rows(self) -> Tensor:
        """All examples, as indices."""
        return torch.arange(len(self.x), device=self.x.device)


class Best:
    """Per example the first successful point offered, or else the one of highest objective."""

    def __init__(self, x: Tensor):
        self.x = x.clone()
        self.value = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        self.fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def offer(self, rows: Tensor, x: Tensor, value: Tensor, fooled: Tensor) -> None:
        """Consider points x (n, *shape) of examples `rows` (n,) with objective and success (n,)."""
        better = ~self.fooled[rows] & (fooled | (value > self.value[rows]))
        chosen = rows[better]
        self.x[chosen], self.value[chosen] = x[better], value[better].to(self.value)
        self.fooled[chosen] = fooled[better]


class Pgd:
    """The attack. `nonfinite` counts, over all calls so far, the (example, step) pairs whose gradient was
    not finite; the affected entries are taken as zero. A point with non-finite logits is no success."""

    def __init__(self, config: Config):
        self.config = config
        self.norm = NORMS[config.norm]
        self.nonfinite = 0

    def perturb(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None,
        eps: float | Tensor | None = None,
        low: float | None = 0.0,
        high: float | None = 1.0,
        return_iterates: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Perturbed x, (B, *shape), within eps of x and within [low, high].

        model: called as it is given (set eval mode first); its weights get no gradient. x: (B, *shape) in
        [low, high] (None: unbounded, no clipping); y: (B,) int64 labels, or targets if targeted. eps:
        overrides the configured budget, one number or (B,). generator: source of the starts, drawn for the
        whole batch before anything is dropped; None will do for start "zero". return_iterates: returns
        (x_adv, start and all iterates (steps + 1, B, *shape)); for a single restart without dropping.
        Raises RangeError if x is outside [low, high].
        """
        config = self.config
        check_range(x, low, high, "inputs of the attack")
        if return_iterates and (config.restarts > 1 or config.drop_fooled):
            raise ValueError("return_iterates needs restarts: 1 and drop_fooled: false")
        x = x.detach()
        problem = Problem(model, x, y, budgets(config.eps if eps is None else eps, x), low, high)
        starts = [self._start(problem, generator) for _ in range(config.restarts)]
        best = Best(x)
        if config.keep == "worst" and config.start != "zero":
            # x itself is a candidate, so that an attack never raises accuracy.
            self._offer(best, problem, problem.rows(), x)
        for start in starts:
            path, rows = self._descend(problem, start, best, return_iterates)
            if config.keep == "worst" or config.restarts > 1:
                self._offer(best, problem, rows, path[-1])
        result = path[-1] if config.keep == "last" and config.restarts == 1 else best.x
        return (result, torch.stack(path)) if return_iterates else result

    def _start(self, problem: Problem, generator: torch.Generator | None) -> Tensor:
        shape = tuple(problem.x.shape)
        if self.config.start == "zero":
            return problem.x.clone()
        if self.config.start == "random":
            delta = self.norm.random_start(shape, problem.radius, generator)
        else:
            noise = torch.rand(shape, generator=generator, device=generator.device)
            delta = PIXEL_NOISE * (2 * noise - 1)
        return problem.clip(problem.x + delta.to(problem.x))

    def _descend(
        self, problem: Problem, x_adv: Tensor, best: Best, whole_path: bool
    ) -> tuple[list[Tensor], Tensor]:
        """All steps of one restart. Returns the points (start first; only the last one unless whole_path)
        and the examples still active, to which the last point belongs."""
        rows, path = problem.rows(), [x_adv]
        nonfinite = torch.zeros((), dtype=torch.int64, device=x_adv.device)
        for step in range(self.config.steps):
            if self.config.drop_fooled:
                active = ~best.fooled[rows]
                rows, x_adv = rows[active], x_adv[active]
                path[-1] = x_adv
                if len(rows) == 0:
                    break
            gradient, value, fooled = self._gradient(problem, rows, x_adv)
            # The "pixel" start lies outside the ball: stepped from, but no candidate.
            if self.config.keep == "worst" and (step > 0 or self.config.start != "pixel"):
                best.offer(rows, x_adv, value, fooled)
            finite = gradient.isfinite()
            nonfinite += (~finite.flatten(1).all(1)).sum()
            x_adv = self._move(problem, rows, x_adv, torch.where(finite, gradient, 0))
            path = [*path, x_adv] if whole_path else [x_adv]
        self.nonfinite += int(nonfinite)
        return path, rows

    def _move(self, problem: Problem, rows: Tensor, x_adv: Tensor, gradient: Tensor) -> Tensor:
        """One ascent step, projected onto the ball around x, then clipped to the box (which keeps it in
        the ball, because x is in the box)."""
        x, radius = problem.x[rows], problem.radius[rows]
        if self.config.step_size is not None:
            step = torch.full_like(radius, self.config.step_size)
        else:
            step = self.config.relative_step * radius / self.config.steps
        moved = x_adv + per_example(step, x) * self.norm.steepest_step(gradient)
        return problem.clip(x + self.norm.project(moved - x, radius))

    def _gradient(self, problem: Problem, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ascent gradient (n, *shape), objective (n,) and success (n,) at x, for examples `rows`."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value, fooled = self._judge(problem.model(x), problem.y[rows])
            # With respect to x only: asking for weight gradients as well costs about 40 % more.
            gradient = torch.autograd.grad(value.sum(), x)[0]
        return gradient, value.detach(), fooled

    def _offer(self, best: Best, problem: Problem, rows: Tensor, x: Tensor) -> None:
        """Let `best` consider points x of examples `rows`, without a gradient."""
        if len(rows) == 0:
            return
        with torch.no_grad():
            best.offer(rows, x, *self._judge(problem.model(x), problem.y[rows]))

    def _judge(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Objective to be maximised (n,) and success (n,) of logits (n, C)."""
        if self.config.loss == "cross_entropy":
            value = F.cross_entropy(logits, y, reduction="none")
        else:
            others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
            value = others - logits.gather(1, y[:, None])[:, 0]
        reached = logits.argmax(1) == y
        success = reached if self.config.targeted else ~reached
        # Every comparison with NaN is false, so such a point is never the better one.
        return (-value if self.config.targeted else value), success & logits.isfinite().all(1)


def build(config: Config) -> Pgd:
    """The attack of this configuration."""
    return Pgd(config)
