"""Made-up results: frames for rules, and result files for artifacts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pagrepro.layout import Layout
from pagrepro.results import FRAME_COLUMNS, Context, groups_from_json


def rows(
    role: str, values: dict[int, float] | list[float], group: str | None = None, **more: Any
) -> list[dict]:
    """Rows of a claim's frame: one run per seed. more: labels, quantity; status, arrays by seed."""
    by_seed = dict(enumerate(values)) if isinstance(values, list) else values
    group = group or role
    labels = more.get("labels", {})
    tag = "".join(f"_{key}{value}" for key, value in labels.items())
    return [
        {
            "role": role, "group": group, "run": f"{more.get('run', group)}{tag}_s{seed}", "seed": seed,
            "labels": {"seed": seed, **labels}, "dataset": "made up", "network": "none",
            "status": more.get("status", {}).get(seed, "complete"),
            "quantity": more.get("quantity", "margin"),
            "value": value, "arrays": more.get("arrays", {}).get(seed),
        }
        for seed, value in by_seed.items()
    ]  # fmt: skip


def frame(*parts: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part], columns=list(FRAME_COLUMNS))


def curve(role: str, by_label: dict[float, list[float]], label: str = "lambda", **more: Any) -> list[dict]:
    """Rows of one group whose runs carry a numeric label: label value -> one value per seed."""
    found = []
    for at, values in by_label.items():
        found += rows(role, values, labels={label: at}, **more)
    return found


def put(
    results: Path, run: str, evaluation: str, values: dict, arrays: dict | None = None, **more: Any
) -> None:
    """Write a result file, and its arrays if it has any."""
    layout = Layout(results)
    path = layout.result(run, evaluation)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "run": run, "evaluation": evaluation, "status": "complete", "values": values, "flags": [],
        "arrays": list(arrays or {}), "spec": {}, "spec_hash": f"hash of {run}", "seed": 0, **more,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    if arrays:
        np.savez(layout.arrays(run, evaluation), **arrays)


def group(
    *runs: str, labels: dict | None = None, not_testable: str | None = None, **more: Any
) -> dict[str, Any]:
    """One entry of a group table; the n-th run has seed n."""
    members = [{"run": run, "seed": n, "labels": {"seed": n, **(labels or {})}} for n, run in enumerate(runs)]
    return {
        "dataset": "digits", "network": "cifar_resnet18 w8", "runs": members, "not_testable": not_testable,
        "missing": {}, **more,
    }  # fmt: skip


def content(groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An artifact as a script is given it."""
    return {
        "paper": "a2000", "name": "table1", "number": "Table 1", "title": "A title", "caption": "A caption.",
        "tier": "demo", "evaluations": [], "groups": groups, **more,
    }  # fmt: skip


def context(results: Path, groups: dict[str, Any], allow_missing: bool = False, **more: Any) -> Context:
    return Context(content(groups, **more), groups_from_json(groups), Layout(results), allow_missing)
