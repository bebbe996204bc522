"""Rules about one sweep: each seed's own curves, landmarks on them, and verdicts over seeds. Torch-free.

Crossings and falls of Srinivas et al. (2023, Figure 2) are looked for in every seed by itself, so that
the effects of seeds are independent of each other. The peak of alignment, whose top is flat, is that of
the mean of the other seeds, as in `interior_peak`: the highest place of the same seed would be one that
noise made high. A seed in which a landmark does not exist is one in which the claim fails: it contradicts
the claim when there is none in any seed, and leaves it inconclusive when there is one in some.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pagrepro import statistics, sweeps
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.statistics import CONTRADICTED, INCONCLUSIVE, MIN_SEEDS, Verdict
from pagrepro.sweeps import Sweep

REVISION = 1

# What a statistic returns for a seed in which the claim fails, and for one that cannot say.
FAILS, UNKNOWN = math.inf, math.nan

# Fewer strengths make no correlation worth a number.
MIN_STRENGTHS = 4


@dataclass(frozen=True)
class Curve:
    """The curves of one seed at the strengths where all of its values are known: strength and index (s,),
    the places in the sweep's own grid; of: role -> values (s,); peak: place of the highest alignment in
    the mean of the other seeds, None where that is not known."""

    strength: np.ndarray
    index: np.ndarray
    of: dict[str, np.ndarray]
    peak: int | None

    @property
    def crossing(self) -> int | None:
        """Place of the first strength at which `off` is below `on`; None where it never is."""
        return first(self.of["off"] < self.of["on"])

    def drop(self, place: int) -> float:
        """Accuracy at the weakest strength minus that at this place."""
        return float(self.of["accuracy"][0] - self.of["accuracy"][place])

    def steps(self, start: int, end: int, decades: float | None) -> float:
        """Steps of the grid from one place to another: of the sweep's own, or of so many powers of ten."""
        if decades is None:
            return float(self.index[end] - self.index[start])
        with np.errstate(divide="ignore"):
            logs = np.log10(self.strength[[start, end]])
        return 0.0 if start == end else float((logs[1] - logs[0]) / decades)


Statistic = Callable[[Curve], float]


def first(condition: np.ndarray) -> int | None:
    """Index of the first place where the condition holds; None where it never does."""
    return int(condition.argmax()) if condition.any() else None


def read(frame: pd.DataFrame, roles: Sequence[str], label: str, where: Mapping[str, Any]) -> Sweep:
    """The sweep of a claim's frame, quantities by role. Raises DataError for roles of different groups or
    strengths, runs without the label, and fewer than two strengths."""
    table = None
    for role in roles:
        rows = columns.of_role(frame, role, where).drop_duplicates("run")
        here = pd.DataFrame({"run": rows["run"], "seed": rows["seed"], "status": rows["status"]})
        here["strength"] = [
            sweeps.strength_of(labels, label, run) for labels, run in zip(rows["labels"], rows["run"])
        ]
        here[role] = rows["value"].astype(float)
        if table is None:
            table = here
            continue
        if set(table["run"]) != set(here["run"]):
            raise DataError(f"roles {roles[0]!r} and {role!r} need the same runs")
        table = table.merge(here[["run", role]], on="run")
    found = sweeps.from_points(table, roles)
    if len(found.strengths) < 2:
        raise DataError(f"a sweep needs two values of {label!r}, found {list(found.strengths)}")
    return found


def curves(sweep: Sweep) -> list[Curve]:
    """Curves of every seed that has at least one strength with all values."""
    found = []
    for k in range(len(sweep.seeds)):
        mine = {role: values[k] for role, values in sweep.values.items()}
        known = np.flatnonzero(np.all([np.isfinite(v) for v in mine.values()], axis=0))
        if len(known):
            at = {role: v[known] for role, v in mine.items()}
            found.append(Curve(sweep.strengths[known], known, at, first(known == _peak_of_others(sweep, k))))
    return found


def others(sweep: Sweep, seed: int) -> list[int]:
    """Positions of the other seeds than that at position `seed`; itself where there is no other."""
    return [k for k in range(len(sweep.seeds)) if k != seed] or [seed]


def _peak_of_others(sweep: Sweep, seed: int) -> int:
    """Index of the highest mean alignment of the other seeds; -1 where there is no alignment."""
    if "alignment" not in sweep.values:
        return -1
    mean = sweeps.over_seeds(sweep.values["alignment"][others(sweep, seed)])[0]
    return int(np.nanargmax(mean)) if np.isfinite(mean).any() else -1


def judge(
    label: str,
    sweep: Sweep,
    statistic: Statistic | Callable[[Sweep], Sequence[float]],
    lacking: str,
    above: float | None = None,
    below: float | None = None,
    *,
    strict: bool = False,
    percent: bool = False,
    paired: bool = False,
) -> Verdict:
    """The verdict on "the mean over seeds of the statistic lies above `above` and below `below`".

    lacking: what is not there in a seed that FAILS, as text; strict: as in `statistics.judge_interval`;
    percent: the effect is one of fractions; paired: the statistic takes the whole sweep and returns the
    samples of all seeds, since that of one seed depends on the others.
    """

    def samples(of: Sweep) -> Sequence[float]:
        return statistic(of) if paired else [statistic(curve) for curve in curves(of)]

    found, failed = _estimate(label, samples(sweep), percent)
    notes = _notes(sweep)
    if sweep.diverged.any():
        without, lost = _estimate(label, samples(sweep.without_diverged()), percent)
        notes += (f"without them {effects.show(without)}" + f", {lacking} in {lost} seeds" * bool(lost),)
    reason = "; ".join([found.how, *notes])
    if not failed or found.n_seeds < MIN_SEEDS:
        word = statistics.judge_interval(found.interval, above, below, strict)
    else:
        word = CONTRADICTED if failed == found.n_seeds else INCONCLUSIVE
    reason = f"{lacking} in {failed} of {found.n_seeds} seeds; {reason}" if failed else reason
    return Verdict(word, found.effect, found.interval, found.n_seeds, effects.show(found), reason)


def _estimate(label: str, samples: Sequence[float], percent: bool) -> tuple[effects.Estimate, int]:
    """(effect of the seeds that have one, number of seeds that fail); n_seeds counts both."""
    values = np.array([x for x in samples if math.isfinite(x)])
    failed = sum(map(math.isinf, samples))
    n, unknown = len(values) + failed, sum(map(math.isnan, samples))
    how = f"each of {n} seeds" if n >= MIN_SEEDS else f"{n} seed{'s' * (n != 1)}, {MIN_SEEDS} are needed"
    how += f", {unknown} more cannot say" * bool(unknown)
    effect, interval = (float(values.mean()) if len(values) else None), None
    if len(values) >= MIN_SEEDS and not failed:
        effect, interval = statistics.t_interval(values)
    return effects.Estimate(label, effect, interval, n, how, percent=percent), failed


def _notes(sweep: Sweep) -> tuple[str, ...]:
    """What a reader has to know about runs that diverged or have no value."""
    known = np.all([np.isfinite(values) for values in sweep.values.values()], axis=0)
    lost, diverged = sweep.runs - int(known.sum()), int(sweep.diverged.sum())
    found = [f"{lost} of {sweep.runs} runs without a finite value, left out"] * bool(lost)
    return (*found, *[f"{diverged} of {sweep.runs} diverged"] * bool(diverged))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation of values (s,); UNKNOWN for fewer than MIN_STRENGTHS, or one that is
    constant."""
    if len(x) < MIN_STRENGTHS:
        return UNKNOWN
    return float(statistics.correlation(x, y, rank=True))


def told(sweep: Sweep, places: Sequence[int | None], what: str) -> str:
    """Where a landmark is in the seeds that have it: `crossing at 0.013 to 0.024`; empty without any."""
    at = [sweep.strengths[p] for p in places if p is not None]
    if not at:
        return f"no {what}"
    return f"{what} at {min(at):g}" + (f" to {max(at):g}" if max(at) > min(at) else "")


def told_peak(sweep: Sweep) -> str:
    """Where alignment is highest in the mean over all seeds."""
    mean = sweep.mean("alignment")
    return told(sweep, [int(np.nanargmax(mean))] if np.isfinite(mean).any() else [], "peak")
