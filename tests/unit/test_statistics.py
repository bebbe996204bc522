"""Intervals against closed forms and their coverage; verdicts from intervals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pagrepro import expected, statistics
from pagrepro.statistics import Verdict


def test_t_interval_of_three_values():
    mean, (low, high) = statistics.t_interval([1.0, 2.0, 3.0])
    assert mean == 2
    # t(0.975, 2) = 4.302653, sd = 1
    assert high - mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)


def test_t_interval_of_equal_values_is_a_point():
    assert statistics.t_interval([0.25] * 4) == (0.25, (0.25, 0.25))


def test_welch_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 6), rng.normal(0, 3, 9)
    effect, interval = statistics.welch_interval(a, b)
    reference = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert effect == pytest.approx(a.mean() - b.mean())
    assert interval == pytest.approx((reference.low, reference.high))
    assert statistics.welch_interval([1, 1, 1], [0, 0, 0]) == (1, (1, 1))


def test_fieller_ends_are_where_the_contrast_is_just_significant():
    rng = np.random.default_rng(1)
    y = rng.normal(5, 0.5, 8)
    x = 0.9 * y + rng.normal(0, 0.2, 8)
    effect, ends = statistics.fieller_interval(x, y)
    assert effect == pytest.approx(x.mean() / y.mean())
    for end in ends:
        assert stats.ttest_1samp(x - end * y, 0).pvalue == pytest.approx(0.05, abs=1e-9)


def test_fieller_is_unbounded_when_the_denominator_may_be_zero():
    _, interval = statistics.fieller_interval([1.0, 1.1, 0.9], [-1.0, 1.0, 0.1])
    assert interval == (-math.inf, math.inf)


def test_sd_interval_and_share_interval():
    sd, (low, high) = statistics.sd_interval([1.0, 2.0, 3.0])
    assert sd == 1
    assert low == pytest.approx(math.sqrt(2 / stats.chi2.ppf(0.975, 2)))
    assert high == pytest.approx(math.sqrt(2 / stats.chi2.ppf(0.025, 2)))
    share, interval = statistics.share_interval(5, 5)
    assert share == 1
    assert interval == pytest.approx((0.025 ** (1 / 5), 1.0))
    reference = stats.binomtest(7, 20).proportion_ci(0.95, "exact")
    assert statistics.share_interval(7, 20)[1] == pytest.approx((reference.low, reference.high))
    assert statistics.share_interval(0, 3)[1][0] == 0


def test_fisher_interval_agrees_with_scipy_and_rank_is_wider():
    rng = np.random.default_rng(2)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    r = float(statistics.correlation(x, y))
    reference = stats.pearsonr(x, y)
    assert r == pytest.approx(reference.statistic)
    low, high = statistics.fisher_interval(r, 20)
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval()))
    rank = statistics.fisher_interval(r, 20, rank=True)
    assert rank[0] < low
    assert rank[1] > high


def test_perfect_order_of_few_runs_is_not_certain():
    low, high = statistics.fisher_interval(1.0, 5, rank=True)
    assert low < 0
    assert high == 1
    assert statistics.fisher_interval(-1.0, 5, rank=True) == (-1, -low)
    assert statistics.fisher_interval(-1.0, 30, rank=True)[1] < -0.95


def test_correlation_of_rows_and_of_constants():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(4, 9)), rng.normal(size=(4, 9))
    for rank, reference in ((False, stats.pearsonr), (True, stats.spearmanr)):
        assert statistics.correlation(x, y, rank) == pytest.approx([reference(a, b)[0] for a, b in zip(x, y)])
    assert np.isnan(statistics.correlation(np.ones(5), np.arange(5.0)))


def test_bootstrap_is_paired_seeded_and_leaves_out_nan():
    rng = np.random.default_rng(4)
    a = rng.random(300) < 0.5
    b = a.copy()
    b[:9] = ~b[:9]
    both = statistics.resampled_means(np.stack([a, b]).astype(float))
    assert both.shape == (statistics.DRAWS, 2)
    # Paired by example: the spread of the difference is that of nine examples, not that of 300.
    d = a.astype(float) - b
    assert (both[:, 0] - both[:, 1]).std() == pytest.approx(d.std() / math.sqrt(300), rel=0.05)
    assert np.array_equal(both, statistics.resampled_means(np.stack([a, b]).astype(float)))
    assert not np.array_equal(both, statistics.resampled_means(np.stack([a, b]).astype(float), seed=1))
    holes = np.where(np.arange(300) % 2, np.nan, 3.0)[None]
    assert statistics.resampled_means(holes, draws=50) == pytest.approx(np.full((50, 1), 3.0))


def test_bootstrap_blocks_do_not_change_the_means():
    x = np.arange(5_000.0)[None]
    many = statistics.resampled_means(x, draws=1_700)  # three blocks
    assert many.shape == (1_700, 1)
    assert many.mean() == pytest.approx(x.mean(), rel=0.01)
    assert many.std() == pytest.approx(x.std() / math.sqrt(5_000), rel=0.1)


@pytest.mark.parametrize(
    ("interval", "bounds", "verdict"),
    [
        ((0.1, 0.2), {"above": 0}, "confirmed"),
        ((-0.2, -0.1), {"above": 0}, "contradicted"),
        ((-0.1, 0.2), {"above": 0}, "inconclusive"),
        ((0.0, 0.0), {"above": 0}, "contradicted"),
        ((0.0, 0.0), {"above": 0, "strict": False}, "confirmed"),
        ((0.1, 0.2), {"below": 0.3}, "confirmed"),
        ((0.4, 0.5), {"below": 0.3}, "contradicted"),
        ((0.146, 0.154), {"above": 0.145, "below": 0.155}, "confirmed"),
        ((0.146, 0.16), {"above": 0.145, "below": 0.155}, "inconclusive"),
        ((0.16, 0.17), {"above": 0.145, "below": 0.155}, "contradicted"),
        ((0.13, 0.17), {"above": 0.145, "below": 0.155}, "inconclusive"),
        (None, {"above": 0}, "inconclusive"),
        ((-math.inf, math.inf), {"above": 0}, "inconclusive"),
        ((math.nan, math.nan), {"above": 0}, "inconclusive"),
    ],
)
def test_verdict_from_an_interval(interval, bounds, verdict):
    assert statistics.judge_interval(interval, **bounds) == verdict


@settings(max_examples=200, deadline=None)
@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1), st.booleans())
def test_a_claim_and_its_opposite_are_never_both_confirmed(low, width, threshold, strict):
    interval = (low, low + width)
    claim = statistics.judge_interval(interval, above=threshold, strict=strict)
    opposite = statistics.judge_interval(interval, below=threshold, strict=not strict)
    assert (claim, opposite) in {
        ("confirmed", "contradicted"), ("contradicted", "confirmed"), ("inconclusive", "inconclusive"),
    }  # fmt: skip


def test_under_the_threshold_itself_one_in_forty_is_contradicted():
    rng = np.random.default_rng(5)
    words = [
        statistics.judge_interval(statistics.t_interval(x)[1], above=0) for x in rng.normal(0, 1, (2_000, 5))
    ]
    assert words.count("contradicted") / len(words) == pytest.approx(0.025, abs=0.01)
    assert words.count("confirmed") / len(words) == pytest.approx(0.025, abs=0.01)


def part(word: str, n: int = 5, reason: str = "because") -> Verdict:
    if word == "not testable":
        return statistics.not_testable(reason)
    return Verdict(word, 0.1, (0.0, 0.2), n, f"measured {word}", reason)


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["confirmed", "confirmed"], "confirmed"),
        (["confirmed", "inconclusive"], "inconclusive"),
        (["confirmed", "inconclusive", "contradicted"], "contradicted"),
        (["confirmed", "not testable"], "confirmed"),
        (["inconclusive", "not testable"], "inconclusive"),
        (["not testable", "contradicted"], "contradicted"),
        (["not testable", "not testable"], "not testable"),
    ],
)
def test_combination_of_parts(words, verdict):
    found = statistics.combine([(f"part {k}", part(word)) for k, word in enumerate(words)])
    assert found.verdict == verdict
    assert found.tests == sum(word != "not testable" for word in words)


def test_combination_names_what_was_not_judged_and_counts_the_fewest_seeds():
    found = statistics.combine(
        [("digits", part("confirmed", 5)), ("faces", part("not testable", reason="no licence")),
         ("toys", part("confirmed", 3))]
    )  # fmt: skip
    assert found.n_seeds == 3
    assert "faces (no licence)" in found.reason
    assert "digits: measured confirmed" in found.measured
    same = statistics.combine(
        [("a", part("not testable", reason="no net")), ("b", part("not testable", reason="no net"))]
    )
    assert same.reason == "no net"


def test_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="allowed: confirmed, contradicted, inconclusive, not testable"):
        Verdict("rejected", None, None, 0, "", "")


def test_contradictions_expected_by_chance():
    verdicts = [part("confirmed")] * 30 + [part("contradicted")] * 10 + [part("not testable")] * 7
    assert expected.by_chance(verdicts) == pytest.approx((1.0, 1.0))
    many = Verdict("confirmed", 1.0, (0.5, 2.0), 5, "", "", tests=100)
    fact = Verdict("confirmed", 1.0, (1.0, 1.0), 5, "", "", tests=0)
    assert expected.by_chance([many, fact]) == pytest.approx((0.025, 1.0))
    assert "Of 40 judged claims, 1.0 would be expected" in expected.sentence(verdicts)
