"""Which measure of gradients predicts robustness? Rank correlations over objectives.

In none of the papers. Every measure of alignment or smoothness against every measure of robustness: plain,
with clean accuracy taken out, and without the objectives that work on either of both. Correlations are
oriented: positive when both improve together (`cross_paper.py`).
"""

import numpy as np
from pydantic import Field, model_validator

from pagrepro import cross_paper
from pagrepro.artifact import TableResult
from pagrepro.cross_paper import Correlations, Estimate, Link
from pagrepro.matrix_options import Measure, Objective, check_matrix
from pagrepro.options import Strict
from pagrepro.rank_correlation import MIN_OBJECTIVES
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1

LEVEL = 0.05


class Config(Strict):
    """rows, columns: of the matrix; targets: labels of measures that are to be predicted; given: label of the
    measure whose ranks are taken out; draws: of each bootstrap; notes: printed below the table."""

    rows: tuple[Objective, ...] = Field(min_length=1)
    columns: tuple[Measure, ...] = Field(min_length=1)
    targets: tuple[str, ...] = Field(min_length=1)
    given: str
    seed: int = 0
    draws: int = Field(1000, ge=100)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _labels(self):
        check_matrix(self.rows, self.columns, *self.targets, self.given)
        return self


def draw(config: Config, context: Context) -> TableResult:
    """Long form (row: predictor; column: target, and `, <what>` for low, high, of the same objectives again,
    given, untrained, families, p) and Markdown."""
    matrix = cross_paper.read(context, config.rows, config.columns)
    found = cross_paper.links(Correlations(matrix, config.seed, config.draws), config.targets, config.given)
    long = []
    for link, adjusted in found:
        runs = matrix.runs(matrix.place(link.predictor), matrix.place(link.target))
        note = f"{link.plain.n} objectives, {runs} runs"
        note = note if np.isfinite(link.plain.rho) else f"no correlation: {_why(link.plain)}; {note}"
        for end, value in _numbers(link, adjusted).items():
            cell = cells.Cell(value, np.nan, matrix.values.shape[1], note)
            long.append(cells.long_row(link.predictor, link.target + end, None, cell, context.tier))
    tables = [_plain_table(config, found), _table(config, found, "given"), _table(config, found, "untrained")]
    titles = [
        "Plain, with p adjusted by Holm",
        f"Given {config.given}: with its ranks taken out",
        "Without the objectives that work on either of both measures",
    ]
    body = "\n\n".join(f"## {title}\n\n{table}" for title, table in zip(titles, tables, strict=True))
    notes = [*_conclusions(config, found), *config.notes]
    return TableResult(cells.long_frame(long), cells.page(context, "in none of the papers", "", body, notes))


def _numbers(link: Link, adjusted: float) -> dict[str, float]:
    """End of a column's name -> value."""
    values = {"": link.plain.rho}
    for name, estimate in (("", link.plain), ("given", link.given), ("untrained", link.untrained)):
        start = f", {name}" if name else ""
        if name:
            values[start] = estimate.rho
            values[f"{start}: objectives"] = estimate.n
        for end, value in zip(("low", "high"), estimate.objectives, strict=True):
            values[f"{start}, {end}"] = value
        for end, value in zip(("low", "high"), estimate.runs, strict=True):
            values[f"{start}, same objectives: {end}"] = value
    for end, value in zip(("lowest", "highest"), link.families, strict=True):
        values[f", without one family: {end}"] = value
    return values | {", p": link.p, ", p (Holm)": adjusted}


def _plain_table(config: Config, found: list[tuple[Link, float]]) -> str:
    lines = {}
    for link, adjusted in found:
        text = _estimate(link.plain)
        if np.isfinite(link.plain.rho):
            text += f", p {_p(adjusted)}"
        lines.setdefault(link.predictor, [link.predictor]).append(text)
    return cells.markdown(["", *config.targets], list(lines.values()))


def _table(config: Config, found: list[tuple[Link, float]], which: str) -> str:
    lines = {}
    for link, _ in found:
        estimate = getattr(link, which)
        count = f" ({estimate.n})" if which == "untrained" and np.isfinite(estimate.rho) else ""
        lines.setdefault(link.predictor, [link.predictor]).append(_estimate(estimate) + count)
    return cells.markdown(["", *config.targets], list(lines.values()))


def _estimate(estimate: Estimate) -> str:
    if not np.isfinite(estimate.rho):
        return f"– ({_why(estimate)})"
    low, high = estimate.objectives
    text = f"{estimate.rho:.2f} [{low:.2f}, {high:.2f}]"
    return f"**{text}**" if estimate.sure else text


def _why(estimate: Estimate) -> str:
    few = estimate.n < MIN_OBJECTIVES
    return f"{estimate.n} objectives, too few" if few else "the same rank everywhere, or nothing left"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _conclusions(config: Config, found: list[tuple[Link, float]]) -> list[str]:
    """What the numbers allow to say, in words made from them."""
    known = [(link, adjusted) for link, adjusted in found if np.isfinite(link.plain.rho)]
    if not known:
        return ["No correlation could be computed."]
    sure = [link for link, _ in known if link.plain.sure]
    kept = [link for link, adjusted in known if adjusted <= LEVEL]
    widest = max((link for link, _ in known), key=lambda link: np.ptp(link.plain.objectives))
    low, high = widest.plain.objectives
    n = sorted({link.plain.n for link, _ in known})
    over = f"{n[0]} to {n[-1]}" if len(n) > 1 else f"{n[0]}"
    count = f"{len(known)} correlations" if len(known) > 1 else "1 correlation"
    lines = [
        f"{count} over {over} objectives. In bold: the 95 % interval by bootstrap over objectives leaves out"
        f" 0 ({len(sure)} of {len(known)}; with nothing behind any of them one would expect some"
        f" {0.05 * len(known):.0f}).",
        f"After Holm's adjustment for all {len(known)}, p is at most {LEVEL} for: {_named(kept)}.",
        f"The widest interval: {widest.predictor} and {widest.target}, {low:.2f} to {high:.2f}.",
        f"Interval away from 0 given {config.given}: {_named(_sure(known, 'given'))}.",
        "Interval away from 0 without the objectives that work on either measure:"
        f" {_named(_sure(known, 'untrained'))}.",
    ]
    turned = [link for link in sure if link.families[0] < 0 < link.families[1]]
    if turned:
        lines.append(f"In bold, but of the other sign without one family of objectives: {_named(turned)}.")
    return lines


def _sure(known: list[tuple[Link, float]], which: str) -> list[Link]:
    return [link for link, _ in known if getattr(link, which).sure]


def _named(links: list[Link]) -> str:
    """`alpha_dx (PGD Linf, eps50 Linf); curvature (PGD Linf)`."""
    by_predictor: dict[str, list[str]] = {}
    for link in links:
        by_predictor.setdefault(link.predictor, []).append(link.target)
    return "; ".join(f"{name} ({', '.join(targets)})" for name, targets in by_predictor.items()) or "none"
