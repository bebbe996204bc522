"""eps50: rules on made-up curves, searches against closed forms and against the full grid."""

import functools
import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request
from pydantic import ValidationError
from torch import nn

from pagrepro import eps50, plugins
from pagrepro.errors import RangeError
from pagrepro.evaluations.eps50 import Config, measure

NORM = pytest.mark.parametrize("norm", ["linf", "l2"])
NAN, INF = math.nan, math.inf
N, D = 40, 6
GRID = (0.01, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3)


# --- rules, on curves and radii that are written down ----------------------------------------------

FOUR = np.array([0.0, 1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("error", "first", "published"),
    [
        ([0.1, 0.3, 0.7, 1.0], 1.5, 1.5),
        ([0.1, 0.5, 0.7, 1.0], 1.0, 1.0),  # reached at a point
        ([0.5, 0.6, 0.7, 1.0], 0.0, 0.0),  # half of the examples are wrong without any attack
        ([0.6, 0.2, 0.4, 0.6], 0.0, 3.0),  # the last crossing, although the clean error is above
        ([0.0, 0.6, 0.4, 1.0], 5 / 6, 2 + 2 * 0.1 / 0.6),  # two crossings
        ([0.1, 0.2, 0.3, 0.4], NAN, 2 + 2 * 0.9),  # never one half: the threshold falls to 0.39
        ([0.2, 0.2, 0.2, 0.2], NAN, 0.0),
    ],
)
def test_crossings_of_curves(error, first, published):
    error = np.array(error)
    assert eps50.first_crossing(FOUR, error) == pytest.approx(first, nan_ok=True)
    assert eps50.published_crossing(FOUR, error) == pytest.approx(published)


@pytest.mark.parametrize(
    ("radii", "half"),
    [([0, 0, 1, 2], 0), ([0, 1, 2], 1), ([0, 1, 2, INF], 1), ([1, INF, INF], NAN), ([3], 3)],
)
def test_half_of_the_radii(radii, half):
    assert eps50.half_of(np.array(radii, float)) == pytest.approx(half, nan_ok=True)
    if not math.isnan(half):
        assert np.mean(np.array(radii) <= half) >= 0.5
        assert np.mean(np.array(radii) < half) < 0.5


def test_largest_drop():
    assert eps50.largest_drop(np.array([0.1, 0.4, 0.3, 0.9])) == pytest.approx(0.1)
    assert eps50.largest_drop(np.array([0.1, NAN, 0.3])) == 0
    assert eps50.largest_drop(np.array([0.1])) == 0


class Thresholds:
    """An attack that succeeds from a known radius on; notes what it was asked for."""

    def __init__(self, radii):
        self.radii = torch.as_tensor(radii, dtype=torch.float64)
        self.asked = []

    def __call__(self, eps, active):
        self.asked.append((eps.clone(), active.clone()))
        return (eps >= self.radii) & active


RADII = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 4.1, 9.0, 1.2]


def test_bisection_on_a_grid_finds_the_smallest_fooling_point():
    grid = torch.tensor([0.0, 1, 2, 4], dtype=torch.float64)
    attack = Thresholds(RADII)
    wrong = torch.tensor(RADII) == 0
    index = eps50.bisect_grid(attack, ~wrong, grid)
    assert index.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 2]
    low, high = eps50.brackets(index, grid)
    assert high.tolist() == [0, 1, 1, 2, 2, 4, 4, INF, INF, 2]
    assert low.tolist() == [0, 0, 0, 1, 1, 2, 2, 4, 4, 1]
    assert eps50.nested_error(index, 4).tolist() == [0.1, 0.3, 0.6, 0.8]
    assert len(attack.asked) == 2  # log2(3 points + "none")
    assert not any(active[0] for _, active in attack.asked)
    attack.asked.clear()
    low, high = eps50.bisect_brackets(attack, low, high, 10)
    for radius, a, b in zip(RADII, low.tolist(), high.tolist()):
        assert a <= radius <= b or radius > 4 or radius == 0
        assert b - a in (0, INF) or b - a <= 2 / 2**10
    assert len(attack.asked) == 10
    assert not any(active[[0, 7, 8]].any() for _, active in attack.asked)


@pytest.mark.parametrize("points", [1, 2, 7, 12, 20])
@pytest.mark.parametrize("wrong", [0, 3, 12])
@pytest.mark.parametrize("scale", [0.4, 1, 3])
def test_bisection_of_the_crossing_agrees_with_the_whole_curve(points, wrong, scale):
    grid = torch.arange(points + 1, dtype=torch.float64) / points
    radii = scale * torch.rand(20, generator=torch.Generator().manual_seed(points)).double()
    radii[:wrong] = 0
    attack = Thresholds(radii)
    error, low, high = eps50.bisect_crossing(attack, radii == 0, grid)
    curve = np.array([float((radii <= eps).double().mean()) for eps in grid])
    known = ~error.isnan().numpy()
    assert np.array_equal(error.numpy()[known], curve[known])
    expected = eps50.first_crossing(grid.numpy(), curve)
    assert eps50.first_crossing(grid.numpy(), error.numpy()) == pytest.approx(expected, nan_ok=True)
    ends = torch.cat([grid, torch.tensor([INF], dtype=torch.float64)])
    assert ((ends[low] < radii) | (radii == 0)).all()
    assert (radii <= ends[high]).all()
    # Nobody is asked what is known, and each budget only once.
    assert len(attack.asked) <= math.ceil(math.log2(points + 1))
    asked = torch.stack([active for _, active in attack.asked]) if attack.asked else torch.zeros(1, 20).bool()
    assert not asked[:, radii == 0].any()
    if wrong == 12:
        assert attack.asked == []
    elif points == 20:
        assert asked.sum() < 0.8 * asked.numel()


# --- closed forms on linear models -----------------------------------------------------------------


def pgd(norm="linf", **options):
    given = {"eps": 0, "steps": 40, "step_size": 0.02, "keep": "worst", "drop_fooled": True}
    return plugins.resolve("attacks", {"name": "pgd", "norm": norm, **given, **options})


def linear(norm):
    """A two-class linear model on points of the unit cube, labels wrong for four examples, and the distances
    of all examples to the plane in this norm."""
    generator = torch.Generator().manual_seed(5)
    w = torch.randn(D, generator=generator)
    model = Linear(torch.stack([-w / 2, w / 2]), [0.0, -float(w.sum()) / 2])
    x = 0.3 + 0.4 * torch.rand(N, D, generator=generator)
    f = (model(x)[:, 1] - model(x)[:, 0]).detach()
    y = (f > 0).long()
    y[::10] = 1 - y[::10]
    return model, x, y, (f.abs() / (w.abs().sum() if norm == "linf" else w.norm())).double().numpy()


def run(norm, model, x, y, attack=None, classes=2, **options):
    config = Config(**{"attack": attack or pgd(norm), "grid": GRID, **options})
    return measure(config, request(model, x, y, 0.0, 1.0, classes=classes, batch_size=32))


@NORM
@pytest.mark.parametrize("signed", [False, True])
def test_search_finds_the_distances_of_a_linear_model(norm, signed):
    model, x, y, distance = linear(norm)
    found = run(norm, model, x, y, signed=signed, rounds=7)
    values, arrays = found.values, found.arrays
    wrong = np.arange(N) % 10 == 0
    expected = np.where(wrong, -distance if signed else 0, distance)
    # PGD reaches the plane to about a hundredth of a step.
    slack = 2e-3
    assert (arrays["radius_low"] <= expected + slack).all()
    assert (arrays["radius_high"] >= expected - slack).all()
    assert arrays["radius"] == pytest.approx(expected, abs=0.1 / 2**7 + slack)
    assert (arrays["radius_high"] - arrays["radius_low"] <= 0.1 / 2**7 + 1e-12).all()
    assert np.array_equal(arrays["radius"] < 0, wrong & signed)
    assert values["mean_radius"] == pytest.approx(expected.mean(), abs=slack)
    half = eps50.half_of(np.maximum(expected, 0))
    assert values["eps50"] == pytest.approx(half, abs=0.03 / 2**7 + slack)
    assert values["low"] - slack <= half <= values["high"] + slack
    assert values["clean_error"] == 0.1
    assert values["unreached"] == 0
    assert values["final_error"] == 1
    assert values["largest_drop"] == 0
    assert found.flags == []


@NORM
def test_the_curve_of_the_search_is_that_of_the_full_grid_and_of_the_distances(norm):
    model, x, y, distance = linear(norm)
    search = run(norm, model, x, y, rounds=0)
    grid = run(norm, model, x, y, attack=pgd(norm, drop_fooled=False), mode="grid")
    radii = np.where(np.arange(N) % 10 == 0, 0, distance)
    expected = [float((radii <= eps).mean()) for eps in (0, *GRID)]
    # No distance is so close to a point of the grid that the attack could miss it.
    assert np.abs(radii[:, None] - np.array(GRID)).min() > 1e-5
    assert search.arrays["error"].tolist() == pytest.approx(expected)
    assert grid.arrays["error"].tolist() == pytest.approx(expected)
    for name in ("radius", "radius_low", "radius_high", "grid"):
        assert np.array_equal(search.arrays[name], grid.arrays[name])
    for name in ("eps50", "eps50_grid", "low", "high", "mean_radius", "final_error"):
        assert search.values[name] == grid.values[name]
    assert grid.values["eps50_published"] == pytest.approx(grid.values["eps50_grid"])
    assert search.values["forward_passes"] < 0.5 * grid.values["forward_passes"]


def test_unreached_examples_are_flagged_and_count_as_the_largest_budget():
    model, x, y, distance = linear("linf")
    grid, share = (0.01, 0.02), float((distance[np.arange(N) % 10 != 0] > 0.02).sum()) / N
    assert share > 0.5
    found = run("linf", model, x, y, grid=grid, rounds=0)
    assert found.flags == ["not_reached", "unreached"]
    assert found.values["unreached"] == pytest.approx(share)
    assert math.isnan(found.values["eps50"])
    assert math.isnan(found.values["eps50_grid"])
    assert math.isnan(found.values["high"])
    assert found.values["low"] == 0.02
    low, high, middle = (found.arrays[f"radius_{end}"] for end in ("low", "high", "middle"))
    reached = np.isfinite(high)
    assert middle[~reached].tolist() == [0.02] * (~reached).sum()
    assert middle[reached].tolist() == pytest.approx(((low + high) / 2)[reached])
    assert found.values["mean_radius"] == pytest.approx(middle.mean())
    signed = run("linf", model, x, y, grid=grid, rounds=0, signed=True)
    assert np.isneginf(signed.arrays["radius"]).any()
    assert signed.values["mean_radius"] < found.values["mean_radius"]
    crossing = run("linf", model, x, y, grid=grid, mode="crossing")
    assert crossing.flags == ["not_reached"]
    assert crossing.values["low"] == 0.02
    assert math.isnan(crossing.values["high"])


@pytest.mark.parametrize("mode", ["search", "crossing", "grid"])
def test_half_wrong_from_the_start_is_zero(mode):
    model, x, y, _ = linear("linf")
    y = torch.where(torch.arange(N) < N // 2 + 4, 1 - (model(x)[:, 1] > 0).long(), y)
    y[: N // 2 + 4] = 1 - (model(x).argmax(1))[: N // 2 + 4]
    found = run("linf", model, x, y, mode=mode)
    assert found.values["eps50_grid"] == found.values["low"] == found.values["high"] == 0
    assert found.values.get("eps50", 0) == 0
    if mode == "crossing":
        assert found.values["backward_passes"] == 0


def test_everything_is_in_the_attack_s_unit():
    """The same geometry, stated in [-1, 1] units and in [0, 1] units."""
    model, x, y, _ = linear("linf")
    plain = run("linf", model, x, y, rounds=2)
    doubled = run(
        "linf", model, x, y, rounds=2, attack=pgd(step_size=0.04, unit=0.5), grid=[2 * g for g in GRID]
    )
    for name in ("radius", "radius_low", "radius_high", "grid"):
        assert doubled.arrays[name] == pytest.approx(2 * plain.arrays[name])
    for name in ("eps50", "eps50_grid", "low", "high", "mean_radius"):
        assert doubled.values[name] == pytest.approx(2 * plain.values[name])
    assert np.array_equal(doubled.arrays["error"], plain.arrays["error"])


# --- a trained network -----------------------------------------------------------------------------


@functools.cache
def trained(classes):
    """A small network fitted to a few classes, and held-out examples."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(300, D, generator=generator)
    y = ((x - 0.5) @ torch.randn(D, classes, generator=generator)).argmax(1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(D, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, classes))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:240]), y[:240]).backward()
        optimizer.step()
    return model, x[240:], y[240:]


def three_ways(norm, classes, **options):
    """Crossing, search on the grid alone, and the full grid with the same rule of success."""
    grid = tuple(np.linspace(0.01, 0.3, 12).round(4).tolist())
    options = {"classes": classes, "grid": grid, **options}
    attack, whole = (pgd(norm, steps=20, loss="margin", drop_fooled=drop) for drop in (True, False))
    return (
        run(norm, *trained(classes), attack=attack, mode="crossing", **options),
        run(norm, *trained(classes), attack=attack, rounds=0, **options),
        run(norm, *trained(classes), attack=whole, mode="grid", **options),
    )


@NORM
def test_search_and_crossing_agree_with_the_full_grid_on_a_trained_network(norm):
    crossing, search, full = three_ways(norm, 2)
    assert full.values["largest_drop"] == 0
    assert 0 < full.values["clean_error"] < 0.3
    assert full.values["final_error"] > 0.5
    assert np.array_equal(search.arrays["error"], full.arrays["error"])
    assert np.array_equal(search.arrays["radius"], full.arrays["radius"])
    assert search.values["eps50_grid"] == full.values["eps50_grid"] == crossing.values["eps50_grid"]
    known = ~np.isnan(crossing.arrays["error"])
    assert 3 <= known.sum() < 7
    assert np.array_equal(crossing.arrays["error"][known], full.arrays["error"][known])
    for end in ("low", "high"):
        assert crossing.values[end] == search.values[end]
        assert np.isin(crossing.arrays[f"radius_{end}"], [0, *search.arrays["grid"], INF]).all()
    assert (crossing.arrays["radius_low"] <= search.arrays["radius_low"]).all()
    assert (crossing.arrays["radius_high"] >= search.arrays["radius_high"]).all()
    assert "radius" not in crossing.arrays
    assert "eps50" not in crossing.values
    passes = [
        found.values["forward_passes"] + found.values["backward_passes"] for found in (crossing, search, full)
    ]
    assert passes[0] < 0.8 * passes[1]
    assert passes[1] < 0.4 * passes[2]


@NORM
def test_more_rounds_stay_inside_the_bracket_on_the_grid(norm):
    search = run(norm, *trained(2), attack=pgd(norm), rounds=0)
    finer = run(norm, *trained(2), attack=pgd(norm), rounds=3)
    assert search.values["low"] <= finer.values["low"] < finer.values["eps50"] <= search.values["high"]
    assert np.array_equal(finer.arrays["error"], search.arrays["error"])
    finite = np.isfinite(search.arrays["radius"]) & (search.arrays["radius"] > 0)
    widths = [(r.arrays["radius_high"] - r.arrays["radius_low"])[finite] for r in (search, finer)]
    assert widths[1] == pytest.approx(widths[0] / 8)


@NORM
def test_an_attack_that_is_not_monotone_moves_single_examples(norm):
    """With four classes PGD loses an example now and then at a budget above one that fooled it."""
    crossing, search, full = three_ways(norm, 4)
    assert np.abs(search.arrays["error"] - full.arrays["error"]).max() <= 1 / 60 + 1e-12
    assert search.values["eps50_grid"] == pytest.approx(full.values["eps50_grid"], rel=0.05)
    assert crossing.values["eps50_grid"] == pytest.approx(full.values["eps50_grid"], rel=0.05)


def test_last_iterates_are_measured_as_they_are():
    """The published way: each budget by itself, last iterate; the error may then fall."""
    steps = {"steps": 2, "step_size": 0.3, "keep": "last", "drop_fooled": False}
    found = run("linf", *trained(4), attack=pgd(**steps), mode="grid", classes=4)
    error = found.arrays["error"]
    expected = max(0.0, float((error[:-1] - error[1:]).max()))
    assert found.values["largest_drop"] == expected
    assert ("not_monotone" in found.flags) == (expected > 0)
    passes = (len(GRID) * 2, len(GRID) * 2)
    assert found.values["backward_passes"] == passes[1]
    assert found.values["forward_passes"] == passes[0] + 1 + len(GRID)  # and the predictions


def test_a_falling_error_is_flagged():
    """An example is fooled by a last iterate on one side of a thin region only."""

    class Thin(nn.Module):  # class 1 for 0.55 < x < 0.6, gradient upwards everywhere
        def forward(self, x):
            inside = ((x > 0.55) & (x < 0.6)).to(x)
            return torch.cat([0 * x, x - 2 + 3 * inside], 1)

    attack = pgd(keep="last", drop_fooled=False, start="zero", step_size=1.0, steps=1)
    config = Config(attack=attack, grid=[0.07, 0.2], mode="grid")
    found = measure(config, request(Thin(), [[0.5]], [0], 0.0, 1.0))
    assert found.arrays["error"].tolist() == [0, 1, 0]
    assert found.values["largest_drop"] == 1
    assert found.flags == ["not_monotone"]


def test_same_numbers_twice_and_others_for_another_seed():
    model, x, y = trained(4)
    config = Config(attack=pgd(steps=3, step_size=0.05), grid=GRID, rounds=3)
    results = [
        measure(config, request(model, x, y, 0.0, 1.0, classes=4, seed=seed)).arrays["radius"]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_square_attack_through_the_same_code():
    """Linf distances of a linear model, as vectors that are seen as images."""
    model, x, y, distance = linear("linf")
    attack = plugins.resolve("attacks", {"name": "square", "eps": 0, "queries": 150, "reshape": [1, 2, 3]})
    found = run("linf", model, x, y, attack=attack, rounds=3)
    expected = np.where(np.arange(N) % 10 == 0, 0, distance)
    assert (found.arrays["radius_high"] >= expected - 1e-6).all()
    assert found.arrays["radius"] == pytest.approx(expected, abs=0.1 / 2**3)
    assert found.values["backward_passes"] == 0
    assert 10 < found.values["forward_passes"] < 151 * 6
    with pytest.raises(ValidationError, match="signed needs"):
        Config(attack=attack, grid=GRID, signed=True)


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"grid": [0.1, 0.1]}, "increase strictly, found 0.1 after 0.1"),
        ({"grid": [0.1, 0.3, 0.2]}, "increase strictly, found 0.2 after 0.3"),
        ({"grid": [0, 0.1]}, "grid"),
        ({"grid": []}, "grid"),
        ({"attack": pgd(targeted=True)}, "untargeted"),
        ({"attack": pgd(keep="last", drop_fooled=False)}, "keep: worst"),
        ({"attack": pgd(keep="last", drop_fooled=False), "mode": "crossing"}, "keep: worst"),
        ({"attack": {"name": "carlini_wagner"}}, "no budget"),
        ({"mode": "grid", "signed": True}, "signed needs mode: search"),
        ({"rounds": -1}, "rounds"),
    ],
)
def test_bad_options_are_errors(options, text):
    with pytest.raises(ValidationError, match=text):
        Config(**{"attack": pgd(), "grid": GRID, **options})


def test_grids_are_read_as_fractions():
    assert Config(attack=pgd(), grid=["1/255", "8/255"]).grid == (1 / 255, 8 / 255)


def test_examples_out_of_range_are_refused():
    model, x, y, _ = linear("linf")
    with pytest.raises(RangeError, match="expected within"):
        run("linf", model, 255 * x, y)
