"""Images in the data's own range, signed images, and which run of a group is shown."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes

from pagrepro.errors import DataError
from pagrepro.figures import _style as style
from pagrepro.results import Context, Result
from pagrepro.signed_maps import DIVERGING

REVISION = 1


def one(context: Context, group: str, evaluation: str, seed: int | None) -> tuple[Result | None, str]:
    """(result of the run with this seed, ""), or (None, why there is none; "" while it is unfinished).

    Without a seed, or where no run has it, the first run of the group.
    """
    reason = context.reason(group, evaluation)
    results = [] if reason else context.results(group, evaluation)
    chosen = [r for r in results if r.seed == seed] or results
    return (chosen[0] if chosen else None), reason or ""


def of_run(context: Context, run: Result, evaluation: str) -> Result | None:
    """Another measurement of a run that is shown; None while it is unfinished."""
    return next((r for r in context.results(run.group, evaluation) if r.run == run.run), None)


def reason_of_all(context: Context, groups: Iterable[str], evaluations: Sequence[str]) -> str | None:
    """Why none of the groups has all of these measurements; None if one has. For rows that are empty."""
    reasons = [
        next(filter(None, (context.reason(group, name) for name in evaluations)), None) for group in groups
    ]
    return reasons[0] if reasons and all(reasons) else None


def titled(context: Context, label: str, groups: Sequence[str]) -> str:
    """The label, and below it the data really used."""
    found = dict.fromkeys(g.dataset for g in map(context.group, groups) if g.runs)
    return "\n".join([label, *(f"({dataset})" for dataset in found if dataset != label)])


def scaled(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Floats (1 or 3, h, w) in [low, high] as uint8; what lies outside is clipped. Raises DataError."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise DataError(f"expected images (1 or 3, height, width), found {image.shape}")
    unit = (np.asarray(image, float) - low) / (high - low)
    return np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def signed(axes: Axes, image: np.ndarray, limit: float) -> None:
    """Floats (1 or 3, h, w) in [-limit, limit]: one channel in a diverging map, three as (image + 1) / 2."""
    unit = np.asarray(image, float) / (limit if limit > 0 else 1.0)
    if image.shape[0] == 1:
        style.picture(axes, scaled(unit, -1, 1))
        axes.get_images()[0].set(cmap=DIVERGING)
    else:
        style.picture(axes, scaled(unit, -1, 1))


def largest(images: np.ndarray) -> float:
    """Largest absolute value; 0 where there is none."""
    finite = np.abs(images[np.isfinite(images)])
    return float(finite.max()) if finite.size else 0.0


def side_label(axes: Axes, text: str) -> None:
    """Name of a row, upright at its left."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6)
