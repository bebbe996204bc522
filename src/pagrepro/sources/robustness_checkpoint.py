"""Checkpoints of the MadryLab `robustness` library, read without executing them: its CIFAR-10 ResNet-50, and
the ImageNet ResNet-18 of Salman et al. (2020, "robust-models-transfer").

These files were saved with dill, the older ones by torch 1.1: a pickle that may call any function of any
module when it is loaded. Here it is read by an unpickler that knows dictionaries and tensors; whatever else
the file names becomes an inert placeholder, never an import.

Inside, under "model" (older: "state_dict"): the classifier as `module.model.<key>`, the same weights again as
`module.attacker.model.<key>`, and the normalisation as `module[.attacker].normalize[r].new_mean/new_std`. The
keys of the ResNet-18 are torchvision's.
"""

import collections
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.models import resnet18, resnet50
from pagrepro.options import Strict
from pagrepro.sources._compare import check_weights

REVISION = 1

CLASSIFIER = "module.model."
COPY = "module.attacker.model."
NORMALISER = re.compile(r"module\.(attacker\.)?normalizer?\.(new_mean|new_std)")


class Config(Strict):
    """network: `models/resnet50.py` for the 10 classes of CIFAR-10, or `models/resnet18.py` for the 1,000 of
    ImageNet; both with their default normalisation."""

    network: Literal["cifar_resnet50", "imagenet_resnet18"] = "cifar_resnet50"


@dataclass(frozen=True)
class Network:
    """A network that weights are for. prefix: what its names of weights have before those in the file."""

    label: str
    model: ModuleType
    shape: tuple[int, ...]
    classes: int
    prefix: str = ""


NETWORKS = {
    "cifar_resnet50": Network("ResNet-50", resnet50, (3, 32, 32), 10),
    "imagenet_resnet18": Network("ResNet-18", resnet18, (3, 224, 224), 1000, "network."),
}


def convert(config: Config, path: Path) -> dict[str, Tensor]:
    """State dict of the network (see `Config`) from a checkpoint file.

    Raises DataError when the file is not such a checkpoint: another structure, values that are not tensors,
    keys or shapes other than the network's, a second copy that differs, or another normalisation.
    """
    weights = _state_dict(read_inert(path), path)
    classifier = {k.removeprefix(CLASSIFIER): v for k, v in weights.items() if k.startswith(CLASSIFIER)}
    copy = {k.removeprefix(COPY): v for k, v in weights.items() if k.startswith(COPY)}
    normaliser = {k: v for k, v in weights.items() if NORMALISER.fullmatch(k)}
    rest = len(weights) - len(classifier) - len(copy) - len(normaliser)
    if rest:
        known = [*normaliser, *(CLASSIFIER + k for k in classifier), *(COPY + k for k in copy)]
        raise DataError(f"{path}: {rest} unknown keys, among them {sorted(set(weights) - set(known))[:5]}")
    if copy and not (
        copy.keys() == classifier.keys() and all(torch.equal(copy[k], classifier[k]) for k in copy)
    ):
        raise DataError(f"{path}: the attacker's copy of the classifier differs from the classifier")
    return _checked(NETWORKS[config.network], classifier, normaliser, path)


def _state_dict(checkpoint: Any, path: Path) -> dict[str, Tensor]:
    """The dictionary of tensors inside a checkpoint."""
    found = checkpoint if isinstance(checkpoint, dict) else {}
    weights = found.get("model", found.get("state_dict"))
    if not isinstance(weights, dict) or not weights:
        raise DataError(f"{path}: no dictionary of weights under 'model' or 'state_dict'")
    for key, value in weights.items():
        if not isinstance(key, str) or type(value) is not Tensor:
            raise DataError(f"{path}: entry {key!r} of the weights is {type(value).__name__}, not a tensor")
    return weights


def _checked(
    network: Network, classifier: dict[str, Tensor], normaliser: dict[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The state dict, after its keys, shapes and normalisation were compared with the network's."""
    options = network.model.Config()
    found = {network.prefix + key: value for key, value in classifier.items()}
    with torch.device("meta"):  # names and shapes are all that is needed
        wanted = network.model.build(options, network.shape, network.classes).state_dict()
    check_weights(found, wanted, path, network.label)
    for key, value in normaliser.items():
        expected = torch.tensor(options.mean if key.endswith("new_mean") else options.std)
        stored = value.flatten().float()
        if stored.shape != expected.shape or not torch.allclose(stored, expected, rtol=0, atol=1e-4):
            raise DataError(f"{path}: {key} is {stored.tolist()}, the network's is {expected.tolist()}")
    return {key: value.clone(memory_format=torch.contiguous_format) for key, value in found.items()}


# --- reading without executing ---------------------------------------------------------------


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
        pass

    def extend(self, values: Any) -> None:
        pass

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
