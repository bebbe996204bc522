"""Input gradients of the runs of a sweep, from weak to strong regularisation, beside image and score.

Srinivas et al. (2023), Figures 1, 5 and 7 to 11. The runs are columns (one line per image: Figures 1 and
5, with the similarity of gradient and score above each gradient) or rows (one column per image: Figures 7
to 11). A map is divided by its largest magnitude, or clipped at three standard deviations; one channel is
shown in a diverging map, three as (127.5 v + 128).
"""

import textwrap
from typing import Annotated, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from pydantic import Field

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _maps as maps
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _runs as runs
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Source(Strict):
    """evaluation: of the kind gradient_maps; label: how its scores are called."""

    evaluation: str
    label: str


class Runs(Strict):
    """group: its runs, in order of their label `strength` and, of each strength, one; strengths, indices:
    only the runs with these (labels `strength`, `index`), else every n-th, n = `every`; label: what
    stands before a strength, or the name of a single run."""

    group: str
    label: str = ""
    strengths: tuple[Number, ...] = ()
    indices: tuple[int, ...] = ()
    every: Annotated[int, Field(ge=1)] = 1


class Panel(Strict):
    """images: places in the evaluation's split, or how many of the first; headings: over equal parts of
    the gradients, where runs are columns; evaluations: in place of the figure's; low, high: range of the
    images."""

    label: str
    runs: Annotated[tuple[Runs, ...], Field(min_length=1)]
    images: int | tuple[int, ...] = 1
    headings: tuple[str, ...] = ()
    evaluations: tuple[Source, ...] = ()
    low: Number = 0
    high: Number = 1


class Config(Strict):
    """runs_are: columns or rows; evaluations: the first one that a panel's runs have is shown; seed:
    whose gradients, else the first there are; scaling: of gradients and scores; numbers: the similarity
    above each gradient, where there is one; scores: show them."""

    panels: Annotated[tuple[Panel, ...], Field(min_length=1)]
    evaluations: Annotated[tuple[Source, ...], Field(min_length=1)]
    runs_are: Literal["columns", "rows"] = "columns"
    seed: int | None = None
    scaling: Literal["max_abs", "three_std"] = "max_abs"
    numbers: bool = True
    scores: bool = True


SIZE = 0.72


def draw(config: Config, context: Context) -> FigureResult:
    """Panels below each other. A panel without any result is a grey box that says why."""
    chosen = [_chosen(config, context, panel) for panel in config.panels]
    sizes = [_size(config, *found) for found in zip(config.panels, chosen, strict=True)]
    width = max(wide for wide, _ in sizes)
    figure = style.figure(width, sum(high for _, high in sizes))
    parts = figure.subfigures(len(sizes), 1, squeeze=False, height_ratios=[high for _, high in sizes])[:, 0]
    for part, panel, (source, cells, reason) in zip(parts, config.panels, chosen, strict=True):
        groups = [selection.group for selection in panel.runs]
        title = pictures.titled(context, panel.label, groups).replace("\n", " ")
        part.suptitle(title, fontsize=8)
        if not any(cell.result for cell in cells):
            style.unavailable(part.subplots(), reason, wide=int(16 * width))
        else:
            _Drawing(config, panel, source.label, cells).on(part)
    return FigureResult(figure)


def _chosen(config: Config, context: Context, panel: Panel) -> tuple[Source, list[runs.Cell], str]:
    """What is shown of a panel: the evaluation, its runs, and why there are none."""
    groups = [selection.group for selection in panel.runs]
    sources = panel.evaluations or config.evaluations
    reasons = [pictures.reason_of_all(context, groups, [s.evaluation]) for s in sources]
    place = next((n for n, reason in enumerate(reasons) if reason is None), 0)
    source = sources[place]
    cells = [
        cell
        for selection in panel.runs
        for cell in runs.select(
            context, selection.group, source.evaluation, label=selection.label, seed=config.seed,
            strengths=selection.strengths, indices=selection.indices, every=selection.every,
        )
    ]  # fmt: skip
    return source, cells, reasons[place] or ""


def _size(config: Config, panel: Panel, found: tuple[Source, list[runs.Cell], str]) -> tuple[float, float]:
    """Width and height in inches."""
    cells = found[1]
    if not any(cell.result for cell in cells):
        return 3.5, 1.1
    first = 1 + config.scores
    images = len(_places(panel, next(cell.result for cell in cells if cell.result)))
    across, down = first + len(cells), images
    if config.runs_are == "rows":
        return SIZE * images + 1.2, SIZE * across + 0.4
    number = 0.16 * config.numbers
    return SIZE * across + 0.3, (SIZE + number) * down + 0.6 + 0.25 * bool(panel.headings)


def _places(panel: Panel, result: Result) -> list[int]:
    """Places of the images. Raises DataError for one that is not there."""
    count = len(result.array("images"))
    wanted = list(range(panel.images)) if isinstance(panel.images, int) else list(panel.images)
    if not wanted or not all(0 <= place < count for place in wanted):
        raise DataError(f"{result.run}: images {wanted}; there are {count}, counted from 0")
    return wanted


class _Drawing:
    """One panel that has results: a grid of (images) x (image, score, gradients), or the same turned."""

    def __init__(self, config: Config, panel: Panel, score: str, cells: list[runs.Cell]):
        self.config, self.panel, self.cells = config, panel, cells
        self.results = [cell.result for cell in cells if cell.result]
        self.places = _places(panel, self.results[0])
        images = self.results[0].array("images")
        if not all(np.array_equal(result.array("images"), images) for result in self.results):
            raise DataError(f"{panel.label}: its runs were measured on different images")
        self.images = images[self.places]
        self.scores = self._scores() if config.scores else None
        names = ["image", *([score] if config.scores else [])]
        self.names = [*names, *(cell.name for cell in cells)]

    def _scores(self) -> np.ndarray | None:
        first = self.results[0]
        return first.array("scores")[self.places] if "scores" in first.arrays else None

    def on(self, part: SubFigure) -> None:
        grid = self._grid(part)
        for name, line in zip(self.names, grid, strict=True):
            if self.config.runs_are == "rows":
                pictures.side_label(line[0], name)
            else:
                line[0].set_title(textwrap.fill(name, 14, replace_whitespace=False), fontsize=7)
        for axes, image in zip(grid[0], self.images, strict=True):
            style.picture(axes, pictures.scaled(image, self.panel.low, self.panel.high))
        first = 1
        if self.config.scores:
            first = 2
            for place, axes in enumerate(grid[1]):
                if self.scores is None:
                    axes.set(xticks=[], yticks=[])
                    axes.text(0.5, 0.5, "no score", ha="center", va="center", fontsize=style.SMALL)
                else:
                    maps.show(axes, self.scores[place], self.config.scaling)
        for cell, line in zip(self.cells, grid[first:], strict=True):
            self._gradients(cell, line)

    def _grid(self, part: SubFigure) -> np.ndarray:
        """Axes, (image, score, gradients) first and images second, whichever way they lie."""
        across, down = len(self.names), len(self.places)
        if self.config.runs_are == "rows":
            return part.subplots(across, down, squeeze=False)
        headings = self.panel.headings
        if not headings:
            return part.subplots(down, across, squeeze=False).T
        spec = part.add_gridspec(down + 1, across, height_ratios=[0.18] + [1] * down)
        columns = np.array_split(np.arange(across - len(self.cells), across), len(headings))
        for text, part_of in zip(headings, columns, strict=True):
            if len(part_of):
                _heading(part.add_subplot(spec[0, part_of[0] : part_of[-1] + 1]), text)
        return np.array(
            [[part.add_subplot(spec[1 + row, column]) for row in range(down)] for column in range(across)]
        )

    def _gradients(self, cell: runs.Cell, line: np.ndarray) -> None:
        if cell.result is None:
            for axes in line:
                style.unavailable(axes, cell.reason, wide=16)
            return
        gradients = cell.result.array("gradients")
        similarity = None
        if self.config.numbers and self.config.runs_are == "columns" and "similarity" in cell.result.arrays:
            similarity = cell.result.array("similarity")
        for axes, place in zip(line, self.places, strict=True):
            maps.show(axes, gradients[place], self.config.scaling)
            if similarity is not None:
                name = f"{axes.get_title()}\n" if axes.get_title() else ""
                axes.set_title(f"{name}{similarity[place]:.2f}", fontsize=7)


def _heading(axes: Axes, text: str) -> None:
    """Words over a line that reaches over some columns."""
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    axes.plot([0.03, 0.97], [0.05, 0.05], color=palette.GREY, lw=1, clip_on=False)
    axes.text(0.5, 0.2, text, ha="center", va="bottom", fontsize=8)
