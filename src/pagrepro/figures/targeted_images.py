"""Images that a large-eps targeted attack makes towards every class, one row per model.

Ganz et al. (2022), Figures 1 and 4: models with perceptually aligned gradients put features of the target
into the image, others add noise.
"""

from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.figures import _images as images
from pagrepro.figures import _style as style
from pagrepro.options import Strict
from pagrepro.results import Context

REVISION = 1

NUMBERS = False


class Row(Strict):
    """A group, and how the figure calls it."""

    label: str
    group: str


class Config(Strict):
    """evaluation: of the kind targeted_images; image: places in that evaluation's split, drawn below each
    other; seed: whose images; classes: names of the columns, else their numbers."""

    rows: tuple[Row, ...] = Field(min_length=1)
    evaluation: str = "targeted_images"
    image: tuple[int, ...] = (0,)
    seed: int = 0
    classes: tuple[str, ...] = ()


def draw(config: Config, context: Context) -> FigureResult:
    """Rows: groups (for every image); columns: the original and one image per target class."""
    count = images.columns_in(context, [row.group for row in config.rows], config.evaluation) + 1
    height = len(config.rows) * len(config.image)
    figure = style.figure(0.72 * count + 1.0, 0.76 * height + 0.6)
    grid = figure.subplots(height, count, squeeze=False)
    titled = False
    for block, image in enumerate(config.image):
        for place, row in enumerate(config.rows):
            axes = grid[block * len(config.rows) + place]
            reason = context.reason(row.group, config.evaluation)
            result = (
                None if reason else images.one(context.results(row.group, config.evaluation), config.seed)
            )
            if result is None:
                images.empty_row(axes, row.label, reason)
                continue
            images.row(axes, result, image, config.classes, title=not titled)
            titled = True
            diverged = "\ndiverged" if result.diverged else ""
            axes[0].set_ylabel(row.label + diverged, rotation=0, ha="right", va="center")
    figure.supxlabel(images.LEGEND, fontsize=style.SMALL)
    return FigureResult(figure)
