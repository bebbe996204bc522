"""A model of one's own: a network in memory, a name in a Python file, or a finished run of the workflow.

It takes examples (N, *shape) in the data set's range and gives logits (N, classes). Loading a name of a
Python file runs that file, as importing it would."""

import contextlib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from pagrepro.errors import UserError
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.storage import file_hash


class ModelError(UserError):
    """A model that cannot be loaded, or that cannot be measured as it is."""


@dataclass(frozen=True)
class OwnModel:
    """A loaded model. about: where it came from and what identifies it; input_range: (low, high) that it says
    it takes, or None where it says nothing."""

    network: nn.Module
    about: dict[str, Any] = field(default_factory=dict)
    input_range: tuple[float, float] | None = None


def load_model(given: nn.Module | str | Path, weights: str = "final") -> OwnModel:
    """Load a model. given: a network; `FILE.py:NAME`, NAME a network or what returns one when it is called
    without arguments; or the folder of a finished run, `results/<tier>/models/<run>`, of which `weights`
    ("final", "ema", "best", "epoch:<n>") are taken.

    An attribute `input_range` of the network, or of what returned it, is what it says it takes; a run takes
    the range of its data. Raises ModelError, or StateError for a run that is not whole.
    """
    if isinstance(given, nn.Module):
        return _described(given, given, {"given": f"a {type(given).__name__} in memory"})
    text = str(given)
    if Path(text).is_dir():
        return _of_run(Path(text), weights)
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise ModelError(
            f"model: {text!r} is neither FILE.py:NAME (NAME: a torch.nn.Module, or a function that"
            " returns one)"
            " nor the folder of a finished run (results/<tier>/models/<run>)"
        )
    path = Path(file)
    if not path.is_file():
        raise ModelError(f"model: no file {path}")
    module = _executed(path)
    if not hasattr(module, name):
        own = [k for k, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
        public = ", ".join(key for key in own if not key.startswith("_")) or "nothing of its own"
        raise ModelError(f"model: {path} has no {name!r}; it has {public}")
    found = getattr(module, name)
    about = {"given": text, "file": path.name, "file_sha256": file_hash(path)}
    return _described(_built(found, text), found, about)


def _built(found: Any, text: str) -> nn.Module:
    """The network that a name stands for."""
    network = found
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ModelError(
                f"model: {text} is a {type(found).__name__}; expected a torch.nn.Module or a"
                " function that returns"
                " one"
            )
        with contextlib.suppress(TypeError, ValueError):  # some callables have no signature
            needed = [
                p.name for p in inspect.signature(found).parameters.values()
                if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            ]  # fmt: skip
            if needed:
                raise ModelError(f"model: {text} is called without arguments, but needs {', '.join(needed)}")
        network = _running(found, f"calling {text}")
    if not isinstance(network, nn.Module):
        raise ModelError(f"model: {text} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _executed(path: Path) -> ModuleType:
    """The file as a module, run with its own folder first on the path of imports."""
    spec = importlib.util.spec_from_file_location(f"own_model_{path.stem}", path)
    assert spec is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    # Classes look their module up by name, dataclasses for one.
    sys.modules[spec.name] = module
    sys.path.insert(0, folder)
    try:
        _running(lambda: spec.loader.exec_module(module), f"running {path}")  # type: ignore[union-attr]
    finally:
        sys.path.remove(folder)
    return module


def _running(call: Callable[[], Any], what: str) -> Any:
    """The user's own code; its mistakes are told with the line they happened in, not with our traceback."""
    try:
        return call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = error.lineno if isinstance(error, SyntaxError) else last.lineno
        place = error.filename if isinstance(error, SyntaxError) else last.filename
        raise ModelError(
            f"model: {what} failed: {type(error).__name__}: {error} ({place}, line {line})"
        ) from error


def _of_run(folder: Path, weights: str) -> OwnModel:
    sidecar = folder / "run.json"
    if not sidecar.is_file() or folder.resolve().parent.name != "models":
        raise ModelError(
            f"model: {folder} is no finished run: expected results/<tier>/models/<run> with run.json"
        )
    given, folder = str(folder), folder.resolve()
    layout = Layout(folder.parent.parent)
    loaded = load_run(layout, folder.name, weights)
    task = loaded.spec["task"]["name"]
    if task not in ("classifier", "external"):
        raise ModelError(f"model: run {folder.name} is of task {task}; expected a classifier")
    about = {
        "given": given, "run": folder.name, "weights": weights,
        "weights_file_sha256": file_hash(layout.weights(folder.name, weights)),
        "trained_on": loaded.spec["dataset"]["name"],
    }  # fmt: skip
    data = loaded.spec["dataset"]
    bounds = None if data["low"] is None or data["high"] is None else (data["low"], data["high"])
    return _described(loaded.model, loaded.model, about, bounds)


def _described(network: nn.Module, source: Any, about: dict[str, Any], said: Any = None) -> OwnModel:
    said = getattr(network, "input_range", getattr(source, "input_range", said))
    about = {
        **about,
        "class": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "state_sha256": state_hash(network),
    }
    return OwnModel(network, about, None if said is None else input_range(said))


def input_range(value: Any) -> tuple[float, float]:
    """`value` as (low, high). Raises ModelError unless it is two numbers, the smaller one first."""
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        raise ModelError(f"input_range: {value!r}; expected two numbers, such as (0, 1)") from None
    if not low < high:
        raise ModelError(f"input_range: {value!r}; expected the smaller number first")
    return low, high


def state_hash(network: nn.Module) -> str:
    """sha256 of all parameters and buffers with their names, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


@contextlib.contextmanager
def as_measured(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The network on the device, in eval mode and with frozen parameters; afterwards as it was before, but
    for the device."""
    modes = [(module, module.training) for module in network.modules()]
    frozen = [(p, p.requires_grad) for p in network.parameters()]
    try:
        yield network.to(device).eval().requires_grad_(False)
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in frozen:
            parameter.requires_grad_(wanted)
