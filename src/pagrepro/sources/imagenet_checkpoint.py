"""Public ImageNet weights of Swin transformers and ResNet-50s, under whatever names their authors saved them;
read without executing the file.

What Rodriguez-Munoz et al. (2024) start from, compare with and publish: files of the original Swin
repository, torchvision, timm, RobustBench and ARES, and whole training checkpoints. How they differ is found
from their names:

- wrappers: a prefix before every name (`module.`, `model.`, `1.`), and perhaps a normalisation beside the
  network (`normalize.mean`, `0.std`), which has to be ImageNet's;
- Swin: in the original repository and in older versions of timm a stage ends with the merging of patches
  that timm now begins the next one with, the last layer is `head` instead of `head.fc`, and tables that
  follow from the dimensions are stored (attention masks, indices of relative positions);
- ResNet-50: counters of batch normalisation, which older files lack, are 0 then; no output depends on them.

Values are never changed (timm's own filter resizes what does not fit): weights of another patch, window or
width are refused when they are loaded into the network, with the names and shapes of both. The layouts are
those of public code; the files themselves could not be had where this was written.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.options import Strict
from pagrepro.sources._inert import read_inert
from pagrepro.weights_file import tensors

REVISION = 1

ENTRIES = ("state_dict", "state_dict_ema", "model")
# A name that every such network has once.
_ANCHOR = {"swin": "patch_embed.proj.weight", "imagenet_resnet50": "layer1.0.conv1.weight"}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
NORMALISER = re.compile(r"(.*\.)?(?:new_)?(mean|std|mu|sigma)")
_STATISTIC = {"mean": "mean", "mu": "mean", "std": "std", "sigma": "std"}
FOLLOWING = (".relative_position_index", ".attn_mask")
MERGING = re.compile(r"layers\.(\d+)\.downsample\.")
VARIANCE, COUNTER = ".running_var", ".num_batches_tracked"


class Config(Strict):
    """network: the model that the weights are for. entry: where in the file they are (`state_dict_ema`: the
    moving average of a training checkpoint, `state_dict`: its last weights); null: under `state_dict`,
    `state_dict_ema` or `model` if one of them alone is there, or the file is the state dict itself."""

    network: Literal["swin", "imagenet_resnet50"]
    entry: str | None = None


def convert(config: Config, path: Path) -> dict[str, Tensor]:
    """State dict with the names of `models/swin.py` or `models/imagenet_resnet50.py`.

    Raises DataError when the file holds no such weights or more than one network, values that are neither
    float32 nor counters, a normalisation other than ImageNet's, or names that belong to neither.
    """
    anchor = _ANCHOR[config.network]
    found = tensors(_inside(config.entry, read_inert(path), path), path)
    weights = _unwrapped(found, anchor, path)
    for key, value in weights.items():
        if value.dtype not in (torch.float32, torch.int64):
            raise DataError(f"{path}: {key} is {value.dtype}, expected float32 weights and int64 counters")
    if config.network == "swin":
        named = _swin_names(weights, path)
    else:
        named = weights | _missing_counters(weights)
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in named.items()}


def _inside(entry: str | None, content: Any, path: Path) -> Any:
    """The part of a checkpoint that is the state dict."""
    content = content if isinstance(content, dict) else {}
    there = [key for key in ENTRIES if isinstance(content.get(key), dict)]
    if entry is not None:
        if entry not in content:
            raise DataError(f"{path}: adapter option entry: no {entry!r} among {_some(content)}")
        return content[entry]
    if len(there) > 1:
        raise DataError(f"{path}: weights under {' and '.join(there)}; name one of them by `entry`")
    return content[there[0]] if there else content


def _unwrapped(found: Mapping[str, Tensor], anchor: str, path: Path) -> dict[str, Tensor]:
    """The network's weights without the wrapper's prefix; what is beside them is looked at, and left out."""
    prefixes = [key.removesuffix(anchor) for key in found if key == anchor or key.endswith(f".{anchor}")]
    if len(prefixes) != 1:
        raise DataError(
            f"{path}: expected one key that ends with {anchor}, found {len(prefixes)} among {_some(found)}"
        )
    prefix, weights, unknown = prefixes[0], {}, []
    for key, value in found.items():
        normaliser = NORMALISER.fullmatch(key)
        if normaliser:
            _check_normalisation(_STATISTIC[normaliser[2]], value, key, path)
        elif key.startswith(prefix):
            weights[key.removeprefix(prefix)] = value
        else:
            unknown.append(key)
    if unknown:
        raise DataError(f"{path}: keys beside the network under {prefix!r}: {_some(unknown)}")
    return weights


def _check_normalisation(statistic: str, value: Tensor, key: str, path: Path) -> None:
    found, expected = value.detach().flatten().double(), torch.tensor(_IMAGENET[statistic]).double()
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=0, atol=1e-4):
        raise DataError(f"{path}: {key} is {found.tolist()}, ImageNet's is {list(_IMAGENET[statistic])}")


def _swin_names(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights by the names of this project's network, of either layout of timm's."""
    first, last = "layers.0.downsample.reduction.weight", ("head.weight", "head.bias")
    shift = 1 if first in weights else 0
    named: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key.endswith(FOLLOWING):
            continue
        if key in last:
            key = key.replace("head.", "head.fc.")
        key = MERGING.sub(lambda stage: f"layers.{int(stage[1]) + shift}.downsample.", key)
        name = f"network.{key}"
        if name in named:
            raise DataError(f"{path}: two keys become {name!r}")
        named[name] = value
    return named


def _missing_counters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counters of batch normalisation that the file lacks."""
    wanted = {key.removesuffix(VARIANCE) + COUNTER for key in weights if key.endswith(VARIANCE)}
    return {key: torch.zeros((), dtype=torch.int64) for key in sorted(wanted - weights.keys())}


def _some(keys: Iterable[Any]) -> str:
    shown = sorted(map(str, keys))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") or "no keys"
