"""Edge alignment: identity of the public loss, formulas written out, finite differences, drawn classes."""

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, IMAGE, examples, flat_gradient, relative_error, slope, smooth_convnet
from torch import nn

from pagrepro import plugins
from pagrepro.augment import draw
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.layers import Normalize
from pagrepro.oriented_energy import oriented_energy

WEIGHT = 0.7
LABEL = {"class_choice": "label"}
every_gradient = pytest.mark.parametrize("of", ["class", "saliency", "loss"])
every_loss = pytest.mark.parametrize("loss", ["batch_rms", "cosine"])


def run(model, batch, seed=0, **options):
    options = {"name": "edge_alignment", "weight": WEIGHT, **options}
    objective = plugins.instantiate("objectives", plugins.resolve("objectives", options))
    return objective(model, batch, torch.Generator().manual_seed(seed))


class Colour(nn.Module):
    """A small smooth network of colour images, with the paper's normalisation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.normalize = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 3)
        self.behind = nn.Sequential(nn.Flatten(), nn.Linear(90, 8), nn.GELU(), nn.Linear(8, CLASSES))
        self.double()

    def forward(self, x):
        return self.behind(self.normalize(x))


def colours(n=5, progress=0.0):
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(n, 3, 5, 6, dtype=torch.float64, generator=generator)
    return Batch(x, torch.arange(n) % CLASSES, torch.arange(n), progress=progress)


def grey(n=5):
    x, y, _ = examples(n)
    return Batch(x, y, torch.arange(n))


def gradients(model, x, y, of):
    """G (B, C or 1, H, W) of the label's logit or the cross-entropy, with a graph."""
    x = x.clone().requires_grad_()
    logits = model(x)
    value = F.cross_entropy(logits, y, reduction="sum") if of == "loss" else sum(logits[range(len(y)), y])
    g = torch.autograd.grad(value, x, create_graph=True)[0]
    return g.abs().max(1, keepdim=True).values if of == "saliency" else g


def flat_cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


# --- the equation ----------------------------------------------------------------------------------------


@every_gradient
def test_public_loss_is_twice_one_minus_the_cosine_of_the_flattened_batch(of):
    model, batch = Colour(), colours()
    found = run(model, batch, gradient_of=of, **LABEL)
    g = gradients(model, batch.x, batch.y, of)
    e = oriented_energy(batch.x)[:, None].expand_as(g)
    expected = 2 * (1 - flat_cosine(g, e))
    torch.testing.assert_close(found["alignment"].mean(), expected.detach())
    loss = F.cross_entropy(model(batch.x), batch.y) + WEIGHT * expected
    torch.testing.assert_close(found["loss"].mean(), loss)
    assert relative_error(flat_gradient(found["loss"].mean(), model), flat_gradient(loss, model)) < 1e-10


@every_gradient
@pytest.mark.parametrize("energy", ["blurred_root", "gaussian_squared", "sobel_squared"])
def test_loss_of_the_text_is_one_minus_the_cosine_of_each_image(of, energy):
    model, batch = Colour(), colours()
    found = run(model, batch, gradient_of=of, loss="cosine", energy=energy, **LABEL)
    g = gradients(model, batch.x, batch.y, of)
    e = oriented_energy(batch.x, energy)[:, None].expand_as(g)
    cosines = torch.stack([flat_cosine(a, b) for a, b in zip(g, e)])
    torch.testing.assert_close(found["cosine"], cosines.detach())
    torch.testing.assert_close(found["alignment"], 1 - found["cosine"])
    loss = F.cross_entropy(model(batch.x), batch.y) + WEIGHT * (1 - cosines.mean())
    assert relative_error(flat_gradient(found["loss"].mean(), model), flat_gradient(loss, model)) < 1e-10


def test_a_network_whose_gradient_is_the_edges_is_aligned():
    """Logits <E(x_i), x_i> + ... of a linear network for one image: the class gradient is E itself."""
    x, _, _ = examples(1)
    e = oriented_energy(x).flatten(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.cat([3 * e, -e]))
    for y, cosine in ((0, 1.0), (1, -1.0)):
        batch = Batch(x, torch.tensor([y]), torch.arange(1))
        for loss, twice in (("cosine", 1), ("batch_rms", 2)):
            found = run(model, batch, loss=loss, **LABEL)
            assert float(found["cosine"]) == pytest.approx(cosine, abs=1e-12)
            assert float(found["alignment"]) == pytest.approx(twice * (1 - cosine), abs=1e-12)
        # The shortcut of appendix E: a saliency map has no sign.
        assert float(run(model, batch, gradient_of="saliency", **LABEL)["cosine"]) == pytest.approx(1)


def test_images_with_large_gradients_count_more_in_the_public_loss_only():
    """Scaling the image behind one example's logits scales its gradient, and leaves its cosine alone."""
    x, _, _ = examples(2)
    batch, factor = Batch(x, torch.tensor([0, 0]), torch.arange(2)), torch.tensor([1.0, 50.0]).double()

    class Scaled(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.weight, self.factor = torch.linspace(-1, 2, 36).sin().double(), factor

        def forward(self, x):
            f = self.factor * (x.flatten(1) @ self.weight)
            return torch.stack([f, -f], 1)

    plain, scaled = (Scaled(f) for f in (torch.ones(2).double(), factor))
    each = [run(m, batch, loss="cosine", **LABEL)["alignment"] for m in (plain, scaled)]
    torch.testing.assert_close(each[0], each[1])
    g = scaled.weight.expand(2, -1) * factor[:, None]
    expected = 2 * (1 - flat_cosine(g, oriented_energy(x).flatten(1)))
    torch.testing.assert_close(run(scaled, batch, **LABEL)["alignment"].mean(), expected)
    whole = [run(m, batch, **LABEL)["alignment"].mean() for m in (plain, scaled)]
    assert abs(whole[0] - whole[1]) > 0.01


def test_behind_the_normalisation():
    model, batch = Colour(), colours()
    z = model.normalize(batch.x)
    found = run(model, batch, space="normalized", **LABEL)
    g = gradients(model.behind, z, batch.y, "class")
    expected = 2 * (1 - flat_cosine(g, oriented_energy(z)[:, None].expand_as(g)))
    torch.testing.assert_close(found["alignment"].mean(), expected.detach(), rtol=1e-6, atol=0)
    assert not torch.allclose(found["alignment"], run(model, batch, **LABEL)["alignment"], rtol=1e-4)


@pytest.mark.parametrize(
    ("growth", "progress", "factor"), [(0, 0.5, 1), (9, 0, 1), (9, 0.5, 5.5), (11.52, 1, 12.52)]
)
def test_weight_grows_with_training(growth, progress, factor):
    found = run(Colour(), colours(progress=progress), growth=growth, **LABEL)
    expected = found["cross_entropy"] + factor * WEIGHT * found["alignment"]
    torch.testing.assert_close(found["loss"].detach(), expected)


# --- its gradient ----------------------------------------------------------------------------------------


@every_gradient
@every_loss
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_weight_gradient_is_the_slope_of_the_loss(mode, loss, of):
    model, batch = smooth_convnet().train(mode == "train"), grey()

    def value():
        return run(model, batch, gradient_of=of, loss=loss, **LABEL)["loss"].mean()

    gradient = flat_gradient(value(), model)
    for seed in range(2):
        direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed)).double()
        numeric = slope(value, model, direction, h=1e-6)
        assert float(gradient @ direction) == pytest.approx(numeric, rel=1e-5)


# --- the classes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_classes_are_drawn_from_the_softmax_at_their_temperature(temperature):
    """Read from the cosines: the gradient of class 0 is the edges, that of class 1 their negative, that of
    class 2 zero, so that an example's cosine is 1, -1 or 0."""
    n, (x, _, _) = 4000, examples(1)
    logits, edges = torch.tensor([0.3, -0.4, 1.0]).double(), oriented_energy(x).flatten(1)
    weight = torch.cat([edges, -edges, torch.zeros_like(edges)])
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(logits - weight @ x.flatten())
    batch = Batch(x.expand(n, *IMAGE), torch.zeros(n, dtype=torch.int64), torch.arange(n))
    cosines = run(model, batch, temperature=temperature)["cosine"].round().long()
    share = torch.stack([(cosines == value).double().mean() for value in (1, -1, 0)])
    p = (logits / temperature).softmax(0)
    assert share.sum() == 1
    assert bool(((share - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all())


def test_the_drawn_class_is_the_one_whose_gradient_is_compared():
    """A certain class: its logit is 60 above the others, and the label is another."""
    x, _, _ = examples(3)
    model = smooth_convnet().eval()
    with torch.no_grad():
        model[-1].bias[2] += 60
    labels, others = torch.full((3,), 2), torch.zeros(3, dtype=torch.int64)
    drawn = run(model, Batch(x, others, torch.arange(3)))
    certain = run(model, Batch(x, labels, torch.arange(3)), **LABEL)
    assert torch.equal(drawn["alignment"], certain["alignment"])
    wrong = run(model, Batch(x, others, torch.arange(3)), **LABEL)
    assert not torch.allclose(drawn["alignment"], wrong["alignment"], rtol=1e-3)


def test_draws_follow_the_generator():
    model, batch = smooth_convnet().eval(), grey()
    first, again = run(model, batch, seed=1), run(model, batch, seed=1)
    assert torch.equal(first["loss"], again["loss"])
    assert any(not torch.equal(first["loss"], run(model, batch, seed=seed)["loss"]) for seed in range(2, 6))


# --- images ----------------------------------------------------------------------------------------------


def test_gradient_and_edges_are_of_the_augmented_image():
    x, y, _ = examples(5)
    augment = Augment(crop_padding=2, flip=True)
    drawn = draw(augment, 5, IMAGE, torch.Generator().manual_seed(5))
    model, batch = smooth_convnet().eval(), Batch(x, y, torch.arange(5), drawn)
    found, again = run(model, batch), run(model, Batch(batch.augmented(), y, batch.index))
    assert torch.equal(found["loss"], again["loss"])
    assert not torch.equal(found["loss"], run(model, grey())["loss"])
    assert not batch.x.requires_grad


@every_loss
def test_a_flat_image_and_a_flat_network_have_no_cosine_and_no_gradient(loss):
    x, y, _ = examples(3)
    flat_image = Batch(torch.full_like(x, 0.5), y, torch.arange(3))
    model = smooth_convnet().eval()
    found = run(model, flat_image, loss=loss, **LABEL)
    assert torch.equal(found["cosine"], torch.zeros(3).double())
    assert flat_gradient(found["loss"].mean(), model).isfinite().all()
    with torch.no_grad():
        model[-1].weight.zero_()
    found = run(model, Batch(x, y, torch.arange(3)), loss=loss, **LABEL)
    assert torch.equal(found["cosine"], torch.zeros(3).double())
    assert found["alignment"].mean() == pytest.approx(1)
    assert flat_gradient(found["loss"].mean(), model).isfinite().all()


def test_one_forward_pass_and_no_gradient_of_weights_yet():
    model, batch = smooth_convnet(), grey()
    before = int(model[1].num_batches_tracked)
    run(model, batch)
    assert model[1].num_batches_tracked == before + 1
    assert all(p.grad is None for p in model.parameters())


def test_wrong_data_and_models_are_errors():
    with pytest.raises(DataError, match="space: normalized; Sequential has no normalisation"):
        run(smooth_convnet(), grey(), space="normalized")
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double()
    with pytest.raises(DataError, match="at least 4 x 4"):
        run(model, Batch(torch.rand(2, 1, 3, 3).double(), torch.tensor([0, 1]), torch.arange(2)))
