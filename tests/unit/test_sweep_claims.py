"""Rules about sweeps, on made-up results, for every verdict they can give."""

import numpy as np
import pytest
from made_up import curve, frame
from pydantic import ValidationError
from sweep_curves import ACCURACY, ALIGNMENT, CROSSING, OFF, ON, STRENGTHS, sweep_rows

from pagrepro import plugins
from pagrepro.errors import DataError

ALL = ("on", "off", "accuracy", "alignment")
ABOVE = [2.0] * 30  # off never falls below on


def judge(rule, table, **options):
    module = plugins.load("claims", rule)
    return module.judge(module.Config(**options), table)


def table(*roles, **more):
    return frame(*sweep_rows(roles or ALL, **more))


def some_seeds(usual, other, count=2, seeds=5, noise=0.002):
    """(seeds, S) values: the first `count` seeds have the other curve."""
    rng = np.random.default_rng(7)
    rows = [other if k < count else usual for k in range(seeds)]
    return np.array(rows) * (1 + noise * rng.normal(size=(seeds, len(usual))))


# The claims of the paper hold on the published curves, with the thresholds of the specification.
PUBLISHED = [
    ("crossing_cost", {"max_drop": 0.06, "change": 0.30, "spread": 0.35}),
    ("fall_together", {"correlation": 0.9, "steps": 3}),
    ("fall_together", {"steps": 3, "decades": 7 / 29}),
    ("peak_position", {"max_drop": 0.10, "steps": 2}),
    ("correlation_until_peak", {"above": 0.8}),
    ("three_regimes", {}),
]


@pytest.mark.parametrize(("rule", "options"), PUBLISHED)
def test_published_curves_confirm(rule, options):
    found = judge(rule, table(), **options)
    assert (found.verdict, found.n_seeds) == ("confirmed", 5)


@pytest.mark.parametrize(("rule", "options"), PUBLISHED)
def test_two_seeds_are_too_few(rule, options):
    for more in ({}, {"off": ABOVE}):
        found = judge(rule, table(seeds=2, **more), **options)
        assert (found.verdict, found.n_seeds, found.interval) == ("inconclusive", 2, None)
        assert "2 seeds, 3 are needed" in found.reason


NEED_A_CROSSING = [
    ("crossing_cost", {"max_drop": 0.06}, "off never falls below on"),
    ("crossing_cost", {"change": 0.5}, "off never falls below on"),
    ("crossing_cost", {"spread": 0.5}, "off never falls below on"),
    ("fall_together", {"correlation": 0.5}, "off never falls below on"),
    ("peak_position", {"steps": 5}, "off is never below on from the peak on"),
]


@pytest.mark.parametrize(("rule", "options", "reason"), NEED_A_CROSSING)
def test_a_landmark_that_does_not_exist_does_not_vanish(rule, options, reason):
    never = judge(rule, table(off=ABOVE), **options)
    assert (never.verdict, never.effect, never.n_seeds) == ("contradicted", None, 5)
    assert f"{reason} in 5 of 5 seeds" in never.reason
    some = judge(rule, table(off=some_seeds(OFF, ABOVE)), **options)
    assert (some.verdict, some.n_seeds, some.interval) == ("inconclusive", 5, None)
    assert f"{reason} in 2 of 5 seeds" in some.reason
    assert some.effect is not None


# --- crossing_cost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"max_drop": 0.03}, "contradicted"),
        ({"max_drop": 0.054}, "inconclusive"),
        ({"change": 0.2}, "contradicted"),
        ({"change": 0.2745}, "inconclusive"),
        ({"spread": 0.2}, "contradicted"),
        ({"max_drop": 0.06, "spread": 0.2}, "contradicted"),
    ],
)
def test_crossing_cost(options, verdict):
    assert judge("crossing_cost", table(), **options).verdict == verdict


def test_effects_of_the_crossing_are_those_of_the_curves():
    exact = table(noise=0.0)
    drop = judge("crossing_cost", exact, max_drop=0.06)
    assert drop.effect == pytest.approx(ACCURACY[0] - ACCURACY[CROSSING])
    assert drop.measured.startswith("5.4 % [")
    assert "crossing at 0.023950" in drop.reason.replace("0.0239503", "0.023950")
    change = judge("crossing_cost", exact, change=0.3)
    assert change.effect == pytest.approx(max(ON[:15]) / ON[0] - 1)
    upto = np.array(ON[: CROSSING + 1])
    spread = judge("crossing_cost", exact, spread=0.3)
    assert spread.effect == pytest.approx(np.ptp(upto) / upto.mean())


def test_accuracy_is_only_needed_for_the_drop():
    assert judge("crossing_cost", table("on", "off"), spread=0.35).verdict == "confirmed"
    with pytest.raises(DataError, match="needs the role 'accuracy'"):
        judge("crossing_cost", table("on", "off"), max_drop=0.06)


# --- fall_together ---------------------------------------------------------------------------------------


def test_falls_that_are_apart():
    late = ACCURACY[:15] + [0.9] * 10 + ACCURACY[25:]
    found = judge("fall_together", table(accuracy=late), steps=3)
    assert found.verdict == "contradicted"
    assert found.effect == pytest.approx(15 - 25)
    # A step of two of the sweep's own: half as far.
    wide = judge("fall_together", table(accuracy=late), steps=6, decades=2 * 7 / 29)
    assert (wide.verdict, wide.effect) == ("confirmed", pytest.approx(-5))
    scattered = some_seeds(ACCURACY, late, noise=0.0)
    assert judge("fall_together", table(accuracy=scattered), steps=3).verdict == "inconclusive"


def test_only_one_that_falls_fails():
    flat = [0.9] * 30
    never = judge("fall_together", table(accuracy=flat, noise=0), steps=3)
    assert never.verdict == "contradicted"
    assert "only one of on and accuracy falls in 5 of 5 seeds" in never.reason
    neither = judge("fall_together", table(accuracy=flat, on=[0.5] * 30, noise=0), steps=3)
    assert (neither.verdict, neither.n_seeds) == ("inconclusive", 0)
    assert "5 more cannot say" in neither.reason


def test_accuracy_that_rises_while_sensitivity_falls():
    rising = ACCURACY[:15] + sorted(ACCURACY[15:])
    assert judge("fall_together", table(accuracy=rising), correlation=0.9).verdict == "contradicted"
    noise = np.random.default_rng(0).uniform(0.3, 0.9, (5, 30))
    assert judge("fall_together", table(accuracy=noise), correlation=0.0).verdict == "inconclusive"


def test_few_strengths_beyond_the_crossing_say_nothing():
    few = judge("fall_together", table(every=7), correlation=0.9)
    assert (few.verdict, few.n_seeds) == ("inconclusive", 0)


# --- peak_position, correlation_until_peak ---------------------------------------------------------------


def peak_at(k):
    return [0.9 - 0.01 * abs(k - i) for i in range(30)]


@pytest.mark.parametrize(
    ("k", "options", "verdict"),
    [
        (12, {"steps": 2}, "confirmed"),
        (11, {"steps": 2}, "contradicted"),
        (11, {"steps": 2, "decades": 0.4}, "confirmed"),
        (20, {"steps": 2}, "confirmed"),
        (20, {"max_drop": 0.10}, "contradicted"),
        (17, {"max_drop": 0.128}, "inconclusive"),
        (0, {"max_drop": 0.0}, "confirmed"),
    ],
)
def test_peak_position(k, options, verdict):
    found = judge("peak_position", table(alignment=peak_at(k), off=np.array([OFF] * 5)), **options)
    assert found.verdict == verdict
    assert f"peak at {STRENGTHS[k]:g}" in found.reason


def test_correlation_until_peak():
    falling = [0.9 - 0.01 * k for k in range(15)] + [0.95] + [0.5] * 14
    assert judge("correlation_until_peak", table(alignment=falling), above=0.8).verdict == "contradicted"
    rng = np.random.default_rng(0)
    noise = np.concatenate([rng.uniform(0.5, 0.9, (5, 16)), np.full((5, 14), 0.4)], axis=1)
    assert judge("correlation_until_peak", table(alignment=noise), above=0.2).verdict == "inconclusive"
    early = judge("correlation_until_peak", table(alignment=peak_at(2)), above=0.8)
    assert (early.verdict, early.n_seeds) == ("inconclusive", 0)
    assert "5 more cannot say" in early.reason


def test_sensitivity_of_exactly_zero():
    """on / off is infinite: the largest rank; 0 / 0 is left out."""
    off = OFF[:15] + [0.0] * 15
    assert judge("correlation_until_peak", table(off=off), above=0.8).verdict == "confirmed"
    both = judge("correlation_until_peak", table(off=off, on=ON[:15] + [0.0] * 15), above=0.8)
    assert both.verdict == "confirmed"


# --- three_regimes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "lacking"),
    [
        ({"off": [0.1] * 30, "on": [0.5] * 30}, "weak"),
        ({"off": ABOVE}, "Bayes-aligned"),
        ({"accuracy": [0.9] * 30}, "excessive"),
    ],
)
def test_a_regime_that_is_not_there(other, lacking):
    found = judge("three_regimes", table(**other))
    assert found.verdict == "contradicted"
    assert f"{lacking}: contradicted" in found.reason
    assert found.reason.count("contradicted") == 1
    assert "all three in 0 of 5 seeds" in found.reason


def test_three_regimes_say_where_they_are():
    found = judge("three_regimes", table(noise=0.0))
    assert "all three in 5 of 5 seeds" in found.reason
    assert (
        f"weak 1e-05 to {STRENGTHS[13]:g}, Bayes-aligned {STRENGTHS[14]:g} to {STRENGTHS[16]:g}"
        in found.reason
    )
    assert found.tests == 3


def test_weakest_strength_has_to_be_accurate():
    found = judge("three_regimes", table(accuracy=[0.7, *ACCURACY[1:]]))
    assert found.verdict == "contradicted"
    assert "the weakest is not accurate in 5 of 5 seeds" in found.reason


def test_noise_makes_no_aligned_regime():
    """On and off are the same but for noise: where on - off is largest is looked for in the other seeds."""
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(40):
        on, off = (np.array([[0.5] * 30] * 5) * (1 + 0.05 * rng.normal(size=(5, 30))) for _ in range(2))
        found = judge("three_regimes", table(on=on, off=off))
        verdicts.append("Bayes-aligned: confirmed" in found.reason)
    assert np.mean(verdicts) < 0.15


def test_one_weak_seed_leaves_it_open():
    scattered = some_seeds(OFF, [0.3] * 30)
    assert "weak: inconclusive" in judge("three_regimes", table(off=scattered)).reason


# --- gaps ------------------------------------------------------------------------------------------------


def test_values_that_are_not_finite_are_left_out_and_counted():
    on = some_seeds(ON, ON)
    on[0, 5] = on[1, 20] = np.nan
    found = judge("crossing_cost", table(on=on), max_drop=0.06, spread=0.35)
    assert (found.verdict, found.n_seeds) == ("confirmed", 5)
    assert "2 of 150 runs without a finite value" in found.reason


def test_a_seed_without_any_value_does_not_count():
    on = some_seeds(ON, ON)
    on[0] = np.nan
    assert judge("crossing_cost", table(on=on), max_drop=0.06).n_seeds == 4
    on[:3] = np.nan
    assert judge("crossing_cost", table(on=on), max_drop=0.06).verdict == "inconclusive"


def test_diverged_runs_count_and_are_left_out_beside():
    made = table()
    gone = [label["strength"] > 1 and s == 0 for label, s in zip(made["labels"], made["seed"])]
    made.loc[gone, "status"] = "diverged"
    found = judge("crossing_cost", made, max_drop=0.06)
    assert found.verdict == "confirmed"
    assert "9 of 150 diverged; without them 5.4" in found.reason
    # All strengths beyond the crossing diverged: without them there is none.
    beyond = [label["strength"] > STRENGTHS[CROSSING - 2] for label in made["labels"]]
    made.loc[beyond, "status"] = "diverged"
    lost = judge("crossing_cost", made, max_drop=0.06)
    assert lost.verdict == "confirmed"
    assert "without them no finite value, off never falls below on in 5 seeds" in lost.reason


def test_errors_name_what_does_not_fit():
    with pytest.raises(DataError, match="needs the role 'on'"):
        judge("three_regimes", table("off", "accuracy"))
    with pytest.raises(DataError, match="no numeric label 'lambda'"):
        judge("three_regimes", table(), label="lambda")
    with pytest.raises(DataError, match="two values of 'strength'"):
        judge("three_regimes", table(every=30))
    parts = sweep_rows(("on", "accuracy"))
    other = curve("off", {0.5: [1.0] * 5}, "strength", group="h")
    with pytest.raises(DataError, match="'on' and 'off' need the same runs"):
        judge("three_regimes", frame(*parts, other))
    for rule in ("crossing_cost", "fall_together", "peak_position"):
        with pytest.raises(ValidationError, match="a threshold"):
            plugins.load("claims", rule).Config()


def test_labels_choose_among_runs():
    one, two = table(), table(accuracy=[0.9] * 30)
    for made, size in ((one, "small"), (two, "large")):
        made["labels"] = [{**labels, "size": size} for labels in made["labels"]]
        made["run"] = [f"{run}_{size}" for run in made["run"]]
    both = frame(*(made.to_dict("records") for made in (one, two)))
    with pytest.raises(DataError, match="the same seed 0"):
        judge("three_regimes", both)
    where = {role: {"size": "small"} for role in ALL}
    assert judge("three_regimes", both, where=where).verdict == "confirmed"


def test_curve_of_alignment_is_what_the_general_rules_judge():
    """Claims that need no rule of their own: a peak inside, and sensitivity that falls with strength."""
    peak = frame(*sweep_rows(("alignment",), alignment=ALIGNMENT)).assign(role="values")
    found = judge("interior_peak", peak, label="strength", rise=0.08, fall=0.05)
    assert found.verdict == "confirmed"
    falling = frame(*sweep_rows(("off",))).assign(role="y")
    found = judge("correlation", falling, x_label="strength", method="spearman", over="seeds", below=-0.95)
    assert found.verdict == "confirmed"


def test_no_crossing_is_seen_where_off_is_below_on_from_the_start():
    below = [0.5 * value for value in ON]
    found = judge("crossing_cost", table(off=below), max_drop=0.06, change=0.3, spread=0.35)
    assert found.verdict == "inconclusive"
    assert "cannot say" in found.reason
