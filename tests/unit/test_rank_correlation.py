"""Rank correlations: against scipy and closed forms, ties, missing cells, and coverage of the bootstraps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pagrepro import rank_correlation as rc
from pagrepro import statistics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [4, 9, 30])
def test_spearman_agrees_with_scipy_with_and_without_ties(n):
    x, y = RNG.normal(size=(2, n))
    assert rc.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    coarse = np.round(x)
    if np.ptp(coarse):
        assert rc.spearman(coarse, y) == pytest.approx(stats.spearmanr(coarse, y).statistic)


def test_only_the_order_counts():
    x, y = RNG.normal(size=(2, 12))
    assert rc.spearman(np.exp(x), y**3) == pytest.approx(rc.spearman(x, y))
    assert rc.spearman(x, -y) == pytest.approx(-rc.spearman(x, y))
    assert rc.spearman(x, 3 * x + 1) == pytest.approx(1)


def test_missing_points_are_left_out_pair_by_pair():
    x, y = RNG.normal(size=(2, 10))
    gaps = x.copy()
    gaps[[2, 5]] = np.nan
    rest = np.setdiff1d(np.arange(10), [2, 5])
    assert rc.spearman(gaps, y) == pytest.approx(rc.spearman(x[rest], y[rest]))
    # What the other column alone lacks is out of the ranks of this one, too.
    other = y.copy()
    other[7] = np.nan
    rest = np.setdiff1d(rest, [7])
    assert rc.spearman(gaps, other) == pytest.approx(rc.spearman(x[rest], y[rest]))


def test_constant_columns_and_few_points_have_no_correlation():
    x = np.arange(8.0)
    assert np.isnan(rc.spearman(x, np.full(8, 0.3)))
    assert np.isnan(rc.spearman(x[:3], x[:3]))
    few = np.where(x < 3, x, np.nan)
    assert np.isnan(rc.spearman(few, x))
    assert np.isnan(rc.permutation_p(x, np.zeros(8)))


def test_rows_are_correlated_each_by_itself():
    x, y = RNG.normal(size=(2, 5, 11))
    each = [float(rc.spearman(a, b)) for a, b in zip(x, y)]
    assert rc.spearman(x, y) == pytest.approx(each)


def test_partial_correlation_is_that_of_residuals_of_ranks():
    x, y, z = RNG.normal(size=(3, 25))
    ranked = [stats.rankdata(v) for v in (x, y, z)]
    left = [v - np.polyval(np.polyfit(ranked[2], v, 1), ranked[2]) for v in ranked[:2]]
    assert rc.partial_spearman(x, y, z) == pytest.approx(np.corrcoef(*left)[0, 1])


def test_partial_correlation_without_anything_left_is_not_a_number():
    x, y = RNG.normal(size=(2, 9))
    assert np.isnan(rc.partial_spearman(x, y, 2 * x))
    assert np.isnan(rc.partial_spearman(x, y, np.zeros(9)))


def test_partial_correlation_takes_out_what_a_third_explains():
    z = np.random.default_rng(1).normal(size=400)
    noise = np.random.default_rng(2).normal(size=(2, 400))
    x, y = z + noise
    assert rc.spearman(x, y) > 0.35
    assert abs(rc.partial_spearman(x, y, z)) < 0.12


def test_permutation_p_is_near_the_exact_one():
    x = np.arange(6.0)
    y = np.array([0, 1, 2, 4, 3, 5.0])
    # Of the 720 orders, those with |rho| >= 33/35: the identity, five exchanges of neighbours, and their
    # mirrors.
    assert rc.spearman(x, y) == pytest.approx(1 - 6 * 2 / (6 * 35))
    assert rc.permutation_p(x, y, draws=40_000) == pytest.approx(12 / 720, abs=0.002)
    assert rc.permutation_p(x, np.array([3, 0, 4, 1, 5, 2.0])) > 0.3


def test_permutation_p_is_never_zero():
    x = np.arange(12.0)
    assert rc.permutation_p(x, x, draws=99) == pytest.approx(1 / 100)


def test_holm_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.5 * 1; never falling.
    assert rc.holm(np.array([0.02, 0.5, 0.01, 0.03])) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert rc.holm(np.array([0.4, 0.9])) == pytest.approx([0.8, 0.9])
    found = rc.holm(np.array([0.02, np.nan, 0.01]))
    assert found[[0, 2]] == pytest.approx([0.02, 0.02])
    assert np.isnan(found[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_p_and_bonferroni(p):
    p = np.array(p)
    adjusted = rc.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * len(p), 1) + 1e-12).all()


# --- resampling ------------------------------------------------------------------------------------------


def test_means_leave_out_what_is_missing():
    values = np.array([[[1.0, 2.0], [3.0, np.nan]], [[np.nan, 4.0], [np.nan, 6.0]]])
    found = rc.means(values)
    assert found[0].tolist() == [2.0, 2.0]
    assert np.isnan(found[1, 0])
    assert found[1, 1] == 5.0


def test_runs_are_drawn_inside_their_objective_and_with_all_their_measures():
    # Objective o has values near 10 o; both measures of a run are the same number.
    values = np.repeat((10 * np.arange(4)[:, None] + np.arange(3))[..., None].astype(float), 2, axis=2)
    drawn = rc.resampled_runs(values, seed=1, draws=300)
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert ((drawn[..., 0] >= 10 * np.arange(4)) & (drawn[..., 0] <= 10 * np.arange(4) + 2)).all()
    assert drawn[:, 0, 0].std() == pytest.approx(np.sqrt(2 / 3 / 3), rel=0.1)


def test_objectives_are_drawn_with_replacement():
    values = np.arange(6.0)[:, None, None]
    drawn = rc.resampled_objectives(values, draws=500)[..., 0]
    distinct = np.array([len(set(row)) for row in drawn])
    assert distinct.max() <= 6
    assert distinct.mean() == pytest.approx(6 * (1 - (5 / 6) ** 6), rel=0.03)
    assert rc.resampled_objectives(values, draws=500).tolist() == drawn[..., None].tolist()


def test_a_seed_that_an_objective_lacks_is_never_drawn():
    values = RNG.normal(size=(5, 3, 2))
    values[2, 1] = np.nan
    assert not np.isnan(rc.resampled_runs(values, draws=200)).any()
    assert not np.isnan(rc.resampled_objectives(values, draws=200)).any()
    values[3] = np.nan
    drawn = rc.resampled_runs(values, draws=50)
    assert np.isnan(drawn[:, 3]).all()
    assert not np.isnan(drawn[:, [0, 1, 2, 4]]).any()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_the_interval_over_objectives_is_the_wider_one(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(14, 1, 2)) + 0.1 * rng.normal(size=(14, 3, 2))
    width = {}
    for draw in (rc.resampled_runs, rc.resampled_objectives):
        drawn = draw(values, draws=300)
        samples = rc.spearman(drawn[..., 0], drawn[..., 1])
        low, high = statistics.percentile_interval(samples)
        width[draw.__name__] = high - low
    assert width["resampled_objectives"] > width["resampled_runs"]


def covered(rho, objectives, between, seed, worlds=150, draws=300):
    """Share of simulated worlds whose interval over objectives holds the rank correlation of the population
    that objectives are drawn from: means are bivariate normal, runs scatter around them."""
    rng = np.random.default_rng(seed)
    # Runs blur the correlation of single objectives: the population is that of observed means over three
    # runs.
    noise = np.sqrt((1 - between) / between)
    truth = 6 / np.pi * np.arcsin(rho * 3 / (3 + noise**2) / 2)
    hits = 0
    for world in range(worlds):
        x = rng.normal(size=objectives)
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=objectives)
        values = np.stack([x, y], 1)[:, None] + noise * rng.normal(size=(objectives, 3, 2))
        drawn = rc.resampled_objectives(values, seed=world, draws=draws)
        low, high = statistics.percentile_interval(rc.spearman(drawn[..., 0], drawn[..., 1]))
        hits += low <= truth <= high
    return hits / worlds


@pytest.mark.parametrize(("rho", "between"), [(0.0, 0.8), (0.6, 0.8), (0.6, 0.99)])
def test_the_interval_over_objectives_covers(rho, between):
    assert 0.92 <= covered(rho, 15, between, seed=3) <= 1.0
