"""Coordinates in which an input gradient is taken: those of the data, or those behind the normalisation.

Rodriguez-Munoz et al. (2024), section 4.1: their public code differentiates with respect to the normalised
image z = (x - mean) / std. As x = mean + std z, the gradient there is std times that of x, by channel.
"""

from typing import Literal

from torch import Tensor, nn

from pagrepro.errors import DataError

REVISION = 1

Space = Literal["data", "normalized"]


def in_space(model: nn.Module, gradients: Tensor, space: Space) -> Tensor:
    """Gradients (..., C, H, W) with respect to x, in the coordinates of `space`. Raises DataError for the
    normalised ones of a model that does not normalise."""
    return gradients if space == "data" else gradients * _normalize(model).std.to(gradients)


def images_in_space(model: nn.Module, x: Tensor, space: Space) -> Tensor:
    """Images (B, C, H, W) in the coordinates of `space`; errors as above."""
    return x if space == "data" else _normalize(model)(x)


def _normalize(model: nn.Module) -> nn.Module:
    if not hasattr(model, "normalize"):
        raise DataError(
            f"objective option space: normalized; {type(model).__name__} has no normalisation, take data"
        )
    return model.normalize
