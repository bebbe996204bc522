"""Claims to verdicts: each part by its rule, parts combined, one line per claim. Torch-free."""

import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pagrepro import expected, plugins, statistics
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.results import Context, frame, groups_from_json
from pagrepro.statistics import VERDICTS, Verdict

REVISION = 1

COLUMNS = (
    "paper", "claim", "statement", "published", "measured", "n_seeds", "verdict", "reason",
    "place", "effect", "low", "high", "tests", "tier",
)  # fmt: skip

# Equally strong, and none is red against green: blue, red, yellow, white.
ANSI = {"confirmed": "34", "contradicted": "31", "inconclusive": "33", "not testable": "37"}


@dataclass(frozen=True)
class Judged:
    """A claim as declared (`paper`, `claim`, `statement`, `place`, `published`) with its verdict."""

    claim: dict[str, Any]
    verdict: Verdict
    tier: str


def judge_all(content: dict[str, Any], layout: Layout, allow_missing: bool = False) -> list[Judged]:
    """Verdicts on `content["claims"]` over `content["groups"]`, in the order of the declaration.

    With `allow_missing` a part with unfinished runs is inconclusive: which runs finish first is not
    independent of what they measure.
    """
    groups = groups_from_json(content["groups"])
    judged = []
    for claim in content["claims"]:
        parts = []
        for part in claim["parts"]:
            here = {"tier": content["tier"], "name": f"{claim['paper']} {claim['claim']}, {part['label']}"}
            parts.append((part["label"], judge_part(part, Context(here, groups, layout, allow_missing))))
        judged.append(Judged(claim, statistics.combine(parts), content["tier"]))
    return judged


def judge_part(part: dict[str, Any], context: Context) -> Verdict:
    """One part by its rule. Raises DataError, which names the part, when its results do not suit the rule."""
    if part.get("not_testable"):
        return statistics.not_testable(part["not_testable"])
    selected = frame(context, part["select"])
    if context.incomplete:
        return Verdict(statistics.INCONCLUSIVE, None, None, 0, "", context.incomplete)
    rule = plugins.load("claims", part["rule"]["name"])
    config = rule.Config(**{key: value for key, value in part["rule"].items() if key != "name"})
    try:
        return rule.judge(config, selected)
    except DataError as error:
        raise DataError(f"{context.content['name']}: rule {part['rule']['name']}: {error}") from error


def to_frame(judged: Sequence[Judged]) -> pd.DataFrame:
    """The content of claims.csv: one row per claim, columns COLUMNS."""
    rows = []
    for item in judged:
        v = item.verdict
        low, high = v.interval or (None, None)
        rows.append(
            {
                **{key: item.claim[key] for key in ("paper", "claim", "statement", "published", "place")},
                "measured": v.measured, "n_seeds": v.n_seeds, "verdict": v.verdict, "reason": v.reason,
                "effect": v.effect, "low": low, "high": high, "tests": v.tests, "tier": item.tier,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def chance(table: pd.DataFrame) -> str:
    """How many contradictions chance alone would bring, for the claims of a claims.csv."""
    return expected.sentence(
        [Verdict(r.verdict, None, None, int(r.n_seeds), "", "", int(r.tests)) for r in table.itertuples()]
    )


def counts(table: pd.DataFrame) -> str:
    """`12 confirmed, 3 contradicted, 4 inconclusive, 9 not testable`: all four, also when one is 0."""
    found = Counter(table["verdict"])
    return ", ".join(f"{found[word]} {word}" for word in VERDICTS)


def to_text(table: pd.DataFrame, colour: bool = False, width: int = 110) -> str:
    """The verdict table for a terminal: one line per claim, then the sums."""
    lines = []
    name = max((len(f"{r.paper} {r.claim}") for r in table.itertuples()), default=0)
    for r in table.itertuples():
        word = f"{r.verdict:<12}"
        word = f"\033[{ANSI[r.verdict]};1m{word}\033[0m" if colour else word
        rest = f"{text(r.statement)}  ({text(r.measured) or text(r.reason)})"
        lines.append(f"{f'{r.paper} {r.claim}':<{name}}  {word}  {_short(rest, width - name - 16)}")
    return "\n".join([*lines, "", counts(table), *textwrap.wrap(chance(table), width)]) + "\n"


def terminal_table(path: Path, colour: bool | None = None) -> str:
    """`to_text` of a claims.csv; coloured only when standard output is a terminal."""
    return to_text(pd.read_csv(path), sys.stdout.isatty() if colour is None else colour)


def text(value: Any) -> str:
    """A cell of a claims.csv as words: "" where it is empty."""
    return "" if value is None or value != value else str(value)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 20)] + "…"
