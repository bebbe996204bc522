"""Measurements on and off the manifold: against plain loops, closed forms of linear models, and theorems."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from autoencoders import SHAPE, coordinates, fixed_basis, small_autoencoder
from linear_models import Linear, request
from torch import nn

from pagrepro.errors import DataError, RangeError
from pagrepro.evaluations import manifold_noise, manifold_sensitivity, manifold_theory, off_manifold_alignment
from pagrepro.image_noise import image_noise
from pagrepro.load import freeze
from pagrepro.request import LoadedField
from pagrepro.tangent import decoder_jacobian, tangent_basis

N, FORM = 9, (1, 3, 4)
CLASSES = 3


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(n=N, shape=FORM):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def linear(scale=1.0):
    return Linear(scale * randn(CLASSES, 12))


def measured(evaluation, model, basis, options=None, x=None, **more):
    x = images(N, basis.shape[2:]) if x is None else x
    fields = {"tangent": fixed_basis(basis)}
    made = request(model, x, torch.zeros(len(x)).long(), 0.0, 1.0, CLASSES, 4, inputs=fields)
    made = replace(made, **{"index": torch.arange(len(x)) + 100, **more})
    return evaluation.measure(evaluation.Config(**(options or {})), made)


class Recorder(nn.Module):
    """Logits of a linear model; keeps what it was asked about."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = linear(), []

    def forward(self, x):
        self.seen.append(x)
        return self.inner(x)


# --- sensitivity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("rescale", ["unit", "none"])
def test_sensitivity_is_that_of_a_plain_loop(rescale, relative):
    model, x, chosen = linear(), images(), [0, 5, 7]
    options = {"size": 0.3, "relative": relative, "rescale": rescale, "draws": 2}
    found = measured(manifold_sensitivity, model, coordinates(N, FORM, chosen), options)
    sums = {name: np.zeros(N) for name in ("on", "off", "on_l2", "off_l2", "on_logit", "off_logit")}
    for i in range(N):
        for draw in range(2):
            u = image_noise(0, f"manifold/{draw}", torch.tensor([100 + i]), FORM)[0].flatten()
            on = torch.zeros(12)
            on[chosen] = u[chosen]
            size = 0.3 * (x[i].norm() if relative else 1)
            for side, part in (("on", on), ("off", u - on)):
                part = size * part / (part.norm() if rescale == "unit" else u.norm())
                before, after = (
                    model(x[i : i + 1]).double(),
                    model(x[i : i + 1] + part.view(1, *FORM)).double(),
                )
                change = after.softmax(1) - before.softmax(1)
                sums[side][i] += change.abs().sum().item() / 2
                sums[f"{side}_l2"][i] += change.norm().item() / 2
                sums[f"{side}_logit"][i] += (after - before).abs().sum().item() / 2
    for name, expected in sums.items():
        assert found.values[name] == pytest.approx(expected.mean(), rel=1e-4), name
    np.testing.assert_allclose(found.arrays["on"], sums["on"], rtol=1e-4)
    np.testing.assert_allclose(found.arrays["off"], sums["off"], rtol=1e-4)
    assert found.values["relative"] == pytest.approx(found.values["on"] / found.values["off"])
    assert found.values["rank"] == 3
    assert found.arrays["rank"].tolist() == [3] * N
    assert found.flags == []


def test_perturbations_have_their_length_and_are_not_clipped():
    model, x = Recorder(), images()
    basis = coordinates(N, FORM, [2, 3])
    measured(manifold_sensitivity, model, basis, {"size": 2.0}, x)
    on, off = (torch.cat(model.seen[k::3]) - x for k in (1, 2))
    for part in (on, off):
        torch.testing.assert_close(part.flatten(1).norm(dim=1), torch.full((N,), 2.0))
    assert bool((on.flatten(1)[:, [0, 1, *range(4, 12)]] == 0).all())
    assert off.flatten(1)[:, [2, 3]].abs().max() < 1e-6
    assert torch.cat(model.seen[1::3]).min() < 0
    model.seen.clear()
    measured(manifold_sensitivity, model, basis, {"size": 2.0, "rescale": "none"}, x)
    on, off = (torch.cat(model.seen[k::3]) - x for k in (1, 2))
    torch.testing.assert_close((on + off).flatten(1).norm(dim=1), torch.full((N,), 2.0))


def test_all_models_see_the_same_noise_whatever_the_batches():
    basis, seen = coordinates(N, FORM, [2, 3]), []
    for size in (2, 9):
        model = Recorder()
        measured(manifold_sensitivity, model, basis, {"size": 2.0}, batch_size=size)
        seen.append([torch.cat(model.seen[k::3]) for k in range(3)])
    for first, second in zip(*seen):
        torch.testing.assert_close(first, second)
    # Other rows of the data set, other noise.
    model = Recorder()
    measured(manifold_sensitivity, model, basis, {"size": 2.0}, index=torch.arange(N))
    assert (torch.cat(model.seen[1::3]) - seen[0][1]).abs().max() > 0.5


@pytest.mark.parametrize(("chosen", "empty", "other"), [((), "on", "off"), (range(12), "off", "on")])
def test_directions_that_are_not_there_are_left_out_with_a_flag(chosen, empty, other):
    """For some examples the tangent space is empty, or the whole space."""
    basis = coordinates(N, FORM, range(12)).clone()
    keep = torch.zeros(N, 12, dtype=torch.bool)
    keep[:4, :5] = True
    keep[4:, list(chosen)] = True
    basis = basis * keep[:, :, None, None, None]
    found = measured(manifold_sensitivity, linear(), basis, {"size": 0.5})
    per_image = found.arrays[empty]
    assert np.isnan(per_image).tolist() == [False] * 4 + [True] * 5
    assert found.values[empty] == pytest.approx(per_image[:4].mean())
    assert found.values[other] == pytest.approx(found.arrays[other].mean())
    assert np.isfinite(found.arrays[other]).all()
    assert found.flags == [f"no_direction_{empty}_the_manifold"]
    assert found.values["rank"] == pytest.approx((4 * 5 + 5 * len(chosen)) / 9)


def test_no_direction_at_all_gives_no_number():
    found = measured(manifold_sensitivity, linear(), 0 * coordinates(N, FORM, range(2)))
    assert np.isnan(found.values["on"])
    assert np.isnan(found.values["relative"])
    assert found.values["rank"] == 0


def test_constant_models_change_nothing():
    found = measured(manifold_sensitivity, linear(0.0), coordinates(N, FORM, [1]))
    assert found.values["on"] == found.values["off"] == 0
    assert np.isnan(found.values["relative"])


def test_outputs_that_are_not_finite_are_not_left_out():
    found = measured(manifold_sensitivity, linear(torch.inf), coordinates(N, FORM, [1]))
    assert np.isnan(found.values["on"])
    assert found.flags == ["nonfinite_outputs"]


@pytest.mark.parametrize("evaluation", [manifold_sensitivity, off_manifold_alignment])
def test_images_out_of_range_are_refused(evaluation):
    with pytest.raises(RangeError):
        measured(evaluation, linear(), coordinates(N, FORM, [1]), x=255 * images())


# --- Definitions 1 and 2 of a classifier -----------------------------------------------------------


def test_alignment_of_a_linear_model_is_that_of_its_predicted_row():
    model, basis = linear(), coordinates(N, FORM, range(5))
    rows = model.weight[model(images()).argmax(1)].detach().double()
    expected = rows[:, 5:].square().sum(1) / rows.square().sum(1)
    found = measured(off_manifold_alignment, model, basis, {"sigmas": [0.5, 1e-4], "draws": 600})
    np.testing.assert_allclose(found.arrays["rho2"], expected, rtol=1e-6)
    assert found.values["rho2"] == pytest.approx(expected.mean().item(), rel=1e-6)
    assert found.arrays["sigma"].tolist() == [1e-4, 0.5]
    assert found.values["rho1"] == found.arrays["rho1"][0]
    # Linear: no noise level differs, although at the larger one other classes are predicted.
    assert found.arrays["rho1"][0] == pytest.approx(found.arrays["rho1"][1], rel=1e-6)
    assert found.values["error"] == pytest.approx(abs(found.values["rho1"] / found.values["rho2"] - 1))
    assert found.values["error"] < 0.03
    assert found.flags == []


def test_few_draws_are_enough_for_the_equality_of_a_smooth_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, CLASSES))
    x = images(150)
    basis = coordinates(150, FORM, range(6))
    found = measured(off_manifold_alignment, model, basis, {"sigmas": [1e-3, 3.0]}, x)
    assert found.values["error"] < 0.05
    assert abs(found.arrays["rho1"][1] / found.values["rho2"] - 1) > 0.05
    assert model[1].weight.dtype == torch.float32  # the run itself is left as it is


def test_models_without_a_gradient_have_no_alignment():
    found = measured(off_manifold_alignment, linear(0.0), coordinates(N, FORM, [1]))
    assert all(np.isnan(value) for value in found.values.values())
    assert found.flags == ["zero_or_nonfinite_gradients"]


# --- the autoencoder -------------------------------------------------------------------------------


def noise_request(network, x, batch_size=4, run=None, **spec):
    basis = tangent_basis(decoder_jacobian(network.decode, network.encode(x)))[0]
    field = fixed_basis(basis, **spec)
    made = request(network, x, torch.zeros(len(x)).long(), 0.0, 1.0, CLASSES, batch_size)
    return replace(made, x=x, inputs={"tangent": field}, spec={"run": run or {}})


def test_manifold_of_an_autoencoder():
    network, x = small_autoencoder(), images(N, SHAPE).double()
    found = manifold_noise.measure(manifold_noise.Config(images=6), noise_request(network, x))
    made = network(x)
    assert found.values["reconstruction"] == pytest.approx((made - x).square().mean().sqrt().item())
    sizes = (made - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    assert found.values["relative_error"] == pytest.approx(sizes.mean().item())
    basis, singular = tangent_basis(decoder_jacobian(network.decode, network.encode(x)))
    assert found.values["condition"] == pytest.approx((singular[:, 0] / singular[:, -1]).median().item())
    np.testing.assert_allclose(found.arrays["singular_values"], singular, rtol=1e-5)
    assert (found.values["rank"], found.values["latent"]) == (5, 5)
    assert found.flags == []
    np.testing.assert_allclose(found.arrays["images"], x[:6], rtol=1e-6)
    np.testing.assert_allclose(found.arrays["reconstructions"], made[:6], rtol=1e-5)
    on, off = (torch.as_tensor(found.arrays[side]).double().flatten(1) for side in ("on", "off"))
    for part in (on, off):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=0)
    flat = basis[:6].flatten(2)
    torch.testing.assert_close(
        (flat @ on[..., None]).norm(dim=1).squeeze(1), on.norm(dim=1), rtol=1e-5, atol=0
    )
    assert (flat @ off[..., None]).abs().max() < 1e-6


def test_directions_are_those_that_models_are_measured_with():
    network, x = small_autoencoder(), images(N, SHAPE).double()
    made = noise_request(network, x)
    found = manifold_noise.measure(manifold_noise.Config(), made)
    assert len(found.arrays["on"]) == N
    model = Recorder()
    model.inner = Linear(randn(CLASSES, 42))
    more = replace(made, model=freeze(model))
    manifold_sensitivity.measure(manifold_sensitivity.Config(size=1.0), more)
    on = torch.cat(model.seen[1::3]) - x
    np.testing.assert_allclose(found.arrays["on"], on, atol=1e-5)


def test_unused_latents_are_flagged_with_the_threshold():
    network, x = small_autoencoder(), images(N, SHAPE).double()
    with torch.no_grad():
        network.model.decoder.body[0].weight[:, 1:3] = 0
    found = manifold_noise.measure(
        manifold_noise.Config(images=0), noise_request(network, x, field={"threshold": None})
    )
    assert found.values["rank"] == 3
    assert found.values["condition"] > 1e12
    assert found.flags == ["tangent rank 3 of 5 at threshold 5e-06"]
    assert found.arrays["on"].shape == (0, *SHAPE)


def test_tangent_spaces_have_to_be_of_the_measured_autoencoder():
    network, x = small_autoencoder(), images(N, SHAPE).double()
    run = {"hash": "a", "weights": "final"}
    for other, match in (({**run, "hash": "b"}, True), ({**run, "weights": "ema"}, True), (run, False)):
        made = noise_request(network, x, run=run, inputs={"autoencoder": {"run": "ae", **other}})
        if match:
            with pytest.raises(DataError, match="role tangent"):
                manifold_noise.measure(manifold_noise.Config(), made)
        else:
            assert manifold_noise.measure(manifold_noise.Config(), made).values["rank"] == 5
    classifier = replace(noise_request(network, x), model=linear())
    with pytest.raises(DataError, match="task autoencoder"):
        manifold_noise.measure(manifold_noise.Config(), classifier)


# --- theory ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theory():
    x = torch.rand(80, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    made = request(Linear(randn(3, 36)), x, torch.arange(80) % 3, 0.0, 1.0, 3)
    return manifold_theory.measure(manifold_theory.Config(draws=600), made)


def test_theory_holds(theory):
    values = theory.values
    assert values["theorem1_error"] < 0.05
    assert values["ridge_span"] < 1e-10
    assert values["ridge_off_change"] < 1e-10
    assert values["bayes_gradient"] < 1e-10
    assert values["bayes_distractor"] < 1e-12
    assert values["bayes_off_manifold"] < 1e-20
    # As one over the root of the number of examples.
    assert values["ridge_distractor"] < 0.01
    assert 5 < values["ridge_distractor_small"] / values["ridge_distractor"] < 20


def test_theorem_1_is_about_small_noise(theory):
    sigma, rho1, rho2 = (theory.arrays[name] for name in ("sigma", "rho1", "rho2"))
    assert sigma.tolist() == [1e-3, 1e-2, 0.1, 1.0]
    assert rho2.shape == (16,)
    assert 0.5 < rho2.mean() < 0.95
    errors = np.abs(rho1 - rho2.mean()) / rho2.mean()
    assert errors[0] == pytest.approx(theory.values["theorem1_error"])
    assert errors[-1] > 2 * errors[0]


def test_ridge_weights_are_where_the_gradient_vanishes():
    x, y = randn(30, 6).double(), randn(30, 2, seed=1).double()
    w = manifold_theory.ridge_weights(x, y, 0.3).requires_grad_()
    loss = (x @ w.T - y).square().sum(1).mean() + 0.3 * w.square().sum()
    assert torch.autograd.grad(loss, w)[0].abs().max() < 1e-12


def test_gaussian_classes_have_the_densities_of_torch():
    draws = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    classes = manifold_theory.GaussianClasses(draws)
    x, y = classes.sample(40, draws)
    s, d = (x @ classes.directions.T).split([manifold_theory.SIGNAL, manifold_theory.DISTRACTOR], 1)
    signal = torch.distributions.MultivariateNormal(classes.mean, classes.root @ classes.root.transpose(1, 2))
    modes = torch.distributions.Normal(classes.modes, 1.0).log_prob(d[:, None]).sum(2).logsumexp(1)
    expected = signal.log_prob(s[:, None]) + modes[:, None]
    difference = classes.log_densities(x) - expected
    torch.testing.assert_close(difference, difference[:1, :1].expand_as(difference))
    # Drawn from them: an example's own class is mostly the likeliest.
    assert (classes.log_densities(x).argmax(1) == y).double().mean() > 0.6


def test_scores_are_the_gradients_of_the_densities():
    draws = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    classes = manifold_theory.GaussianClasses(draws)
    x = classes.sample(5, draws)[0].requires_grad_()
    for c in range(manifold_theory.CLASSES):
        gradient = torch.autograd.grad(classes.log_densities(x)[:, c].sum(), x)[0]
        torch.testing.assert_close(classes.scores(x.detach())[:, c], gradient)


def test_theory_uses_no_model_and_any_data():
    x = randn(20, 2)
    made = request(Linear(randn(2, 2)), x, torch.arange(20) % 2)
    config = manifold_theory.Config(draws=100, points=4, subspace=1, examples=(50, 60))
    found = manifold_theory.measure(config, replace(made, model=None))
    assert found.values["ridge_span"] < 1e-12
    assert all(np.isfinite(value) for value in found.values.values())


def test_fields_are_read_by_row_of_the_split():
    rows = []

    def read(found, x):
        rows.extend(found.tolist())
        return coordinates(len(x), FORM, [0]).to(x)

    made = request(linear(), images(), torch.zeros(N).long(), 0.0, 1.0, CLASSES, 4)
    made = replace(made, index=torch.arange(N) + 50, inputs={"tangent": LoadedField("t", read, {})})
    manifold_sensitivity.measure(manifold_sensitivity.Config(), made)
    assert rows == list(range(N))
