"""What one training step does with the network: is it shown attacked images, are gradient norms penalised?

Ganz et al. (2022), section 4.1: their claim is about training that never sees an adversarial example and
puts no penalty on the size of gradients. Both are facts about the code that trained a model, so they are
measured there: one step's objective is evaluated again on a training batch while its inputs are recorded.
"""

import copy

import torch
from torch import Tensor, nn

from pagrepro.options import Strict
from pagrepro.replay import ReplayRequest
from pagrepro.request import Measurement

REVISION = 1

# The request holds a training batch of the run (`replay.ReplayRequest`); no per-example arrays come out.
REPLAYS = True
ARRAYS = False

FACTOR = 2.0


class Config(Strict):
    """Nothing to choose."""


def measure(config: Config, request: ReplayRequest) -> Measurement:
    """values: max_input_shift, the largest |input - training image| over every input the network is given
    while the objective is evaluated (training image: after augmentation; infinite for an input of another
    shape): 0 when it sees training images only, positive in adversarial training; forward_passes, how many
    inputs it was given; and, where the objective reports its cross-entropy, alignment_scale_change: the
    largest change of loss - cross_entropy over the batch when all logits are doubled. A cosine of logit
    gradients does not change; a penalty on their norm would. (Log-probabilities do change with the scale of
    logits: no value then.)
    """
    model = copy.deepcopy(request.model).double().train().requires_grad_(True)
    shifts: list[float] = []
    terms = _terms(request, model, shifts, factor=1.0)
    values = {"max_input_shift": max(shifts), "forward_passes": float(len(shifts))}
    flags = []
    if "cross_entropy" not in terms:
        flags.append("no_alignment_term")
    elif request.run_spec["task"]["objective"].get("gradient_of") == "log_probability":
        flags.append("log_probabilities_depend_on_scale")
    else:
        scaled = _terms(
            request, copy.deepcopy(request.model).double().train().requires_grad_(True), [], FACTOR
        )
        change = _without_cross_entropy(scaled) - _without_cross_entropy(terms)
        values["alignment_scale_change"] = change.abs().max().item()
    return Measurement(values, flags=flags)


def _without_cross_entropy(terms: dict[str, Tensor]) -> Tensor:
    return (terms["loss"] - terms["cross_entropy"]).detach()


def _terms(request: ReplayRequest, model: nn.Module, shifts: list[float], factor: float) -> dict[str, Tensor]:
    """Terms of the objective on the batch, logits multiplied by `factor`; adds one shift per forward pass."""
    batch = request.batch
    images = batch.augmented().detach()

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach()
        same = x.shape == images.shape
        shifts.append((x - images).abs().max().item() if same else float("inf"))

    model.register_forward_pre_hook(record)
    model.register_forward_hook(lambda module, inputs, output: factor * output)
    with torch.enable_grad():
        return request.objective()(model, batch, request.generator())
