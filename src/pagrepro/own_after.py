"""What stands around the values of a model of one's own: whence they come, doubts, the papers' own runs."""

import ast
from typing import Any

from pagrepro import plugins, sidecars
from pagrepro.layout import Layout
from pagrepro.own_choices import Catalogue, Choice
from pagrepro.own_health import Flag

# An attack that finds this much more than another one in the same ball says that the other is stuck.
GAP = 0.1


def about(choice: Choice) -> dict[str, Any]:
    """What a measurement is, from its module's docstrings: what it says (`what`), the paper it is from
    (`source`), what its values are (`values_are`); and its options."""
    module = ast.parse(plugins.source_path("evaluations", choice.plugin).read_text(encoding="utf-8"))
    first, *rest = (ast.get_docstring(module) or "").split("\n\n")
    (function,) = (
        node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "measure"
    )
    values = (ast.get_docstring(function) or "").partition("arrays")[0].split("\n\n")
    return {
        "plugin": choice.plugin,
        "what": " ".join(first.split()),
        "source": " ".join((rest or [first])[0].split()),
        "values_are": " ".join(next((v for v in values if "values" in v), "").split()),
        "options": {key: value for key, value in choice.measure.items() if key != "name"},
        "split": choice.split,
        "also": choice.also,
    }


def beside(catalogue: Catalogue, choice: Choice, results: Layout) -> list[dict[str, Any]]:
    """The same measurement of the papers' own runs, as far as it is finished in a folder of results: for each
    group its number of runs and the means of their values. What was measured otherwise does not count."""
    groups: dict[str, list[dict[str, float]]] = {}
    for group, run, evaluation in choice.members:
        wanted = catalogue.member(run, evaluation)
        found = sidecars.read(results.result(wanted.run, wanted.name)) if wanted else {}
        if wanted and found.get("spec_hash") == wanted.hash and found.get("status") == "complete":
            groups.setdefault(group, []).append(found["values"])
    return [{"group": name, "runs": len(rows), "values": _means(rows)} for name, rows in groups.items()]


def _means(rows: list[dict[str, float]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row.get(name) is not None]
        means[name] = sum(values) / len(values) if values else None
    return means


def masking(found: dict[str, dict[str, Any]]) -> list[Flag]:
    """Signs in the values that gradients are masked: then attacks by gradient overestimate robustness."""
    measured = {name: entry for name, entry in found.items() if entry["status"] == "measured"}
    flags = []
    for name, entry in measured.items():
        flags += [
            Flag(flag, "warning", f"{name}: {_KNOWN[flag]}") for flag in entry["flags"] if flag in _KNOWN
        ]
    flags += _transferred(measured) + _overestimated(measured)
    return flags


_KNOWN = {
    "square_stronger": "Square, which sees no gradients, breaks images that attacks by gradient do not",
    "nonfinite_under_attack": "attacked images have logits that are not finite",
    "left_the_ball": "an attack of the library left its ball; such images do not count as broken",
}


def _balls(
    measured: dict[str, dict[str, Any]], plugin: str
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, options of the attack, entry) of the measurements by a plugin."""
    return [
        (name, entry["options"].get("attack") or entry["options"], entry)
        for name, entry in measured.items()
        if entry["plugin"] == plugin
    ]


def _transferred(measured: dict[str, dict[str, Any]]) -> list[Flag]:
    flags = []
    for name, attack, entry in _balls(measured, "transfer_accuracy"):
        for other, same, own in _balls(measured, "pgd_accuracy"):
            lower = entry["values"]["accuracy"] < own["values"]["accuracy"]
            if attack == same and entry["split"] == own["split"] and lower:
                flags.append(
                    Flag(
                        "transfer_stronger", "warning",
                        f"examples made on another network fool this one more often ({name}:"
                        f" {entry['values']['accuracy']:.1%} right) than the same attack on itself ({other}:"
                        f" {own['values']['accuracy']:.1%})",
                    )
                )  # fmt: skip
    return flags


def _overestimated(measured: dict[str, dict[str, Any]]) -> list[Flag]:
    flags = []
    for name, options, entry in _balls(measured, "autoattack"):
        strong = next(
            (v for k, v in entry["values"].items() if k.endswith("accuracy") and k != "clean_accuracy")
        )
        for other, attack, weak in _balls(measured, "pgd_accuracy"):
            ball = (attack.get("norm"), attack.get("eps"), weak["split"])
            gap = weak["values"]["accuracy"] - strong
            if ball == (options["norm"], options["eps"], entry["split"]) and gap > GAP:
                flags.append(
                    Flag(
                        "pgd_overestimates", "warning",
                        f"{other} leaves {weak['values']['accuracy']:.1%}, {name} in the same ball"
                        f" {strong:.1%}:"
                        " believe the lower one",
                    )
                )  # fmt: skip
    return flags
