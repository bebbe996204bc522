"""Three regimes of robustness along a sweep of the strength of an objective. Torch-free.

Srinivas et al. (2023), section 5: *weak* robustness (accurate, and more sensitive to changes off the data
manifold than on it), *Bayes-aligned* robustness (accurate, and less sensitive off than on it) and *excessive*
robustness (accuracy is gone). The paper names them by eye; here they follow from three curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from pagrepro.errors import DataError

REVISION = 1

WEAK, ALIGNED, EXCESSIVE = REGIMES = ("weak", "Bayes-aligned", "excessive")
NONE = "none"

# Accuracy that an accurate network may lack of the best one.
DROP = 0.10


@dataclass(frozen=True)
class Span:
    """From one strength to another, both in it: their indices, and how many of the regime lie between."""

    first: int
    last: int
    count: int


@dataclass(frozen=True)
class Regimes:
    """names: the regime of every strength, `none` where no regime fits; crossing: index of the first strength
    at which the network is less sensitive off than on the manifold; peak: index of the highest alignment.
    Both are None where there is no such strength."""

    names: tuple[str, ...]
    crossing: int | None
    peak: int | None
    spans: dict[str, Span] = field(default_factory=dict)

    def pieces(self) -> list[tuple[str, int, int]]:
        """(regime, first index, last index) of neighbouring strengths of one regime, without `none`."""
        found, start = [], 0
        for name, members in groupby(self.names):
            end = start + len(list(members)) - 1
            found += [(name, start, end)] if name != NONE else []
            start = end + 1
        return found


def find(
    on: Sequence[float],
    off: Sequence[float],
    accuracy: Sequence[float],
    alignment: Sequence[float] | None = None,
    drop: float = DROP,
) -> Regimes:
    """Regimes of the strengths of one sweep, weakest first; all curves (S,), NaN where nothing is known.

    A strength is accurate if its accuracy (a fraction) is at most `drop` below the best of the sweep.
    Excessive is what comes after the last accurate strength; weak is what is accurate before the crossing
    with off >= on; Bayes-aligned is what is accurate with off < on. Everything else is `none`: accuracy
    that recovers later, a curve that crosses back, values that are not known. Raises DataError for curves
    of different lengths.
    """
    curves = [np.asarray(c, float) for c in (on, off, accuracy, accuracy if alignment is None else alignment)]
    if curves[0].ndim != 1 or len({c.shape for c in curves}) != 1:
        shapes = ", ".join(str(c.shape) for c in curves)
        raise DataError(f"regimes need curves (S,) over the same strengths, found {shapes}")
    on, off, accuracy, heights = curves
    accurate = accuracy >= _largest(accuracy) - drop
    below = off < on
    crossing = int(below.argmax()) if below.any() else None
    end = int(np.flatnonzero(accurate)[-1]) if accurate.any() else len(on)
    before = np.arange(len(on)) < (len(on) if crossing is None else crossing)
    names = np.full(len(on), NONE, dtype=object)
    names[before & accurate & (off >= on)] = WEAK
    names[accurate & below] = ALIGNED
    names[(np.arange(len(on)) > end) & np.isfinite(accuracy)] = EXCESSIVE
    known = alignment is not None and np.isfinite(heights).any()
    peak = int(np.nanargmax(np.where(np.isfinite(heights), heights, np.nan))) if known else None
    return Regimes(tuple(names), crossing, peak, _spans(names))


def _largest(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else np.nan


def _spans(names: np.ndarray) -> dict[str, Span]:
    """The regimes there are, in their order."""
    found = {}
    for regime in REGIMES:
        at = np.flatnonzero(names == regime)
        if len(at):
            found[regime] = Span(int(at[0]), int(at[-1]), len(at))
    return found
