"""Finished runs and fields, ready to use: the public way to get at them, for jobs and notebooks.

`load_run(Layout(Path("results/demo")), "digits_plain_s0").model` is the network, frozen and in eval mode.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.errors import StateError
from pagrepro.layout import Layout
from pagrepro.request import Loaded, LoadedField, LoadedResult, LoadedRun
from pagrepro.storage import load_tensors, read_json

REVISION = 1


def freeze(network: nn.Module) -> nn.Module:
    """The network in eval mode, its parameters without gradients."""
    return network.eval().requires_grad_(False)


def build_network(task: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Untrained network of a resolved `task`, of the form its saved weights have."""
    module = plugins.load("tasks", task["name"])
    config = module.Config(**{key: value for key, value in task.items() if key != "name"})
    return module.network(config, shape, classes)


def _checked(sidecar: Path, what: str, expected_hash: str | None) -> dict[str, Any]:
    found = read_json(sidecar)
    if expected_hash is not None and found["spec_hash"] != expected_hash:
        raise StateError(
            f"{sidecar}: this {what} is of spec {found['spec_hash']}, but spec {expected_hash} is wanted\n"
            f"  delete {sidecar.parent} and make the {what} again"
        )
    return found


def load_run(
    layout: Layout,
    name: str,
    weights: str = "final",
    device: torch.device | str = "cpu",
    expected_hash: str | None = None,
) -> LoadedRun:
    """A finished run's network, in eval mode with frozen parameters.

    weights: "final", "ema", "best" or "epoch:<n>". With `expected_hash`, the spec hash its `run.json` must
    have. Raises StateError when the run is not finished, was made from another spec, or its weights do not
    fit its network.
    """
    record = _checked(layout.run_json(name), "run", expected_hash)
    spec, path = record["spec"], layout.weights(name, weights)
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in layout.run_folder(name).glob("*.safetensors")))
        raise StateError(f"run {name} has no weights {weights!r} ({path}); there are: {there}")
    # Building draws initial weights; the caller's random numbers must not depend on whether it loads a run.
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec["task"], tuple(spec["dataset"]["shape"]), spec["dataset"]["classes"])
    try:
        network.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise StateError(f"{path} does not fit the network of its run: {error}") from None
    return LoadedRun(name, freeze(network.to(device)), spec)


def load_field(
    layout: Layout, name: str, device: torch.device | str = "cpu", expected_hash: str | None = None
) -> LoadedField:
    """A finished field, its shards joined. On the CPU a field of one shard is mapped, not read.

    Tensors are joined along their first axis (rows of the split), but for those the field's module lists
    in `SHARED`: they are the same in every shard and taken from the first.
    """
    record = _checked(layout.field_json(name), "field", expected_hash)
    spec = record["spec"]
    shards = [load_tensors(layout.field_shard(name, k)) for k in range(spec["shards"])]
    return joined_field(name, spec, shards, device)


def joined_field(
    name: str, spec: dict[str, Any], shards: list[dict[str, Tensor]], device: torch.device | str
) -> LoadedField:
    """A field from the tensors of its shards, in their order (as `load_field`, without files)."""
    module = plugins.load("fields", spec["field"]["name"])
    config = module.Config(**{key: value for key, value in spec["field"].items() if key != "name"})
    tensors = _joined(shards, getattr(module, "SHARED", ()))
    tensors = {key: tensor.to(device) for key, tensor in tensors.items()}

    def read(rows: Tensor, x: Tensor) -> Tensor:
        return module.read(config, tensors, rows, x)

    return LoadedField(name, read, spec)


def load_result(layout: Layout, run: str, name: str, expected_hash: str | None = None) -> LoadedResult:
    """A finished measurement of a run, with its per-example arrays."""
    record = _checked(layout.result(run, name), "measurement", expected_hash)
    values = {key: math.nan if value is None else float(value) for key, value in record["values"].items()}
    arrays = {}
    if record["arrays"]:
        with np.load(layout.arrays(run, name), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in record["arrays"]}
    return LoadedResult(name, run, values, arrays)


def _joined(shards: list[dict[str, Tensor]], shared: tuple[str, ...]) -> dict[str, Tensor]:
    if len(shards) == 1:
        return shards[0]
    return {
        key: shards[0][key] if key in shared else torch.cat([shard[key] for shard in shards])
        for key in shards[0]
    }


def load_inputs(
    inputs: Mapping[str, Mapping[str, Any]], layout: Layout, device: torch.device | str = "cpu"
) -> dict[str, Loaded | Path]:
    """Everything a spec's `inputs` name, by role; a source is given as its path."""
    found: dict[str, Loaded | Path] = {}
    for role, wanted in inputs.items():
        expected = wanted.get("hash")
        if "field" in wanted:
            found[role] = load_field(layout, wanted["field"], device, expected)
        elif "source" in wanted:
            found[role] = layout.source(wanted["source"], wanted["filename"])
        elif "evaluation" in wanted:
            found[role] = load_result(layout, wanted["run"], wanted["evaluation"], expected)
        else:
            which = wanted.get("weights", "final")
            found[role] = load_run(layout, wanted["run"], which, device, expected)
    return found
