"""The page about models of one's own names every measurement, and its example works."""

import re

import torch
from test_docs import blocks, text

from pagrepro import export, plugins
from pagrepro.own_choices import CLASSIFIERS, _never
from pagrepro.own_model import load_model

PAGE = "docs/measuring.md"


def test_every_measurement_is_listed_or_said_not_to_be_of_a_model():
    listed = {name for row in re.findall(r"^\| (`.*?) \|", text(PAGE), re.MULTILINE) for name in _names(row)}
    paragraph = re.search(r"Not of a model of your own: ([\s\S]*?)\n\n", text(PAGE))[1]
    without = set(_names(paragraph))
    every = set(plugins.names("evaluations"))
    assert listed & every == every - without
    assert without <= every
    never = {name for name in every if _never(name, CLASSIFIERS[0])}
    # The other two are measured, of runs of other tasks.
    assert never == without - {"manifold_noise", "direction_similarity"}


def _names(markdown):
    return re.findall(r"`(\w+)`", markdown)


def test_what_needs_nothing_has_no_required_role():
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", text(PAGE), re.MULTILINE)
    assert len(rows) > 20
    for name, needs in rows:
        if name not in plugins.names("evaluations"):
            continue
        roles = plugins.roles("evaluations", name)
        if needs == "-":
            assert not roles, name
        if needs.startswith("optional"):
            assert all(kind.endswith("?") for kind in roles.values()), name
        if needs.startswith("a finished"):
            assert any(not kind.endswith("?") for kind in roles.values()), name


def test_every_finding_is_in_the_table():
    sources = "".join(
        (plugins.PACKAGE / f"{name}.py").read_text() for name in ("own_health", "own_range", "own_after")
    )
    found = set(re.findall(r'Flag\(\s*"(\w+)"', sources)) | {"square_stronger"}
    missing = found - set(_names(text(PAGE))) - {"training_mode"}
    assert not missing


def test_the_example_of_a_first_layer_is_a_model_for_the_digits(tmp_path):
    (block,) = blocks(PAGE, "model")
    (tmp_path / "mine.py").write_text(block)
    network = load_model(f"{tmp_path / 'mine.py'}:build").network.eval()
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_every_part_of_an_archive_is_in_the_table():
    rows = re.findall(r"^\| (`.*?) \|", text("docs/export.md"), re.MULTILINE)
    assert set(export.PARTS) <= {name for row in rows for name in _names(row)}
