"""What a training step costs: counted passes, operations, and times that belong together."""

import pytest
from cost_requests import cost_request

from pagrepro.evaluations import step_cost


@pytest.fixture(scope="module")
def values():
    return step_cost.measure(step_cost.Config(rounds=2, steps=2), cost_request()).values


def test_passes_are_those_of_the_recipes(values):
    assert values["forwards_plain"] == values["forwards_own"] == 1
    assert values["backwards_plain"] == 1
    # once for the gradient of the image, once for that of the weights
    assert values["backwards_own"] == 2
    # three attack steps and the training step
    assert values["forwards_adversarial"] == values["backwards_adversarial"] == 4


def test_operations_are_in_the_known_ratios(values):
    """Section 6 of the specification in units of a forward pass: 3, 6 and 9; the first convolution has no
    input gradient in plain training, and attack steps no gradient of weights."""
    assert values["flops_own"] / values["flops_plain"] == pytest.approx(2.04, abs=0.06)
    assert values["flops_adversarial"] / values["flops_plain"] == pytest.approx(3.0, abs=0.06)
    assert values["relative_flops_adversarial"] == 1
    assert values["relative_flops_own"] == values["flops_own"] / values["flops_adversarial"]


def test_a_batch_of_another_size_costs_as_much_per_example(values):
    config = step_cost.Config(rounds=2, steps=1, batch=12)
    found = step_cost.measure(config, cost_request()).values
    assert found["batch"] == 12
    for recipe in ("plain", "own", "adversarial"):
        assert found[f"flops_{recipe}"] == pytest.approx(12 / 8 * values[f"flops_{recipe}"])
        assert found[f"forwards_{recipe}"] == values[f"forwards_{recipe}"]


def test_a_micro_batch_is_what_is_on_the_device_at_once():
    ask = cost_request()
    ask.run_spec["fit"].update(batch_size=20, micro_batches=5)
    found = step_cost.measure(step_cost.Config(rounds=2, steps=1), ask).values
    assert found["batch"] == 4


def test_times_are_positive_and_relative_to_adversarial_training(values):
    for recipe in ("plain", "own", "adversarial"):
        assert values[f"seconds_{recipe}"] > 0
        assert values[f"seconds_std_{recipe}"] >= 0
        wanted = values[f"seconds_{recipe}"] / values["seconds_adversarial"]
        assert values[f"relative_seconds_{recipe}"] == pytest.approx(wanted)
    assert values["batch"] == 8
