"""Operations of steps and passes, by hand: without data, weights or time."""

import copy
import time

import pytest
import torch

from pagrepro import plugins, step_flops, throughput
from pagrepro.flops import flops

MLP = {"name": "toy_mlp", "hidden": [16]}
# 5 -> 16 -> 3
FORWARD = 2 * (5 * 16 + 16 * 3)


def run_spec(objective: dict, model: dict = MLP, shape: tuple = (5,), classes: int = 3, **inputs) -> dict:
    task = {
        "name": "classifier",
        "model": model,
        "objective": objective,
        "optimizer": {"name": "sgd", "lr": 0.1},
    }
    return {
        "task": plugins.resolve("tasks", task), "inputs": inputs,
        "dataset": {"shape": list(shape), "classes": classes, "low": 0.0, "high": 1.0},
        "fit": {"batch_size": 8, "micro_batches": 1, "amp": "none", "deterministic": True, "tf32": False},
    }  # fmt: skip


PLAIN = {"name": "cross_entropy"}


def adversarial(steps: int) -> dict:
    attack = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": steps, "step_size": 0.05}
    return {"name": "adversarial_training", "attack": attack}


def test_passes_of_a_linear_network():
    forward, backward = step_flops.passes(run_spec(PLAIN))
    assert forward == FORWARD
    assert backward == FORWARD


def test_plain_step_of_a_linear_network():
    # Forward, gradients of both layers' weights, and that of the hidden units; none of the input.
    assert step_flops.step(run_spec(PLAIN)) == 2 * FORWARD + 2 * 16 * 3


def test_a_convolution_by_hand():
    spec = run_spec(PLAIN, {"name": "convnet", "widths": [4]}, (3, 8, 8), 2)
    network = step_flops._network(spec)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    sizes = []
    for convolution in convolutions:
        convolution.register_forward_hook(lambda module, inputs, output: sizes.append(output[0, 0].numel()))
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    network(torch.zeros(1, 3, 8, 8))
    by_hand = sum(2 * c.weight.numel() * size for c, size in zip(convolutions, sizes, strict=True))
    by_hand += sum(2 * layer.weight.numel() for layer in linear)
    assert step_flops.passes(spec)[0] == by_hand > 0


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_step_of_an_attack_is_a_forward_and_a_backward_pass(steps):
    plain, attacked = (step_flops.step(run_spec(o)) for o in (PLAIN, adversarial(steps)))
    assert attacked == plain + steps * 2 * FORWARD


OBJECTIVES = [
    PLAIN, adversarial(3), {"name": "gradient_norm", "weight": 0.3},
    {"name": "edge_alignment", "weight": 0.3}, {"name": "smoothness", "weight": 0.3, "sigma": 0.1},
    {"name": "gaussian_noise", "sigma": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective["name"])
@pytest.mark.parametrize("augment", [{}, {"crop_padding": 1, "flip": True}], ids=["plain", "augmented"])
def test_what_is_counted_without_memory_is_what_a_real_step_does(objective, augment):
    spec = run_spec(objective, {"name": "cifar_resnet18", "width": 2}, (1, 8, 8))
    spec["task"]["augment"] |= augment
    real = step_flops.training_step(spec, 4, torch.device("cpu"))
    assert step_flops.step(spec) == pytest.approx(flops(real) / 4, rel=1e-9)


def test_classes_with_directions_of_a_field_cost_a_double_backward_pass_each():
    objective = {"name": "cosine_alignment", "weight": 1.0}
    few, many = (
        step_flops.step(run_spec(objective, classes=classes, targets={"field": "directions"}))
        for classes in (3, 6)
    )
    assert many > 1.5 * few > 3 * FORWARD


def test_weights_and_rates_are_no_reason_to_count_again(monkeypatch):
    counted = []
    monkeypatch.setattr(step_flops, "_step", lambda spec: counted.append(1) or 1.0)
    monkeypatch.setattr(step_flops, "_STEPS", {})
    for weight in (0.1, 0.2, 0.0):
        spec = run_spec({"name": "gradient_norm", "weight": weight})
        spec["task"]["optimizer"]["lr"] = 0.1 + weight
        step_flops.step(copy.deepcopy(spec))
    # Once for the weights, and once for what a weight of 0 switches off.
    assert len(counted) == 2


def test_throughput_is_operations_over_time(monkeypatch):
    def step():
        time.sleep(0.02)

    spec = run_spec(PLAIN)
    monkeypatch.setattr(step_flops, "training_step", lambda *given: step)
    found = throughput.measure(spec, torch.device("cpu"), 0.1)
    assert 0.2 < found / (8 * step_flops.step(spec) / 0.02) <= 1


def test_throughput_of_a_real_step():
    assert throughput.measure(run_spec(PLAIN), torch.device("cpu"), 0.0) > 0
