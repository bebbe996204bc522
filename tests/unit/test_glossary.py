"""docs/glossary.md names every column of every table, every value behind one, and those of claims.csv."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pagrepro import artifact, configuration, expand, judge
from pagrepro.expansion import ArtifactPlan, Expansion
from pagrepro.layout import Layout
from pagrepro.results import Context, groups_from_json
from pagrepro.statistics import VERDICTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
# Names in the first cell of a row of a table.
NAMES = [
    name
    for cell in re.findall(r"^\| (`.*?`) \| \S", PAGE, re.MULTILINE)
    for name in re.findall(r"`([^`]+)`", cell)
]


def explained(name: str) -> bool:
    return any(name == entry or ("*" in entry and fnmatchcase(name, entry)) for entry in NAMES)


@pytest.fixture(scope="module")
def tier() -> Expansion:
    config = configuration.read_yaml(ROOT / "config/config.yaml") | {"tier": "demo"}
    return expand.expand(config, ROOT)


def tables(tier: Expansion) -> list[ArtifactPlan]:
    return [plan for plan in tier.artifacts.values() if plan.kind == "table"]


def values(content: Any) -> Iterator[str]:
    """Every `value: NAME` of a declaration."""
    if isinstance(content, dict):
        for key, inside in content.items():
            if key == "value" and isinstance(inside, str):
                yield inside
            else:
                yield from values(inside)
    elif isinstance(content, list):
        for inside in content:
            yield from values(inside)


def test_columns_of_every_table_are_explained(tier, tmp_path):
    """Tables drawn before anything is measured have all their columns."""
    found: dict[str, str] = {}
    for plan in tables(tier):
        groups = groups_from_json(plan.content["groups"])
        context = Context(plan.content, groups, Layout(tmp_path), allow_missing=True)
        for column in artifact.draw(context).frame["column"].unique():
            found[column] = f"{plan.paper} {plan.name}"
    assert len(found) > 80
    assert not {column: place for column, place in found.items() if not explained(column)}


def test_values_behind_every_table_are_explained(tier):
    found = {
        name: f"{plan.paper} {plan.name}" for plan in tables(tier) for name in values(plan.content["table"])
    }
    assert len(found) > 50
    assert not {name: place for name, place in found.items() if not explained(name)}


def test_columns_of_the_files_are_explained():
    for name in (*judge.COLUMNS, *artifact.TABLE_COLUMNS, *VERDICTS):
        assert name in NAMES, name


def test_a_missing_name_would_be_noticed():
    assert explained("alpha_dx")
    assert not explained("alpha")
    assert not explained("a column of nobody")
