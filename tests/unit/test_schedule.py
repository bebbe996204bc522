"""Learning-rate factors against their closed forms."""

import math

import pytest
from pydantic import ValidationError

from pagrepro import schedule


def rates(options, total=100, per_epoch=1):
    parsed = schedule.parse(options)
    return [parsed.at(step, total, per_epoch) for step in range(total)]


def test_constant():
    assert rates({"name": "constant"}) == [1.0] * 100


def test_step_changes_in_the_epochs_the_paper_counts_from_one():
    """x0.1 from epoch 50, x0.01 from 75, x0.001 in epoch 100 (of 100, counted from 1)."""
    found = rates({"name": "step", "milestones": {"0.49": 0.1, "0.99": 0.001, "0.74": 0.01}}, 100 * 7, 7)
    by_epoch = {epoch: set(found[(epoch - 1) * 7 : epoch * 7]) for epoch in range(1, 101)}
    assert all(by_epoch[e] == {1.0} for e in range(1, 50))
    assert all(by_epoch[e] == {0.1} for e in range(50, 75))
    assert all(by_epoch[e] == {0.01} for e in range(75, 100))
    assert by_epoch[100] == {0.001}


def test_step_milestones_hit_exactly_for_any_number_of_steps():
    """A fraction of steps rounds to the same float as its decimal text."""
    step = schedule.parse({"name": "step", "milestones": {"0.49": 0.1}})
    for per_epoch in (1, 3, 7, 781, 1563):
        at = 49 * per_epoch
        assert step.at(at, 100 * per_epoch, per_epoch) == 0.1
        assert step.at(at - 1, 100 * per_epoch, per_epoch) == 1.0


def test_cosine_with_warm_up():
    found = rates({"name": "cosine", "warmup": 0.1, "warmup_factor": 0.2, "final": 0.01})
    for step in range(10):
        assert found[step] == pytest.approx(0.2 + 0.8 * step / 10)
    for step in range(10, 100):
        expected = 0.01 + 0.99 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2
        assert found[step] == pytest.approx(expected)


def test_cosine_whose_warm_up_replaces_its_beginning():
    found = rates({"name": "cosine", "warmup": "1/10", "after_warmup": False})
    assert found[0] == 0.0
    assert found[50] == pytest.approx(0.5)
    assert found[10] == pytest.approx((1 + math.cos(math.pi / 10)) / 2)


def test_per_epoch_holds_the_rate_within_an_epoch():
    found = rates({"name": "cosine", "per": "epoch"}, 40, 10)
    assert [len(set(found[k : k + 10])) for k in (0, 10, 20, 30)] == [1, 1, 1, 1]
    assert found[::10] == pytest.approx([(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)])


def test_linear_points():
    found = rates({"name": "linear", "points": {"0.5": 1.0, "0.1": 0.0, "0.9": "1/2"}})
    assert found[:11] == [0.0] * 11
    assert found[30] == pytest.approx(0.5)
    assert found[50] == pytest.approx(1.0)
    assert found[70] == pytest.approx(0.75)
    assert found[95] == 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"name": "exponential"},
        {"name": "step"},
        {"name": "constant", "warmup": 0.1},
        {"name": "cosine", "warmup": 1.0},
        {"name": "step", "milestones": {}, "per": "batch"},
    ],
)
def test_unknown_options_are_errors(options):
    with pytest.raises(ValidationError):
        schedule.parse(options)
