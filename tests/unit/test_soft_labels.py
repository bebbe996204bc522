"""Probabilities in the place of labels, as mixed batches have them: closed forms, and labels as a case."""

import pytest
import torch
import torch.nn.functional as F
from networks import examples, smooth_convnet

from pagrepro import plugins
from pagrepro.attacks.pgd import Config, Pgd
from pagrepro.batch import Batch

CLASSES = 4
PGD = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "step_size": 0.05}
OBJECTIVES = {
    "cross_entropy": {},
    "gradient_norm": {"weight": 0.7, "norm": "l1"},
    "adversarial_training": {"attack": PGD},
    "gaussian_noise": {"sigma": 0.1},
    "smoothness": {"sigma": 0.1, "weight": 0.5},
}


def objective(name):
    run = plugins.instantiate("objectives", plugins.resolve("objectives", {"name": name, **OBJECTIVES[name]}))
    return lambda model, batch: run(model, batch, torch.Generator().manual_seed(2))


def batch(soft=None, n=5):
    x, y, _ = examples(n)
    return Batch(x, y, torch.arange(n), soft=soft)


def shares(n=5):
    return torch.rand(n, CLASSES, generator=torch.Generator().manual_seed(4)).double().softmax(1)


def attack(**options):
    return Pgd(Config(**{key: value for key, value in {**PGD, **options}.items() if key != "name"}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_certain_labels_are_labels(name):
    model, run, hard = smooth_convnet().eval(), objective(name), batch()
    found = run(model, batch(F.one_hot(hard.y, CLASSES).double()))
    expected = run(model, hard)
    assert found.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(found[term], value, rtol=1e-10, atol=0)


def test_cross_entropy_is_the_mean_over_the_classes():
    model, soft = smooth_convnet().eval(), shares()
    given = batch(soft)
    expected = -(soft * model(given.x).log_softmax(1)).sum(1)
    torch.testing.assert_close(objective("cross_entropy")(model, given)["loss"], expected)


def test_gradient_norm_is_of_the_loss_of_the_mixed_example():
    """By finite differences of every pixel."""
    model, soft, h = smooth_convnet().eval(), shares(2), 1e-5
    given = batch(soft, 2)

    def loss(x):
        return -(soft * model(x).log_softmax(1)).sum(1)

    slopes = torch.zeros_like(given.x).flatten(1)
    with torch.no_grad():
        for k in range(slopes.shape[1]):
            step = torch.zeros_like(slopes)
            step[:, k] = h
            step = step.view_as(given.x)
            slopes[:, k] = (loss(given.x + step) - loss(given.x - step)) / (2 * h)
    found = objective("gradient_norm")(model, given)
    torch.testing.assert_close(found["penalty"], slopes.abs().sum(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(found["loss"], loss(given.x) + 0.7 * slopes.abs().sum(1), rtol=1e-6, atol=0)


def test_one_step_of_the_attack_follows_the_mixed_loss():
    model, soft = smooth_convnet().eval(), shares()
    x = batch().x.requires_grad_()
    slope = torch.autograd.grad(F.cross_entropy(model(x), soft, reduction="sum"), x)[0]
    pgd = attack(steps=1, start="zero", keep="last", eps=0.05)
    found = pgd.perturb(model, x.detach(), soft, None, low=None, high=None)
    torch.testing.assert_close(found, x.detach() + 0.05 * slope.sign())


@pytest.mark.parametrize("options", [{"loss": "margin"}, {"targeted": True}])
def test_attacks_of_one_class_refuse_probabilities(options):
    with pytest.raises(ValueError, match="probabilities of classes are for an untargeted attack"):
        attack(**options).perturb(smooth_convnet().eval(), batch().x, shares(), torch.Generator())


def test_a_batch_compares_with_what_it_has():
    soft = shares()
    assert batch(soft).target is soft
    assert torch.equal(batch().target, batch().y)
    assert torch.equal(batch(soft).part(slice(0, 5)).target, soft)
