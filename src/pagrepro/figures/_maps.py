"""Signed maps (gradients, scores, noise) as pictures, each by a scale of its own."""

import numpy as np
from matplotlib.axes import Axes

from pagrepro.figures import _style as style
from pagrepro.signed_maps import DIVERGING, bytes_of, unit

REVISION = 1


def show(axes: Axes, image: np.ndarray, scaling: str = "max_abs") -> None:
    """One map (1 or 3, h, w): three channels as colours, one in a diverging map that is white at 0. A map
    with values that are not finite says so."""
    style.picture(axes, bytes_of(unit(image, scaling)))
    if image.shape[0] == 1:
        axes.get_images()[0].set(cmap=DIVERGING)
    if not np.isfinite(image).all():
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "not finite", fontsize=style.SMALL, **place).set_in_layout(False)
