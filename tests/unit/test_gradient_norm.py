"""The gradient-norm penalty: closed forms, formulas written out, finite differences of its gradient."""

import pytest
import torch
import torch.nn.functional as F
from linear_models import Linear
from networks import CLASSES, IMAGE, examples, flat_gradient, relative_error, slope, smooth_convnet
from pydantic import ValidationError

from pagrepro import plugins
from pagrepro.augment import Augment, draw
from pagrepro.batch import Batch
from pagrepro.errors import DataError

OF = ["loss", "logit_label", "logit_sum", "probability_label", "probability_jacobian"]
every_target = pytest.mark.parametrize("of", OF)
WEIGHT = 0.7


def objective(**options):
    options = {"name": "gradient_norm", "weight": WEIGHT, **options}
    return plugins.instantiate("objectives", plugins.resolve("objectives", options))


def make_batch(augment=None, n=5):
    x, y, _ = examples(n)
    drawn = draw(augment, n, IMAGE, torch.Generator().manual_seed(5)) if augment else None
    return Batch(x, y, torch.arange(n), drawn)


def run(model, batch, **options):
    return objective(**options)(model, batch, torch.Generator())


def scalars(logits, y, of):
    """(B, K) values whose gradients are penalised, one by one."""
    if of == "loss":
        return -logits.log_softmax(1)[torch.arange(len(y)), y][:, None]
    if of == "logit_sum":
        return logits.sum(1, keepdim=True)
    if of == "probability_jacobian":
        return logits.softmax(1)
    values = logits if of == "logit_label" else logits.softmax(1)
    return values[torch.arange(len(y)), y][:, None]


def penalty(model, batch, of):
    """Of every example (B,), one forward pass for every differentiated value."""
    total = 0
    for k in range(CLASSES if of == "probability_jacobian" else 1):
        x = batch.augmented().clone().requires_grad_()
        value = scalars(model(x), batch.y, of)[:, k].sum()
        total = total + torch.autograd.grad(value, x, create_graph=True)[0].pow(2).sum((1, 2, 3))
    return total


@every_target
def test_closed_form_of_a_linear_network(of):
    batch = make_batch()
    w = torch.linspace(-1, 1.3, CLASSES * batch.x[0].numel()).view(CLASSES, -1).sin()
    model = Linear(w).double()
    p, one = model(batch.x).softmax(1), F.one_hot(batch.y, CLASSES).double()
    outer = p[:, :, None] * (torch.eye(CLASSES).double() - p[:, None])  # d p_c / d z_j
    by_logits = {
        "loss": (p - one)[:, None],
        "logit_label": one[:, None],
        "logit_sum": torch.ones_like(one)[:, None],
        "probability_label": outer[torch.arange(5), batch.y][:, None],
        "probability_jacobian": outer,
    }
    expected = (by_logits[of] @ w.double()).pow(2).sum((1, 2)).detach()
    found = run(model, batch, of=of, scale=3)
    torch.testing.assert_close(found["penalty"], expected)
    cross_entropy = F.cross_entropy(model(batch.x), batch.y, reduction="none").detach()
    torch.testing.assert_close(found["cross_entropy"], cross_entropy)
    torch.testing.assert_close(found["loss"].detach(), cross_entropy + WEIGHT * 3 * expected)


@every_target
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_equals_the_written_out_formula(mode, of):
    model, batch = smooth_convnet().train(mode == "train"), make_batch()
    found = run(model, batch, of=of)["loss"].mean()
    expected = (F.cross_entropy(model(batch.x), batch.y) + WEIGHT * penalty(model, batch, of)).mean()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert relative_error(flat_gradient(found, model), flat_gradient(expected, model)) < 1e-10


@every_target
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_weight_gradient_is_the_slope_of_the_loss(mode, of):
    model, batch = smooth_convnet().train(mode == "train"), make_batch()
    gradient = flat_gradient(run(model, batch, of=of, scale=5)["loss"].mean(), model)
    for seed in range(2):
        direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed)).double()
        numeric = slope(lambda: run(model, batch, of=of, scale=5)["loss"].mean(), model, direction)
        assert float(gradient @ direction) == pytest.approx(numeric, rel=1e-5)


@pytest.mark.parametrize("n", [2, 5])
def test_published_axis_at_any_batch_size(n):
    """The public penalty, lambda 1e5 / B times the squared gradient of the batch's mean cross-entropy, for
    B = 128; here the same whatever B is. (In eval mode: no terms across the batch.)"""
    model, batch = smooth_convnet().eval(), make_batch(n=n)
    x = batch.x.clone().requires_grad_()
    mean = F.cross_entropy(model(x), batch.y)
    public = 1e5 / n * torch.autograd.grad(mean, x)[0].pow(2).sum()
    found = run(model, batch, weight=1, scale=6.103515625)
    extra = (found["loss"] - found["cross_entropy"]).mean().detach()
    torch.testing.assert_close(extra, public * n**2 / 128**2)


def test_gradient_is_taken_at_the_augmented_image():
    model, batch = smooth_convnet().eval(), make_batch(Augment(crop_padding=2, flip=True))
    found = run(model, batch)
    torch.testing.assert_close(found["penalty"], penalty(model, batch, "loss").detach())
    again = run(model, Batch(batch.augmented(), batch.y, batch.index))
    assert torch.equal(found["loss"], again["loss"])
    assert not torch.equal(found["loss"], run(model, make_batch())["loss"])
    assert not batch.x.requires_grad


def test_statistics_are_updated_once_and_weights_get_no_gradient_yet():
    model, batch = smooth_convnet(), make_batch()
    for of in ("loss", "probability_jacobian"):
        before = int(model[1].num_batches_tracked)
        run(model, batch, of=of)
        assert model[1].num_batches_tracked == before + 1
    assert all(p.grad is None for p in model.parameters())


def test_a_sum_of_logits_that_is_always_zero_is_refused():
    options = {"name": "spheres_mlp", "hidden": [4], "single_logit": True}
    model = plugins.instantiate("models", plugins.resolve("models", options), (36,), 2).double()
    x, _, _ = examples()
    batch = Batch(x.flatten(1), torch.tensor([0, 1, 1, 0, 1]), torch.arange(5))
    assert model(batch.x).sum(1).abs().max() == 0
    with pytest.raises(DataError, match=r"of: logit_sum.*0 everywhere"):
        run(model, batch, of="logit_sum")
    assert (run(model, batch, of="logit_label")["penalty"] > 0).all()


def test_wrong_options_are_errors():
    for options in ({"weight": -1}, {"of": "probability"}, {"norm": "l2"}, {"scale": 0}):
        with pytest.raises((ValidationError, ValueError), match=next(iter(options))):
            objective(**options)
