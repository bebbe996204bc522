"""eps50: the size of perturbation at which half of the examples are misclassified.

Bigolin Lanfredi et al. (2020), Table 2. Error is taken as a function of the budget, nested: an example that
is fooled at one budget is fooled at every larger one. What is fooled is then known from one number per
example, the smallest budget that fools it, and bisection finds that with few attacks; or, where only the
crossing of one half is asked for, with few budgets. The published way attacks every example at every budget.

`Fooled` stands for the attack: (budgets (N,), which examples to attack (N,) bool) -> success (N,) bool, False
for the others. Budgets are float64 in any unit, grids (G + 1,) and begin with 0.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

REVISION = 1

HALF = 0.5
# The published threshold is this much below the last error, where that is less than one half.
PUBLISHED_MARGIN = 0.01

Fooled = Callable[[Tensor, Tensor], Tensor]


# --- smallest budget of each example ---------------------------------------------------------------


def bisect_grid(fooled: Fooled, todo: Tensor, grid: Tensor) -> Tensor:
    """Index (N,) of the smallest budget of the grid (G + 1,) that fools: 0 for examples outside of the mask
    `todo` (N,), G + 1 where none does. About log2(G + 1) attacks per example, with budgets of its own."""
    low = torch.zeros(len(todo), dtype=torch.int64, device=todo.device)
    high = torch.where(todo, len(grid), 0)
    while bool((active := high - low > 1).any()):
        middle = (low + high) // 2
        hit = fooled(grid[middle], active)
        low, high = torch.where(active & ~hit, middle, low), torch.where(active & hit, middle, high)
    return high


def brackets(index: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Ends (N,) of the interval that the smallest fooling budget is in, by its index in the grid: it fools at
    the upper end (infinite if at none) and not at the lower one (both 0 for index 0)."""
    ends = torch.cat([grid, grid.new_tensor([torch.inf])])
    return ends[(index - 1).clamp(min=0)], ends[index]


def bisect_brackets(fooled: Fooled, low: Tensor, high: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Brackets (N,), (N,) halved `rounds` times; empty and unbounded ones are left as they are."""
    active = (high > low) & high.isfinite()
    for _ in range(rounds if bool(active.any()) else 0):
        middle = (low + high) / 2
        hit = fooled(middle, active)
        low, high = torch.where(active & ~hit, middle, low), torch.where(active & hit, middle, high)
    return low, high


# --- only the crossing of one half -----------------------------------------------------------------


def bisect_crossing(fooled: Fooled, wrong: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nested errors (G + 1,), NaN at budgets that were not looked at, and what became known of each example:
    indices (N,) of the largest budget it withstood and of the smallest that fooled it (G + 1: none).

    wrong: (N,) bool, misclassified at budget 0. The budgets to look at are found by bisection on the error of
    all; only examples are attacked whose answer does not follow from those at other budgets.
    """
    low = torch.zeros(len(wrong), dtype=torch.int64, device=wrong.device)
    high = torch.where(wrong, 0, len(grid))
    error = grid.new_full((len(grid),), torch.nan)
    error[0] = wrong.double().mean()
    below, above = (0, len(grid)) if error[0] < HALF else (0, 0)
    while above - below > 1:
        middle = (below + above) // 2
        active = (low < middle) & (middle < high)
        hit = fooled(grid[middle].expand(len(wrong)), active) if bool(active.any()) else active
        low = torch.where(active & ~hit, middle, low)
        high = torch.where(active & hit, middle, high)
        error[middle] = (high <= middle).double().mean()
        below, above = (below, middle) if error[middle] >= HALF else (middle, above)
    return error, low, high


# --- one number of a curve -------------------------------------------------------------------------


def nested_error(index: Tensor, points: int) -> Tensor:
    """Errors at the `points` budgets of a grid, 0 included, from `bisect_grid`'s indices (N,)."""
    counts = torch.bincount(index, minlength=points + 1)[:points]
    return counts.cumsum(0).double() / len(index)


def first_crossing(grid: np.ndarray, error: np.ndarray) -> float:
    """Budget at which the error first reaches one half, linear between neighbours; 0 if it does at budget 0,
    NaN if it never does. grid, error: (G + 1,), the neighbours of the crossing not NaN."""
    reached = np.flatnonzero(error >= HALF)
    if len(reached) == 0:
        return float("nan")
    return _between(grid, error, int(reached[0]), HALF)


def published_crossing(grid: np.ndarray, error: np.ndarray) -> float:
    """The rule of the published code, for comparison: the last upward crossing of min(1/2, last error - .01),
    0 if there is none. (Its curve also held the training error, at a negative budget; left out here.)"""
    threshold = min(HALF, float(error[-1]) - PUBLISHED_MARGIN)
    upward = np.flatnonzero((error[:-1] < threshold) & (error[1:] >= threshold))
    return _between(grid, error, int(upward[-1]) + 1, threshold) if len(upward) else 0.0


def _between(grid: np.ndarray, error: np.ndarray, k: int, level: float) -> float:
    """Where the line from point k - 1 to point k reaches `level`."""
    if k == 0:
        return 0.0
    share = (level - error[k - 1]) / (error[k] - error[k - 1])
    return float(grid[k - 1] + share * (grid[k] - grid[k - 1]))


def half_of(radii: np.ndarray) -> float:
    """Smallest radius that at least half of the radii (N,) do not exceed; NaN if that is infinite."""
    middle = np.sort(radii)[(len(radii) + 1) // 2 - 1]
    return float(middle) if np.isfinite(middle) else float("nan")


def largest_drop(error: np.ndarray) -> float:
    """Largest decrease of the error from one budget looked at to the next, at least 0."""
    known = error[~np.isnan(error)]
    return float(max(0.0, (known[:-1] - known[1:]).max())) if len(known) > 1 else 0.0
