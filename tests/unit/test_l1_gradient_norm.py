"""The L1 gradient norm: factors of the paper's equation, formulas written out, finite differences, and where
it is taken."""

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, examples, flat_gradient, slope, smooth_convnet
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.layers import Normalize

COLOUR = (3, 4, 5)
ATTACK = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "relative_step": 2}


def objective(**options):
    options = {"name": "gradient_norm", "weight": 0.7, "norm": "l1", **options}
    return plugins.instantiate("objectives", plugins.resolve("objectives", options))


def run(model, batch, seed=0, **options):
    return objective(**options)(model, batch, torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """A small network of colour images, with the paper's normalisation."""

    def __init__(self, act=F.gelu, hidden=8):
        super().__init__()
        torch.manual_seed(2)
        self.normalize = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 3)
        self.first, self.last, self.act = nn.Linear(60, hidden), nn.Linear(hidden, CLASSES), act
        self.double()

    def forward(self, x):
        return self.behind(self.normalize(x))

    def behind(self, z):
        return self.last(self.act(self.first(z.flatten(1))))


def colours(n=5, progress=0.0):
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(n, *COLOUR, dtype=torch.float64, generator=generator)
    return Batch(x, torch.arange(n) % CLASSES, torch.arange(n), progress=progress)


def grey(n=5):
    x, y, _ = examples(n)
    return Batch(x, y, torch.arange(n))


def loss_gradients(model, x, y):
    """Of the cross-entropy of every example by itself, (B, *shape)."""
    found = []
    for one, label in zip(x, y):
        one = one[None].clone().requires_grad_()
        found.append(torch.autograd.grad(F.cross_entropy(model(one), label[None]), one)[0][0])
    return torch.stack(found)


# --- the equation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5])
def test_paper_equation_at_any_batch_size(n):
    """R = (eps / sigma) B sum |d mean CE / dz| / B, with z the normalised image: 0.0697 times the mean L1."""
    model, batch = Net(), colours(n)
    z = model.normalize(batch.x).requires_grad_()
    mean = F.cross_entropy(model.behind(z), batch.y)
    r = 0.069717 * torch.autograd.grad(mean, z)[0].abs().sum()
    options = {"scale": "4/255", "sigma": 0.225, "space": "normalized"}
    found = run(model, batch, weight=1.2, cross_entropy_weight=0.8, **options)
    torch.testing.assert_close(found["loss"].mean(), 0.8 * mean + 1.2 * r, rtol=1e-6, atol=0)
    torch.testing.assert_close(found["cross_entropy"].mean(), mean.detach())


def test_linear_network_has_its_closed_form():
    batch, w = grey(), torch.linspace(-1, 1.3, CLASSES * 36).view(CLASSES, -1).sin().double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(w)
    error = model(batch.x).softmax(1) - F.one_hot(batch.y, CLASSES)
    expected = (error @ w).abs().sum(1).detach()
    found = run(model, batch, scale=3, sigma=2)
    torch.testing.assert_close(found["penalty"], expected)
    torch.testing.assert_close(found["loss"].detach(), found["cross_entropy"] + 0.7 * 3 / 2 * expected)
    torch.testing.assert_close(run(model, batch, of="logit_label")["penalty"], w.abs().sum(1)[batch.y])


def test_penalty_is_what_a_small_attack_adds():
    """To first order the cross-entropy rises by eps ||g||_1 in the max-norm ball."""
    model, batch, eps = Net(), colours(), 1e-5
    found = run(model, batch)
    moved = batch.x + eps * loss_gradients(model, batch.x, batch.y).sign()
    rise = F.cross_entropy(model(moved), batch.y, reduction="none") - found["cross_entropy"]
    torch.testing.assert_close(rise.detach() / eps, found["penalty"], rtol=1e-4, atol=0)


def test_spaces_differ_by_the_standard_deviations_and_channels_by_their_weights():
    model, batch = Net(), colours()
    sizes = loss_gradients(model, batch.x, batch.y).abs().sum((2, 3))
    std = torch.tensor([0.229, 0.224, 0.225]).double()
    green = run(model, batch, channel_weights=[1, 2, 1])["penalty"]
    torch.testing.assert_close(green, sizes.sum(1) + sizes[:, 1])
    behind = run(model, batch, space="normalized", channel_weights=[1, 2, 1])["penalty"]
    torch.testing.assert_close(behind, sizes @ (std * torch.tensor([1, 2, 1])), rtol=1e-6, atol=0)
    squares = loss_gradients(model, batch.x, batch.y).square().sum((2, 3))
    found = run(model, batch, norm="squared_l2", channel_weights=[0, 2, 1])["penalty"]
    torch.testing.assert_close(found, 2 * squares[:, 1] + squares[:, 2])


@pytest.mark.parametrize(
    ("ramp", "progress", "share"),
    [(0, 0, 1), (0.05, 0, 0), ("5/100", 0.02, 0.4), (0.05, 0.6, 1), (5, 0.9, 0.18)],
)
def test_ramp_weights_the_penalty_alone(ramp, progress, share):
    found = run(Net(), colours(progress=progress), ramp=ramp)
    expected = found["cross_entropy"] + share * 0.7 * found["penalty"]
    torch.testing.assert_close(found["loss"].detach(), expected)
    assert torch.equal(found["penalty"], run(Net(), colours())["penalty"])


# --- its gradient ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_weight_gradient_is_the_slope_of_the_loss(mode):
    model, batch = smooth_convnet().train(mode == "train"), grey()
    check_slope(model, lambda: run(model, batch, scale=5)["loss"].mean())


def test_weight_gradient_behind_the_normalisation_and_at_noise():
    model, batch = Net(), colours()
    options = {"space": "normalized", "channel_weights": [1, 2, 1], "at": "gaussian", "noise": 0.05}
    check_slope(model, lambda: run(model, batch, **options)["loss"].mean())


def check_slope(model, loss):
    gradient = flat_gradient(loss(), model)
    for seed in range(2):
        direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed)).double()
        numeric = slope(loss, model, direction, h=1e-6)
        assert float(gradient @ direction) == pytest.approx(numeric, rel=1e-5)


@pytest.mark.parametrize(("act", "tells"), [(F.relu, False), (F.gelu, True), (F.silu, True)])
def test_only_smooth_activations_tell_biases_about_the_penalty(act, tells):
    """Section 4.2. The gradient of a logit is piecewise constant in the first biases of a ReLU network, so
    double backward gives them nothing, though the penalty does change with them."""
    model, batch = Net(act, hidden=60), colours()
    terms = run(model, batch, of="logit_label")
    extra = (terms["loss"] - F.cross_entropy(model(batch.x), batch.y, reduction="none")).sum()
    bias = torch.autograd.grad(extra, model.first.bias)[0]
    before = float(terms["penalty"].sum())
    with torch.no_grad():
        model.first.bias += 0.5
    after = float(run(model, batch, of="logit_label")["penalty"].sum())
    assert abs(after - before) > 0.01 * before
    assert (float(bias.abs().max()) > 1e-3) == tells
    if not tells:
        assert float(bias.abs().max()) < 1e-12


# --- where it is taken -----------------------------------------------------------------------------------


def test_both_terms_are_taken_at_the_noisy_image():
    model, batch = Net(), colours()
    noise = torch.randn(batch.x.shape, generator=torch.Generator().manual_seed(3)).double()
    uniform = torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(3)).double()
    for at, moved in (("gaussian", 0.3 * noise), ("uniform", 0.3 * (2 * uniform - 1))):
        x = (batch.x + moved).clamp(0, 1)
        expected = run(model, Batch(x, batch.y, batch.index))
        found = run(model, batch, seed=3, at=at, noise=0.3)
        assert ((batch.x + moved).abs() > 1).any()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


def test_both_terms_are_taken_at_the_attacked_image_in_eval_mode():
    model, batch = smooth_convnet().train(), grey()
    attack = plugins.instantiate("attacks", plugins.resolve("attacks", ATTACK))
    x = attack.perturb(model.eval(), batch.x, batch.y, torch.Generator().manual_seed(6))
    expected = run(model.train(), Batch(x, batch.y, batch.index))
    before = int(model[1].num_batches_tracked)
    found = run(model, batch, seed=6, at="adversarial", attack=ATTACK)
    assert model[1].num_batches_tracked == before + 1
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_fgsm_with_random_start_is_a_pgd_of_one_step():
    """Figure 12: x + u + 1.25 eps sign(g(x + u)), moved into the ball of eps and the range of images."""
    model, batch, eps = Net(), colours(), 0.1
    options = {"name": "pgd", "norm": "linf", "eps": eps, "steps": 1, "relative_step": 1.25}
    attack = plugins.instantiate("attacks", plugins.resolve("attacks", options))
    found = attack.perturb(model, batch.x, batch.y, torch.Generator().manual_seed(8))
    u = eps * (2 * torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(8)).double() - 1)
    start = (batch.x + u).clamp(0, 1)
    moved = start + 1.25 * eps * loss_gradients(model, start, batch.y).sign()
    expected = (batch.x + (moved - batch.x).clamp(-eps, eps)).clamp(0, 1)
    torch.testing.assert_close(found, expected)


# --- errors ----------------------------------------------------------------------------------------------


def test_wrong_data_and_models_are_errors():
    with pytest.raises(DataError, match="space: normalized; Sequential has no normalisation"):
        run(smooth_convnet(), grey(), space="normalized")
    with pytest.raises(DataError, match="2 values for data of 3 channels"):
        run(Net(), colours(), channel_weights=[1, 2])


@pytest.mark.parametrize(
    "options",
    [
        {"at": "gaussian"},
        {"noise": 0.1},
        {"at": "adversarial", "noise": 0.1, "attack": ATTACK},
        {"at": "adversarial"},
        {"attack": ATTACK},
        {"sigma": 0},
        {"ramp": -1},
    ],
)
def test_options_that_do_not_go_together_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        objective(**options)
