"""Scaled maps, cosine, SSIM: closed forms, and a plain loop over windows."""

import math

import pytest
import torch

from pagrepro.errors import DataError
from pagrepro.similarity import derangement, resized, scaled_map, similarity, ssim


def maps(*shape, seed=0):
    """Within [-1, 1], each with a largest magnitude of 1."""
    return scaled_map(torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


# --- maps -----------------------------------------------------------------------------------------------


def test_each_map_is_divided_by_its_own_largest_magnitude():
    g = torch.tensor([[[1.0, -4.0]], [[0.0, 0.0]], [[1e-38, 5e-39]], [[torch.inf, 1.0]]])
    found = scaled_map(g)
    assert found[0].tolist() == [[0.25, -1]]
    assert found[1].tolist() == [[0, 0]]
    assert found[2, 0].tolist() == pytest.approx([1, 0.5], rel=1e-4)
    assert found[3].isnan().all()
    many = torch.randn(5, 3, 4, 4)
    assert torch.equal(scaled_map(many).abs().flatten(1).amax(1), torch.ones(5))
    torch.testing.assert_close(scaled_map(1e3 * many), scaled_map(many))


def test_resizing_takes_no_average_beyond_two_neighbours():
    """Bilinear without antialias: from 8 to 2, place 0 is halfway between pixels 1 and 2 of the eight."""
    row = torch.tensor([9.0, 1, 3, 9, 9, 5, 7, 9])
    found = resized(row.expand(1, 1, 8, 8), 2)
    assert found.tolist() == [[[[2, 6], [2, 6]]]]
    assert resized(found, 2) is found
    assert resized(found, None) is found
    with pytest.raises(DataError, match="found maps of shape"):
        resized(torch.zeros(2, 5), 4)


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_another_example_is_never_the_same(n):
    other = derangement(n, 7)
    assert sorted(other.tolist()) == list(range(n))
    assert not (other == torch.arange(n)).any()
    assert torch.equal(other, derangement(n, 7))


def test_other_examples_depend_on_the_seed():
    assert not torch.equal(derangement(20, 0), derangement(20, 1))


# --- similarities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cosine", "ssim"])
def test_similarity_of_equal_maps_is_one_and_of_others_less(name):
    a = maps(4, 3, 16, 16)
    same, negated, other = similarity(name, a)(a, [a, -a, maps(4, 3, 16, 16, seed=1)])
    torch.testing.assert_close(same, torch.ones(4).double())
    assert negated.max() < -0.5
    assert (other.abs() < 0.5).all()


def test_cosine_ignores_scale_and_a_zero_map_has_none():
    a, b = maps(3, 5), maps(3, 5, seed=1)
    compare = similarity("cosine", a)
    expected = torch.tensor([(x @ y / x.norm() / y.norm()).item() for x, y in zip(a, b)])
    torch.testing.assert_close(compare(a, [b])[0], expected.double())
    torch.testing.assert_close(compare(0.01 * a, [b])[0], expected.double())
    assert compare(torch.zeros_like(a), [b])[0].tolist() == [0, 0, 0]
    assert compare(a, [-a])[0].tolist() == pytest.approx([-1] * 3)


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.5, -0.25), (0.0, 1.0), (0.0, 0.0)])
def test_ssim_of_constants(x, y):
    a, b = (torch.full((1, 3, 12, 12), v).double() for v in (x, y))
    x, y, c1 = (x + 1) / 2, (y + 1) / 2, 0.01**2
    assert ssim(a, b).item() == pytest.approx((2 * x * y + c1) / (x * x + y * y + c1))


def test_ssim_of_a_negated_checkerboard():
    """Local means of the picture are nearly 1/2 and variances nearly 1/4."""
    board = ((-1.0) ** (torch.arange(32)[:, None] + torch.arange(32))).double().expand(1, 1, 32, 32)
    assert ssim(board, -board).item() == pytest.approx((-0.5 + 0.0009) / (0.5 + 0.0009), abs=1e-3)


def by_loops(a, b, side):
    """SSIM of two maps (H, W), window by window."""
    a, b = (a + 1) / 2, (b + 1) / 2
    at = torch.arange(side).double() - (side - 1) / 2
    w = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    w = w / w.sum()
    found = []
    for i in range(a.shape[0] - side + 1):
        for j in range(a.shape[1] - side + 1):
            x, y = (z[i : i + side, j : j + side] for z in (a, b))
            mx, my = (w * x).sum(), (w * y).sum()
            vx, vy, cov = (
                (w * (x - mx) ** 2).sum(),
                (w * (y - my) ** 2).sum(),
                (w * (x - mx) * (y - my)).sum(),
            )
            c1, c2 = 0.0001, 0.0009
            found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return torch.stack(found).mean()


@pytest.mark.parametrize(("shape", "side"), [((14, 13), 11), ((8, 8), 7), ((8, 5), 5), ((2, 9), 1)])
def test_ssim_is_the_mean_over_windows_and_channels(shape, side):
    a, b = maps(2, 3, *shape), maps(2, 3, *shape, seed=1)
    expected = [torch.stack([by_loops(x, y, side) for x, y in zip(*pair)]).mean() for pair in zip(a, b)]
    torch.testing.assert_close(ssim(a, b), torch.stack(expected))
    torch.testing.assert_close(ssim(a, b), ssim(b, a))


def test_ssim_is_for_images_of_one_shape():
    with pytest.raises(DataError, match="two images"):
        ssim(torch.zeros(2, 5), torch.zeros(2, 5))
    with pytest.raises(DataError, match="two images"):
        ssim(torch.zeros(2, 1, 5, 5), torch.zeros(2, 3, 5, 5))


@pytest.mark.parametrize("name", ["cosine", "ssim", "lpips_random"])
def test_maps_that_are_not_finite_have_no_similarity(name):
    a = maps(2, 1, 8, 8).float()
    broken = a.clone()
    broken[0] = math.nan
    found = similarity(name, a)(broken, [a])[0]
    assert found.isnan().tolist() == [True, False]


def test_names_and_what_lpips_needs():
    like = torch.zeros(0)
    with pytest.raises(DataError, match=r"alexnet: \{source: alexnet_imagenet\}"):
        similarity("lpips", like)
    with pytest.raises(ValueError, match="allowed: lpips"):
        similarity("l2", like)
