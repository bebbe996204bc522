"""Networks that start from a file of weights made for other classes, all but their last layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.errors import DataError

REVISION = 1


def start_from_file(network: nn.Module, adapter: Mapping[str, Any] | None, path: Path | None) -> None:
    """Fill a network from the file of a run's role `pretrained`, read by the adapter of its task's options;
    without both, leave it as it is. Raises DataError for one without the other, and as `load_pretrained`."""
    if (path is None) != (adapter is None):
        given = "inputs.pretrained" if adapter is None else "task.adapter"
        raise DataError(f"{given} without the other: pretrained weights need their file and its adapter")
    if path is not None:
        source = plugins.load("sources", adapter["name"])
        options = {key: value for key, value in adapter.items() if key != "name"}
        load_pretrained(network, source.convert(source.Config(**options), path), path)


def load_pretrained(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load all of `weights` but those of the network's `final_layer`, which keeps its own.

    Raises DataError, naming keys, unless everything else of the network is filled and nothing is left over;
    and for a network without a `final_layer`.
    """
    final = getattr(network, "final_layer", None)
    if final is None:
        raise DataError(f"{path}: {type(network).__name__} does not say which layer is new (`final_layer`)")
    own = network.state_dict()
    kept = {key: value for key, value in own.items() if key.startswith(f"{final}.")}
    given = {key: value for key, value in weights.items() if not key.startswith(f"{final}.")}
    missing, extra = sorted(own.keys() - kept.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or extra:
        raise DataError(
            f"{path} does not fit the network: missing keys {missing[:5]}, unexpected {extra[:5]}"
        )
    for key, value in given.items():
        if value.shape != own[key].shape:
            raise DataError(
                f"{path}: {key} is {tuple(value.shape)}, the network's is {tuple(own[key].shape)}"
            )
    network.load_state_dict(given | kept)
