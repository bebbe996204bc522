"""Loss and accuracy over the number of steps of an attack.

Rodriguez-Munoz, Wang and Torralba (2024), appendix C and Figure 13: PGD with a step of 1/255 in a ball of
4/255; loss and accuracy at the last iterate. With a step of fixed size the first k steps of a long attack
are the attack with k steps, so one attack gives all numbers of steps.
"""

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.options import Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: the plugin `pgd` with a `step_size`, one restart and `keep: last`; its own number of steps does
    not matter. at: numbers of steps that are looked at, rising; 0 is the start."""

    attack: plugin("attacks")
    at: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (1, 2, 5, 10, 20, 50, 100)

    @model_validator(mode="after")
    def _nested(self):
        attack = self.attack
        if attack.get("step_size") is None or attack.get("restarts") != 1 or attack.get("keep") != "last":
            raise ValueError("attack: pgd with step_size, restarts: 1, keep: last; its steps are nested then")
        if list(self.at) != sorted(set(self.at)) or self.at[-1] == 0:
            raise ValueError("at: rising numbers of steps, the last above 0")
        return self


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy_<k> and loss_<k> (mean cross-entropy) after k steps; clean_accuracy.

    arrays: steps (S,) int64, accuracy, loss (S,) float64, correct (N, S) bool, losses (N, S) float32.
    Examples whose loss is not finite are left out of its means, with a flag. All iterates of a batch are held
    at once: the batch size of the evaluation has to allow for that.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", {**config.attack, "steps": config.at[-1]})
    parts, clean = [], []
    for start, x, y in batches(request):
        noise = seeding.generator(request.seed, "attack", start, device=x.device)
        _, path = attack.perturb(
            request.model, x, y, noise, low=request.low, high=request.high, return_iterates=True
        )
        parts.append([_outcome(request, path[k], y) for k in config.at])
        clean.append(predicted(logits(request.model, x, len(x))) == y)
    correct, losses = (
        torch.cat([torch.stack([place[n] for place in part], 1) for part in parts]).cpu() for n in (0, 1)
    )
    finite = losses.isfinite().all(1)
    accuracy, loss = correct.double().mean(0).numpy(), losses[finite].mean(0).numpy()
    values = {f"accuracy_{k}": float(value) for k, value in zip(config.at, accuracy, strict=True)}
    values |= {f"loss_{k}": float(value) for k, value in zip(config.at, loss, strict=True)}
    values["clean_accuracy"] = torch.cat(clean).double().mean().item()
    arrays = {
        "steps": np.array(config.at, np.int64), "accuracy": accuracy, "loss": loss,
        "correct": correct.numpy(), "losses": losses.float().numpy(),
    }  # fmt: skip
    return Measurement(values, arrays, [] if bool(finite.all()) else ["nonfinite_losses"])


def _outcome(request: MeasureRequest, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(correct (B,) bool, cross-entropy (B,) float64) at x (B, *shape)."""
    scores = logits(request.model, x, len(x))
    return predicted(scores) == y, F.cross_entropy(scores, y, reduction="none").double()
