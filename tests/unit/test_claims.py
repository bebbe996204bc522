"""Every rule on made-up results for every verdict it can give."""

import numpy as np
import pytest
from made_up import curve, frame, rows
from pydantic import ValidationError

from pagrepro import plugins, statistics
from pagrepro.claims import _effects
from pagrepro.errors import DataError


def judge(rule, table, **options):
    module = plugins.load("claims", rule)
    return module.judge(module.Config(**options), table)


SEEDS = 5
NOISE = [0.01, -0.01, 0.005, -0.005, 0.0]


def around(mean, noise=NOISE):
    return [mean + x for x in noise]


WIDE = [0.4, -0.3, 0.2, -0.35, 0.05]


# --- difference --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("high", "options", "verdict"),
    [
        (around(0.3), {"above": 0.1}, "confirmed"),
        (around(0.3), {"above": 0.5}, "contradicted"),
        (around(0.3, WIDE), {"above": 0.1}, "inconclusive"),
        (around(0.3), {"below": 0.5}, "confirmed"),
        (around(0.3), {"below": 0.1}, "contradicted"),
        (around(0.3), {"above": 0.1, "below": 0.5}, "confirmed"),
    ],
)
def test_difference(high, options, verdict):
    found = judge("difference", frame(rows("high", high), rows("low", [0.0] * SEEDS)), **options)
    assert found.verdict == verdict
    assert found.n_seeds == SEEDS
    assert found.effect == pytest.approx(np.mean(high))
    assert found.interval[0] < found.effect < found.interval[1]


def test_difference_is_paired_by_seed():
    """Seeds differ by much more than the methods do: only the paired effect is certain."""
    base = [0.1, 0.5, 0.9, 0.3, 0.7]
    high = rows("high", [b + 0.05 + n / 10 for b, n in zip(base, NOISE)])
    assert judge("difference", frame(high, rows("low", base)), above=0).verdict == "confirmed"
    other_seeds = rows("low", {10 + k: b for k, b in enumerate(base)})
    unpaired = judge("difference", frame(high, other_seeds), above=0)
    assert unpaired.verdict == "inconclusive"
    assert "Welch" in unpaired.reason


def test_tie_at_zero_speaks_against_a_strict_claim_only():
    table = frame(rows("high", [0.0] * 3), rows("low", [0.0] * 3))
    assert judge("difference", table, above=0).verdict == "contradicted"
    assert judge("difference", table, above=0, strict=False).verdict == "confirmed"


def test_two_seeds_are_too_few():
    found = judge("difference", frame(rows("high", [1.0, 1.0]), rows("low", [0.0, 0.0])), above=0.5)
    assert found.verdict == "inconclusive"
    assert found.effect == 1
    assert "2 seeds, 3 are needed" in found.reason


def test_only_shared_seeds_count():
    found = judge("difference", frame(rows("high", around(0.3)), rows("low", [0.0] * 3)), above=0.1)
    assert (found.verdict, found.n_seeds) == ("confirmed", 3)
    assert "3 seeds in common, of up to 5" in found.reason


def test_each_min_and_max_over_groups():
    good, bad = rows("high", around(0.3), "good"), rows("high", around(0.05), "bad")
    low = rows("low", [0.0] * SEEDS)
    table = frame(good, bad, low)
    each = judge("difference", table, above=0.1)
    assert each.verdict == "contradicted"
    assert each.tests == 2
    assert "good - low: confirmed" in each.reason
    assert judge("difference", table, above=0.1, high="min").effect == pytest.approx(0.05)
    assert judge("difference", table, above=0.1, high="max").verdict == "confirmed"
    assert judge("difference", table, above=0.1, high="mean").effect == pytest.approx(0.175)


def test_groups_matched_by_position():
    """The same models under two attacks: each with itself, not each with every other."""
    table = frame(
        rows("high", around(0.3), "a"), rows("high", around(0.7), "b"),
        rows("low", around(0.1), "a"), rows("low", around(0.5), "b"),
    )  # fmt: skip
    assert judge("difference", table, above=0.1, match="position").verdict == "confirmed"
    assert judge("difference", table, above=0.1).verdict == "contradicted"
    with pytest.raises(DataError, match="as many groups"):
        judge("difference", frame(rows("high", [1.0], "a"), rows("high", [1.0], "b"), rows("low", [0.0])),
              above=0, match="position")  # fmt: skip


def test_where_selects_runs_by_label():
    table = frame(curve("high", {0.1: around(0.2), 0.4: around(0.9)}), curve("low", {1.0: around(0.5)}))
    with pytest.raises(DataError, match="several runs have seed 0"):
        judge("difference", table, above=0)
    assert judge("difference", table, above=0, where={"high": {"lambda": 0.4}}).verdict == "confirmed"
    assert judge("difference", table, above=0, where={"high": {"lambda": 0.1}}).verdict == "contradicted"
    with pytest.raises(DataError, match="no run has the labels"):
        judge("difference", table, above=0, where={"high": {"lambda": 7}})


def test_accuracies_are_shown_in_percent():
    table = frame(rows("high", around(0.3), quantity="accuracy"), rows("low", [0.0] * 5, quantity="accuracy"))
    assert judge("difference", table, above=0).measured.startswith("30 % [29")


def test_unknown_role_and_missing_threshold_are_errors():
    with pytest.raises(DataError, match="needs the role 'high'"):
        judge("difference", frame(rows("hihg", [1.0]), rows("low", [1.0])), above=0)
    for rule in ("difference", "ratio", "correlation", "all_seeds", "within"):
        with pytest.raises(ValidationError, match="`, or both"):
            plugins.load("claims", rule).Config()


# --- diverged runs --------------------------------------------------------------------------------------


def test_effect_is_given_with_and_without_diverged_runs():
    high = rows("high", [0.3, 0.31, 0.29, 0.3, 0.0], status={4: "diverged"})
    found = judge("difference", frame(high, rows("low", [0.0] * 5)), above=0.25)
    assert found.verdict == "inconclusive"
    assert "1 of 10 diverged; without them 0.3 [0.28" in found.reason


def test_values_that_are_not_finite_are_left_out_and_counted():
    high = rows("high", [0.3, 0.31, 0.29, 0.3, float("nan")], status={4: "diverged"})
    found = judge("difference", frame(high, rows("low", [0.0] * 5)), above=0.25)
    assert (found.verdict, found.n_seeds) == ("confirmed", 4)
    assert "1 of 10 values not finite" in found.reason


def test_no_finite_value_is_inconclusive():
    high = rows("high", [float("nan")] * 3, status=dict.fromkeys(range(3), "diverged"))
    for rule, options, roles in (
        ("difference", {"above": 0}, ("high", "low")),
        ("ratio", {"above": 0}, ("numerator", "denominator")),
        ("all_seeds", {"above": 0}, ("high", "low")),
    ):
        table = frame([{**r, "role": roles[0]} for r in high], rows(roles[1], [0.1] * 3))
        found = judge(rule, table, **options)
        assert (found.verdict, found.effect, found.interval) == ("inconclusive", None, None)


# --- claims about given models ------------------------------------------------------------------------


def with_arrays(folder, role, share, count=400):
    """One run whose accuracy is the mean of its per-example array."""
    correct = np.arange(count) < share * count
    path = folder / f"{role}.npz"
    np.savez(path, correct=correct, other=np.zeros(count))
    return rows(role, [float(correct.mean())], arrays={0: str(path)}, quantity="accuracy")


def test_bootstrap_over_examples_for_given_models(tmp_path):
    table = frame(with_arrays(tmp_path, "high", 0.6), with_arrays(tmp_path, "low", 0.5))
    assert judge("difference", table, above=0.05).verdict == "inconclusive"
    given = judge("difference", table, above=0.05, about="models")
    assert (given.verdict, given.n_seeds) == ("confirmed", 1)
    assert "bootstrap over 400 test examples" in given.reason
    # Ten per cent of the examples differ, all in one direction: sd sqrt(.1 .9 / 400) = 1.5 %.
    assert np.subtract(*given.interval[::-1]) == pytest.approx(2 * 1.96 * 0.015, rel=0.1)
    assert judge("difference", table, above=0.2, about="models").verdict == "contradicted"
    assert judge("difference", table, above=0.1, about="models").verdict == "inconclusive"


def test_ratio_of_given_models(tmp_path):
    table = frame(with_arrays(tmp_path, "numerator", 0.6), with_arrays(tmp_path, "denominator", 0.5))
    assert judge("ratio", table, above=1.1, about="models").verdict == "confirmed"


def test_no_bootstrap_without_fitting_arrays(tmp_path):
    table = frame(with_arrays(tmp_path, "high", 0.6), rows("low", [0.5]))
    found = judge("difference", table, above=0, about="models")
    assert found.verdict == "inconclusive"
    assert "no per-example values of low_s0" in found.reason
    table = frame(with_arrays(tmp_path, "high", 0.6), with_arrays(tmp_path, "low", 0.5))
    wrong = judge("difference", table, above=0, about="models", array="other")
    assert "is not the mean of its array 'other', nor its median" in wrong.reason
    table = frame(with_arrays(tmp_path, "high", 0.6), with_arrays(tmp_path, "low", 0.5, count=200))
    assert "[200, 400] examples" in judge("difference", table, above=0, about="models").reason


# --- ratio ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "verdict"),
    [({"above": 0.8}, "confirmed"), ({"above": 1.1}, "contradicted"), ({"above": 0.9}, "inconclusive"),
     ({"above": 0.85, "below": 0.95}, "confirmed"), ({"above": 0.95, "below": 0.99}, "contradicted")],
)  # fmt: skip
def test_ratio(options, verdict):
    base = [0.5, 0.6, 0.4, 0.55, 0.45]
    table = frame(rows("numerator", [0.9 * b + n for b, n in zip(base, NOISE)]), rows("denominator", base))
    found = judge("ratio", table, **options)
    assert found.verdict == verdict
    assert found.effect == pytest.approx(0.9)


def test_ratio_to_nothing_is_inconclusive():
    table = frame(rows("numerator", around(0.5)), rows("denominator", [0.0] * SEEDS))
    assert judge("ratio", table, above=1).verdict == "inconclusive"
    table = frame(rows("numerator", [0.5]), rows("denominator", [0.0]))
    assert judge("ratio", table, above=1).effect is None


# --- ordering, monotone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "verdict"),
    [((0.9, 0.5, 0.1), "confirmed"), ((0.9, 0.1, 0.5), "contradicted"), ((0.9, 0.5, 0.497), "inconclusive")],
)
def test_ordering(means, verdict):
    # The last one's noise is its own, so that pairing does not remove it.
    noises = (NOISE, NOISE, NOISE[::-1])
    table = frame(*(rows(r, around(m, n)) for r, m, n in zip("abc", means, noises)))
    found = judge("ordering", table, order=["a", "b", "c"])
    assert found.verdict == verdict
    assert found.tests == 2
    kept = {"confirmed": 5, "contradicted": 0, "inconclusive": 3}[verdict]
    assert f"whole order in {kept} of 5 seeds" in found.reason


def test_ordering_with_a_margin():
    table = frame(rows("a", around(0.9)), rows("b", around(0.5, NOISE[::-1])))
    assert judge("ordering", table, order=["a", "b"], margin=0.3).verdict == "confirmed"
    assert judge("ordering", table, order=["a", "b"], margin=0.5).verdict == "contradicted"


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"direction": "up"}, "contradicted"),
        ({"direction": "up", "until": 0.4}, "confirmed"),
        ({"direction": "down"}, "contradicted"),
        ({"direction": "down", "since": 0.4}, "confirmed"),
        ({"direction": "up", "margin": -0.5}, "confirmed"),
        ({"direction": "up", "until": 0.4, "margin": 0.4}, "inconclusive"),
    ],
)
def test_monotone(options, verdict):
    table = frame(
        curve(
            "values", {1.0: around(0.7), 0.1: around(0.4, NOISE[::-1]), 0.01: around(0.0), 0.4: around(0.9)}
        )
    )
    assert judge("monotone", table, label="lambda", **options).verdict == verdict


def test_monotone_does_not_mind_seeds_of_their_own():
    """Steps between runs of different seeds are judged unpaired, in both directions."""
    table = frame(
        *(curve("values", {at: {10 * k + s: v for s, v in enumerate(around(m))}})
          for k, (at, m) in enumerate(((0.1, 0.9), (0.4, 0.5))))
    )  # fmt: skip
    assert judge("monotone", table, label="lambda", direction="down").verdict == "confirmed"
    assert judge("monotone", table, label="lambda", direction="up").verdict == "contradicted"


def test_label_errors_name_the_label():
    with pytest.raises(DataError, match="label 'lambda'"):
        judge("monotone", frame(rows("values", [1.0])), label="lambda", direction="up")
    with pytest.raises(DataError, match="two values of 'lambda'"):
        judge("monotone", frame(curve("values", {0.1: [1.0]})), label="lambda", direction="up")


# --- interior peak, crossing ---------------------------------------------------------------------------


def peak_table(heights, noise=NOISE):
    # Every place has the noise in another order: seeds are no common shift.
    return frame(curve("values", {k / 10: around(h, list(np.roll(noise, k))) for k, h in enumerate(heights)}))


@pytest.mark.parametrize(
    ("heights", "options", "verdict"),
    [
        ((0.1, 0.5, 0.9, 0.6, 0.3), {}, "confirmed"),
        ((0.1, 0.5, 0.9, 0.6, 0.3), {"at": 0.2}, "confirmed"),
        ((0.1, 0.5, 0.9, 0.6, 0.3), {"rise": 0.7, "fall": 0.7}, "contradicted"),
        ((0.1, 0.3, 0.5, 0.7, 0.9), {}, "contradicted"),
        ((0.9, 0.3, 0.5, 0.3, 0.2), {}, "contradicted"),
        ((0.9, 0.5, 0.1, 0.4, 0.8), {"peak": "min"}, "confirmed"),
        ((0.5, 0.5, 0.5, 0.5, 0.5), {}, "inconclusive"),
    ],
)
def test_interior_peak(heights, options, verdict):
    assert judge("interior_peak", peak_table(heights), label="lambda", **options).verdict == verdict


def test_interior_peak_says_where():
    found = judge("interior_peak", peak_table((0.1, 0.5, 0.9, 0.6, 0.3)), label="lambda")
    assert "highest mean at lambda=0.2" in found.reason
    with pytest.raises(DataError, match=r"0\.4 inside the values"):
        judge("interior_peak", peak_table((0.1, 0.5, 0.9, 0.6, 0.3)), label="lambda", at=0.4)


def test_noise_makes_no_peak():
    """Choosing the highest place in the seed that is measured would make a peak of one sd out of noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, 5, 12))  # repetitions, seeds, places
    found = [_effects.at_best_of_others(matrix, slice(1, -1), end=0).mean() for matrix in noise]
    assert np.mean(found) == pytest.approx(0, abs=0.1)
    assert np.mean([matrix.max(1).mean() for matrix in noise]) > 1
    known = _effects.at_best_of_others(noise[0], slice(1, -1), index=3, end=0)
    assert known == pytest.approx(noise[0][:, 3] - noise[0][:, 0])


@pytest.mark.parametrize(
    ("upper", "options", "verdict"),
    [
        ((0.9, 0.6, 0.2), {}, "confirmed"),
        ((0.9, 0.6, 0.2), {"by": 10}, "confirmed"),
        ((0.9, 0.6, 0.2), {"by": 1}, "contradicted"),
        ((0.9, 0.8, 0.7), {}, "contradicted"),
        ((0.3, 0.2, 0.1), {}, "contradicted"),
        ((0.9, 0.7, 0.497), {}, "inconclusive"),
        ((0.9, 0.6, 0.2), {"between": (1, 10)}, "confirmed"),
        ((0.9, 0.6, 0.2), {"between": (0.1, 1)}, "contradicted"),
        ((0.9, 0.6, 0.2), {"between": (1.8, 10), "scale": "log"}, "inconclusive"),
    ],
)
def test_crossing(upper, options, verdict):
    places = (0.1, 1.0, 10.0)
    table = frame(
        curve("upper", {at: around(h) for at, h in zip(places, upper)}),
        curve("lower", {at: around(0.5, NOISE[::-1]) for at in places}),
    )
    assert judge("crossing", table, label="lambda", **options).verdict == verdict


def test_place_of_the_crossing_is_interpolated():
    table = frame(
        curve("upper", {0.0: [1.0] * 3, 1.0: [0.0] * 3}), curve("lower", {0.0: [0.25] * 3, 1.0: [0.25] * 3})
    )
    assert "crossing at lambda = 0.75 [0.75, 0.75]" in judge("crossing", table, label="lambda").reason
    with pytest.raises(DataError, match="the same for both roles"):
        judge("crossing", frame(curve("upper", {0.0: [1.0]}), curve("lower", {1.0: [1.0]})), label="lambda")


# --- correlation ----------------------------------------------------------------------------------------


def correlated(slope, noise=0.05, other=None, spread=0.3):
    rng = np.random.default_rng(1)
    x = {at: [at + 0.01 * s for s in range(SEEDS)] for at in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}
    y = {at: [slope * v + noise * rng.normal() for v in values] for at, values in x.items()}
    parts = [curve("x", x, group="g"), curve("y", y, group="g")]
    if other is not None:
        z = {at: [other * v + spread * rng.normal() for v in values] for at, values in x.items()}
        parts.append(curve("other", z, group="g"))
    return frame(*parts)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize(
    "how", [{"over": "runs"}, {"over": "runs", "interval": "bootstrap"}, {"over": "seeds"}]
)
def test_correlation(method, how):
    table = correlated(1.0)
    assert judge("correlation", table, method=method, above=0.8, **how).verdict == "confirmed"
    assert judge("correlation", table, method=method, below=0, **how).verdict == "contradicted"
    weak = correlated(0.05, noise=0.1)
    assert judge("correlation", weak, method=method, above=0.2, **how).verdict == "inconclusive"


def test_correlation_with_a_label_and_with_too_few_seeds():
    table = correlated(-1.0)
    found = judge("correlation", table[table["role"] == "y"], x_label="lambda", method="spearman", below=-0.8)
    assert (found.verdict, found.n_seeds) == ("confirmed", SEEDS)
    few = table[table["seed"] < 2]
    assert judge("correlation", few, below=-0.8).verdict == "inconclusive"
    with pytest.raises(DataError, match="label 'eps'"):
        judge("correlation", table, x_label="eps", above=0)


def test_one_quantity_more_correlated_than_another():
    assert judge("correlation", correlated(1.0, other=0.1), above=0).verdict == "confirmed"
    assert judge("correlation", correlated(1.0, other=0.1), below=0).verdict == "contradicted"
    assert (
        judge("correlation", correlated(1.0, noise=0.3, other=1.0, spread=0.02), above=0).verdict
        == "inconclusive"
    )


def test_correlation_with_a_constant_is_inconclusive():
    table = frame(curve("x", {k: [0.5] * 3 for k in (1.0, 2.0, 3.0)}, group="g"),
                  curve("y", {k: [k] * 3 for k in (1.0, 2.0, 3.0)}, group="g"))  # fmt: skip
    found = judge("correlation", table, above=0.5)
    assert (found.verdict, found.effect) == ("inconclusive", None)
    assert "the same in all 9 runs" in found.reason


# --- within, spread, all_seeds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"low": 0.2, "high": 0.4}, "confirmed"),
        ({"high": 0.1}, "contradicted"),
        ({"low": 0.3}, "inconclusive"),
    ],
)
def test_within(options, verdict):
    assert judge("within", frame(rows("value", around(0.3))), **options).verdict == verdict


def test_within_includes_its_ends_and_judges_every_group():
    table = frame(rows("value", [1.0] * 3, "a"), rows("value", [0.9] * 3, "b"))
    assert judge("within", table[table["group"] == "a"], low=1.0).verdict == "confirmed"
    assert judge("within", table, low=1.0).verdict == "contradicted"
    assert judge("within", table, low=1.0, groups="max").verdict == "confirmed"


@pytest.mark.parametrize(
    ("below", "verdict"), [(0.1, "confirmed"), (0.003, "contradicted"), (0.012, "inconclusive")]
)
def test_spread(below, verdict):
    found = judge("spread", frame(rows("values", around(0.8))), below=below)
    assert found.verdict == verdict
    assert found.effect == pytest.approx(np.std(NOISE, ddof=1))


def test_spread_of_two_seeds_is_unknown():
    assert judge("spread", frame(rows("values", [0.1, 0.2])), below=1).verdict == "inconclusive"


def test_all_seeds():
    def table(values):
        return frame(rows("high", values), rows("low", [0.0] * len(values)))

    assert judge("all_seeds", table([0.5] * 6), above=0.4).verdict == "confirmed"
    five = judge("all_seeds", table([0.5] * 5), above=0.4)
    assert (five.verdict, five.measured) == ("inconclusive", "5 of 5 seeds")
    assert "at least 48% of further ones" in five.reason
    assert judge("all_seeds", table([0.5] * 5), above=0.4, share=0.4).verdict == "confirmed"
    missed = judge("all_seeds", table([0.5] * 9 + [0.3]), above=0.4)
    assert (missed.verdict, missed.measured) == ("contradicted", "9 of 10 seeds")
    assert judge("all_seeds", table([0.3, 0.5]), above=0.4).verdict == "inconclusive"


def test_rules_can_be_checked_without_importing_them():
    for name in plugins.names("claims"):
        parsed = plugins.config_class("claims", name).model_json_schema()
        assert parsed == plugins.load("claims", name).Config.model_json_schema()


@pytest.mark.parametrize(
    ("values", "options", "verdict"),
    [
        ([0.0, 1e-9], {"low": 0, "high": 1e-6}, "confirmed"),
        ([0.0, 1e-3], {"low": 0, "high": 1e-6}, "contradicted"),
        ([0.5, 0.4], {"low": 0.5}, "contradicted"),
        ([0.0, np.nan], {"high": 1}, "inconclusive"),
    ],
)
def test_every_run_is_about_facts_and_needs_no_seeds(values, options, verdict):
    found = judge("every_run", frame(rows("value", values)), **options)
    assert found.verdict == verdict
    assert found.tests == (1 if verdict == "inconclusive" else 0)


def test_every_run_names_the_run_outside():
    table = frame(rows("value", [0.0, 2.0]))
    assert table["run"].iloc[1] in judge("every_run", table, high=1).reason


# --- medians, arrays by role, agreement ----------------------------------------------------------------


def test_roles_may_be_means_of_arrays_of_their_own(tmp_path):
    """Two alignments of the same networks: each is the mean of another array, paired by example."""
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.3, 300)
    np.savez(tmp_path / "g.npz", alpha_dx=base + 0.1, alpha_x=base)
    path = {0: str(tmp_path / "g.npz")}
    table = frame(rows("high", [float(base.mean() + 0.1)], "g", arrays=path),
                  rows("low", [float(base.mean())], "g", arrays=path))  # fmt: skip
    named = {"high": "alpha_dx", "low": "alpha_x"}
    found = judge("difference", table, above=0.05, about="models", array=named)
    assert found.verdict == "confirmed"
    assert found.interval == pytest.approx((0.1, 0.1))
    lacking = judge("difference", table, above=0.05, about="models", array={"high": "alpha_dx"})
    assert lacking.verdict == "inconclusive"
    assert "`array` names none for the role 'low'" in lacking.reason


def with_radii(folder, role, middle, count=301, unreached=0):
    """One run whose value is the median of its radii, which lie evenly around it; some are infinite, and one
    in ten is of a misclassified example."""
    radius = middle + np.linspace(-0.5, 0.5, count) * 0.2
    radius[count - unreached :] = np.inf
    radius[: count // 10] *= -1
    path = folder / f"{role}.npz"
    np.savez(path, radius=radius)
    value = np.sort(np.maximum(radius, 0))[count // 2]
    return rows(role, [float(value)], arrays={0: str(path)}, quantity="eps50")


def test_medians_of_given_models(tmp_path):
    table = frame(with_radii(tmp_path, "high", 0.5, unreached=20), with_radii(tmp_path, "low", 0.45))
    found = judge("difference", table, above=0.03, about="models", array="radius")
    assert found.verdict == "confirmed"
    assert found.effect == pytest.approx(0.05)
    assert "bootstrap over 301 test examples" in found.reason
    # The same resampled examples: radii that differ by a constant have medians that differ by it.
    assert found.interval == pytest.approx((0.05, 0.05))
    one = judge(
        "within", table[table["role"] == "high"].assign(role="value"), low=0, about="models", array="radius"
    )
    # Uniform of width w: the median of n has the standard deviation w / (2 sqrt(n)).
    assert np.subtract(*one.interval[::-1]) == pytest.approx(2 * 1.96 * 0.2 / (2 * np.sqrt(301)), rel=0.15)


def test_means_and_medians_see_the_same_resampled_examples():
    values = np.random.default_rng(0).integers(0, 2, (2, 41)).astype(float)
    means, medians = statistics.resampled_means(values), statistics.resampled_medians(values)
    # Of zeros and ones, 21 of 41 have to be 1 for a median of 1.
    assert np.array_equal(medians, (means > 0.5).astype(float))
    assert 0 < medians.mean() < 1
    assert statistics.median(np.array([4.0, 1.0, np.inf, 2.0])) == 2


def panels(folder, factors, seeds=1, count=200, broken=()):
    """One group per factor, whose estimates are that much too large in half of the examples and a little more
    in the other half; `broken`: groups whose attack never succeeds."""
    distance = np.linspace(0.1, 1, count)
    wrong = np.where(np.arange(count) % 2, 1.0, 1.02)
    parts = []
    for number, factor in enumerate(factors):
        for seed in range(seeds):
            near, found = folder / f"near{number}_{seed}.npz", folder / f"found{number}_{seed}.npz"
            np.savez(near, distance=distance * (factor[seed] if isinstance(factor, list) else factor) * wrong)
            there = np.where(np.arange(count) < 5, np.nan, distance)
            np.savez(found, distance=np.full(count, np.nan) if number in broken else there)
            for role, path in (("estimate", near), ("distance", found)):
                parts.append(rows(role, {seed: 0.5}, f"g{number}", arrays={seed: str(path)}))
    return frame(*parts)


@pytest.mark.parametrize(
    ("options", "verdict"),
    [({"most": 0.5}, "confirmed"), ({"most": 0.2}, "contradicted"), ({"least": 0.3}, "confirmed"),
     ({"least": 0.4}, "contradicted"), ({"most": 0.2, "tolerance": 0.05}, "confirmed"),
     ({"most": 0.5, "tolerance": 0.7}, "contradicted")],
)  # fmt: skip
def test_agreement_counts_panels(tmp_path, options, verdict):
    table = panels(tmp_path, (1.1, 1.5, 0.6))
    found = judge("agreement", table, about="models", **options)
    assert found.verdict == verdict
    share = {0.05: 0.0, 0.25: 1 / 3, 0.7: 1.0}[options.get("tolerance", 0.25)]
    assert found.effect == pytest.approx(share)
    assert f"{share * 3:.3g} of 3 panels; median errors: g0 0.1, g1 0.5, g2 0.4" in found.reason
    assert "bootstrap over test examples" in found.reason


def test_agreement_of_methods_needs_seeds(tmp_path):
    factors = (1.1, 1.5, 0.6)
    few = judge("agreement", panels(tmp_path, factors), most=0.5)
    assert (few.verdict, few.n_seeds) == ("inconclusive", 1)
    assert "1 seed, 3 are needed" in few.reason
    many = judge("agreement", panels(tmp_path, factors, seeds=3), most=0.5)
    assert (many.verdict, many.n_seeds) == ("confirmed", 3)
    changing = (1.1, [1.1, 1.1, 1.5], [1.5, 1.1, 1.5])
    assert judge("agreement", panels(tmp_path, changing, seeds=3), most=0.5).verdict == "inconclusive"


def test_agreement_near_the_tolerance_depends_on_the_examples(tmp_path):
    """Half of the examples are off by 24 %, the others by 26 %: whether the panel agrees is not certain."""
    table = panels(tmp_path, (1.24, 1.5))
    found = judge("agreement", table, most=0.2, about="models")
    assert found.interval == (0.0, 0.5)
    assert found.verdict == "inconclusive"


def test_agreement_with_nothing_to_compare_is_inconclusive(tmp_path):
    found = judge("agreement", panels(tmp_path, (1.5, 1.5), broken=(1,)), most=0.5, about="models")
    assert found.verdict == "inconclusive"
    assert "a panel without any example to compare" in found.reason


def test_agreement_errors_name_what_does_not_fit(tmp_path):
    table = panels(tmp_path, (1.1, 1.5))
    with pytest.raises(DataError, match="as many groups"):
        judge("agreement", table[(table["role"] == "estimate") | (table["group"] == "g0")], most=0.5)
    with pytest.raises(DataError, match="no array 'radius'"):
        judge("agreement", table, most=0.5, arrays={"estimate": "distance", "distance": "radius"})
    np.savez(tmp_path / "near0_0.npz", distance=np.ones(7))
    with pytest.raises(DataError, match=r"shapes \(7,\) and \(200,\)"):
        judge("agreement", table, most=0.5)
    with pytest.raises(DataError, match="no per-example values of g0_s0"):
        judge("agreement", frame(rows("estimate", [1.0], "g0"), rows("distance", [1.0], "g0")), most=0.5)
    for options in ({}, {"most": 0.5, "arrays": {"estimate": "distance"}}):
        with pytest.raises(ValidationError, match=r"a share of the panels|one for `estimate`"):
            plugins.load("claims", "agreement").Config(**options)
