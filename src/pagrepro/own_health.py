"""Is a model what the measurements take it for? Checked before anything is measured, on examples and on
noise.

After AutoAttack's checks (Croce and Hein, 2020) and Carlini et al. (2019), "On Evaluating Adversarial
Robustness": logits and not probabilities, one answer for one input, gradients that reach the input. What
makes every number wrong is refused; what makes some of them doubtful is a warning beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagrepro.determinism import switches
from pagrepro.own_model import ModelError
from pagrepro.predictions import predicted

Level = Literal["refused", "warning", "not checked", "ok"]

# Rounding of a softmax in float32, over as many as a thousand classes.
SUM_TOLERANCE = 1e-3
# Of logits brought to length one, between two calls: AutoAttack's own bound.
RANDOM_TOLERANCE = 1e-4
# Of logits, as a share of their spread; convolutions of another batch size differ by less than 1e-5.
BATCH_TOLERANCE = 1e-2
CALLS = 3


@dataclass(frozen=True)
class Flag:
    """One finding. message: what was seen, why it matters, what to do."""

    name: str
    level: Level
    message: str

    def as_json(self) -> dict[str, str]:
        """As the file of results has it."""
        return {"name": self.name, "level": self.level, "message": self.message}


def refuse(flags: list[Flag]) -> None:
    """Raise ModelError with everything that was refused, if anything was."""
    reasons = [f"{flag.name}: {flag.message}" for flag in flags if flag.level == "refused"]
    if reasons:
        raise ModelError("this model is not measured\n  " + "\n  ".join(reasons))


def check_outputs(model: nn.Module, x: Tensor, noise: Tensor, data: dict[str, Any]) -> list[Flag]:
    """Form of the logits, at examples x (B, *shape) and at noise of the same form.

    model: in eval mode, on the device of x; data: name, shape and classes of the data set. Raises ModelError
    where the model takes no such examples or does not return a tensor (B, classes).
    """
    _check_form(model, x, data)
    return list(_outputs(model, x, noise))


def _check_form(model: nn.Module, x: Tensor, data: dict[str, Any]) -> None:
    shape, wanted = tuple(x.shape[1:]), (len(x), data["classes"])
    here = f"{data['name']} has examples of shape {shape} and {data['classes']} classes"
    try:
        with torch.no_grad():
            scores = model(x)
    except Exception as error:
        first = str(error).split("\n")[0]
        raise ModelError(
            f"the model fails on a batch {tuple(x.shape)}: {type(error).__name__}: {first}\n "
            f" {here}; a model for"
            " other shapes needs a first layer that brings them to its own (docs/measuring.md has one)"
        ) from error
    if not isinstance(scores, Tensor):
        raise ModelError(
            f"the model returns a {type(scores).__name__}; expected logits, a tensor {wanted}: return that"
            " part of the output alone"
        )
    if tuple(scores.shape) != wanted:
        raise ModelError(
            f"the model returns a tensor {tuple(scores.shape)}; expected logits {wanted}: {here}."
            " A last layer of"
            " another size has to be replaced or its outputs chosen"
        )
    if not scores.is_floating_point():
        raise ModelError(f"the model returns {scores.dtype}; expected logits, floating point numbers")


@torch.no_grad()
def _outputs(model: nn.Module, x: Tensor, noise: Tensor) -> Iterator[Flag]:
    scores, elsewhere = model(x).double(), model(noise).double()
    both = torch.cat([scores, elsewhere])
    finite = both.isfinite().all(1)
    if not bool(finite.any()):
        yield Flag("nonfinite_logits", "refused", "no example has finite logits")
        return
    if not bool(finite.all()):
        count = f"{int((~finite).sum())} of {len(both)}"
        yield Flag(
            "nonfinite_logits",
            "warning",
            f"{count} examples and noise images have logits that are not finite",
        )
    yield from _kind(both[finite])
    spread = (scores - scores[:1]).abs().max().item()
    if spread <= 1e-6 * max(scores.abs().max().item(), 1e-30):
        yield Flag("constant_output", "warning", "all examples have the same logits")


def _kind(scores: Tensor) -> Iterator[Flag]:
    """What finite scores (B, C) float64 look like."""
    low, high = scores.amin().item(), scores.amax().item()
    inside = low >= -1e-6 and high <= 1 + 1e-6
    if inside and bool(((scores.sum(1) - 1).abs() < SUM_TOLERANCE).all()):
        yield Flag(
            "probabilities", "refused",
            f"the outputs are probabilities: on {len(scores)} examples and noise images they are"
            " non-negative and"
            " sum to 1. Attacks and gradients need logits (a second softmax hides most of the"
            " gradient): return"
            " what comes before the softmax",
        )  # fmt: skip
    elif inside:
        yield Flag(
            "bounded_output", "warning",
            f"all outputs lie in [{low:.3g}, {high:.3g}]: if a sigmoid is the last layer, return"
            " what comes before",
        )  # fmt: skip
    elif high <= 1e-6 and bool((scores.logsumexp(1).abs() < SUM_TOLERANCE).all()):
        yield Flag(
            "log_probabilities", "warning",
            "the outputs are log-probabilities: predictions, losses and attacks on them are those"
            " of the logits,"
            " but gradients of class scores are those of log-probabilities",
        )  # fmt: skip


def check_repeats(model: nn.Module, x: Tensor) -> list[Flag]:
    """One answer for one input, whatever else is in its batch; x: (B, *shape), B at least 3."""
    left = [name or "the model" for name, module in model.named_modules() if module.training]
    note = f"; still in training mode after eval(): {', '.join(left[:5])}" if left else ""
    with torch.no_grad():
        units = [F.normalize(model(x).double(), dim=1) for _ in range(CALLS)]
        difference = max((unit - units[0]).norm(dim=1).max().item() for unit in units[1:])
        if difference > RANDOM_TOLERANCE:
            return [
                Flag(
                    "randomised_model", "warning",
                    f"logits differ from call to call (by {difference:.2g} of their length):"
                    " attacks that do not"
                    f" average over the noise overestimate its robustness{note}",
                )
            ]  # fmt: skip
        third = len(x) // 3
        first, second, last = x[:third], x[third : 2 * third], x[2 * third : 3 * third]
        alone, other = (model(torch.cat([first, more]))[:third].double() for more in (second, last))
        shift = (alone - other).abs().max().item() / max(alone.std().item(), 1e-30)
    if shift > BATCH_TOLERANCE:
        return [
            Flag(
                "batch_dependent", "refused",
                f"logits of an example change with the others of its batch (by {shift:.2g} of"
                " their spread), as"
                f" with batch normalisation in training mode: no example has an answer of its own{note}",
            )
        ]  # fmt: skip
    return [Flag("training_mode", "warning", note[2:])] if left else []


def check_deterministic(model: nn.Module, x: Tensor, y: Tensor) -> list[Flag]:
    """Whether output and gradient at examples x (B, *shape) with labels y (B,) can be had by algorithms that
    repeat themselves bit by bit; other failures are left to the other checks."""
    try:
        with switches():
            _loss_gradient(model, x, y)
    except Exception as error:
        if "deterministic" in str(error):
            text = (
                "the model uses an operation that has no deterministic form on this device: values may differ"
                " from call to call in their last digits"
            )
            return [Flag("nondeterministic", "warning", text)]
    return []


def _loss_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        inputs = x.detach().requires_grad_()
        loss = F.cross_entropy(model(inputs), y, reduction="sum")
        return torch.autograd.grad(loss, inputs)[0]


def check_gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Flag]:
    """Whether gradients of the cross-entropy reach the examples x (B, *shape) with labels y (B,)."""
    try:
        gradient = _loss_gradient(model, x, y)
    except RuntimeError as error:
        return [
            Flag(
                "no_gradient",
                "refused",
                f"no gradient reaches the input ({str(error).splitlines()[0]}): look for detach, no_grad,"
                " numpy or argmax in the model",
            )
        ]
    finite = gradient.flatten(1).isfinite().all(1)
    zero = (gradient == 0).flatten(1).all(1)
    flags = []
    if not bool(finite.all()):
        count = f"{int((~finite).sum())} of {len(x)}"
        flags.append(Flag("nonfinite_gradients", "warning", f"{count} gradients of the loss are not finite"))
    if bool(zero.any()):
        flags.append(
            Flag(
                "zero_gradients", "warning",
                f"{int(zero.sum())} of {len(x)} gradients of the loss are exactly zero: attacks by"
                " gradient find"
                " nothing there, whatever the robustness (gradient masking). Saturated outputs and rounding"
                " of the input do this",
            )
        )  # fmt: skip
    return flags


def check_accuracy(model: nn.Module, x: Tensor, y: Tensor) -> list[Flag]:
    """Whether the model does better than always naming the most frequent class."""
    accuracy, chance = right(model, x, y).double().mean().item(), chance_level(y)
    if accuracy <= chance + 3 * (chance * (1 - chance) / len(y)) ** 0.5:
        text = (
            f"accuracy {accuracy:.1%} on {len(y)} examples, the most frequent class alone gives {chance:.1%}"
        )
        return [Flag("accuracy_at_chance", "warning", f"{text}: accuracies under attack say nothing")]
    return []


@torch.no_grad()
def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: which of the examples x (N, *shape) the model puts into their class y (N,)."""
    parts = zip(x.split(100), y.split(100), strict=True)
    return torch.cat([predicted(model(some_x)) == some_y for some_x, some_y in parts])


def chance_level(y: Tensor) -> float:
    """Share of the most frequent class among labels (N,)."""
    return y.bincount().max().item() / len(y)
