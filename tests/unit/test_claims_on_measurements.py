"""Rules read what measurements write: intervals over test examples from their arrays, by name."""

import numpy as np
import pytest
from fingerprint_tools import image_request, module_and_config
from made_up import frame, rows

from pagrepro import plugins

STEPPED = {"name": "pgd", "norm": "linf", "eps": 0.3, "steps": 3, "step_size": 0.1}
RELATIVE = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "relative_step": 2}
MEASURED = {
    "perturbation_search": {"attack": RELATIVE, "first": 0.05, "bisections": 3, "largest": 0.5, "points": 9},
    "attack_steps": {"attack": STEPPED, "at": (0, 1, 3)},
    "attack_profile": {"attack": STEPPED, "points": 4},
    "gradient_statistics": {"attack": STEPPED},
}
MODELS = {"about": "models"}
HELD = {"broken": "l1 where not attack_correct", "all": "l1", "held": "l1 where attack_correct"}
JUDGED = {
    "accuracy over size": (
        "perturbation_search", {"value": "clean_accuracy"},
        {"name": "curve_bound", "x": "eps", "y": "accuracy", "below": 2, "examples": "distance"},
    ),
    "accuracy over steps": (
        "attack_steps", {"value": "clean_accuracy"},
        {"name": "converges", "x": "steps", "y": "accuracy", "direction": "down", "examples": "correct"},
    ),
    "loss over steps": (
        "attack_steps", {"value": "clean_accuracy"},
        {"name": "converges", "x": "steps", "y": "loss", "direction": "up", "examples": "losses"},
    ),
    **{
        f"{name} along the attack": (
            "attack_profile", {"high": "attack_accuracy", "low": "attack_accuracy"},
            {"name": "curve_bound", "x": "weight", "y": f"mean_{name}", "below": 9, "examples": name},
        )
        for name in ("loss", "l1", "curvature")
    },
    "norms by outcome": (
        "gradient_statistics", {"broken": "l1_broken", "all": "l1", "held": "l1_held"},
        {"name": "ordering", "order": ["broken", "all", "held"], "array": HELD},
    ),
    "norms of wrong images": (
        "gradient_statistics", {"high": "l1_wrong", "low": "l1"},
        {"name": "difference", "above": 0, "array": {"high": "l1 where not clean_correct", "low": "l1"}},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """evaluation -> (values, path of its arrays), of one network."""
    found, request = {}, image_request()
    for name, options in MEASURED.items():
        module, config = module_and_config("evaluations", name, **options)
        measured = module.measure(config, request)
        path = tmp_path_factory.mktemp("arrays") / f"{name}.npz"
        np.savez(path, **measured.arrays)
        found[name] = measured.values, str(path)
    return found


@pytest.mark.parametrize("case", JUDGED)
def test_given_models_have_an_interval(results, case):
    evaluation, roles, rule = JUDGED[case]
    values, path = results[evaluation]
    parts = [rows(role, [values[name]], arrays={0: path}) for role, name in roles.items()]
    options = {key: value for key, value in rule.items() if key != "name"}
    module = plugins.load("claims", rule["name"])
    verdict = module.judge(module.Config(**options, **MODELS), frame(*parts))
    assert "given models, bootstrap over 6 test examples" in verdict.reason
    assert "no bootstrap" not in verdict.reason
    assert verdict.interval is not None
