"""Transfer, steps of an attack, smallest perturbations, maps: against closed forms and plain evaluation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from linear_models import CPU, Linear, request
from networks import CLASSES, examples, smooth_convnet
from pydantic import ValidationError

from pagrepro import plugins, seeding
from pagrepro.errors import RangeError
from pagrepro.evaluations import attack_steps, natural_maps, perturbation_search, transfer_accuracy
from pagrepro.oriented_energy import oriented_energy
from pagrepro.request import LoadedRun, MeasureRequest


def pgd(**options):
    given = {"name": "pgd", "norm": "linf", "eps": 0.2, "steps": 8, "step_size": 0.05} | options
    return plugins.resolve("attacks", {k: v for k, v in given.items() if v is not None})


def convnet_request(batch_size=3, seed=0):
    model, (x, y, _) = smooth_convnet(seed).eval().requires_grad_(False), examples()
    return MeasureRequest(model, x, y, torch.arange(len(x)), CLASSES, 0, 0.0, 1.0, CPU, batch_size)


# --- PGD along the gradient itself -----------------------------------------------------------------


def test_a_step_along_the_gradient_is_as_long_as_its_largest_entry():
    attack = plugins.instantiate("attacks", pgd(direction="gradient", steps=1, start="zero"))
    model = Linear([[0.0, 0.0, 0.0], [4.0, -2.0, 0.0]])
    x = torch.full((1, 3), 0.5)
    moved = attack.perturb(model, x, torch.tensor([0]), None) - x
    torch.testing.assert_close(moved, torch.tensor([[0.05, -0.025, 0.0]]))


def test_the_gradient_itself_stays_in_the_ball_and_is_for_linf_only():
    attack = plugins.instantiate("attacks", pgd(direction="gradient", steps=30))
    ask = convnet_request()
    x_adv = attack.perturb(ask.model, ask.x, ask.y, seeding.generator(0, "a"))
    assert (x_adv - ask.x).abs().max() <= 0.2 + 1e-12
    with pytest.raises(Exception, match="norm: linf"):
        pgd(direction="gradient", norm="l2")


def test_a_budget_beyond_the_whole_range_is_in_other_units():
    attack, x, y = plugins.instantiate("attacks", pgd(eps=8)), torch.full((2, 3), 0.5), torch.tensor([0, 0])
    model = Linear([[0.0, 0.0, 0.0], [4.0, -2.0, 0.0]])
    with pytest.raises(RangeError, match="write 8/255"):
        attack.perturb(model, x, y, seeding.generator(0, "a"))
    # Data of another range, and budgets that a search has come to.
    attack.perturb(model, x, y, seeding.generator(0, "a"), low=-10, high=10)
    attack.perturb(model, x, y, seeding.generator(0, "a"), torch.tensor([0.5, 2.0]))


# --- transfer --------------------------------------------------------------------------------------


def test_a_network_under_its_own_attack_is_what_pgd_accuracy_says():
    ask = convnet_request()
    config = transfer_accuracy.Config(attack=pgd())
    given = {"source": LoadedRun("own", ask.model, {})}
    own = transfer_accuracy.measure(config, MeasureRequest(**{**vars(ask), "inputs": given}))
    plain = plugins.load("evaluations", "pgd_accuracy")
    wanted = plain.measure(plain.Config(attack=pgd()), ask)
    assert own.values["accuracy"] == own.values["source_accuracy"] == wanted.values["accuracy"]
    np.testing.assert_array_equal(own.arrays["correct"], wanted.arrays["correct"])


def test_what_fools_one_linear_network_need_not_fool_another():
    # The source looks at the first coordinate, the measured network at the second.
    model = Linear([[0.0, 0.0], [0.0, 10.0]], [0.0, -5.0])
    source = Linear([[0.0, 0.0], [10.0, 0.0]], [0.0, -5.0])
    x, y = [[0.55, 0.9], [0.45, 0.1]], [1, 0]
    ask = request(model, x, y, 0.0, 1.0, inputs={"source": LoadedRun("other", source, {})})
    found = transfer_accuracy.measure(transfer_accuracy.Config(attack=pgd()), ask)
    assert found.values == {"accuracy": 1.0, "clean_accuracy": 1.0, "source_accuracy": 0.0}


# --- steps -----------------------------------------------------------------------------------------


def test_the_first_steps_of_a_long_attack_are_the_short_one():
    ask = convnet_request()
    found = attack_steps.measure(attack_steps.Config(attack=pgd(), at=(1, 3, 6)), ask)
    plain = plugins.load("evaluations", "pgd_accuracy")
    for place, k in enumerate((1, 3, 6)):
        short = plain.measure(plain.Config(attack=pgd(steps=k)), ask)
        assert found.values[f"accuracy_{k}"] == short.values["accuracy"] == found.arrays["accuracy"][place]
        np.testing.assert_array_equal(found.arrays["correct"][:, place], short.arrays["correct"])
    np.testing.assert_array_equal(found.arrays["steps"], [1, 3, 6])
    assert (np.diff(found.arrays["loss"]) > 0).all()
    np.testing.assert_allclose(found.arrays["losses"].mean(0), found.arrays["loss"], rtol=1e-6)


def test_the_loss_at_the_start_is_that_of_the_image():
    ask = convnet_request()
    found = attack_steps.measure(attack_steps.Config(attack=pgd(start="zero"), at=(0, 1)), ask)
    loss = F.cross_entropy(ask.model(ask.x), ask.y).item()
    assert found.values["loss_0"] == pytest.approx(loss, rel=1e-6)
    assert found.values["accuracy_0"] == found.values["clean_accuracy"]


@pytest.mark.parametrize(
    "options",
    [
        {"attack": pgd(step_size=None, relative_step=2)},
        {"attack": pgd(restarts=2)},
        {"attack": pgd(keep="worst")},
        {"attack": pgd(), "at": (3, 2)},
        {"attack": pgd(), "at": (0,)},
    ],
)
def test_steps_that_are_not_nested_are_refused(options):
    with pytest.raises(ValidationError):
        attack_steps.Config(**options)


# --- smallest perturbation -------------------------------------------------------------------------

SEARCH = {"attack": pgd(step_size=None, relative_step=2.5, steps=10), "first": 0.05, "doublings": 3}


def linear_request(batch_size=4):
    # Margin of example i: |w.x + b|; the smallest Linf perturbation is margin / ||w||_1.
    model = Linear([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0]], [0.0, -0.6])
    x = torch.rand((9, 3), generator=torch.Generator().manual_seed(2)) * 0.4 + 0.3
    y = (model(x)[:, 1] > 0).long()
    y[4] = 1 - y[4]
    return request(model, x, y, 0.0, 1.0, batch_size=batch_size), (model(x)[:, 1].abs() / 6).double()


def test_distances_of_a_linear_network_in_closed_form():
    ask, wanted = linear_request()
    found = perturbation_search.measure(perturbation_search.Config(**SEARCH, bisections=12), ask)
    wanted[4] = 0
    np.testing.assert_allclose(found.arrays["distance"], wanted.detach(), atol=0.05 * 2**3 / 2**12)
    accuracy = [(wanted.detach().numpy() > e).mean() for e in found.arrays["eps"]]
    assert np.abs(found.arrays["accuracy"] - accuracy).max() <= 1 / 9
    assert (np.diff(found.arrays["accuracy"]) <= 0).all()
    assert found.values["clean_accuracy"] == pytest.approx(8 / 9)
    assert found.values["never_broken"] == 0


def test_images_that_no_budget_breaks_count_as_robust():
    ask, wanted = linear_request()
    options = SEARCH | {"first": 0.01, "doublings": 1, "bisections": 4, "largest": 0.5}
    found = perturbation_search.measure(perturbation_search.Config(**options), ask)
    far = wanted.detach().numpy() > 0.0201
    far[4] = False
    assert far.sum() > 4
    np.testing.assert_array_equal(np.isinf(found.arrays["distance"]), far)
    assert found.values["never_broken"] == found.values["accuracy_at_largest"] == far.mean()
    assert np.isnan(found.values["median"])
    assert found.flags


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l2"}, "Linf ball"),
        ({"targeted": True}, "untargeted"),
        ({"step_size": 0.01, "relative_step": None}, "relative_step"),
    ],
)
def test_attacks_that_a_search_of_budgets_cannot_use_are_refused(options, message):
    attack = pgd(**{"step_size": None, "relative_step": 2, **options})
    with pytest.raises(ValidationError, match=message):
        perturbation_search.Config(attack=attack)


def test_an_image_does_not_depend_on_which_others_are_done():
    ask = convnet_request(batch_size=5)
    config = perturbation_search.Config(**SEARCH, bisections=4)
    whole = perturbation_search.measure(config, ask).arrays["distance"]
    labels = ask.y.clone()
    # Another label for one image makes it wrong from the start, so that it is never attacked.
    labels[0] = (ask.model(ask.x[:1]).argmax(1) + 1) % CLASSES
    other = perturbation_search.measure(config, MeasureRequest(**{**vars(ask), "y": labels}))
    assert other.arrays["distance"][0] == 0
    np.testing.assert_allclose(other.arrays["distance"][1:], whole[1:], rtol=1e-6)


# --- maps ------------------------------------------------------------------------------------------


def test_maps_are_gradients_edges_and_perturbations_of_the_first_images():
    ask = convnet_request(batch_size=2)
    found = natural_maps.measure(natural_maps.Config(attack=pgd(start="zero"), examples=3), ask).arrays
    x = ask.x[:3].clone().requires_grad_()
    logits = ask.model(x)
    loss = torch.autograd.grad(F.cross_entropy(logits, ask.y[:3], reduction="sum"), x, retain_graph=True)[0]
    label = torch.autograd.grad(logits.gather(1, ask.y[:3, None]).sum(), x)[0]
    np.testing.assert_allclose(found["loss_gradients"], loss, rtol=1e-5)
    np.testing.assert_allclose(found["class_gradients"], label, rtol=1e-5)
    np.testing.assert_allclose(found["l1"], loss.abs().flatten(1).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found["edges"], oriented_energy(ask.x[:3], "blurred_root"), rtol=1e-5)
    attack = plugins.instantiate("attacks", pgd(start="zero"))
    x_adv = attack.perturb(ask.model, ask.x[:3], ask.y[:3], None)
    np.testing.assert_allclose(found["perturbations"], x_adv - ask.x[:3], atol=1e-7)
    clean = logits.argmax(1) == ask.y[:3]
    np.testing.assert_array_equal(found["clean_correct"], clean)
    np.testing.assert_array_equal(found["attack_correct"], clean & (ask.model(x_adv).argmax(1) == ask.y[:3]))
    assert {len(v) for v in found.values()} == {3}
