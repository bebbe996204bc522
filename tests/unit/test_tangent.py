"""Tangent spaces: derivatives by another method, closed forms of linear decoders, algebra of projectors."""

import pytest
import torch
from autoencoders import SHAPE, small_autoencoder
from tiny import Tiny
from torch import nn

from pagrepro import plan
from pagrepro.errors import DataError
from pagrepro.fields import tangent as tangent_field
from pagrepro.off_manifold import off_manifold_change, off_manifold_gradient
from pagrepro.request import FieldRequest, LoadedRun
from pagrepro.tangent import decoder_jacobian, project, rank, rank_threshold, tangent_basis

CPU = torch.device("cpu")
PIXELS = torch.Size(SHAPE).numel()


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reverse_jacobian(decode, z):
    """Another way to the same J: one backward pass per pixel, image by image."""
    parts = []
    for one in z:
        one = one[None].clone().requires_grad_()
        pixels = decode(one).flatten()
        rows = [torch.autograd.grad(pixel, one, retain_graph=True)[0][0] for pixel in pixels]
        parts.append(torch.stack(rows, 1))
    return torch.stack(parts).unflatten(2, SHAPE)


def projector(basis):
    flat = basis.flatten(2)
    return flat.transpose(1, 2) @ flat


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


# --- derivatives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"network": "mlp"}, {"variational": True}])
def test_forward_derivatives_are_those_of_one_backward_pass_per_pixel(options):
    network = small_autoencoder(**options)
    z = randn(3, 5)
    found = decoder_jacobian(network.decode, z)
    assert found.shape == (3, 5, *SHAPE)
    assert relative(found, reverse_jacobian(network.decode, z)) < 1e-13


def test_forward_derivatives_are_differences_of_images():
    network, z, h = small_autoencoder(), randn(2, 5), 1e-6
    found = decoder_jacobian(network.decode, z)
    for k, step in enumerate(h * torch.eye(5, dtype=torch.float64)):
        difference = (network.decode(z + step) - network.decode(z - step)) / (2 * h)
        assert relative(found[:, k], difference) < 1e-7


def test_chunks_and_batches_do_not_matter():
    network, z = small_autoencoder(), randn(4, 5)
    whole = decoder_jacobian(network.decode, z)
    for chunk in (1, 2, 5):
        assert relative(decoder_jacobian(network.decode, z, chunk), whole) < 1e-14
    one_by_one = torch.cat([decoder_jacobian(network.decode, one[None]) for one in z])
    assert relative(one_by_one, whole) < 1e-14
    bases = torch.cat([tangent_basis(j[None])[0] for j in one_by_one])
    assert relative(projector(bases), projector(tangent_basis(whole)[0])) < 1e-12


def test_weights_get_no_gradient_and_none_is_kept():
    network = small_autoencoder().requires_grad_(True)
    found = decoder_jacobian(network.decode, randn(2, 5))
    assert not found.requires_grad
    assert all(p.grad is None for p in network.parameters())


def test_mixed_precision_around_it_is_off():
    network, z = small_autoencoder().float(), randn(2, 5).float()
    plain = decoder_jacobian(network.decode, z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decoder_jacobian(network.decode, z), plain)


# --- bases -----------------------------------------------------------------------------------------


def test_linear_decoder_has_its_columns_as_tangent_space():
    a, b = randn(PIXELS, 5), randn(PIXELS, seed=1)
    j = decoder_jacobian(lambda z: (z @ a.T + b).unflatten(1, SHAPE), randn(2, 5))
    torch.testing.assert_close(j[0].flatten(1), a.T)
    basis, singular = tangent_basis(j)
    expected = a @ torch.linalg.solve(a.T @ a, a.T)
    assert relative(projector(basis)[1], expected) < 1e-13
    torch.testing.assert_close(singular[0], torch.linalg.svdvals(a))


def test_projectors_are_projectors_on_the_jacobian():
    network = small_autoencoder()
    j = decoder_jacobian(network.decode, randn(3, 5))
    basis, _ = tangent_basis(j)
    p = projector(basis)
    assert relative(p @ p, p) < 1e-13
    assert relative(p, p.transpose(1, 2)) < 1e-13
    for k in range(5):
        assert relative(project(basis, j[:, k]), j[:, k]) < 1e-12
    u = randn(3, *SHAPE, seed=2)
    on = project(basis, u)
    assert relative(on.flatten(1), (p @ u.flatten(1)[..., None])[..., 0]) < 1e-13
    assert (on * (u - on)).flatten(1).sum(1).abs().max() < 1e-13


@pytest.mark.parametrize(("condition", "dtype", "most"), [
    (1e1, torch.float64, 1e-12), (1e4, torch.float64, 1e-9), (1e1, torch.float32, 1e-5)
])  # fmt: skip
def test_span_is_that_of_the_backward_jacobian_when_latents_are_used_unequally(condition, dtype, most):
    """The decoder's latents are scaled so that singular values reach over `condition`."""
    network = small_autoencoder().to(dtype)
    scales = torch.logspace(0, -torch.log10(torch.tensor(condition)), 5, dtype=dtype)
    z = randn(2, 5).to(dtype)

    def decode(z):
        return network.decode(z * scales)

    basis, singular = tangent_basis(decoder_jacobian(decode, z))
    expected = reverse_jacobian(decode, z).double().flatten(2)
    _, s, v = torch.linalg.svd(expected, full_matrices=False)
    assert bool((s[:, 0] / s[:, -1] > condition / 2).all())
    assert relative(projector(basis), v.transpose(1, 2) @ v) < most
    assert relative(singular, s) < 1e-6


def test_rows_beyond_the_rank_are_exactly_zero():
    j = randn(2, 5, *SHAPE)
    j[1, 4] = j[1, 0] - 2 * j[1, 2]
    basis, singular = tangent_basis(j)
    assert rank(basis).tolist() == [5, 4]
    assert bool((basis[1, 4] == 0).all())
    assert singular[1, 4] < 1e-13 * singular[1, 0]
    identity = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(basis[1, :4].flatten(1) @ basis[1, :4].flatten(1).T, identity)
    # A threshold between two singular values cuts there.
    between = float((singular[0, 1] + singular[0, 2]) / 2 / singular[0, 0])
    assert rank(tangent_basis(j[:1], between)[0]).tolist() == [2]


def test_directions_come_by_falling_singular_value():
    j = decoder_jacobian(small_autoencoder().decode, randn(3, 5))
    basis, singular = tangent_basis(j)
    assert bool((singular.diff(dim=1) <= 0).all())
    stretched = torch.einsum("bjp,bkp->bkj", j.flatten(2), basis.flatten(2)).norm(dim=2)
    torch.testing.assert_close(stretched, singular)


def test_decoder_that_does_nothing_has_an_empty_tangent_space():
    basis, singular = tangent_basis(torch.zeros(2, 3, *SHAPE))
    assert rank(basis).tolist() == [0, 0]
    assert bool((singular == 0).all())
    assert bool((project(basis, randn(2, *SHAPE)) == 0).all())


def test_more_latents_than_pixels_fill_the_space():
    basis, singular = tangent_basis(randn(2, 9, 2, 2))
    assert basis.shape == (2, 4, 2, 2)
    assert singular.shape == (2, 4)
    torch.testing.assert_close(projector(basis), torch.eye(4, dtype=torch.float64).expand(2, -1, -1))


def test_default_threshold_is_that_of_scipy_for_single_precision():
    assert rank_threshold(None, 128, 3072) == pytest.approx(3072 * 2.0**-23)
    assert rank_threshold(0.1, 128, 3072) == 0.1


def test_refuses_derivatives_that_are_not_finite():
    with pytest.raises(DataError, match="not finite"):
        tangent_basis(torch.full((1, 2, *SHAPE), torch.nan))


# --- the field -------------------------------------------------------------------------------------


def field_request(rows, run=None, n=9):
    x = torch.randint(256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    run = run or LoadedRun("ae", small_autoencoder().float(), {})
    return FieldRequest(
        x, torch.zeros(n).long(), 2, torch.as_tensor(rows), 0, 0.0, 1.0, CPU, {"autoencoder": run}
    )


def test_field_holds_the_tangent_spaces_at_the_images():
    config, request = tangent_field.Config(batch=4), field_request(range(9))
    found = tangent_field.compute(config, request)
    network = request.inputs["autoencoder"].model.double()
    z = network.encode(request.x.double() / 255)
    expected, singular = tangent_basis(decoder_jacobian(network.decode, z))
    assert found["basis"].dtype == torch.float32
    assert relative(projector(found["basis"].double()), projector(expected)) < 1e-4
    torch.testing.assert_close(found["singular_values"].double(), singular, rtol=1e-4, atol=1e-5)
    rows = torch.tensor([7, 0])
    read = tangent_field.read(config, found, rows, torch.rand(2, *SHAPE, dtype=torch.float64))
    assert read.dtype == torch.float64
    assert torch.equal(read, found["basis"][rows].double())


def test_shards_are_parts_of_the_whole():
    config = tangent_field.Config(batch=2)
    whole = tangent_field.compute(config, field_request(range(9)))
    parts = [tangent_field.compute(config, field_request(rows)) for rows in (range(4), range(4, 9))]
    joined = torch.cat([part["basis"] for part in parts])
    assert relative(projector(joined), projector(whole["basis"])) < 1e-5
    assert joined.shape == (9, 5, *SHAPE)


def test_half_precision_halves_what_is_stored():
    found = tangent_field.compute(tangent_field.Config(dtype="float16"), field_request(range(3)))
    assert found["basis"].dtype == torch.float16
    full = tangent_field.compute(tangent_field.Config(), field_request(range(3)))
    assert relative(projector(found["basis"].float()), projector(full["basis"])) < 3e-3


def test_threshold_of_the_field_cuts_directions():
    request = field_request(range(3))
    full = tangent_field.compute(tangent_field.Config(), request)["singular_values"]
    share = float((full[0, 2] + full[0, 3]) / 2 / full[0, 0])
    found = tangent_field.compute(tangent_field.Config(threshold=share), request)
    assert rank(found["basis"])[0] == 3
    torch.testing.assert_close(found["singular_values"], full)


def test_field_refuses_runs_that_are_no_autoencoder():
    with pytest.raises(DataError, match="expected a run of task autoencoder"):
        tangent_field.compute(tangent_field.Config(), field_request([0], LoadedRun("c", nn.Flatten(), {})))


def test_chain_from_autoencoder_to_measurement_is_expanded(tmp_path):
    """And the disk of the field is counted: rows of the split, latent dimensions, pixels."""
    tiny = Tiny()
    tiny.paper["runs"]["ae"] = {
        "name": "line_ae", "task": {"name": "autoencoder", "network": "mlp", "width": 4, "latent": 3},
        "dataset": "line", "fit": {"epochs": 1, "batch_size": 60}, "seed": 0,
    }  # fmt: skip
    tiny.paper["fields"]["tangent"] = {
        "name": "line_tangent", "dataset": "line", "split": "test", "seed": 0, "field": {"name": "tangent"},
        "inputs": {"autoencoder": {"run": "line_ae"}},
    }  # fmt: skip
    tiny.paper["runs"]["plain"]["grid"] = {"seed": [0]}
    tiny.paper["evaluations"] |= {
        name: {
            "groups": groups,
            "measure": {"name": name},
            "inputs": {"tangent": {"field": "line_tangent"}},
        }
        for name, groups in (("manifold_sensitivity", ["plain"]), ("manifold_noise", ["ae"]))
    }
    expansion = tiny.expand(tmp_path)
    assert expansion.fields["line_tangent"].spec["inputs"]["autoencoder"]["run"] == "line_ae"
    assert ("line_plain_s0", "manifold_sensitivity") in expansion.evaluations
    assert ("line_ae", "manifold_noise") in expansion.evaluations
    spec = expansion.fields["line_tangent"].spec
    assert plan.field_bytes(spec, 60, expansion.runs) == 60 * 3 * 2 * 4


# --- Definitions 1 and 2 ---------------------------------------------------------------------------


def draws(count, shape, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(count))


def random_basis(b, k, n, seed=3):
    return torch.linalg.qr(randn(b, n, k, seed=seed))[0].transpose(1, 2)


def test_linear_functions_have_their_closed_form():
    x, w, basis = randn(3, 6), randn(6, seed=1), random_basis(3, 2, 6)
    expected = 1 - (basis @ w).square().sum(1) / w.square().sum()

    def f(x):
        return x @ w

    torch.testing.assert_close(off_manifold_gradient(f, x, basis), expected)
    found = off_manifold_change(f, x, basis, draws(3000, x.shape), [1e-3, 10.0])
    # Linear: every noise level gives the same, up to sampling.
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], expected, rtol=0.1, atol=0.0)


@pytest.mark.parametrize(("on", "expected"), [(True, 0.0), (False, 1.0)])
def test_gradient_on_or_off_the_manifold(on, expected):
    x, basis = randn(2, 6), torch.eye(6, dtype=torch.float64)[:2].expand(2, -1, -1)
    w = torch.tensor([1.0, -2, 0, 0, 0, 0] if on else [0.0, 0, 0, 1, 0, 5], dtype=torch.float64)

    def f(x):
        return torch.tanh(x @ w / 5)

    for found in (
        off_manifold_gradient(f, x, basis),
        off_manifold_change(f, x, basis, draws(6, x.shape), [0.7]),
    ):
        torch.testing.assert_close(found, torch.full_like(found, expected))


def test_quadratic_functions_have_their_exact_expectation():
    """E (u' A u)^2 = (tr A)^2 + 2 tr A^2 for standard normal u; off the manifold with (I - P) A (I - P)."""
    a = randn(6, 6)
    a = a + a.T
    basis = random_basis(1, 2, 6)

    def moment(a):
        return a.trace().square() + 2 * (a @ a).trace()

    complement = torch.eye(6, dtype=torch.float64) - basis[0].T @ basis[0]
    expected = moment(complement @ a @ complement) / moment(a)
    x = torch.zeros(1, 6, dtype=torch.float64)
    found = off_manifold_change(lambda x: ((x @ a) * x).sum(1), x, basis, draws(6000, x.shape), [1.0])
    assert found.item() == pytest.approx(expected.item(), rel=0.1)


def test_few_draws_are_not_biased():
    """Mean over many points of estimates from eight draws each; the plain ratio is a quarter too large."""
    x, w = torch.zeros(20000, 4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    basis = torch.eye(4, dtype=torch.float64)[:3].expand(len(x), -1, -1)
    found = off_manifold_change(lambda x: x @ w, x, basis, draws(8, x.shape), [1.0])
    assert found.mean().item() == pytest.approx(0.25, rel=0.05)


def test_constant_functions_have_neither():
    x, basis = randn(2, 6), random_basis(2, 2, 6)

    def f(x):
        return 0 * x.sum(1) + 3

    assert bool(off_manifold_gradient(f, x, basis).isnan().all())
    assert bool(off_manifold_change(f, x, basis, draws(4, x.shape), [1.0]).isnan().all())
