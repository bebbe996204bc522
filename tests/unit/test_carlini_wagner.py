"""Carlini and Wagner's attack through foolbox: distances on a linear model, failures, units, counts."""

import subprocess
import sys

import pytest
import torch
from linear_models import Linear, request
from pydantic import ValidationError

from pagrepro import plugins
from pagrepro.attacks.carlini_wagner import Config, build
from pagrepro.errors import RangeError
from pagrepro.evaluations import minimal_distance

# Small steps: at the published 0.02 a point closer than a step to the boundary is overshot.
OPTIONS = {"searches": 5, "steps": 120, "stepsize": 0.005, "initial_const": 0.1}
N, D, C = 10, 8, 3


def attack(**options):
    return build(Config(**{**OPTIONS, **options}))


def problem(dtype=torch.float32):
    """Three linear classes around the middle of [0, 1]^8, and the exact L2 distance of each example."""
    torch.manual_seed(0)
    weight = torch.randn(C, D)
    model = Linear(weight, -0.5 * weight.sum(1)).eval().requires_grad_(False)
    x = (0.3 + 0.4 * torch.rand(N, D)).to(dtype)
    scores = model(x)
    y = scores.argmax(1)
    gaps = (scores.gather(1, y[:, None]) - scores) / (weight[y][:, None] - weight).norm(dim=2).to(dtype)
    return model, x, y, gaps.scatter(1, y[:, None], torch.inf).amin(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finds_the_distance_to_the_boundary_of_a_linear_model(dtype):
    model, x, y, distance = problem(dtype)
    x_adv = attack().perturb(model, x, y, None)
    assert x_adv.dtype == dtype
    assert (model(x_adv).argmax(1) != y).all()
    found = (x_adv - x).norm(dim=1)
    # Never closer than the boundary, but for the roundings of arctanh space.
    assert (found > distance * (1 - 1e-3)).all()
    assert (found < distance * 1.03).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert torch.equal(x_adv, attack().perturb(model, x, y, None))


def test_wrong_examples_and_failures_come_back_as_they_are():
    """In the box [0, 1] the sum of 8 pixels reaches 8 at most: 3 can be exceeded, 9 cannot."""
    x = 0.3 + 0.1 * torch.rand(3, D)
    weight = torch.tensor([[0.0], [1.0]]) * torch.ones(D)
    x_adv = {}
    for threshold in (3, 9):
        model = Linear(weight, [0.0, -threshold])
        y = torch.tensor([0, 0, 1])
        x_adv[threshold] = attack(steps=50, initial_const=1, stepsize=0.05).perturb(model, x, y, None)
        assert torch.equal(x_adv[threshold][2], x[2])
    assert torch.equal(x_adv[9], x)
    assert (x_adv[3][:2].sum(1) > 3).all()


def test_a_failure_is_no_success_where_the_black_image_is_of_another_class():
    """foolbox returns zeros for what it did not solve."""
    x = torch.full((2, D), 0.9)
    model = Linear(torch.tensor([[1.0], [0.0]]) * torch.ones(D), [0.0, 1.0])  # class 1 below a sum of 1
    config = {"steps": 1, "searches": 1}
    assert torch.equal(attack(**config).perturb(model, x, torch.zeros(2, dtype=torch.int64), None), x)
    assert model(torch.zeros(1, D)).argmax(1) == 1


def test_unit_scales_the_constant_as_it_does_squared_distances():
    model, x, y, _ = problem()
    short = {"steps": 40, "searches": 2}
    half = attack(unit=0.5, initial_const=0.4, **short).perturb(model, x, y, None)
    assert torch.equal(half, attack(initial_const=0.1, **short).perturb(model, x, y, None))
    assert not torch.equal(half, attack(initial_const=0.4, **short).perturb(model, x, y, None))


def test_passes_are_counted_as_a_hook_sees_them():
    model, x, y, _ = problem()
    seen = []
    model.register_forward_hook(lambda module, args, out: seen.append((len(out), args[0].requires_grad)))
    found = attack(steps=3)
    found.perturb(model, x, y, None)
    assert found.forward_passes == sum(n for n, _ in seen)
    assert found.backward_passes == sum(n for n, gradient in seen if gradient) > N


def test_takes_any_function_and_leaves_a_module_in_its_mode():
    model, x, y, _ = problem()
    expected = attack(steps=20).perturb(model, x, y, None)
    assert torch.equal(attack(steps=20).perturb(lambda z: model(z), x, y, None), expected)
    model.train()
    attack(steps=2).perturb(model, x, y, None)
    assert model.training


def test_errors():
    model, x, y, _ = problem()
    with pytest.raises(ValueError, match="takes no eps"):
        attack().perturb(model, x, y, None, eps=0.1)
    with pytest.raises(ValueError, match="box"):
        attack().perturb(model, x, y, None, low=None, high=None)
    with pytest.raises(RangeError, match="inputs of the attack"):
        attack().perturb(model, 255 * x, y, None)
    with pytest.raises(ValidationError, match="needs a box"):
        Config(box="none")


def test_box_of_data_without_a_range():
    model, x, y, distance = problem()
    x_adv = attack(box=[-1, 2], stepsize=0.002).perturb(model, x, y, None, low=None, high=None)
    assert ((x_adv - x).norm(dim=1) < 1.05 * distance).all()


def test_foolbox_is_imported_only_when_it_is_used():
    code = (
        "import sys; from pagrepro import plugins; plugins.instantiate('attacks', plugins.resolve('attacks',"
        " {'name': 'carlini_wagner'})); import pagrepro.evaluations.minimal_distance;"
        " assert 'torch' in sys.modules; assert not {'foolbox', 'eagerpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the evaluation --------------------------------------------------------------------------------


def measured(x, y, model, **options):
    spec = plugins.resolve("attacks", {"name": "carlini_wagner", **OPTIONS, **options})
    config = minimal_distance.Config(attack=spec)
    return minimal_distance.measure(config, request(model, x, y, 0.0, 1.0, classes=C, batch_size=4))


def test_distances_are_in_the_attack_s_unit():
    model, x, y, distance = problem()
    y = y.clone()
    y[3] = (y[3] + 1) % C
    found = measured(x, y, model, unit=0.5)
    correct = torch.arange(N) != 3
    assert found.arrays["clean_correct"].tolist() == correct.tolist()
    assert found.arrays["success"].all()
    assert found.arrays["distance"][3] == 0
    assert found.arrays["distance"][correct] == pytest.approx(2 * distance[correct].numpy(), rel=0.04)
    assert found.values["mean"] == pytest.approx(found.arrays["distance"].mean())
    assert found.values["success"] == 1
    assert found.values["clean_accuracy"] == pytest.approx(0.9)
    assert found.values["forward_passes"] > found.values["backward_passes"] > 100
    assert found.flags == []


def test_failures_have_no_distance():
    x = torch.full((4, D), 0.4)
    model = Linear(torch.tensor([[0.0], [1.0]]) * torch.ones(D), [0.0, -9.0])
    found = measured(x, torch.tensor([0, 0, 0, 1]), model, steps=20)
    assert found.arrays["success"].tolist() == [False, False, False, True]
    assert found.arrays["distance"][3] == 0
    assert (found.arrays["distance"] != found.arrays["distance"]).tolist() == [True, True, True, False]
    assert (found.values["mean"], found.values["median"], found.values["success"]) == (0, 0, 0.25)
    assert found.flags == ["attack_failed"]


def test_an_attack_with_a_budget_is_refused():
    pgd = {"name": "pgd", "norm": "l2", "eps": 1, "steps": 2, "relative_step": 2}
    with pytest.raises(ValidationError, match="not as little"):
        minimal_distance.Config(attack=pgd)
