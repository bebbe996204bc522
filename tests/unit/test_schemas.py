"""The committed schemas are those of the models, accept the committed configuration, refuse mistakes."""

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tiny import Tiny

from pagrepro import (
    augment_options,
    figure_options,
    optimizer_options,
    plugins,
    schedule,
    schemas,
    settings,
    spec,
)
from pagrepro.options import Number, Strict

ROOT = Path(__file__).parents[2]
SCHEMAS = schemas.all_schemas()


def load_script(name: str) -> Any:
    path = ROOT / "workflow/scripts" / f"{name}.py"
    found = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def mistakes(schema: str, content: Any) -> list[str]:
    """Key paths of what a schema refuses."""
    validator = jsonschema.Draft202012Validator(SCHEMAS[schema])
    plain = json.loads(json.dumps(content))
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(plain)]


def test_committed_schemas_are_those_of_the_models():
    assert load_script("schemas").outdated(ROOT / "workflow/schemas") == []


def test_check_names_what_differs(tmp_path):
    script = load_script("schemas")
    script.write(tmp_path)
    assert script.outdated(tmp_path) == []
    (tmp_path / "tier.schema.json").write_text("{}")
    (tmp_path / "config.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}")
    assert sorted(script.outdated(tmp_path)) == ["config.schema.json", "old.schema.json", "tier.schema.json"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_themselves_valid_and_refer_to_nothing_else(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert set(schemas._references(SCHEMAS[name])) <= set(SCHEMAS[name].get("$defs", {}))


def committed():
    config = ROOT / "config"
    yield "config.schema.json", config / "config.yaml"
    yield "datasets.schema.json", config / "datasets.yaml"
    yield from (("tier.schema.json", path) for path in sorted((config / "tiers").glob("*.yaml")))
    yield from (("paper.schema.json", path) for path in sorted((config / "papers").glob("*.yaml")))
    yield "paper.schema.json", config / "matrix.yaml"


@pytest.mark.parametrize(("schema", "path"), list(committed()), ids=lambda value: Path(value).name)
def test_committed_configuration_fits(schema, path):
    assert mistakes(schema, yaml.safe_load(path.read_text())) == []


def test_tiny_configuration_fits():
    tiny = Tiny()
    assert mistakes("datasets.schema.json", tiny.datasets) == []
    assert mistakes("paper.schema.json", tiny.paper) == []
    assert mistakes("tier.schema.json", tiny.tier) == []


PLACES = {
    "unknown section": (),
    "run": ("runs", "plain"),
    "task": ("runs", "plain", "task"),
    "model of a task": ("runs", "plain", "task", "model"),
    "optimizer of a task": ("runs", "plain", "task", "optimizer"),
    "fit": ("runs", "plain", "fit"),
    "field": ("fields", "near", "field"),
    "attack of a measurement": ("evaluations", "pgd", "measure", "attack"),
    "row of a table": ("artifacts", "table1", "table", "rows", 0),
    "rule of a claim": ("claims", "K1", "parts", 0, "rule"),
    "selection of a claim": ("claims", "K1", "parts", 0, "select", "high"),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_unknown_key_is_refused_at_every_level(place):
    paper = Tiny().paper
    target: Any = paper
    for key in place:
        target = target[key]
    target["learning_rte"] = 1
    assert mistakes("paper.schema.json", paper)


@pytest.mark.parametrize("grid", [[0.1, 0.2], "$budgets", "$data.grids.linf"])
def test_an_option_called_grid_is_not_that_of_a_declaration(grid):
    attack = {"name": "pgd", "norm": "linf", "eps": 0, "steps": 1, "relative_step": 2, "keep": "worst"}
    paper = Tiny().paper
    paper["evaluations"]["pgd"]["measure"] = {"name": "eps50", "attack": attack, "grid": grid}
    assert mistakes("paper.schema.json", paper) == []
    paper["evaluations"]["pgd"]["grid"] = grid
    assert mistakes("paper.schema.json", paper)


@pytest.mark.parametrize("name", ["datasets", "tier"])
def test_unknown_key_is_refused_in_other_files(name):
    content = getattr(Tiny(), name)
    assert mistakes(f"{name}.schema.json", {**content, "claims": {}})
    inner = copy.deepcopy(content)
    (inner["datasets"]["line"]["data"] if name == "datasets" else inner["packs"][0])["thresholds"] = 1
    assert mistakes(f"{name}.schema.json", inner)


@pytest.mark.parametrize("value", [0.5, 1, "8/255", "1e-4", "$weight", "{norm}"])
def test_a_number_may_be_a_fraction_or_a_reference(value):
    paper = Tiny().paper
    paper["runs"]["plain"]["task"]["optimizer"]["lr"] = value
    assert mistakes("paper.schema.json", paper) == []


@pytest.mark.parametrize("value", ["much", "8/", [1], True, None])
def test_other_values_are_no_number(value):
    paper = Tiny().paper
    paper["runs"]["plain"]["task"]["optimizer"]["lr"] = value
    assert mistakes("paper.schema.json", paper) != []


@pytest.mark.parametrize("place", ["task", "task.model", "fit", "fit.epochs", "seed", "labels"])
def test_a_reference_may_stand_for_every_value(place):
    paper = Tiny().paper
    target = paper["runs"]["plain"]
    *above, last = place.split(".")
    for key in above:
        target = target[key]
    target[last] = "$main.this"
    assert mistakes("paper.schema.json", paper) == []
    target[last] = "this"
    assert mistakes("paper.schema.json", paper) != []


def test_groups_of_an_evaluation_are_written_out():
    # Expansion reads them before it fills in references.
    paper = Tiny().paper
    paper["evaluations"]["pgd"]["groups"] = "$groups"
    assert mistakes("paper.schema.json", paper) == ["evaluations.pgd.groups"]


def test_datasets_take_no_references():
    datasets = Tiny().datasets
    datasets["datasets"]["line"]["classes"] = "$classes"
    assert mistakes("datasets.schema.json", datasets) == ["datasets.line.classes"]


def objects(node: Any, path: str = ""):
    """(path, schema) of every object with properties inside a schema."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            yield path, node
        for key, value in node.items():
            yield from objects(value, f"{path}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from objects(value, f"{path}/{number}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_explained_and_every_object_closed(name):
    for path, schema in objects(SCHEMAS[name]):
        assert schema["additionalProperties"] is False, path
        for key, value in schema["properties"].items():
            assert value.get("description"), f"{path}/{key}"


def test_no_key_of_the_spec_is_explained_by_a_fallback():
    for name, part in SCHEMAS["paper.schema.json"]["$defs"].items():
        if "." not in name:
            assert "see its description" not in json.dumps(part), name


def test_every_text_belongs_to_a_key():
    for entry in (text for text in schemas.TEXT if not text.startswith("*.")):
        owner, key = entry.split(".")
        modules = (spec, settings, schedule, optimizer_options, augment_options, figure_options)
        found = [getattr(module, owner) for module in modules if hasattr(module, owner)]
        assert found, entry
        assert key in found[0].model_fields, entry
        assert found[0].model_fields[key].description is None, f"{entry} is explained in the model as well"


def test_every_plugin_is_listed_with_its_docstring():
    defs = SCHEMAS["paper.schema.json"]["$defs"] | SCHEMAS["datasets.schema.json"]["$defs"]
    for kind in plugins.KINDS:
        for name in plugins.names(kind):
            assert {"$ref": f"#/$defs/{kind}.{name}"} in defs[kind]["anyOf"]
            assert defs[f"{kind}.{name}"]["description"], f"{kind}.{name} has no docstring"


def test_docstring_clauses_explain_keys():
    class Config(Strict):
        """norm, eps: the threat model; `steps`: how many (eps: not this one). loss: the "margin": a gap."""

        norm: str
        eps: Number
        steps: int
        loss: str = "margin"

    found = schemas.model_schema(Config)["properties"]
    assert found["norm"]["description"] == "the threat model"
    assert found["eps"]["description"] == "the threat model"
    assert found["steps"]["description"] == "how many (eps: not this one)"
    assert found["loss"]["description"] == 'the "margin": a gap'
