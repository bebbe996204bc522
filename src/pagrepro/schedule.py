"""Learning-rate schedules, as factors of the optimiser's own rate. Torch-free.

A schedule sees only how far the fit is, so a shorter fit passes through the same shape.
"""

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from pagrepro.options import Number, Strict

REVISION = 1


class Shape(Strict):
    """What all schedules share. `per: epoch` holds the rate within an epoch, as most libraries do."""

    per: Literal["step", "epoch"] = "step"

    def factor(self, done: float) -> float:
        """Factor of the optimiser's rate when the fraction `done` in [0, 1) of the fit is done."""
        return 1.0

    def at(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """Factor for one step, counted from 0 over the whole fit."""
        held = step - step % steps_per_epoch if self.per == "epoch" else step
        return self.factor(held / total_steps)


class Constant(Shape):
    """The optimiser's rate throughout."""

    name: Literal["constant"] = "constant"


class Step(Shape):
    """`milestones`: fraction of the fit -> factor of the optimiser's rate from there on (not of the rate
    before). A schedule that divides by ten "from epoch 50 of 100, counted from 1" has a milestone at 0.49.
    """

    name: Literal["step"]
    milestones: dict[str, Number]

    def factor(self, done: float) -> float:
        """Of the learning rate, when this share (0 to 1) of all steps is done."""
        passed = [(float(at), factor) for at, factor in self.milestones.items() if done >= float(at)]
        return max(passed)[1] if passed else 1.0


class Cosine(Shape):
    """Linear warm-up from `warmup_factor` over the fraction `warmup`, then half a cosine to `final`.

    The cosine runs over the whole fit and the warm-up replaces its beginning, unless `after_warmup`.
    """

    name: Literal["cosine"]
    warmup: Number = Field(0.0, ge=0, lt=1)
    warmup_factor: Number = 0.0
    final: Number = 0.0
    after_warmup: bool = True

    def factor(self, done: float) -> float:
        """Of the learning rate, when this share (0 to 1) of all steps is done."""
        if done < self.warmup:
            return self.warmup_factor + (1 - self.warmup_factor) * done / self.warmup
        skipped = self.warmup if self.after_warmup else 0.0
        angle = math.pi * (done - skipped) / (1 - skipped)
        return self.final + (1 - self.final) * (1 + math.cos(angle)) / 2


class Linear(Shape):
    """Straight lines between `points`: fraction of the fit -> factor; constant before and after them."""

    name: Literal["linear"]
    points: dict[str, Number] = Field(min_length=1)

    def factor(self, done: float) -> float:
        """Of the learning rate, when this share (0 to 1) of all steps is done."""
        points = sorted((float(at), factor) for at, factor in self.points.items())
        if done <= points[0][0]:
            return points[0][1]
        for (left, low), (right, high) in itertools.pairwise(points):
            if done <= right:
                return low + (high - low) * (done - left) / (right - left)
        return points[-1][1]


Schedule = Annotated[Constant | Step | Cosine | Linear, Field(discriminator="name")]


def parse(options: dict[str, Any]) -> Constant | Step | Cosine | Linear:
    """The schedule that `{name: ..., options}` describes. Raises pydantic's ValidationError."""
    return TypeAdapter(Schedule).validate_python(options)
