"""Checkpoints of the MadryLab `robustness` library, read without executing them: its CIFAR-10 ResNet-50, and
the ImageNet ResNet-18 of Salman et al. (2020, "robust-models-transfer").

These files were saved with dill, the older ones by torch 1.1: a pickle that may call any function of any
module when it is loaded. Here only dictionaries and tensors are made from it (`_inert.py`).

Inside, under "model" (older: "state_dict"): the classifier as `module.model.<key>`, the same weights again as
`module.attacker.model.<key>`, and the normalisation as `module[.attacker].normalize[r].new_mean/new_std`. The
keys of the ResNet-18 are torchvision's.
"""

import re
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
from pagrepro.sources._inert import read_inert

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
