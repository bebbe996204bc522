"""Floating-point operations of training steps and of passes, counted without data, memory or time.

A step is counted as it is: the task's own step, on a batch without memory (torch's device "meta"), so every
objective is right without being known here. Matrix products and convolutions only (`flops.py`), a
multiplication and an addition as two.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.flops import flops
from pagrepro.load import build_network
from pagrepro.spec import canonical_json
from pagrepro.task import LoopState, TaskSetup

META, CPU = torch.device("meta"), torch.device("cpu")
# Examples of a counted step: enough for batch statistics, and for several updates in one step.
EXAMPLES = 8


class _Unread(TorchDispatchMode):
    """Lets code go on that looks at tensors without memory: a single truth value is False (nothing is out of
    range), a list of them is True (everything is finite)."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return 0
        leaves = torch.device(kwargs.get("device") or META) != META
        if func is torch.ops.aten._to_copy.default and args[0].is_meta and leaves:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return func(*args, **kwargs)


# --- training steps --------------------------------------------------------------------------------


def step(spec: dict[str, Any]) -> float:
    """Operations per example of a training step of a run. Equal steps are counted once."""
    key = _key(spec, without=("optimizer",))
    if key not in _STEPS:
        _STEPS[key] = _step(spec)
    return _STEPS[key]


_STEPS: dict[str, float] = {}


def _key(spec: dict[str, Any], without: tuple[str, ...]) -> str:
    """What a count depends on: the task but for some of its options, the shape and the number of classes."""
    task = {key: value for key, value in spec["task"].items() if key not in without}
    return canonical_json([_without_numbers(task), spec["dataset"]["shape"], spec["dataset"]["classes"]])


def _without_numbers(value: Any) -> Any:
    """Options with all real numbers taken for 1, unless they are 0: weights, rates and budgets change no
    count, but what is switched off with 0 may."""
    if isinstance(value, dict):
        return {key: _without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    return float(bool(value)) if isinstance(value, float) else value


def _step(spec: dict[str, Any]) -> float:
    attack = (spec["task"].get("objective") or {}).get("attack") or {}
    if attack.get("steps", 0) <= 2:
        return _counted(spec)
    # Every step of an attack costs the same.
    first, second = (_counted(_with_attack_steps(spec, steps)) for steps in (1, 2))
    return first + (attack["steps"] - 1) * (second - first)


def _with_attack_steps(spec: dict[str, Any], steps: int) -> dict[str, Any]:
    objective = spec["task"]["objective"]
    attack = objective["attack"] | {"steps": steps}
    return spec | {"task": spec["task"] | {"objective": objective | {"attack": attack}}}


def _counted(spec: dict[str, Any]) -> float:
    with _Unread():
        run = training_step(spec, EXAMPLES, META)
        return flops(run) / EXAMPLES


def training_step(spec: dict[str, Any], examples: int, device: torch.device) -> Callable[[], Any]:
    """One step of a run's task on random examples, ready to be called; weights are fresh, directions of
    fields random. On "meta" it updates nothing."""
    options, data = dict(spec["task"]), spec["dataset"]
    if "adapter" in options:
        # Weights that the run starts from are of no account, and so is the file they are in.
        options["adapter"] = None
    if (options.get("objective") or {}).get("compiled"):
        options["objective"] = options["objective"] | {"compiled": False}
    shape, classes = tuple(data["shape"]), data["classes"]
    if options.get("recipe"):
        shape = (shape[0], options["recipe"]["size"], options["recipe"]["size"])
    setup = TaskSetup(shape, classes, data["low"], data["high"], 0, 2, device)
    with device:
        task = plugins.instantiate("tasks", options, setup)
    task.network.train()
    if device == META:
        for optimizer in task.optimizers.values():
            # Fused ones refuse such tensors, and none has a matrix product in it.
            optimizer.step = lambda: None
    batch = _batch(spec, shape, examples, device)
    # Generators have no "meta".
    state = LoopState(0, 2, CPU if device == META else device, 0, 1)
    return functools.partial(task.step, state, batch)


def _batch(spec: dict[str, Any], shape: tuple[int, ...], examples: int, device: torch.device) -> Batch:
    data = spec["dataset"]
    low, high = data["low"], data["high"]
    x = torch.rand(examples, *shape, device=device)
    y = torch.arange(examples, device=device) % data["classes"]

    def directions(index: Tensor, x: Tensor) -> Tensor:
        return torch.randn(len(x), data["classes"], *x.shape[1:], device=device)

    fields = {role: directions for role, given in spec.get("inputs", {}).items() if "field" in given}
    scaled = x if low is None or high is None else low + (high - low) * x
    return Batch(scaled, y, y, fields=fields, low=low, high=high, step=1, progress=0.5)


# --- networks ----------------------------------------------------------------------------------------

# Options of tasks that say how a network is trained, not what it is.
TRAINING = ("optimizer", "objective", "augment", "recipe", "mix", "clip_norm", "adapter")


def passes(spec: dict[str, Any]) -> tuple[float, float]:
    """Operations per example of a forward pass through the network of a run, and of the backward pass to its
    first input. Of a conditional GAN this is the generator."""
    key = _key(spec, TRAINING)
    if key not in _PASSES:
        with _Unread(), META:
            network = _network(spec).eval().requires_grad_(False)
            given = _arguments(network, tuple(spec["dataset"]["shape"]))
            forward = flops(lambda: network(*given))
            both = flops(lambda: network(*given).sum().backward())
        _PASSES[key] = (forward / EXAMPLES, (both - forward) / EXAMPLES)
    return _PASSES[key]


_PASSES: dict[str, tuple[float, float]] = {}


def weight_bytes(spec: dict[str, Any]) -> int:
    """Bytes of one set of weights of a run."""
    key = _key(spec, TRAINING)
    if key not in _BYTES:
        with META:
            tensors = _network(spec).state_dict().values()
        _BYTES[key] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return _BYTES[key]


_BYTES: dict[str, int] = {}


def _network(spec: dict[str, Any]) -> nn.Module:
    return build_network(spec["task"], tuple(spec["dataset"]["shape"]), spec["dataset"]["classes"])


def _arguments(network: nn.Module, shape: tuple[int, ...]) -> list[Tensor]:
    """What a network is called with, by the names of its arguments; the first one wants a gradient. Labels
    that may be left out are: they cost next to nothing."""
    found: list[Tensor] = []
    for name, parameter in inspect.signature(network.forward).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            continue
        if name == "sigma":
            found.append(torch.ones(()))
        elif name in ("y", "target", "source"):
            found.append(torch.zeros(EXAMPLES, dtype=torch.int64))
        elif name == "z":
            found.append(torch.zeros(EXAMPLES, network.latent, requires_grad=True))
        else:
            found.append(torch.zeros(EXAMPLES, *shape, requires_grad=True))
    return found
