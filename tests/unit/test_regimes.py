"""Regimes of a sweep: what they are on known curves, and what holds for any curves."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_curves import ACCURACY, ALIGNMENT, CROSSING, CURVES, OFF, ON, PEAK

from pagrepro import regimes
from pagrepro.errors import DataError
from pagrepro.regimes import ALIGNED, EXCESSIVE, NONE, WEAK

NAN = float("nan")


def test_published_curves_have_all_three():
    found = regimes.find(ON, OFF, ACCURACY, ALIGNMENT)
    assert (found.crossing, found.peak) == (CROSSING, PEAK)
    assert found.names == (WEAK,) * 14 + (ALIGNED,) * 3 + (EXCESSIVE,) * 13
    assert found.pieces() == [(WEAK, 0, 13), (ALIGNED, 14, 16), (EXCESSIVE, 17, 29)]
    assert found.spans[ALIGNED] == regimes.Span(14, 16, 3)


@pytest.mark.parametrize(
    ("on", "off", "accuracy", "names"),
    [
        ([1, 1], [2, 2], [0.9, 0.9], (WEAK, WEAK)),
        ([1, 1], [2, 2], [0.9, 0.2], (WEAK, EXCESSIVE)),
        ([1, 1], [0.5, 0.5], [0.9, 0.9], (ALIGNED, ALIGNED)),
        ([1], [2], [0.9], (WEAK,)),
        ([1], [1], [0.9], (WEAK,)),
        # Accuracy recovers: the gap is not excessive, what comes after the last accurate one is.
        ([1] * 4, [2, 2, 0.5, 0.5], [0.9, 0.5, 0.9, 0.5], (WEAK, NONE, ALIGNED, EXCESSIVE)),
        # The curves cross back: neither weak, which is at the left only, nor aligned.
        ([1] * 4, [2, 0.5, 2, 0.5], [0.9] * 4, (WEAK, ALIGNED, NONE, ALIGNED)),
        # Values that are not known; an unknown accuracy does not end what is excessive.
        ([NAN, 1, 1], [2, NAN, 0.5], [0.9] * 3, (NONE, NONE, ALIGNED)),
        ([1] * 4, [2] * 4, [0.9, 0.2, NAN, 0.1], (WEAK, EXCESSIVE, NONE, EXCESSIVE)),
        ([1, 1], [2, 0.5], [NAN, NAN], (NONE, NONE)),
        # The threshold itself is accurate.
        ([1, 1], [2, 0.5], [1.0, 0.875], (WEAK, ALIGNED)),
    ],
)
def test_small_cases(on, off, accuracy, names):
    assert regimes.find(on, off, accuracy, drop=0.125).names == names


def test_without_landmarks():
    found = regimes.find([1, 1], [2, 2], [0.9, 0.9], [NAN, NAN])
    assert (found.crossing, found.peak) == (None, None)
    assert regimes.find([1, 1], [2, 2], [0.9, 0.9]).peak is None
    assert regimes.find([1, 1], [2, 2], [0.9, 0.9], [NAN, 0.5]).peak == 1
    assert regimes.find([], [], []).names == ()


def test_curves_of_different_lengths_are_refused():
    with pytest.raises(DataError, match=r"\(2,\), \(1,\)"):
        regimes.find([1, 1], [1], [1, 1])


value = st.one_of(st.just(NAN), st.floats(0, 2, width=16))
curve_sets = st.integers(1, 8).flatmap(
    lambda n: st.tuples(*(st.lists(value, min_size=n, max_size=n) for _ in range(4)))
)


@settings(max_examples=150, deadline=None)
@given(curve_sets, st.floats(0.01, 0.5))
def test_what_holds_for_any_curves(curves, drop):
    on, off, accuracy, alignment = map(np.array, curves)
    found = regimes.find(on, off, accuracy, alignment, drop)
    names = np.array(found.names)
    assert len(names) == len(on)
    best = accuracy[np.isfinite(accuracy)].max(initial=-np.inf)
    for k, name in enumerate(names):
        if name == WEAK:
            assert off[k] >= on[k]
            assert accuracy[k] >= best - drop
            assert found.crossing is None or k < found.crossing
        if name == ALIGNED:
            assert off[k] < on[k]
            assert accuracy[k] >= best - drop
            assert k >= found.crossing
        if name == EXCESSIVE:
            assert not (accuracy[k:] >= best - drop).any()
    # In their order, without overlap; every stripe is inside the span of its regime.
    spans = [found.spans[r] for r in regimes.REGIMES if r in found.spans]
    assert all(a.last < b.first for a, b in pairwise(spans))
    assert sum(span.count for span in spans) == (names != NONE).sum()
    assert sum(last - first + 1 for _, first, last in found.pieces()) == (names != NONE).sum()
    # Sensitivities have no absolute meaning, and accuracy counts relative to the best.
    assert regimes.find(on * 4, off * 4, accuracy, alignment * 2, drop).names == found.names
    assert found.peak == (None if not np.isfinite(alignment).any() else np.nanargmax(alignment))


def test_single_strengths_of_the_published_curves():
    for k in range(len(ON)):
        (name,) = regimes.find(*([CURVES[q][k]] for q in ("on", "off", "accuracy"))).names
        assert name == (ALIGNED if OFF[k] < ON[k] else WEAK)
