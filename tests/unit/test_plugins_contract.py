"""What every plugin of a kind has to have, so that the rest of the package can use it by its name alone."""

import ast
import inspect
import json
import re
import typing

import pytest
import torch
from pydantic import BaseModel, ValidationError

from pagrepro import plugins
from pagrepro.options import Strict
from pagrepro.problems import OptionError

ALL = [(kind, name) for kind in plugins.KINDS for name in plugins.names(kind)]
every_plugin = pytest.mark.parametrize(("kind", "name"), ALL, ids=[".".join(plugin) for plugin in ALL])

# kind -> its functions, with the names of their parameters (style.md C.4, docs/adding.md).
FUNCTIONS = {
    "attacks": {"build": ["config"]},
    "claims": {"judge": ["config", "frame"]},
    "data": {"build": ["config", "files", "seed"]},
    "evaluations": {"measure": ["config", "request"]},
    "fields": {"compute": ["config", "request"], "read": ["config", "tensors", "rows", "x"]},
    "figures": {"draw": ["config", "context"]},
    "generators": {"build": ["config", "shape", "classes"]},
    "models": {"build": ["config", "shape", "classes"]},
    "objectives": {"build": ["config"]},
    "sources": {"convert": ["config", "path"]},
    "tables": {"draw": ["config", "context"]},
    "tasks": {"network": ["config", "shape", "classes"], "build": ["config", "setup"]},
}

# kind -> literal constants that are read from a plugin's source, with their types.
CONSTANTS: dict[str, dict[str, type]] = {
    "data": {"SOURCES": tuple, "FRESH": bool},
    "evaluations": {
        "REPLAYS": bool,
        "ARRAYS": bool,
        "APART": bool,
        "ALONE": bool,
        "INDEPENDENT": tuple,
        "OF_MODEL": bool,
    },
    "fields": {"SHARED": tuple, "ANY_ROWS": bool, "STORES": tuple, "SAME_DATA": tuple},
    "figures": {"NUMBERS": bool},
    "objectives": {"SMOOTH": bool, "FIRST_ORDER": bool},
    "tasks": {"CONVERTED": bool, "MICRO_BATCHES": bool},
}
EVERYWHERE: dict[str, type] = {"REVISION": int, "ROLES": dict}

ROLE_VALUES = {"run", "field", "source", "evaluation"}

# Kinds whose plugins state what a paper does: their docstrings say which, or that it is in none.
FROM_PAPERS = ("attacks", "evaluations", "fields", "generators", "models", "objectives", "tasks")
CITATION = re.compile(r"\b(19|20)\d\d\b|\b(the|all) papers\b")

# The options without a default, of plugins that have such.
ATTACK = {"name": "pgd", "norm": "l2", "eps": "8/255", "steps": 2, "relative_step": 2}
STEPPED = {"name": "pgd", "norm": "linf", "eps": "8/255", "steps": 2, "step_size": "1/255"}
RELATIVE = {**ATTACK, "norm": "linf"}
BUDGETS = {**ATTACK, "keep": "worst"}
COLUMNS = [{"label": "a", "evaluation": "e"}]
QUANTITY = {"label": "a", "evaluation": "e", "value": "v"}
PANELS = [{"label": "a", "groups": {"m": "g"}}]
LINES = [{"label": "a", "group": "g"}]
MEASURES = [{**QUANTITY, "label": n, "better": "high", "kind": "robustness"} for n in ("a", "b")]
MATRIX = {"rows": [{"label": "a", "group": "g", "family": "f"}], "columns": MEASURES}
REQUIRED = {
    "attacks.batch_pgd": {"eps": 0.5, "steps": 2},
    "attacks.pgd": ATTACK,
    "attacks.square": {"eps": 0.1, "queries": 5},
    "claims.agreement": {"most": 0.5},
    "claims.all_seeds": {"above": 0},
    "claims.contrast": {"weights": {"a": 1, "b": -1}, "above": 0},
    "claims.converges": {"x": "x", "y": "y", "direction": "up"},
    "claims.curve_bound": {"x": "x", "y": "y", "below": 1},
    "claims.correlation": {"above": 0},
    "claims.correlation_until_peak": {"above": 0},
    "claims.crossing": {"label": "lambda"},
    "claims.crossing_cost": {"max_drop": 0.06},
    "claims.difference": {"above": 0},
    "claims.every_run": {"low": 0},
    "claims.fall_together": {"correlation": 0.9},
    "claims.interior_peak": {"label": "lambda"},
    "claims.monotone": {"label": "lambda", "direction": "up"},
    "claims.ordering": {"order": ["a", "b"]},
    "claims.peak_position": {"steps": 2},
    "claims.ratio": {"above": 0},
    "claims.spread": {"below": 1},
    "claims.within": {"low": 0},
    "evaluations.attack_profile": {"attack": ATTACK},
    "evaluations.attack_steps": {"attack": STEPPED},
    "evaluations.autoattack": {"eps": "8/255"},
    "evaluations.eps50": {"attack": BUDGETS, "grid": [0.1, 0.2]},
    "evaluations.natural_maps": {"attack": ATTACK},
    "evaluations.perturbation_search": {"attack": RELATIVE},
    "evaluations.transfer_accuracy": {"attack": ATTACK},
    "evaluations.minimal_distance": {"attack": {"name": "carlini_wagner"}},
    "evaluations.pgd_accuracy": {"attack": ATTACK},
    "evaluations.smoothed_accuracy": {"sigma": 0.1},
    "evaluations.targeted_images": {"attack": {**ATTACK, "targeted": True}},
    "fields.gan_projection": {"weight": 0.03},
    "figures.accuracy_curves": {"rows": PANELS, "columns": COLUMNS, "methods": ["m"]},
    "figures.alignment_scatter": {
        "panels": [{"label": "a", "group": "g"}],
        "across": QUANTITY,
        "series": [QUANTITY],
    },
    "figures.class_transfer": {"group": "g"},
    "figures.convergence": {"lines": [{"label": "a", "group": "g", "evaluation": "e"}]},
    "figures.correlation_intervals": {**MATRIX, "targets": ["a"], "given": "b"},
    "figures.decision_regions": {"panels": [{"label": "a", "group": "g"}]},
    "figures.distance_scatter": {"rows": PANELS, "methods": ["m"]},
    "figures.distractor_examples": {"rows": [{"label": "a", "group": "g"}]},
    "figures.edge_scatter": {"lines": LINES, "evaluation": "e"},
    "figures.entry_histograms": {"lines": LINES, "evaluation": "e"},
    "figures.gradient_images": {"rows": PANELS, "methods": ["m"]},
    "figures.histograms": {"lines": LINES, "evaluation": "e", "array": "a", "xlabel": "x"},
    "figures.label_curves": {"group": "g", "label": "a", "quantities": COLUMNS},
    "figures.lambda_row": {"rows": [{"label": "a", "group": "g"}]},
    "figures.noise_ratio": {"lines": [{"label": "a", "group": "g"}]},
    "figures.map_grid": {
        "panels": [{"label": "a", "runs": [{"group": "g"}]}],
        "evaluations": [{"evaluation": "e", "label": "score"}],
    },
    "figures.mean_curves": {
        "lines": LINES,
        "panels": [{"label": "a", "evaluation": "e", "x": "x", "y": "y", "xlabel": "x", "ylabel": "y"}],
    },
    "figures.measure_correlations": {**MATRIX, "given": "b"},
    "figures.monitor_curves": {"lines": LINES, "panels": [{"label": "a", "value": "v", "ylabel": "y"}]},
    "figures.natural_maps": {"rows": LINES},
    "figures.noise_examples": {"group": "g"},
    "figures.objective_matrix": MATRIX,
    "figures.residual_examples": {"panels": [{"label": "a", "group": "g"}]},
    "figures.schematic_generation": {"which": "direct"},
    "figures.sweep_curves": {"columns": [{"label": "a", "group": "g"}], "alignment": [QUANTITY]},
    "figures.targeted_images": {"rows": [{"label": "a", "group": "g"}]},
    # Its single logit is for two classes; the models below are built for more.
    "models.spheres_mlp": {"single_logit": False},
    "models.swin": {"size": {"patch": 2, "window": 2, "embed_dim": 4, "depths": [2, 1], "heads": [1, 2]}},
    "objectives.adversarial_training": {"attack": ATTACK},
    "objectives.alignment_penalty": {"weight": 0.5},
    "objectives.cosine_alignment": {"weight": 0.5},
    "objectives.edge_alignment": {"weight": 0.5},
    "objectives.gaussian_noise": {"sigma": 0.1},
    "objectives.gradient_norm": {"weight": 0.5},
    "objectives.smoothness": {"weight": 0.5},
    "sources.imagenet_checkpoint": {"network": "swin"},
    "tables.accuracy": {"rows": [{"label": "a", "group": "g"}], "columns": COLUMNS},
    "tables.checks": {"rows": [{**QUANTITY, "group": "g", "high": 0.05}]},
    "tables.correlation": {
        "rows": [{"label": "a", "group": "g"}],
        "columns": [QUANTITY],
        "against": {"evaluation": "e", "value": "v"},
    },
    "tables.measure_correlations": {**MATRIX, "targets": ["a"], "given": "b"},
    "tables.objective_matrix": MATRIX,
    "tables.regimes": {"rows": [{"label": "a", "group": "g"}], "alignment": [QUANTITY]},
    "tables.seeds": {"rows": [{"label": "a", "group": "g"}], "columns": COLUMNS},
    "tables.setup": {
        "rows": [{"label": "a", "of": ["r"], "key": "k"}],
        "columns": [{"label": "c", "groups": {"r": "g"}}],
    },
    "tables.settings": {"key": "k", "symbol": "s", "rows": [{"label": "a", "groups": {}}], "columns": ["c"]},
    "tasks.classifier": {
        "model": {"name": "toy_mlp"},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "lr": 0.1},
    },
    "tasks.denoiser": {"network": {"name": "ddpmpp"}},
    "tasks.external_denoiser": {"adapter": {"name": "edm_pickle"}, "network": {"name": "ddpmpp"}},
    "tasks.residual_generator": {
        "generator": {"name": "residual_mlp"},
        "discriminator": {"name": "toy_mlp"},
    },
    "tasks.external": {"adapter": {"name": "robustness_checkpoint"}, "model": {"name": "resnet50"}},
}


def smallest(kind, name):
    """Only what has to be given."""
    return {**REQUIRED.get(f"{kind}.{name}", {}), "name": name}


def tree(kind, name):
    return ast.parse(plugins.source_path(kind, name).read_text(encoding="utf-8"))


def literals(kind, name):
    """Upper-case constants of a module -> value; None stands for what is no literal."""
    found = {}
    for node in tree(kind, name).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_"):
                try:
                    found[target.id] = ast.literal_eval(node.value)
                except ValueError:
                    found[target.id] = None
    return found


def models_in(annotation):
    """Option classes inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}.union(*(models_in(f.annotation) for f in annotation.model_fields.values()))
    return set().union(*(models_in(part) for part in typing.get_args(annotation)))


# --- module ------------------------------------------------------------------------------------------


def test_every_kind_has_plugins_and_a_contract():
    assert FUNCTIONS.keys() == set(plugins.KINDS)
    assert all(plugins.names(kind) for kind in plugins.KINDS)


@every_plugin
def test_constants_are_literals_of_the_right_type(kind, name):
    found, known = literals(kind, name), EVERYWHERE | CONSTANTS.get(kind, {})
    wrong = {key: found[key] for key, sort in known.items() if key in found and type(found[key]) is not sort}
    assert not wrong, f"{wrong}: expected {known}"
    assert found.get("REVISION", 0) >= 1, "REVISION = 1 is missing"
    # A switch that nobody reads is most likely a misspelt one.
    switches = {key for key, value in found.items() if isinstance(value, (bool, dict))} - known.keys()
    assert not switches, f"unknown constants {switches}; known for {kind}: {', '.join(known)}"


@every_plugin
def test_roles_are_known(kind, name):
    roles = plugins.roles(kind, name)
    wrong = {role: value for role, value in roles.items() if value.removesuffix("?") not in ROLE_VALUES}
    assert not wrong, f"ROLES {wrong}; allowed: {ROLE_VALUES}, optional ones with a question mark"
    assert all(role.isidentifier() for role in roles)


@pytest.mark.parametrize("name", plugins.names("data"))
def test_data_say_which_files_they_want(name):
    sources = plugins.constant("data", name, "SOURCES")
    assert sources is not None, "SOURCES is missing; `SOURCES: tuple[str, ...] = ()` for data without files"
    assert all(source.removesuffix("?").isidentifier() for source in sources)


@pytest.mark.parametrize("name", plugins.names("data"))
def test_fresh_data_can_be_drawn(name):
    draws = [n for n in tree("data", name).body if isinstance(n, ast.FunctionDef) and n.name == "draw"]
    assert bool(draws) == plugins.constant("data", name, "FRESH", False), "draw and FRESH belong together"
    assert all([a.arg for a in n.args.args] == ["config", "count", "generator"] for n in draws)


@every_plugin
def test_docstring_says_what_it_is_and_where_from(kind, name):
    text = ast.get_docstring(tree(kind, name)) or ""
    first = text.split("\n\n")[0]
    assert len(first.split()) >= 4, "the docstring opens with what the plugin is"
    if kind in FROM_PAPERS:
        assert CITATION.search(text), "say where in which paper (with its year), or `not in the papers`"


@every_plugin
def test_public_functions_have_docstrings(kind, name):
    public = [
        node
        for node in tree(kind, name).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    # Small option classes such as the columns of a table explain themselves.
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert not silent, f"public functions without a docstring: {silent}"


# --- functions ---------------------------------------------------------------------------------------


@every_plugin
def test_functions_of_the_kind(kind, name):
    module = plugins.load(kind, name)
    expected = dict(FUNCTIONS[kind])
    if kind == "tasks" and plugins.constant(kind, name, "CONVERTED", False):
        del expected["build"]  # weights from elsewhere are never fitted
    for function, parameters in expected.items():
        assert hasattr(module, function), f"no function {function}({', '.join(parameters)})"
        found = list(inspect.signature(getattr(module, function)).parameters)
        assert found == parameters, f"{function} takes {found}, expected {parameters}"


@pytest.mark.parametrize("name", plugins.names("attacks"))
def test_attacks_perturb(name):
    attack = plugins.instantiate("attacks", plugins.resolve("attacks", smallest("attacks", name)))
    parameters = inspect.signature(attack.perturb).parameters
    assert list(parameters)[:7] == ["model", "x", "y", "generator", "eps", "low", "high"]
    assert (parameters["eps"].default, parameters["low"].default, parameters["high"].default) == (None, 0, 1)
    x = torch.rand((3, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    x_adv = attack.perturb(
        lambda x: x.flatten(1)[:, :3], x, torch.arange(3), torch.Generator().manual_seed(1)
    )
    assert x_adv.shape == x.shape
    assert not x_adv.requires_grad


@pytest.mark.parametrize("name", plugins.names("objectives"))
def test_objectives_take_model_batch_and_generator(name):
    objective = plugins.instantiate("objectives", plugins.resolve("objectives", smallest("objectives", name)))
    assert list(inspect.signature(objective).parameters) == ["model", "batch", "generator"]


@pytest.mark.parametrize("name", plugins.names("models"))
def test_models_give_one_logit_per_class(name):
    shape = (3, 16, 16)
    model = plugins.instantiate("models", plugins.resolve("models", smallest("models", name)), shape, 7)
    assert model.eval()(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", plugins.names("tasks"))
def test_tasks_without_build_are_converted(name):
    has_build = any(isinstance(n, ast.FunctionDef) and n.name == "build" for n in tree("tasks", name).body)
    converted = plugins.constant("tasks", name, "CONVERTED", False)
    assert has_build != converted, f"build: {has_build}, CONVERTED: {converted}; expansion goes by CONVERTED"


# --- options -----------------------------------------------------------------------------------------


@every_plugin
def test_options_are_frozen_and_closed_at_every_level(kind, name):
    config = plugins.config_class(kind, name)
    assert issubclass(config, Strict)
    for model in models_in(config):
        assert model.model_config["frozen"], model
        assert model.model_config["extra"] == "forbid", model
    made = config(**{key: value for key, value in smallest(kind, name).items() if key != "name"})
    with pytest.raises(ValidationError, match=r"frozen|no field"):
        made.some_option = 1


@every_plugin
def test_options_read_from_the_source_are_those_of_the_module(kind, name):
    parsed, imported = plugins.config_class(kind, name), plugins.load(kind, name).Config
    assert issubclass(imported, Strict)
    assert parsed.model_json_schema() == imported.model_json_schema()
    assert parsed.model_fields.keys() == imported.model_fields.keys()


@every_plugin
def test_defaults_resolve_to_plain_json(kind, name):
    fields = plugins.config_class(kind, name).model_fields
    required = {key for key, field in fields.items() if field.is_required()}
    given = smallest(kind, name)
    assert required <= given.keys(), f"no example of {required - given.keys()}: add it to REQUIRED"
    resolved = plugins.resolve(kind, given)
    # All defaults are filled in, but those of options that came later (`options.added`).
    later = {k for k, f in fields.items() if f.exclude_if and f.exclude_if(given.get(k, f.default))}
    assert resolved.keys() == {"name", *fields} - later
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    # A resolved spec is read again by every job.
    assert plugins.resolve(kind, resolved) == resolved


@every_plugin
def test_unknown_options_are_refused(kind, name):
    with pytest.raises(OptionError, match="no_such_option"):
        plugins.resolve(kind, {**smallest(kind, name), "no_such_option": 1})


def test_examples_are_of_plugins_that_are_there():
    assert not REQUIRED.keys() - {".".join(plugin) for plugin in ALL}


def test_unknown_plugins_are_refused_with_the_names_there_are():
    for kind in plugins.KINDS:
        with pytest.raises(OptionError, match=plugins.names(kind)[0]):
            plugins.resolve(kind, {"name": "no_such_plugin"})
