"""Exact directions on Squares: g(x, c) = clean square of class c minus clean square of the own class.

Bigolin Lanfredi et al. (2020), section 4, "Squares": only the square changes, the noise stays. The own class
of a row is its label, so attacked examples have the direction of the example they were made from; the
direction to the own class is exactly zero.
"""

from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.options import Strict
from pagrepro.request import FieldRequest
from pagrepro.squares import clean_squares

REVISION = 1

# Axes of what is stored, for the estimate of disk space; the two templates are small beside it.
STORES = ("rows",)

# The same in every shard.
SHARED = ("templates",)


class Config(Strict):
    """No options: the size of the squares follows from that of the images."""


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """labels (n,) int64 of the rows of the shard; templates (2, 1, size, size): the clean squares.

    Raises DataError for data that are not square images of one channel and two classes.
    """
    shape = tuple(request.x.shape[1:])
    if len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2] or request.classes != 2:
        raise DataError(
            f"field square_direction: expected examples of shape (1, size, size) of 2 classes, found {shape}"
            f" of {request.classes} classes"
        )
    return {"labels": request.y[request.rows].cpu(), "templates": clean_squares(shape[1])}


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """(B, 2, 1, size, size), zero for the own class of each row; of x only kind and device count."""
    templates = tensors["templates"].to(x)
    labels = tensors["labels"][rows.to(tensors["labels"].device)].to(x.device)
    return templates - templates[labels][:, None]
