"""The alignment penalty in float64: closed forms on linear models, finite differences, what it costs."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from linear_models import Linear
from networks import CLASSES, IMAGE, examples, flat_gradient, relative_error, slope, smooth_convnet
from test_closest_class import Counted
from torch import nn

from pagrepro import plugins
from pagrepro.augment import Draw
from pagrepro.batch import Batch
from pagrepro.closest_class import class_distances, closest_class
from pagrepro.gradients import class_gradients

WEIGHT = 0.7
LABELS = torch.tensor([0, 1, 2, 3, 1])


def objective(**options):
    given = {"name": "alignment_penalty", "weight": WEIGHT, **options}
    return plugins.instantiate("objectives", plugins.resolve("objectives", given))


def terms_of(model, batch, **options):
    return objective(**options)(model, batch, torch.Generator())


def batch_of(x, y, g, draw=None):
    return Batch(x, y, torch.arange(len(y)), draw, {"targets": lambda index, x: g[index]})


def image_batch():
    x, _, g = examples(5)
    return batch_of(x, LABELS, g)


class Pair(nn.Module):
    """A smooth network with one logit f, returned as (-f/2, f/2)."""

    def __init__(self, factor=1.0):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
        self.factor = factor

    def forward(self, x):
        f = self.factor * self.layers(x)
        return torch.cat([-f / 2, f / 2], 1)


def binary_batch(n=6):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    g = torch.randn(n, 2, 4, generator=generator, dtype=torch.float64)
    return batch_of(x, torch.arange(n) % 2, g)


def reference(model, batch):
    """Eq. 9 written out: (mean loss, cosines), the network as it is."""
    x = batch.x.clone().requires_grad_()
    logits = model(x)
    gradients = class_gradients(logits, x).detach()
    c = closest_class(class_distances(logits.detach(), gradients, batch.y), batch.y)
    values = torch.stack([logits[i, c[i]] - logits[i, batch.y[i]] for i in range(len(c))])
    v = torch.autograd.grad(values.sum(), x, create_graph=True)[0].flatten(1)
    g = batch.fields["targets"](batch.index, batch.x)
    u = torch.stack([g[i, c[i]] for i in range(len(c))]).flatten(1)
    cosines = (v * u).sum(1) / (v.norm(dim=1) * u.norm(dim=1))
    return F.cross_entropy(logits, batch.y) - WEIGHT * cosines.mean(), cosines


# --- closed forms --------------------------------------------------------------------------------------


def test_exact_value_on_a_linear_model():
    """Three classes; at the origin class 2 is closest to class 0 (distance 1/2, class 1 is at 1)."""
    model = Linear(torch.zeros(3, 2), torch.zeros(3)).double()
    model.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    model.bias.data = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    g = torch.zeros(2, 3, 2, dtype=torch.float64)
    g[0, 2] = torch.tensor([3.0, 4.0])  # cosine with (0, 2): 4/5
    g[0, 1] = torch.tensor([-1.0, 0.0])
    g[1, 0] = torch.tensor([0.0, 1.0])  # towards class 0 from class 2: (0, -2), cosine -1
    batch = batch_of(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 2]), g)
    found = terms_of(model, batch)
    total = math.log(math.e + 2)
    # Class 2 is the wrong prediction: d_0 = -1/2, d_1 = 0.
    cross_entropy = torch.tensor([total - 1, total], dtype=torch.float64)
    torch.testing.assert_close(found["cross_entropy"], cross_entropy)
    torch.testing.assert_close(found["alignment"], torch.tensor([0.8, -1.0], dtype=torch.float64))
    torch.testing.assert_close(
        found["loss"].detach(), cross_entropy - WEIGHT * torch.tensor([0.8, -1.0]).double()
    )
    assert found["missing"].tolist() == [0, 0]
    # The nearest boundary is that of class 1, whose logit is equal and whose direction is missing.
    by_size = terms_of(model, batch, ctilde="abs")
    assert by_size["missing"].tolist() == [0, 1]
    torch.testing.assert_close(by_size["loss"][1].detach(), cross_entropy[1])


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_equals_the_formula_written_out(mode):
    model, batch = smooth_convnet(), image_batch()
    model.train(mode == "train")
    found = terms_of(model, batch)
    expected, cosines = reference(model, batch)
    torch.testing.assert_close(found["loss"].mean(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(found["alignment"], cosines.detach())
    gradient = flat_gradient(found["loss"].mean(), model)
    assert relative_error(gradient, flat_gradient(expected, model)) < 1e-12


# --- finite differences --------------------------------------------------------------------------------


def check_slope(model, batch, **options):
    gradient = flat_gradient(terms_of(model, batch, **options)["loss"].mean(), model)
    plain = flat_gradient(F.cross_entropy(model(batch.x), batch.y), model)
    assert relative_error(gradient, plain) > 0.01  # the penalty has a part in it
    for seed in range(3):
        direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed)).double()
        found = slope(lambda: terms_of(model, batch, **options)["loss"].mean(), model, direction, h=1e-6)
        assert found == pytest.approx(float(gradient @ direction), rel=1e-6)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_weight_gradient_is_the_slope_of_the_loss_with_four_classes(mode):
    model = smooth_convnet()
    model.train(mode == "train")
    check_slope(model, image_batch())


@pytest.mark.parametrize("gradient", ["ell", "loss"])
def test_weight_gradient_is_the_slope_of_the_loss_with_two_classes(gradient):
    check_slope(Pair(), binary_batch(), gradient=gradient)


# --- two classes ---------------------------------------------------------------------------------------


def test_gradients_of_ell_and_of_the_loss_have_the_same_direction():
    model, batch = Pair(), binary_batch()
    by_ell, by_loss = (terms_of(model, batch, gradient=kind)["alignment"] for kind in ("ell", "loss"))
    torch.testing.assert_close(by_ell, by_loss, rtol=1e-10, atol=0)
    assert by_ell.abs().max() > 0.1


def test_only_the_gradient_of_the_loss_vanishes_for_confident_networks():
    batch = binary_batch()
    batch.y = (Pair()(batch.x)[:, 1] > 0).long()  # all right
    sure = Pair(factor=1e5)
    by_ell, by_loss = (terms_of(sure, batch, gradient=kind)["alignment"] for kind in ("ell", "loss"))
    torch.testing.assert_close(by_ell, terms_of(Pair(), batch)["alignment"])
    assert (by_loss == 0).any()


def test_the_gradient_of_the_loss_is_refused_for_more_classes():
    with pytest.raises(ValueError, match="2 classes, found 4"):
        terms_of(smooth_convnet(), image_batch(), gradient="loss")


class CountedNetwork(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(Counted.apply(x))


@pytest.mark.parametrize(
    ("model", "batch", "passes"),
    [(Pair, binary_batch, 1), (smooth_convnet, image_batch, CLASSES + 1)],
)
def test_number_of_backward_passes(model, batch, passes):
    """Two classes: the gradient of ell alone. More: one per class to choose c~, then that of ell."""
    Counted.calls = 0
    terms_of(CountedNetwork(model()), batch())
    assert Counted.calls == passes


# --- what is missing or zero ---------------------------------------------------------------------------


def test_a_missing_direction_leaves_the_cross_entropy():
    model, full = Pair(), binary_batch()
    g = full.fields["targets"](full.index, full.x).clone()
    g[[1, 4]] = 0
    batch = batch_of(full.x, full.y, g)
    found, complete = terms_of(model, batch), terms_of(model, full)
    assert found["missing"].tolist() == [0, 1, 0, 0, 1, 0]
    for i in (1, 4):
        gradient = flat_gradient(terms_of(model, batch)["loss"][i], model)
        plain = F.cross_entropy(model(batch.x), batch.y, reduction="none")[i]
        torch.testing.assert_close(gradient, flat_gradient(plain, model))
        assert found["loss"][i] == found["cross_entropy"][i]
    known = complete["alignment"][[0, 2, 3, 5]]
    torch.testing.assert_close(found["alignment"][[0, 2, 3, 5]], known)
    torch.testing.assert_close(found["alignment"].mean(), known.mean())
    nothing = terms_of(model, batch_of(full.x, full.y, 0 * g))
    assert (nothing["alignment"] == 0).all()


def test_a_zero_gradient_counts_as_cosine_zero():
    for model, batch in ((Pair(), binary_batch()), (smooth_convnet(), image_batch())):
        last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
        nn.init.zeros_(last.weight)
        found = terms_of(model, batch)
        assert (found["alignment"] == 0).all()
        torch.testing.assert_close(found["loss"].detach(), found["cross_entropy"])
        assert flat_gradient(found["loss"].mean(), model).isfinite().all()


def test_without_weight_it_is_plain_training():
    model, batch = smooth_convnet(), image_batch()
    gradient = flat_gradient(terms_of(model, batch, weight=0)["loss"].mean(), model)
    plain = flat_gradient(F.cross_entropy(model(batch.x), batch.y), model)
    torch.testing.assert_close(gradient, plain)


# --- examples ------------------------------------------------------------------------------------------


def test_rows_are_passed_on_as_they_are():
    """Fresh examples are rows of no split; their directions depend on x."""
    x, seen = binary_batch().x, []

    def read(index, x):
        seen.append((index, x))
        return torch.stack([-x, x], 1)

    batch = Batch(x, torch.arange(6) % 2, torch.full((6,), -1), None, {"targets": read}, None, None)
    terms_of(Pair(), batch)
    ((index, at),) = seen
    assert index is batch.index
    assert at is x


def test_directions_are_cropped_and_flipped_like_the_images():
    x, _, g = examples(5)
    size, padding = IMAGE[-1], 1
    columns = torch.arange(size).flip(0)[None].expand(5, -1) + torch.tensor([[0], [1], [2], [1], [0]])
    rows = torch.arange(size)[None].expand(5, -1) + torch.tensor([[2], [0], [1], [1], [2]])
    draw = Draw(rows, columns, padding, fill=0.5)
    found = terms_of(smooth_convnet(), batch_of(x, LABELS, g, draw))
    moved = batch_of(draw.apply(x), LABELS, draw.apply(g, fill=0.0))
    expected = terms_of(smooth_convnet(), moved)
    for name in found:
        torch.testing.assert_close(found[name], expected[name])
    assert not torch.allclose(found["loss"], terms_of(smooth_convnet(), image_batch())["loss"])


def test_training_with_it_aligns():
    """A few steps on a tiny problem raise the cosine, and plain training does not raise it as much."""
    batch, reached = binary_batch(), {}
    towards = torch.stack([-batch.x, batch.x], 1)
    batch.fields = {"targets": lambda index, x: towards}
    for weight in (0.0, 1.0):
        model = Pair()
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        history = []
        for _ in range(40):
            found = terms_of(model, batch, weight=weight)
            history.append(float(found["alignment"].mean()))
            optimizer.zero_grad()
            found["loss"].mean().backward()
            optimizer.step()
        reached[weight] = history[-1]
        if weight:
            assert sum(b > a for a, b in pairwise(history)) > 30
    assert reached[1.0] > reached[0.0] + 0.1
