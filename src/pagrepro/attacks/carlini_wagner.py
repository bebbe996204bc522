"""Smallest L2 perturbation that changes the predicted class (Carlini and Wagner, 2017), by foolbox.

Bigolin Lanfredi et al. (2020), Figure 7, take it as the distance to the decision boundary: confidence 0, nine
searches for the constant from 1e-3, at most 10,000 steps of Adam at a rate of 0.02 in arctanh space, ended
early. Their library is no longer kept up; foolbox's implementation has the same constants. Both judge the end
of a search by the loss of the whole batch, so that an example's result depends a little on its neighbours.
"""

from collections.abc import Callable

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pagrepro.checks import check_range
from pagrepro.options import Box, Number, Strict
from pagrepro.predictions import predicted
from pagrepro.threat import box_of, clip

REVISION = 1


class Config(Strict):
    """searches: for the constant c of c * max(0, z_y - max_{j != y} z_j + confidence) + ||x_adv - x||^2, from
    initial_const on; steps: of Adam in each, at rate stepsize (in arctanh space); abort_early: a search ends
    when a tenth of its steps did not lower the loss.

    unit: distances and so initial_const are counted in this many units of the data: 0.5 where a paper counts
    in [-1, 1] and the images are in [0, 1]. box: "data", the range of the data, or [low, high] in the data's
    units (needed for data without a range); pixels of x outside of the box are moved into it.
    """

    searches: int = Field(9, ge=1)
    steps: int = Field(10_000, ge=1)
    stepsize: Number = Field(0.02, gt=0)
    confidence: Number = Field(0, ge=0)
    initial_const: Number = Field(1e-3, gt=0)
    abort_early: bool = True
    unit: Number = Field(1, gt=0)
    box: Box = "data"

    @model_validator(mode="after")
    def _bounded(self):
        if self.box == "none":
            raise ValueError("box: none: arctanh space needs a box; write data or [low, high]")
        return self


class _Counted(nn.Module):
    """Any model as the module that foolbox asks for; counts the examples that go through it."""

    def __init__(self, model: Callable[[Tensor], Tensor]):
        super().__init__()
        # In a tuple, so that it does not become a part of this module, whose mode foolbox may change.
        self.models = (model,)
        self.forward_passes = self.backward_passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forward_passes += len(x)
        self.backward_passes += len(x) if x.requires_grad else 0
        return self.models[0](x)


class CarliniWagner:
    """The attack. `forward_passes` and `backward_passes` count examples, over all calls so far."""

    def __init__(self, config: Config):
        self.config = config
        self.forward_passes = self.backward_passes = 0

    def perturb(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None,
        eps: float | Tensor | None = None,
        low: float | None = 0.0,
        high: float | None = 1.0,
    ) -> Tensor:
        """The closest point found that is not predicted as y, (B, *shape), within the box; x itself where it
        is not predicted as y already, and where no such point was found (which the prediction at x tells).

        model: as it is given (set eval mode first). x: (B, *shape) in [low, high]; y: (B,) int64. Nothing is
        random: generator may be None. Raises RangeError if x is outside [low, high], ValueError for an eps
        (there is no budget) and for data without a range when no box is given.
        """
        check_range(x, low, high, "inputs of the attack")
        low, high = box_of(self.config.box, low, high)
        if eps is not None:
            raise ValueError("carlini_wagner looks for the smallest perturbation: it takes no eps")
        if low is None or high is None:
            raise ValueError("carlini_wagner: data without a range need `box: [low, high]`")
        x = x.detach()
        counted = _Counted(model).eval()
        with torch.no_grad():
            rows = (predicted(counted(x)) == y).nonzero()[:, 0]
        result = x.clone()
        if len(rows):
            found = self._search(counted, clip(x[rows], low, high), y[rows], (low, high))
            with torch.no_grad():
                # What foolbox returns for a failure is exactly zero, which no point of its search is.
                success = (predicted(counted(found)) != y[rows]) & (found != 0).flatten(1).any(1)
            result[rows[success]] = found[success]
        self.forward_passes += counted.forward_passes
        self.backward_passes += counted.backward_passes
        return result

    def _search(self, model: nn.Module, x: Tensor, y: Tensor, bounds: tuple[float, float]) -> Tensor:
        # Imported here: it takes longer to import than most of what the package does.
        import foolbox

        config = self.config
        attack = foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=config.searches,
            steps=config.steps,
            stepsize=config.stepsize,
            confidence=config.confidence,
            # The loss in the paper's units, times unit^2.
            initial_const=config.initial_const * config.unit**2,
            abort_early=config.abort_early,
        )
        wrapped = foolbox.PyTorchModel(model, bounds=bounds, device=x.device)
        with torch.enable_grad():
            return attack.run(wrapped, x, foolbox.criteria.Misclassification(y)).detach()


def build(config: Config) -> CarliniWagner:
    """The attack of this configuration."""
    return CarliniWagner(config)
