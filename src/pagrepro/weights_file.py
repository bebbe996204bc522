"""Files of weights that torch's own restricted loader reads: tensors, containers and numbers, no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro.errors import DataError

REVISION = 1


def read(path: Path) -> Any:
    """What a file of `torch.save` holds, on the CPU. Raises DataError where there is none, where it is
    damaged, and where it wants anything but tensors, containers and numbers to be made."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # a damaged or hostile file may fail anywhere in its reading
        raise DataError(
            f"{path}: cannot be read as a file of weights ({type(error).__name__}: {error})"
        ) from error


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The dictionary of tensors in a file. Raises DataError as `read`, and for a file of another form."""
    return tensors(read(path), path)


def tensors(found: Any, path: Path) -> Mapping[str, Tensor]:
    """What was found in a file, if it is a dictionary of tensors by name; DataError otherwise."""
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    ):
        raise DataError(f"{path}: not a dictionary of tensors")
    return found
