"""Images, and random noise on and off the data manifold at each of them.

Srinivas et al. (2023), Figure 6: noise of Gaussian vectors projected to the tangent space of an
autoencoder, and what is left of it. Every picture is divided by its own largest magnitude. Below stands
how good the autoencoder is, without which the pictures say nothing.
"""

from typing import Annotated

import numpy as np
from matplotlib.figure import SubFigure
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.figures import _maps as maps
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Config(Strict):
    """evaluation: of the kind manifold_noise, of an autoencoder; side: of the three grids, in images;
    seed: whose autoencoder, else the first there is; low, high: range of the images."""

    group: str
    evaluation: str = "manifold_noise"
    side: Annotated[int, Field(ge=1)] = 5
    seed: int | None = None
    low: Number = 0
    high: Number = 1


SIZE = 0.42
# All of two lines, so that the grids are level.
_TITLES = {
    "images": "images\n",
    "on": "random noise\non the manifold",
    "off": "random noise\noff the manifold",
}


def draw(config: Config, context: Context) -> FigureResult:
    """Three grids of side x side; the first side^2 stored examples, fewer where there are not so many."""
    result, reason = pictures.one(context, config.group, config.evaluation, config.seed)
    if result is None:
        figure = style.figure(6, 2)
        style.unavailable(figure.subplots(), reason, wide=80)
        return FigureResult(figure)
    wide = SIZE * config.side
    figure = style.figure(max(3 * (wide + 0.3), 4.5), wide + 1.0)
    figure.suptitle(result.dataset, fontsize=8)
    parts = figure.subfigures(1, len(_TITLES), wspace=0.06)
    for part, (name, title) in zip(parts, _TITLES.items(), strict=True):
        _grid(part, config, name, title, result.array(name))
    figure.supxlabel(_caption(result), fontsize=7)
    return FigureResult(figure)


def _grid(part: SubFigure, config: Config, name: str, title: str, stored: np.ndarray) -> None:
    part.suptitle(title, fontsize=8)
    places = part.subplots(config.side, config.side, squeeze=False, gridspec_kw={"wspace": 0, "hspace": 0})
    for axes in places.flat:
        axes.set_axis_off()
    for axes, image in zip(places.flat, stored):
        axes.set_axis_on()
        if name == "images":
            style.picture(axes, pictures.scaled(image, config.low, config.high))
        else:
            maps.show(axes, image)


def _caption(result: Result) -> str:
    """`latent 128, tangent rank 128.0, reconstruction error 0.05 per pixel (9.3 % of the image)`."""
    latent, rank = result.value("latent"), result.value("rank")
    error, share = result.value("reconstruction"), result.value("relative_error")
    diverged = ", diverged" if result.diverged else ""
    return (
        f"latent {latent:g}, tangent rank {rank:.1f}, reconstruction error {error:.3g} per pixel"
        f" ({100 * share:.1f} % of the image){diverged}"
    )
