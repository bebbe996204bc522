"""Comparison of foreign weights with the network that they are for."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pagrepro.errors import DataError

REVISION = 1


def check_weights(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, network: str
) -> None:
    """Raise DataError, naming the first differences, unless both have the same keys, shapes and types.

    wanted: state dict of the network, on any device (names and shapes are all that is looked at); network:
    what it is called in the message.
    """
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        raise DataError(
            f"{path}: not this {network}; missing keys {missing[:5]}, unexpected keys {extra[:5]}"
        )
    for key, value in found.items():
        if value.shape != wanted[key].shape or value.dtype != wanted[key].dtype:
            raise DataError(
                f"{path}: {key} is {value.dtype} {tuple(value.shape)},"
                f" expected {wanted[key].dtype} {tuple(wanted[key].shape)}"
            )
