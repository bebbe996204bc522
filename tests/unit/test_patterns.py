"""Patterns of names, as Snakemake reads them."""

import itertools
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagrepro.patterns import any_of

NAMES = st.lists(st.text("ab.=", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


# A busy machine draws its first examples slowly, which says nothing about the strategy.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(NAMES)
def test_a_pattern_of_names_matches_these_names_and_no_others(names):
    pattern = re.compile(any_of(sorted(names)))
    for length in range(1, 5):
        for letters in itertools.product("ab.=", repeat=length):
            text = "".join(letters)
            assert (pattern.fullmatch(text) is not None) == (text in names)


def test_common_beginnings_are_written_once():
    assert any_of(["run_s0", "run_s1"]) == "run_s(?:0|1)"
    assert any_of(["a", "a_b"]) == "a(?:_b)?"
