"""Power iteration against exact Hessians, the linearity error against closed forms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from linear_models import CPU
from networks import CLASSES, examples, smooth_convnet
from pydantic import ValidationError
from torch import nn

from pagrepro.curvature import (
    linearity_error,
    loss_gradient,
    losses,
    normalised,
    power_iteration,
)
from pagrepro.evaluations import curvature as evaluation
from pagrepro.evaluations import linearity_error as linearity
from pagrepro.request import MeasureRequest


def network():
    return smooth_convnet().eval().requires_grad_(False)


def hessian(model, x, y):
    """Exact Hessian (n, n) and gradient (n,) of the loss of one example."""

    def loss(flat):
        return F.cross_entropy(model(flat.view(1, *x.shape)), y.view(1))

    flat = x.flatten()
    return torch.autograd.functional.hessian(loss, flat), torch.autograd.functional.jacobian(loss, flat)


def ask(model, x, y, **more):
    return MeasureRequest(model, x, y, torch.arange(len(x)), CLASSES, 0, 0.0, 1.0, CPU, 3, **more)


def start(x, seed=2):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)


def test_converges_to_the_exact_spectral_norm():
    model, (x, y, _) = network(), examples()
    inputs, loss, gradient = loss_gradient(model, x, y)
    spectrum = power_iteration(inputs, gradient, start(x), 300)
    for k in range(len(x)):
        exact, slope = hessian(model, x[k], y[k])
        norm = torch.linalg.eigvalsh(exact).abs().max()
        assert spectrum.quotients[-1, k].abs().item() == pytest.approx(norm.item(), rel=1e-6)
        torch.testing.assert_close(gradient[k].detach().flatten(), slope)
        assert loss[k].item() == pytest.approx(losses(model, x, y)[k].item())
    assert (spectrum.residual < 1e-3 * spectrum.quotients[-1].abs()).all()


def test_every_iterate_is_that_of_the_exact_hessian():
    """Plain linear algebra with the exact matrix, in the order of the definition."""
    model, (x, y, _) = network(), examples()
    inputs, _, gradient = loss_gradient(model, x, y)
    first = start(x)
    spectrum = power_iteration(inputs, gradient, first, 4)
    for k in range(len(x)):
        exact, _ = hessian(model, x[k], y[k])
        u = first[k].flatten() / first[k].norm()
        for step in range(5):
            assert spectrum.quotients[step, k].item() == pytest.approx((u @ exact @ u).item(), rel=1e-9)
            last, u = u, exact @ u / (exact @ u).norm()
        residual = (exact @ last - (last @ exact @ last) * last).norm()
        assert spectrum.residual[k].item() == pytest.approx(residual.item(), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_scale_of_the_loss_does_not_matter(scale):
    """A guard of 1e-6 beside ||H u|| would break this."""
    matrix = torch.tensor([[3.0, 1.0], [1.0, -1.0]], dtype=torch.float64) * scale
    x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad((x @ matrix @ x.T).sum() / 2, x, create_graph=True)[0]
    found = power_iteration(x, gradient, torch.ones(1, 2, dtype=torch.float64), 60).quotients[-1]
    assert found.item() == pytest.approx(scale * (1 + 5**0.5), rel=1e-9)


def test_a_negative_eigenvalue_and_a_zero_hessian():
    diagonal = torch.tensor([[-5.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    x = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad((diagonal * x.square()).sum() / 2, x, create_graph=True)[0]
    spectrum = power_iteration(x, gradient, torch.ones(2, 2, dtype=torch.float64), 80)
    assert spectrum.quotients[-1].tolist() == [pytest.approx(-5), 0.0]
    assert spectrum.residual.tolist() == [pytest.approx(0, abs=1e-12), 0.0]


def test_normalised_is_exact_for_short_vectors_and_zeros():
    v = torch.tensor([[3e-30, 4e-30], [0.0, 0.0], [-3e20, 0.0]])
    torch.testing.assert_close(normalised(v), torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]))


def test_measured_values_and_arrays():
    model, (x, y, _) = network(), examples()
    config = evaluation.Config(iterations=300, also=(0, 250))
    found = evaluation.measure(config, ask(model, x, y))
    exact = [hessian(model, x[k], y[k]) for k in range(len(x))]
    norms = np.array([torch.linalg.eigvalsh(h).abs().max().item() for h, _ in exact])
    lengths = np.array([g.norm().item() for _, g in exact])
    np.testing.assert_allclose(found.arrays["hessian"], norms, rtol=1e-6)
    np.testing.assert_allclose(found.arrays["gradient_l2"], lengths, rtol=1e-6)
    np.testing.assert_allclose(found.arrays["curvature"], norms / (lengths + 1e-6), rtol=1e-6)
    np.testing.assert_allclose(
        found.arrays["gradient_l1"], [g.abs().sum().item() for _, g in exact], rtol=1e-6
    )
    values = found.values
    assert values["hessian"] == pytest.approx(norms.mean())
    assert values["hessian_std"] == pytest.approx(norms.std(ddof=1))
    assert values["log10_curvature"] == pytest.approx(np.log10(norms / (lengths + 1e-6)).mean(), rel=1e-6)
    assert values["hessian_at_250"] == pytest.approx(norms.mean(), rel=1e-6)
    assert values["curvature_at_250"] == pytest.approx((norms / lengths).mean(), rel=1e-4)
    assert values["hessian_at_0"] < 0.9 * values["hessian"]
    assert values["residual"] < 1e-3
    assert (values["zero_hessian"], found.flags) == (0, [])


def test_the_start_belongs_to_the_row():
    """Neither the batch nor other rows matter."""
    model, (x, y, _) = network(), examples()
    whole = evaluation.measure(evaluation.Config(iterations=2), ask(model, x, y)).arrays["hessian"]
    rows = torch.tensor([4, 1])
    request = MeasureRequest(model, x[rows], y[rows], rows, CLASSES, 0, 0.0, 1.0, CPU, 1)
    part = evaluation.measure(evaluation.Config(iterations=2), request).arrays["hessian"]
    np.testing.assert_allclose(part, whole[[4, 1]], rtol=1e-6)
    small = evaluation.Config(iterations=2, gradient_batch=1)
    np.testing.assert_allclose(
        evaluation.measure(small, ask(model, x, y)).arrays["hessian"], whole, rtol=1e-6
    )


def test_nonfinite_and_flat_losses_have_flags():
    x, y, _ = examples()
    broken = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)).double().requires_grad_(False)
    broken[1].weight.fill_(0.0)
    flat = evaluation.measure(evaluation.Config(iterations=2), ask(broken, x, y))
    assert (flat.values["zero_hessian"], flat.values["curvature"], flat.flags) == (1, 0, ["zero_hessians"])
    broken[1].weight.fill_(torch.nan)
    found = evaluation.measure(evaluation.Config(iterations=2), ask(broken, x, y))
    assert "nonfinite_curvature" in found.flags


def test_fewer_iterations_have_to_be_fewer():
    with pytest.raises(ValidationError, match="below"):
        evaluation.Config(iterations=5, also=(5,))


# --- local linearity -------------------------------------------------------------------------------


class Loss(nn.Module):
    """Two logits whose cross-entropy for class 0 is log(1 + exp(-s)), with s a function of x."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, x):
        s = self.score(x.flatten(1))
        return torch.stack([s, torch.zeros_like(s)], 1)


def inverse_softplus(loss):
    """The s for which log(1 + exp(-s)) is this loss."""
    return -torch.log(torch.expm1(loss))


def triple(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, first, second = torch.rand(3, n, 6, generator=generator, dtype=torch.float64)
    share = torch.rand(n, generator=generator, dtype=torch.float64)
    return x, (first - 0.5, second - 0.5), share


def test_a_linear_loss_has_no_error():
    x, noise, share = triple()
    slope = torch.linspace(0.5, 1, 6, dtype=torch.float64)
    model = Loss(lambda z: inverse_softplus(3 + 0.3 * (z @ slope)))
    error = linearity_error(model, x, torch.zeros(4, dtype=torch.int64), noise, share)
    assert error.max() < 1e-28


def test_error_of_a_quadratic_loss():
    """L = 3 + ||x||^2 differs from its chord by a (1 - a) ||e2 - e1||^2."""
    x, noise, share = triple()
    model = Loss(lambda z: inverse_softplus(3 + z.square().sum(1)))
    error = linearity_error(model, x, torch.zeros(4, dtype=torch.int64), noise, share)
    gap = share * (1 - share) * (noise[1] - noise[0]).square().sum(1)
    torch.testing.assert_close(error, gap.square())


def test_measured_linearity():
    model, (x, y, _) = network(), examples()
    found = linearity.measure(linearity.Config(eps=0.1), ask(model, x, y))
    error = found.arrays["error"]
    assert error.shape == (5,)
    assert (error > 0).all()
    logarithm = np.log10(error + 1e-17)
    assert found.values == {
        "error": pytest.approx(error.mean()),
        "error_std": pytest.approx(error.std(ddof=1)),
        "log10_error": pytest.approx(logarithm.mean()),
        "log10_error_std": pytest.approx(logarithm.std(ddof=1)),
        "zero": 0,
    }
    # To fourth order in eps for a smooth loss.
    tenth = linearity.measure(linearity.Config(eps=0.01), ask(model, x, y)).arrays["error"]
    assert np.median(error / tenth) == pytest.approx(1e4, rel=0.3)
    rows = torch.tensor([3])
    one = MeasureRequest(model, x[rows], y[rows], rows, CLASSES, 0, 0.0, 1.0, CPU, 3)
    assert linearity.measure(linearity.Config(eps=0.1), one).arrays["error"][0] == pytest.approx(error[3])
