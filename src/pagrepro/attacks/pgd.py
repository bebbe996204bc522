"""Projected gradient descent on the input (Madry et al., 2018).

Ganz et al. (2022), algorithm 1 and section 5: 20 steps of 2 eps / 20, random start, last iterate.
Each step: x <- clip(x0 + project(x + step * steepest(gradient) - x0)). Differences from the public code,
all on purpose: the gradient norm of the L2 step has a floor (a zero gradient gave NaN images there), and
an L2 start lies in the ball (`start: pixel` is the public one, whose noise ignores eps).

Bigolin Lanfredi et al. (2020): 40 steps of one absolute size, random start, last iterate; budgets
there are in units of [-1, 1] (`unit`), and on data that leave [-1, 1] x_adv is clipped to it (`box`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.errors import RangeError
from pagrepro.options import Box, Number, Strict
from pagrepro.threat import NORM_FLOOR, NORMS, box_of, budgets, clip, per_example

REVISION = 1

# Start noise of the public code, per entry, whatever eps is.
PIXEL_NOISE = 8 / 255


class Config(Strict):
    """norm, eps: the threat model; steps: number of gradient steps.

    unit: eps and step_size are given in this many units of the data: 0.5 where a paper counts in [-1, 1] and
    the images are in [0, 1]. box: "data" keeps x_adv in the range of the data, "none" nowhere, [low, high] in
    that box (data's units); pixels of x outside of the box are moved into it, which may take more than eps.
    step_size: absolute; relative_step: step = relative_step * eps / steps; exactly one of the two.
    start: "random" uniform in the ball, "zero" at x, "pixel" U[-8/255, 8/255] per entry.
    targeted: y is the class to reach, otherwise the class to leave. loss: "margin" is
    max_{j != y} z_j - z_y. restarts: independent starts. keep: "last" returns the last iterate (of the
    best restart), "worst" the first successful or else highest-loss point of x, starts and iterates.
    drop_fooled: successful examples leave the batch; only with keep "worst", whose result it keeps.
    direction: "gradient" in the Linf ball moves along the gradient itself, its largest entry being the step,
    instead of its sign (Rodriguez-Munoz et al., 2024, appendix C, who do not give the length).
    """

    norm: Literal["linf", "l2"]
    eps: Number = Field(ge=0)
    unit: Number = Field(1, gt=0)
    box: Box = "data"
    steps: int = Field(ge=1)
    step_size: Number | None = Field(None, gt=0)
    relative_step: Number | None = Field(None, gt=0)
    start: Literal["random", "zero", "pixel"] = "random"
    targeted: bool = False
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    restarts: int = Field(1, ge=1)
    keep: Literal["last", "worst"] = "last"
    drop_fooled: bool = False
    direction: Literal["steepest", "gradient"] = "steepest"

    @model_validator(mode="after")
    def _consistent(self):
        if (self.step_size is None) == (self.relative_step is None):
            raise ValueError("give exactly one of step_size and relative_step")
        if self.drop_fooled and self.keep != "worst":
            raise ValueError("drop_fooled needs keep: worst (dropping would change the last iterate)")
        if self.direction == "gradient" and self.norm != "linf":
            raise ValueError("direction: gradient is for norm: linf; in l2 it is the steepest one")
        return self


@dataclass(frozen=True)
class Problem:
    """What is attacked: x (B, *shape), y (B,), radius (B,), and the box that x_adv is kept in."""

    model: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    radius: Tensor
    low: float | None
    high: float | None

    def clip(self, x: Tensor) -> Tensor:
        """x within the box (as it is when there is none)."""
        return clip(x, self.low, self.high)

    def rows(self) -> Tensor:
        """All examples, as indices."""
        return torch.arange(len(self.x), device=self.x.device)

    def take(self, rows: Tensor) -> "Problem":
        """The same for examples `rows` (n,) only."""
        return replace(self, x=self.x[rows], y=self.y[rows], radius=self.radius[rows])


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
    """The attack. Over all calls so far: `nonfinite` counts the (example, step) pairs whose gradient was not
    finite, the affected entries being taken as zero; `forward_passes` and `backward_passes` count examples
    that went through the network. A point with non-finite logits is no success."""

    def __init__(self, config: Config):
        self.config = config
        self.norm = NORMS[config.norm]
        # In the data's units from here on.
        self.eps = config.eps * config.unit
        self.step_size = None if config.step_size is None else config.step_size * config.unit
        self.nonfinite = self.forward_passes = self.backward_passes = 0

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
        active: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Perturbed x, (B, *shape), within eps of x and within the box.

        model: called as it is given (set eval mode first); its weights get no gradient. x: (B, *shape) in
        [low, high] (None: unbounded, no clipping); y: (B,) int64 labels, or targets if targeted, or (B, C)
        probabilities of the classes, of which the largest counts as the label. eps, in the
        data's units: overrides the configured budget, one number or (B,). generator: source of the starts,
        drawn for the whole batch before anything is dropped; None will do for start "zero". active: (B,)
        bool, which examples to attack (default all): the others come back as they are, but have their share
        of the draws. return_iterates: returns (x_adv, start and all iterates (steps + 1, B, *shape)); for a
        single restart of all examples without dropping. Raises RangeError if x is outside [low, high], and
        for one Linf budget above 1 where that range is [0, 1] and x_adv is kept in it.
        """
        config = self.config
        check_range(x, low, high, "inputs of the attack")
        if return_iterates and (config.restarts > 1 or config.drop_fooled or active is not None):
            raise ValueError("return_iterates needs restarts: 1, drop_fooled: false and no `active`")
        x, box = x.detach(), box_of(config.box, low, high)
        eps = self.eps if eps is None else eps
        self._check_budget(eps, *box)
        problem = Problem(model, x, y, budgets(eps, x), *box)
        starts = [self._start(problem, generator) for _ in range(config.restarts)]
        if active is not None:
            chosen = active.nonzero()[:, 0]
            problem, starts = problem.take(chosen), [start[chosen] for start in starts]
        result, path = self._attack(problem, starts, return_iterates)
        if active is not None:
            result = x.index_copy(0, chosen, result)
        return (result, torch.stack(path)) if return_iterates else result

    def _check_budget(self, eps: float | Tensor, low: float | None, high: float | None) -> None:
        """Budgets of a search, one per example, may be anything; a configured one of 8 is meant as 8/255."""
        if self.config.norm == "linf" and (low, high) == (0, 1) and isinstance(eps, (int, float)) and eps > 1:
            raise RangeError(f"eps {eps:g} for images in [0, 1]: more than their whole range; write 8/255")

    def _attack(
        self, problem: Problem, starts: list[Tensor], whole_path: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The chosen points, and those of the last restart (see `_descend`)."""
        config, origin = self.config, self._origin(problem)
        best = Best(origin)
        if config.keep == "worst" and config.start != "zero":
            # x itself is a candidate, so that an attack never raises accuracy.
            self._offer(best, problem, problem.rows(), origin)
        for start in starts:
            path, rows = self._descend(problem, start, best, whole_path)
            if config.keep == "worst" or config.restarts > 1:
                self._offer(best, problem.take(rows), rows, path[-1])
        return (path[-1] if config.keep == "last" and config.restarts == 1 else best.x), path

    def _origin(self, problem: Problem) -> Tensor:
        """x; moved into a box that is not the range of the data (which x is in, but for rounding)."""
        return problem.x if self.config.box == "data" else problem.clip(problem.x)

    def _start(self, problem: Problem, generator: torch.Generator | None) -> Tensor:
        shape = tuple(problem.x.shape)
        if self.config.start == "zero":
            return self._origin(problem).clone()
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
        rows, path, part = problem.rows(), [x_adv], problem
        nonfinite = torch.zeros((), dtype=torch.int64, device=x_adv.device)
        for step in range(self.config.steps):
            if self.config.drop_fooled:
                active = ~best.fooled[rows]
                if not bool(active.all()):
                    rows, x_adv = rows[active], x_adv[active]
                    path[-1], part = x_adv, problem.take(rows)
                if len(rows) == 0:
                    break
            gradient, value, fooled = self._gradient(part, x_adv)
            # The "pixel" start lies outside the ball: stepped from, but no candidate.
            if self.config.keep == "worst" and (step > 0 or self.config.start != "pixel"):
                best.offer(rows, x_adv, value, fooled)
            finite = gradient.isfinite()
            nonfinite += (~finite.flatten(1).all(1)).sum()
            x_adv = self._move(part, x_adv, torch.where(finite, gradient, 0))
            path = [*path, x_adv] if whole_path else [x_adv]
        self.nonfinite += int(nonfinite)
        return path, rows

    def _move(self, problem: Problem, x_adv: Tensor, gradient: Tensor) -> Tensor:
        """One ascent step, projected onto the ball around x, then clipped to the box (which keeps it in
        the ball wherever x is in the box)."""
        x, radius = problem.x, problem.radius
        if self.step_size is not None:
            step = torch.full_like(radius, self.step_size)
        else:
            step = self.config.relative_step * radius / self.config.steps
        if self.config.direction == "steepest":
            direction = self.norm.steepest_step(gradient)
        else:
            direction = gradient / per_example(self.norm.size(gradient).clamp_min(NORM_FLOOR), gradient)
        moved = x_adv + per_example(step, x) * direction
        return problem.clip(x + self.norm.project(moved - x, radius))

    def _gradient(self, problem: Problem, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ascent gradient (n, *shape), objective (n,) and success (n,) at x, one point per example."""
        self.forward_passes += len(x)
        self.backward_passes += len(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value, fooled = self._judge(problem.model(x), problem.y)
            # With respect to x only: asking for weight gradients as well costs about 40 % more.
            gradient = torch.autograd.grad(value.sum(), x)[0]
        return gradient, value.detach(), fooled

    def _offer(self, best: Best, problem: Problem, rows: Tensor, x: Tensor) -> None:
        """Let `best` consider points x of its examples `rows`, those of `problem`, without a gradient."""
        if len(rows) == 0:
            return
        self.forward_passes += len(x)
        with torch.no_grad():
            best.offer(rows, x, *self._judge(problem.model(x), problem.y))

    def _judge(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Objective to be maximised (n,) and success (n,) of logits (n, C); y: labels or probabilities."""
        soft = y.dim() == 2
        if soft and (self.config.targeted or self.config.loss != "cross_entropy"):
            raise ValueError("probabilities of classes are for an untargeted attack on the cross-entropy")
        if self.config.loss == "cross_entropy":
            value = F.cross_entropy(logits, y, reduction="none")
        else:
            others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
            value = others - logits.gather(1, y[:, None])[:, 0]
        reached = logits.argmax(1) == (y.argmax(1) if soft else y)
        success = reached if self.config.targeted else ~reached
        # Every comparison with NaN is false, so such a point is never the better one.
        return (-value if self.config.targeted else value), success & logits.isfinite().all(1)


def build(config: Config) -> Pgd:
    """The attack of this configuration."""
    return Pgd(config)
