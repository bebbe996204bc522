"""What a verdict can be checked with: figures and tables, rules and results of its claim. Torch-free."""

import json
import re
from collections.abc import Iterable
from typing import Any

REVISION = 1

# "Tables 1 and 2", "Figure S8, section A.7", "Figures 1, 4 and 5", "Figure 2 (top)".
_NUMBER = r"S?\d+"
_PLACE = re.compile(rf"\b(Table|Figure)s?\s+({_NUMBER}(?:(?:,\s*|\s+and\s+|\s+to\s+){_NUMBER})*)")
# Where a place names no figure or table: as many as this of those that show the same results.
NEAREST = 3


def numbers(place: str) -> list[str]:
    """Numbers of figures and tables in a place: `["Table 1", "Table 2"]`."""
    found = []
    for kind, listed in _PLACE.findall(place):
        parts = re.findall(rf"to|{_NUMBER}", listed)
        for n, part in enumerate(parts):
            if part != "to":
                found.append(f"{kind} {part}")
            elif parts[n - 1].isdigit() and parts[n + 1].isdigit():
                found += [f"{kind} {k}" for k in range(int(parts[n - 1]) + 1, int(parts[n + 1]))]
    return list(dict.fromkeys(found))


def artifacts(claim: dict[str, Any], declared: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Figures and tables of a claim: those that its place names; where it names none that there is, those
    that show most of the (group, measurement) pairs it is judged by; none where no artifact shows any.

    claim: with `place` and `parts`; declared: contents of the paper's artifacts. Each found one has `kind`
    ("figure" or "table"), `name`, `number` and `title`.
    """
    declared = list(declared)
    named = [
        content for number in numbers(claim["place"]) for content in declared if content["number"] == number
    ]
    if not named:
        judged = set(_pairs(claim["parts"]))
        shared = [(len(judged & _shown(content)), content) for content in declared]
        best = sorted((s for s in shared if s[0]), key=lambda s: -s[0])[:NEAREST]
        named = [content for _, content in best]
    return [
        {
            "kind": "table" if content.get("table") else "figure",
            "name": content["name"],
            "number": content["number"],
            "title": content["title"],
        }
        for content in named
    ]


def _pairs(parts: Iterable[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    for part in parts:
        for selection in part["select"].values():
            yield from ((group, selection["evaluation"]) for group in selection["groups"])


def _shown(content: dict[str, Any]) -> set[tuple[str, str]]:
    return {(group, evaluation) for group in content["groups"] for evaluation in content["evaluations"]}


def evidence(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """claim -> what `claims/<paper>.json` says of it.

    content: claims as their script gets them. Each has `artifacts`, as above; `rules`, each with its module
    `name`, its `parameters` and the labels of the `parts` judged by it; `results`, (run, measurement) pairs
    in the order of the declaration.
    """
    found = {}
    for claim in content["claims"]:
        rules: dict[str, dict[str, Any]] = {}
        for part in claim["parts"]:
            given = {key: value for key, value in part["rule"].items() if key != "name"}
            rule = {"name": part["rule"]["name"], "parameters": given}
            entry = rules.setdefault(json.dumps(rule, sort_keys=True), {**rule, "parts": []})
            entry["parts"].append(part["label"])
        results = {
            (member["run"], evaluation): None
            for part in claim["parts"]
            if not part.get("not_testable")
            for group, evaluation in _pairs([part])
            for member in content["groups"][group]["runs"]
        }
        found[claim["claim"]] = {
            "artifacts": claim.get("artifacts", []),
            "rules": list(rules.values()),
            "results": [list(pair) for pair in results],
        }
    return found
