"""Square attack: budgets and box, draws that are each example's own, and what it finds on linear models."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_models import Linear
from pydantic import ValidationError
from torch import nn

from pagrepro import plugins
from pagrepro.attacks.square import HALVINGS, Config, build
from pagrepro.errors import RangeError

N, C = 12, 3
SHAPE = (2, 5, 4)


def attack(**options):
    return build(Config(**{"eps": 0.1, "queries": 30, **options}))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(seed=0, shape=SHAPE):
    """A random smooth network, images in [0, 1], labels right for all but two examples."""
    torch.manual_seed(seed)
    features = 1
    for length in shape:
        features *= length
    model = nn.Sequential(nn.Flatten(), nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, C)).double()
    with torch.no_grad():
        model[1].weight.mul_(3)
    x = torch.rand(N, *shape, dtype=torch.float64)
    y = model(x).argmax(1)
    y[:2] = (y[:2] + 1) % C
    return model.eval().requires_grad_(False), x, y


def constant(x):
    """Never fooled for label 0, never better: the search goes through all its queries."""
    return torch.stack([x.new_ones(len(x)), x.new_zeros(len(x))], 1)


# --- budget, box, draws ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 30), scale=st.floats(0, 1), unit=st.sampled_from([1, 0.5]))
def test_stays_in_each_examples_ball_and_in_the_box(seed, scale, unit):
    model, x, y = problem(seed)
    eps = scale * torch.linspace(0, 1, N, dtype=torch.float64)
    square = attack(unit=unit)
    x_adv = square.perturb(model, x, y, generator(seed), eps=eps)  # in the data's units, whatever unit is
    assert ((x_adv - x).flatten(1).abs().amax(1) <= eps + 1e-12).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert torch.equal(x_adv, square.perturb(model, x, y, generator(seed), eps=eps))


def test_another_generator_gives_other_points():
    model, x, y = problem()
    assert not torch.equal(*(attack().perturb(model, x, y, generator(seed)) for seed in (0, 1)))


def test_budget_is_given_in_units_of_the_data():
    model, x, y = problem()
    half = attack(eps=0.4, unit=0.5).perturb(model, x, y, generator())
    assert torch.equal(half, attack(eps=0.2).perturb(model, x, y, generator()))


def test_pixels_outside_a_narrower_box_are_moved_into_it():
    x = torch.linspace(-3, 3, 40, dtype=torch.float64).view(1, *SHAPE)
    y, options = torch.zeros(1, dtype=torch.int64), {"low": None, "high": None}
    inside = attack(box=[-1, 1]).perturb(constant, x, y, generator(), **options)
    assert (inside.min(), inside.max()) == (-1, 1)
    assert ((inside - x.clamp(-1, 1)).abs() <= 0.1 + 1e-12).all()
    free = attack(box="none").perturb(constant, x, y, generator(), low=-3.0, high=3.0)
    torch.testing.assert_close((free - x).abs(), torch.full_like(x, 0.1))


def recorded(shape, queries, n=N, **options):
    """Points (queries, n, *shape) that the network is shown around x = 0, eps 1, while nothing succeeds."""
    seen = []

    def model(x):
        seen.append(x.clone())
        return constant(x)

    x = torch.zeros(n, *shape, dtype=torch.float64)
    square = attack(eps=1.0, queries=queries, box="none", **options)
    square.perturb(model, x, torch.zeros(n, dtype=torch.int64), generator())
    assert square.forward_passes == n * (queries + 1)
    assert square.backward_passes == 0
    assert square.queries.tolist() == [queries] * n
    return torch.stack(seen[1:])


def test_starts_with_vertical_stripes_of_each_example():
    start = recorded(SHAPE, 1)[0]
    assert (start.abs() == 1).all()
    assert (start == start[:, :, :1]).all()  # constant down each column
    assert not (start == start[:1]).all()
    assert not (start == start[..., :1]).all()


def test_windows_are_squares_with_places_and_signs_of_each_example_up_to_the_edge():
    height, width = SHAPE[1:]
    points = recorded(SHAPE, 200)
    start, later = points[0], points[1:]  # margins never fall, so every query begins from the stripes
    sides = [attack(queries=200).side(k, height, width) for k in range(1, 200)]
    places = set()
    for point, side in zip(later, sides):
        corners = []
        for before, after in zip(start, point):
            # Where a window has the sign of the stripe it changes nothing, so it only holds the changes.
            rows, columns = (before != after).any(0).nonzero(as_tuple=True)
            if len(rows) == 0:
                continue
            assert rows.max() - rows.min() < side
            assert columns.max() - columns.min() < side
            corners.append((int(rows.min()), int(columns.min())))
            places |= {(int(r), int(c)) for r, c in zip(rows, columns)}
        assert len(set(corners)) > 1 or min(height, width) == side
    assert places == {(r, c) for r in range(height) for c in range(width)}
    # Channels have signs of their own: in some window one changed and the other did not.
    changed = (later != start).flatten(3).any(3)
    assert (changed[..., 0] != changed[..., 1]).any()


def test_windows_shrink_as_published():
    square = attack(queries=5000, p_init=0.8)
    # p = 0.8 until query 5 of 5,000 (10 of 10,000), then 0.4, ... and 0.8 / 512 after query 4,000.
    assert [square.side(k, 28, 28) for k in (1, 5, 6, 25, 26)] == [25, 25, 18, 18, 13]
    assert square.side(4000, 224, 224) == round((0.8 / 256) ** 0.5 * 224)
    assert square.side(4001, 224, 224) == round((0.8 / 512) ** 0.5 * 224)
    sides = [square.side(k, 100, 60) for k in range(5000)]
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) == len(HALVINGS) + 1
    assert max(sides) == 60  # 0.8 of the pixels would be wider than the image
    assert attack(p_init=1).side(0, 3, 3) == 3
    assert attack(queries=10_000).side(9_999, 2, 2) == 1


def test_an_example_does_not_depend_on_which_others_are_dropped():
    model, x, y = problem()
    together = attack(eps=0.1).perturb(model, x, y, generator())
    for row in range(2, N, 3):
        others = (model(x).argmax(1) + 1) % C  # wrong from the start
        others[row] = y[row]
        alone = attack(eps=0.1).perturb(model, x, others, generator())
        torch.testing.assert_close(alone[row], together[row])
        assert torch.equal(alone[:row], x[:row])
        active = torch.arange(N) == row
        chosen = attack(eps=0.1).perturb(model, x, y, generator(), active=active)
        torch.testing.assert_close(chosen[row], together[row])
        assert torch.equal(chosen[~active], x[~active])


def test_budgets_of_each_example_agree_with_one_budget():
    model, x, y = problem()
    eps = torch.tensor([0.2, 0.05] * (N // 2), dtype=torch.float64)
    mixed = attack().perturb(model, x, y, generator(), eps=eps)
    for k, value in ((0, 0.2), (1, 0.05)):
        torch.testing.assert_close(mixed[k::2], attack().perturb(model, x, y, generator(), eps=value)[k::2])


def test_nothing_to_attack_needs_no_pass():
    model, x, y = problem()
    square = attack()
    x_adv = square.perturb(model, x, y, generator(), active=torch.zeros(N, dtype=torch.bool))
    assert torch.equal(x_adv, x)
    assert square.forward_passes == 0


# --- what it finds ---------------------------------------------------------------------------------


def test_stops_at_the_first_success_and_leaves_wrong_examples_alone():
    model, x, y = problem()
    square = attack(eps=0.04, queries=100)
    x_adv = square.perturb(model, x, y, generator())
    wrong, fooled = model(x).argmax(1) != y, model(x_adv).argmax(1) != y
    assert wrong.tolist() == [True, True] + [False] * (N - 2)
    assert torch.equal(x_adv[:2], x[:2])
    assert square.queries[:2].tolist() == [0, 0]
    early = square.queries[2:] < 100
    assert fooled[2:][early].all()
    assert early.any()
    assert not early.all()
    assert square.forward_passes == N + int(square.queries.sum())


def test_keeps_the_points_of_lower_margin():
    """A linear model that is never fooled: its margin is a sum over pixels, so the best points are known."""
    x, y = torch.full((1, *SHAPE), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    margins = []

    def model(z):
        margins.append(float(10 - z.sum()) + 100)
        return torch.stack([10 - z.flatten(1).sum(1) + 100, z.new_zeros(len(z))], 1)

    x_adv = attack(eps=0.5, queries=40).perturb(model, x, y, generator())
    assert float(10 - x_adv.sum()) + 100 == min(margins[1:])
    assert min(margins[1:]) < margins[1]  # better than the stripes
    assert max(margins[2:]) > margins[1]  # not everything that was tried was


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 3, 2)])
def test_fools_a_linear_model_at_a_little_more_than_its_margin(shape):
    """Linf distance to the plane is margin / ||w||_1; single pixels at the end reach every sign."""
    torch.manual_seed(3)
    features = shape[0] * shape[1] * shape[2]
    w = torch.randn(features)
    model = Linear(torch.stack([torch.zeros(features), w]), [0.0, -float(w.sum()) / 2])
    x = 0.3 + 0.4 * torch.rand(8, *shape)
    scores = model(x)
    y = scores.argmax(1)
    distance = (scores[:, 1].abs() / w.abs().sum()).detach()
    above, below = (
        attack(queries=3000).perturb(model, x, y, generator(), eps=factor * distance)
        for factor in (1.05, 0.999)
    )
    assert (model(above).argmax(1) != y).all()
    assert (model(below).argmax(1) == y).all()


def test_vectors_are_seen_as_images():
    model, x, y = problem()
    vectors = x.flatten(1)
    x_adv = attack(reshape=SHAPE).perturb(model, vectors, y, generator())
    assert x_adv.shape == vectors.shape
    assert torch.equal(x_adv, attack().perturb(model, x, y, generator()).flatten(1))
    with pytest.raises(ValueError, match=r"\(40,\) as images of shape \(40,\); give `reshape"):
        attack().perturb(model, vectors, y, generator())
    with pytest.raises(ValueError, match=r"shape \(1, 5, 4\)"):
        attack(reshape=[1, 5, 4]).perturb(model, vectors, y, generator())


def test_nonfinite_logits_are_never_chosen():
    model, x, _ = problem()
    y, calls = model(x).argmax(1), []

    def broken(z):  # finite at x itself, which is looked at first
        calls.append(len(z))
        return model(z) if len(calls) == 1 else model(z) * torch.nan

    assert torch.equal(attack().perturb(broken, x, y, generator()), x)
    assert calls == [N] * 31


def test_no_gradient_is_needed():
    model, x, y = problem()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert not attack().perturb(model, x.requires_grad_(), y, generator()).requires_grad


def test_errors():
    model, x, y = problem()
    with pytest.raises(RangeError, match="inputs of the attack"):
        attack().perturb(model, 255 * x, y, generator())
    for options, text in (
        ({"p_init": 0}, "p_init"),
        ({"queries": 0}, "queries"),
        ({"box": [1, 1]}, "below the high end"),
        ({"targeted": True}, "targeted"),
    ):
        with pytest.raises(ValidationError, match=text):
            Config(eps=0.1, **options)
    resolved = plugins.resolve("attacks", {"name": "square", "eps": "8/255", "box": ["-1", 1]})
    assert resolved["box"] == [-1, 1]
    assert resolved["queries"] == 5000
