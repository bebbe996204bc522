"""How many contradictions chance alone would bring. Torch-free."""

from collections.abc import Sequence

from pagrepro.statistics import LEVEL, NOT_TESTABLE, Verdict

REVISION = 1


def by_chance(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """(at 2.5 % per judged claim, at 2.5 % per judged comparison and at most one per claim).

    An interval of 95 % lies wholly on the wrong side of a threshold at which the truth sits exactly with
    probability 2.5 %. A claim of several comparisons is contradicted when any of them is. Claims without an
    interval (facts about code: no comparison) cannot be contradicted by chance.
    """
    tail = (1 - LEVEL) / 2
    judged = [v for v in verdicts if v.verdict != NOT_TESTABLE]
    return tail * sum(v.tests > 0 for v in judged), sum(min(1.0, tail * v.tests) for v in judged)


def sentence(verdicts: Sequence[Verdict]) -> str:
    """What the report says of chance."""
    judged = sum(v.verdict != NOT_TESTABLE for v in verdicts)
    one, many = by_chance(verdicts)
    return (
        f"Of {judged} judged claims, {one:.1f} would be expected to be contradicted by chance if each were"
        f" only just true (2.5 % per claim); at most {many:.1f}, counting every comparison they are made of."
    )
