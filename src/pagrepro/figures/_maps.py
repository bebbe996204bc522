"""Signed maps (gradients, scores, noise) as pictures, each by a scale of its own."""

import numpy as np
from matplotlib.axes import Axes

from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style

REVISION = 1

STANDARD_DEVIATIONS = 3
QUANTILE = 0.99


def unit(image: np.ndarray, scaling: str) -> np.ndarray:
    """A map (channels, h, w) within [-1, 1]; one without a scale becomes zeros.

    scaling: "max_abs", divided by its largest magnitude; "three_std", clipped at three standard
    deviations of all its values, and divided by them; "quantile", likewise with the 0.99 quantile of
    magnitudes (the largest, where that is 0). Values that are not finite become 0.
    """
    image = np.nan_to_num(np.asarray(image, float), nan=0.0, posinf=0.0, neginf=0.0)
    limit = np.abs(image).max()
    if scaling == "three_std":
        limit = STANDARD_DEVIATIONS * image.std()
    elif scaling == "quantile":
        limit = np.quantile(np.abs(image), QUANTILE) or limit
    return np.clip(image / limit, -1, 1) if limit > 0 else np.zeros_like(image)


def bytes_of(image: np.ndarray) -> np.ndarray:
    """Values v in [-1, 1] as uint8, 127.5 v + 128 without its decimals: 0 is grey, 128."""
    return np.clip(np.floor(127.5 * image + 128), 0, 255).astype(np.uint8)


def show(axes: Axes, image: np.ndarray, scaling: str = "max_abs") -> None:
    """One map (1 or 3, h, w): three channels as colours, one in a diverging map that is white at 0. A map
    with values that are not finite says so."""
    style.picture(axes, bytes_of(unit(image, scaling)))
    if image.shape[0] == 1:
        axes.get_images()[0].set(cmap=pictures.DIVERGING)
    if not np.isfinite(image).all():
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "not finite", fontsize=5, **place).set_in_layout(False)
