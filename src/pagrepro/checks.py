"""Checks at the border of attacks and measurements: mis-scaled inputs are an error, not a result."""

from torch import Tensor

from pagrepro.errors import RangeError

REVISION = 1

# Rounding of uint8/255 and of interpolation; far below any pixel step (1/255).
TOLERANCE = 1e-6


def check_range(x: Tensor, low: float | None, high: float | None, what: str = "inputs") -> None:
    """Raise RangeError unless x (any shape) is floating point, finite, and within [low, high].

    low, high: range of the data set; None means unbounded on that side. The message gives the observed
    range, so that images in [0, 255] or already normalised ones are recognised at once. One
    synchronisation on a GPU.
    """
    if not x.is_floating_point():
        raise RangeError(f"{what}: expected floating point values in [{low}, {high}], found {x.dtype}")
    if x.numel() == 0:
        return
    smallest, largest = (float(value) for value in x.detach().aminmax())
    # Written so that a NaN, for which every comparison is false, is outside.
    inside_low = smallest >= (float("-inf") if low is None else low - TOLERANCE)
    inside_high = largest <= (float("inf") if high is None else high + TOLERANCE)
    infinite = float("inf") in (-smallest, largest)
    if not (inside_low and inside_high) or infinite:
        raise RangeError(
            f"{what}: values in [{smallest:.6g}, {largest:.6g}], expected within [{low}, {high}]."
            " Images live in [0, 1] outside of models; normalisation is the model's first layer."
        )
