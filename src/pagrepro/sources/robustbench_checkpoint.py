"""Weights of public robust classifiers as RobustBench (Croce et al., 2021) and the authors of its models
publish them: a state dict, plain or inside a checkpoint, read without executing the file.

Every such file has its own names. How they become those of a network here is said by options; the network's
own keys and shapes are compared when the weights are loaded into it, all of them and by name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.options import Strict
from pagrepro.weights_file import read, tensors

REVISION = 1
ENTRIES = ("state_dict", "model")


class Config(Strict):
    """entry: where in the file the weights are; null: under `state_dict` or `model` if one of them is there,
    or the file is the state dict itself. prefixes: each in turn is taken off every key that begins with it.
    ignored: keys (after that) to leave out, such as a stored normalisation, whose values belong into the
    options of the model. renamed: [beginning, new beginning] pairs for what is left; the first that fits a
    key is taken, and ["", "network."] fits every key."""

    entry: str | None = None
    prefixes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


def convert(config: Config, path: Path) -> dict[str, Tensor]:
    """State dict with the names that the options lead to.

    Raises DataError when the file holds no such weights, when an option fits no key of it, and when two keys
    would become one.
    """
    weights = tensors(_inside(config, read(path), path), path)
    for prefix in config.prefixes:
        weights = _renamed(weights, [(prefix, "")], "prefixes", path)
    absent = sorted(set(config.ignored) - weights.keys())
    if absent:
        raise DataError(f"{path}: adapter option ignored: no key {absent[0]!r}; {_some(weights)}")
    weights = {key: value for key, value in weights.items() if key not in config.ignored}
    weights = _renamed(weights, config.renamed, "renamed", path)
    return {key: value.detach().clone() for key, value in weights.items()}


def _inside(config: Config, found: object, path: Path) -> object:
    """The part of a checkpoint that is the state dict."""
    there = [key for key in ENTRIES if isinstance(found, dict) and isinstance(found.get(key), dict)]
    if config.entry is None and len(there) > 1:
        raise DataError(f"{path}: weights under {' and '.join(there)}; name one of them by `entry`")
    entry = config.entry or (there[0] if there else None)
    if entry is None:
        return found
    if not isinstance(found, dict) or entry not in found:
        raise DataError(f"{path}: adapter option entry: no {entry!r} in the file")
    return found[entry]


def _renamed(
    weights: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]], option: str, path: Path
) -> dict[str, Tensor]:
    """Weights under new names: by the first pair (beginning, new beginning) that fits, or their own."""
    renamed: dict[str, Tensor] = {}
    used = set()
    for key, value in weights.items():
        pair = next((pair for pair in pairs if key.startswith(pair[0])), ("", ""))
        used.add(pair)
        name = pair[1] + key.removeprefix(pair[0])
        if name in renamed:
            raise DataError(f"{path}: adapter option {option}: two keys become {name!r}")
        renamed[name] = value
    for beginning, _ in (pair for pair in pairs if pair not in used):
        raise DataError(
            f"{path}: adapter option {option}: no key left that begins with {beginning!r}; {_some(weights)}"
        )
    return renamed


def _some(weights: Mapping[str, Tensor]) -> str:
    return f"the file's keys begin like {', '.join(sorted(weights)[:3])}"
