"""Files of `torch.save` read without executing them, whatever objects they hold beside their tensors.

Training programs save more than weights: options, schedules, numbers of numpy. A pickle may call any function
of any module when it is loaded. Here it is read by an unpickler that knows dictionaries and tensors; whatever
else the file names becomes an inert placeholder, never an import.
"""

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro.errors import DataError

REVISION = 1


class Inert:
    """Stands for anything in a pickle that is not a dictionary or a tensor; accepts and forgets all."""

    def __new__(cls, *args: Any, **options: Any) -> "Inert":
        return object.__new__(Inert)

    def __init__(self, *args: Any, **options: Any):
        pass

    def __call__(self, *args: Any, **options: Any) -> "Inert":
        return Inert()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Taken, and dropped."""

    def extend(self, values: Any) -> None:
        """Taken, and dropped."""

    add = append
    update = extend


class _Unpickler(pickle._Unpickler):  # the Python one: the C one refuses to build objects of a placeholder
    """Resolves the names of tensors and ordered dictionaries; all other names are `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return _allowed().get((module, name), Inert)


def _allowed() -> dict[tuple[str, str], Any]:
    # Fresh functions for every look-up: a pickle may set attributes of what it is given.
    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        return torch._utils._rebuild_tensor(storage, offset, tuple(size), tuple(stride))

    def parameter(data: Any, *rest: Any) -> Tensor:
        if type(data) is not Tensor:
            raise pickle.UnpicklingError("a parameter without a tensor")
        return data

    def ordered(*args: Any) -> dict[Any, Any]:
        return collections.OrderedDict(*args)

    return {
        ("torch._utils", "_rebuild_tensor"): tensor,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("collections", "OrderedDict"): ordered,
    }


class _InertPickle:
    """What `torch.load` takes as `pickle_module`: it reads the file's framing and storages itself."""

    __name__ = "inert_pickle"
    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _Unpickler(file, **options).load()


def read_inert(path: Path) -> Any:
    """What a `torch.save` file holds, zip or legacy form, with everything but containers and tensors inert.

    No code named by the file is imported or called. Raises DataError for a damaged file and for TorchScript.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise DataError(f"{path}: a TorchScript archive, not a checkpoint")
    try:
        return torch.load(path, map_location="cpu", pickle_module=_InertPickle, weights_only=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # a damaged or hostile file may fail anywhere in its reading
        raise DataError(
            f"{path}: cannot be read as a torch checkpoint ({type(error).__name__}: {error})"
        ) from error
