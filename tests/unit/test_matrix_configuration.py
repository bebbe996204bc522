"""What `config/matrix.yaml` promises at every tier: one recipe for all objectives, every cell measured or
with a reason, measures independent of what they measure; and how a configuration finds it."""

import copy
import json

import pytest
import yaml
from test_tiers import FAMILIES, ROOT, expanded
from tiny import Tiny

from pagrepro import configuration, expand, plugins
from pagrepro.errors import ConfigError

every_tier = pytest.mark.parametrize("tier", FAMILIES)
TABLE = ("matrix", "table1")


def options(tier):
    return expanded(tier).artifacts[TABLE].content["table"]


def specs(tier, row, suffix=""):
    expansion = expanded(tier)
    group = expansion.groups[f"matrix.{row['group']}{suffix}"]
    return [expansion.runs[member["run"]].spec for member in group.runs]


@every_tier
def test_only_the_objective_differs(tier):
    for suffix in ("", "_distractor"):
        recipes, seeds = set(), set()
        for row in options(tier)["rows"]:
            found = specs(tier, row, suffix) if not (suffix and row["without"]) else []
            for spec in found:
                rest = copy.deepcopy(spec)
                for key in ("seed", "inputs"):
                    del rest[key]
                del rest["task"]["objective"]
                recipes.add(json.dumps(rest, sort_keys=True))
            if found:
                seeds.add(tuple(spec["seed"] for spec in found))
        assert len(recipes) == 1, f"{tier}{suffix}: {len(recipes)} recipes"
        assert len(seeds) == 1


@every_tier
def test_objectives_are_all_different(tier):
    rows = options(tier)["rows"]
    found = {json.dumps([s["task"]["objective"], s["inputs"]], sort_keys=True)
             for s in (specs(tier, row)[0] for row in rows)}  # fmt: skip
    assert len(found) == len(rows) == 15


@every_tier
def test_both_data_sets_have_the_same_network(tier):
    row = options(tier)["rows"][0]
    near, far = (specs(tier, row, suffix)[0] for suffix in ("", "_distractor"))
    assert near["task"]["model"] == far["task"]["model"]
    assert near["dataset"]["name"] != far["dataset"]["name"]
    for spec in (near, far):
        plugins.instantiate(
            "models", spec["task"]["model"], tuple(spec["dataset"]["shape"]), spec["dataset"]["classes"]
        )


@every_tier
def test_every_cell_is_measured_or_has_a_reason(tier):
    expansion = expanded(tier)
    for row in options(tier)["rows"]:
        for column in options(tier)["columns"]:
            if column["label"] in row["without"]:
                continue
            group = expansion.groups[f"matrix.{row['group']}{column['suffix']}"]
            for member in group.runs:
                measured = (member["run"], column["evaluation"]) in expansion.evaluations
                assert measured or group.missing[column["evaluation"]], (row["label"], column["label"])
            assert group.runs


@every_tier
def test_a_column_is_one_measurement(tier):
    """The same options, images, seed and directions for every objective."""
    expansion = expanded(tier)
    for column in options(tier)["columns"]:
        found = set()
        for row in options(tier)["rows"]:
            if column["label"] in row["without"]:
                continue
            for member in expansion.groups[f"matrix.{row['group']}{column['suffix']}"].runs:
                evaluation = expansion.evaluations.get((member["run"], column["evaluation"]))
                if evaluation:
                    spec = {key: value for key, value in evaluation.spec.items() if key != "run"}
                    found.add(json.dumps(spec, sort_keys=True))
        assert len(found) <= 1, column["label"]


def test_what_the_smallest_tier_cannot_have_is_one_column():
    expansion = expanded("demo")
    missing = {e for n, g in expansion.groups.items() if n.startswith("matrix.") for e in g.missing}
    assert missing == {"lpips"}
    assert not {e for n, g in expanded("full").groups.items() if n.startswith("matrix.") for e in g.missing}


@every_tier
def test_directions_come_from_a_generator_that_has_taught_no_objective(tier):
    expansion = expanded(tier)
    runs = [m["run"] for n, g in expansion.groups.items() if n.startswith("matrix.") for m in g.runs]
    taught = set().union(*(expansion.runs_behind(expansion.runs[run].spec) for run in runs))
    directions = {expansion.evaluations[run, "directions"].spec["inputs"]["targets"]["field"]
                  for run in runs if (run, "directions") in expansion.evaluations}  # fmt: skip
    (name,) = directions
    assert not expansion.runs_behind(expansion.fields[name].spec) & taught


@every_tier
def test_all_artifacts_share_rows_and_columns(tier):
    artifacts = {k: a for k, a in expanded(tier).artifacts.items() if k[0] == "matrix"}
    assert [name for _, name in artifacts] == ["table1", "figure1", "table2", "figure2", "figure3"]
    for plan in artifacts.values():
        chosen = plan.content[plan.kind]
        assert (chosen["rows"], chosen["columns"]) == (options(tier)["rows"], options(tier)["columns"])
        assert plan.results == artifacts[TABLE].results


@pytest.mark.parametrize(("tier", "most"), [("full", 100), ("small", 40), ("demo", 80)])
def test_it_adds_tens_of_fits(tier, most):
    expansion = expanded(tier)
    runs = {m["run"] for n, g in expansion.groups.items() if n.startswith("matrix.") for m in g.runs}
    elsewhere = {m["run"] for n, g in expansion.groups.items() if not n.startswith("matrix.") for m in g.runs}
    assert 15 <= len(runs - elsewhere) <= most


# --- how a configuration finds it ------------------------------------------------------------------------


def with_matrix(root, **more):
    tiny = Tiny()
    tiny.config["papers"] = ["tiny", "matrix"]
    tiny.write(root)
    content = {
        "title": "All",
        "settings": {"seeds": [0]},
        "runs": {"plain": tiny.paper["runs"]["plain"]},
        **more,
    }
    content["runs"] = {"plain": {**content["runs"]["plain"], "fit": {"epochs": 2, "batch_size": 60}}}
    (root / "config/matrix.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tiny


def test_it_is_read_from_beside_the_papers_and_has_no_claims(tmp_path):
    tiny = with_matrix(tmp_path, category="Everything")
    loaded = configuration.load(tiny.config, tmp_path)
    found = expand.expand_loaded(loaded, tmp_path)
    assert loaded.papers["matrix"].file.endswith("config/matrix.yaml")
    assert (loaded.papers["matrix"].category, loaded.papers["tiny"].category) == ("Everything", "tiny")
    assert [m["run"] for m in found.groups["matrix.plain"].runs] == ["line_plain_s0"]
    assert list(found.claims) == ["tiny"]
    assert loaded.complete
    # Without it nothing of it is there, and packs may name what is not.
    assert not configuration.load({**tiny.config, "papers": ["tiny"]}, tmp_path).complete


def test_a_tier_may_overlay_it_and_nothing_unknown(tmp_path):
    tiny = with_matrix(tmp_path)
    tiny.tier["settings"] = {"matrix": {"seeds": [0, 1]}}
    tiny.write(tmp_path)
    assert configuration.load(tiny.config, tmp_path).papers["matrix"].settings == {"seeds": [0, 1]}
    tiny.tier["settings"] = {"martix": {}}
    tiny.write(tmp_path)
    with pytest.raises(ConfigError, match=r"settings.martix(.|\n)*allowed: matrix, tiny"):
        configuration.load(tiny.config, tmp_path)


def test_without_the_papers_it_uses_it_says_what_is_missing():
    config = configuration.read_yaml(ROOT / "config/config.yaml") | {"tier": "demo", "papers": ["matrix"]}
    with pytest.raises(ConfigError, match=r"matrix\.yaml: fields\.(.|\n)*a run that is declared"):
        expand.expand(config, ROOT)
