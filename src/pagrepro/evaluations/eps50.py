"""The perturbation size at which half of the examples are misclassified, and the error as a function of size.

Bigolin Lanfredi et al. (2020), Table 2 (eps50), Figure S8 (error against eps), and, with `signed`, the
robustness rho of Theorem 2, which is negative for a misclassified example.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from pagrepro import eps50, plugins, seeding
from pagrepro.checks import check_range
from pagrepro.options import Number, Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: one with a budget, which is ignored here (write 0), and with the argument `active`; its `unit`
    is that of the grid and of all results. grid: budgets, increasing, without 0.

    mode: "search" bisects for the smallest fooling budget of each example, first on the grid, then `rounds`
    times between two of its points; "grid" attacks all examples at every budget, as published; "crossing"
    finds eps50_grid alone, for measurements during a fit. The first and last take an example that is fooled
    at one budget as fooled at all larger ones, so the attack has to keep any success (`keep: worst`).
    signed: a misclassified example has minus the smallest budget of an attack towards its label, not 0;
    only with "search" and an attack that can be `targeted`.
    """

    attack: plugin("attacks")
    grid: tuple[Annotated[Number, Field(gt=0)], ...] = Field(min_length=1)
    mode: Literal["search", "grid", "crossing"] = "search"
    rounds: int = Field(7, ge=0)
    signed: bool = False

    @field_validator("grid")
    @classmethod
    def _increasing(cls, value):
        for k in range(1, len(value)):
            if value[k] <= value[k - 1]:
                raise ValueError(f"grid: has to increase strictly, found {value[k]:g} after {value[k - 1]:g}")
        return value

    @model_validator(mode="after")
    def _attack_fits(self):
        name = self.attack["name"]
        if "eps" not in self.attack:
            raise ValueError(f"attack: {name} has no budget (option eps)")
        if self.attack.get("targeted"):
            raise ValueError("attack: an untargeted one is needed; leave out `targeted`")
        if self.mode != "grid" and self.attack.get("keep", "worst") != "worst":
            raise ValueError(
                f"mode: {self.mode} needs an attack with `keep: worst` (and, to be fast, `drop_fooled: true`)"
            )
        if self.signed and (self.mode != "search" or "targeted" not in self.attack):
            raise ValueError(
                f"signed needs mode: search and an attack with the option targeted, found {self.mode}, {name}"
            )
        return self


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """All budgets are in the attack's unit.

    values: eps50, the median over examples of the smallest fooling budget found (0 for a misclassified one;
    half of the examples have at most this), which is in [low, high]; eps50_grid, where the error first
    reaches one half on the grid, linear between its points; both 0 for a clean error of one half, NaN if it
    is never reached. eps50_published, only in mode grid: see `pagrepro.eps50.published_crossing`.
    mean_radius, of the middles of the brackets, which is no upper bound (unreached ones count as the largest
    budget). clean_error, final_error (at the largest budget); largest_drop, the largest decrease of error
    between neighbouring budgets; unreached, share of examples without a success at any budget;
    forward_passes, backward_passes per example. Mode crossing has no eps50, mean_radius, unreached, and
    final_error only if it was needed.

    arrays: grid, error (G + 1,), from budget 0 on (error NaN where mode crossing did not look); radius (N,),
    the smallest fooling budget found, infinite if unreached, negative where `signed`; radius_low, radius_high
    (N,), between which it is, and radius_middle (N,), finite. In mode grid radius is a point of the grid;
    mode crossing has only the bounds. Noise is drawn per batch from the seed and the batch's place, and is
    the same at every budget.
    """
    check_range(request.x, request.low, request.high)
    attacked = Attacked(config.attack, request)
    wrong = ~attacked.right()
    grid = torch.tensor([0.0, *config.grid], dtype=torch.float64, device=request.device)
    error, low, high = _MODES[config.mode](config, attacked, wrong, grid)
    arrays = {"grid": grid, "error": error, "radius_low": low, "radius_high": high}
    forward, backward = attacked.passes()
    if config.mode != "crossing":
        arrays["radius"] = high
    if config.signed:
        towards = Attacked({**config.attack, "targeted": True}, request)
        _, restored_low, restored_high = _search(config, towards, ~wrong, grid)
        arrays["radius_low"] = torch.where(wrong, -restored_high, low)
        arrays["radius_high"] = torch.where(wrong, -restored_low, high)
        arrays["radius"] = torch.where(wrong, -restored_high, high)
        forward, backward = (a + b for a, b in zip((forward, backward), towards.passes()))
    if config.mode != "crossing":
        ends = (arrays[f"radius_{end}"].clamp(-grid[-1], grid[-1]) for end in ("low", "high"))
        arrays["radius_middle"] = sum(ends) / 2
    found = {name: value.cpu().numpy() for name, value in arrays.items()}
    values = _values(config, found) | {"forward_passes": forward, "backward_passes": backward}
    return Measurement(values, found, _flags(config, values))


class Attacked:
    """The examples of a request under an attack (resolved options) with budgets of their own: a
    `pagrepro.eps50.Fooled`. A success is a changed prediction, or, if targeted, the label."""

    def __init__(self, options: dict[str, Any], request: MeasureRequest):
        self.attack = plugins.instantiate("attacks", options)
        self.unit, self.targeted = options["unit"], options.get("targeted", False)
        self.request = request
        self.own_passes = 0

    def right(self) -> Tensor:
        """Whether each example (N,) is classified correctly as it is."""
        return torch.cat([self._labelled(x, y) for _, x, y in batches(self.request)])

    def _labelled(self, x: Tensor, y: Tensor) -> Tensor:
        self.own_passes += len(x)
        return predicted(logits(self.request.model, x, len(x))) == y

    def __call__(self, eps: Tensor, active: Tensor) -> Tensor:
        request, hit = self.request, torch.zeros_like(active)
        for start, x, y in batches(request):
            part = slice(start, start + len(x))
            rows = active[part].nonzero()[:, 0]
            if len(rows) == 0:
                continue
            generator = seeding.generator(request.seed, "attack", start, device=x.device)
            budgets = (self.unit * eps[part]).to(x)
            x_adv = self.attack.perturb(
                request.model, x, y, generator, budgets, request.low, request.high, active=active[part]
            )
            hit[start + rows] = self._labelled(x_adv[rows], y[rows]) == self.targeted
        return hit

    def passes(self) -> tuple[float, float]:
        """Forward and backward passes so far, per example."""
        forward = self.attack.forward_passes + self.own_passes
        return forward / len(self.request.x), self.attack.backward_passes / len(self.request.x)


# --- modes: (config, attacked, wrong (N,), grid (G + 1,)) -> error (G + 1,), bounds (N,), (N,) -------


def _search(config: Config, attacked: Attacked, wrong: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    index = eps50.bisect_grid(attacked, ~wrong, grid)
    bounds = eps50.bisect_brackets(attacked, *eps50.brackets(index, grid), config.rounds)
    return eps50.nested_error(index, len(grid)), *bounds


def _grid(config: Config, attacked: Attacked, wrong: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    everything = torch.ones_like(wrong)
    hits = torch.stack([wrong, *(attacked(eps.expand(len(wrong)), everything) for eps in grid[1:])])
    first = torch.where(hits.any(0), hits.int().argmax(0), len(grid))
    return hits.double().mean(1), *eps50.brackets(first, grid)


def _crossing(
    config: Config, attacked: Attacked, wrong: Tensor, grid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    error, low, high = eps50.bisect_crossing(attacked, wrong, grid)
    ends = torch.cat([grid, grid.new_tensor([torch.inf])])
    return error, ends[low], ends[high]


_MODES = {"search": _search, "grid": _grid, "crossing": _crossing}


# --- values ----------------------------------------------------------------------------------------


def _values(config: Config, arrays: dict[str, np.ndarray]) -> dict[str, float]:
    grid, error = arrays["grid"], arrays["error"]
    values = {
        "eps50_grid": eps50.first_crossing(grid, error),
        "clean_error": float(error[0]),
        "largest_drop": eps50.largest_drop(error),
    }
    if config.mode == "grid":
        values["eps50_published"] = eps50.published_crossing(grid, error)
    if config.mode == "crossing":
        reached = np.flatnonzero(error >= eps50.HALF)
        k = int(reached[0]) if len(reached) else len(grid)
        values["low"] = float(grid[max(k - 1, 0)])
        values["high"] = float(grid[k]) if len(reached) else float("nan")
    else:
        # For this a misclassified example has 0, whatever its sign.
        values["low"], values["high"] = (
            eps50.half_of(np.maximum(arrays[f"radius_{end}"], 0)) for end in ("low", "high")
        )
        values["eps50"] = values["high"]
        values["mean_radius"] = float(arrays["radius_middle"].mean())
        values["unreached"] = float(np.isinf(arrays["radius"]).mean())
    if not np.isnan(error[-1]):
        values["final_error"] = float(error[-1])
    return values


def _flags(config: Config, values: dict[str, float]) -> list[str]:
    flags = {
        "not_reached": np.isnan(values["eps50_grid"]),
        "unreached": values.get("unreached", 0) > 0,
        "not_monotone": config.mode == "grid" and values["largest_drop"] > 0,
    }
    return [name for name, raised in flags.items() if raised]
