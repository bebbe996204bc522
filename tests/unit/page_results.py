"""Made-up results of a tiny configuration with images, for the page of a tier."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny import TASK, Tiny

from pagrepro.expansion import Evaluation, Expansion
from pagrepro.layout import Layout
from pagrepro.page_data import CLAIM_COLUMNS

# What would break a page that made markup of its data.
NASTY = '</script><script>window.broken = 1</script><img src=x onerror="window.broken = 1">&amp;<!--'


def configuration(nasty: str = NASTY) -> Tiny:
    """Two objectives and three seeds on images, one of them with gradient maps; the toy line as it was."""
    tiny = Tiny()
    tiny.datasets["datasets"]["digits"] = {
        "label": f"digits {nasty}", "data": {"name": "digits", "size": 8}, "classes": 10, "shape": [1, 8, 8],
        "parts": {"train": 100, "test": 20}, "splits": {"train": {"part": "train"}, "test": {"part": "test"}},
    }  # fmt: skip
    task = {**TASK, "model": {"name": "cifar_resnet18", "width": 4}}
    noisy = {**task, "objective": {"name": "gaussian_noise", "sigma": 0.1}}
    for name, about in (("bright", task), ("noisy", noisy)):
        tiny.paper["runs"][name] = {
            "grid": {"seed": "$seeds"}, "name": f"digits_{name}_s{{seed}}", "task": about,
            "dataset": "digits", "seed": "$seed", "fit": {"epochs": 1, "batch_size": 20},
        }  # fmt: skip
    groups = ["bright", "noisy"]
    tiny.paper["evaluations"] |= {
        "maps": {"groups": ["noisy"], "measure": {"name": "gradient_maps", "similarity": None}},
        "edges": {"groups": groups, "measure": {"name": "edge_correlation"}},
    }
    tiny.paper["artifacts"]["figure1"] = {
        "number": "Figure 1", "title": f"Maps {nasty}", "caption": "Maps.", "groups": ["noisy"],
        "evaluations": ["maps", "edges"],
        "figure": {
            "name": "map_grid", "evaluations": [{"evaluation": "maps", "label": "none"}],
            "panels": [{"label": "Noisy", "runs": [{"group": "noisy"}]}],
        },
    }  # fmt: skip
    tiny.paper["evaluations"]["pgd"]["groups"] += groups
    tiny.paper["artifacts"]["table1"] |= {
        "title": f"Accuracies {nasty}", "groups": ["plain", "aligned", "far", *groups],
        "evaluations": ["clean", "pgd"],
    }  # fmt: skip
    return tiny


def sidecar(expansion: Expansion, layout: Layout, run: str, **more: Any) -> None:
    """A made-up `run.json`."""
    wanted = expansion.runs[run]
    content = {"run": run, "status": "complete", "spec": wanted.spec, "spec_hash": wanted.hash, **more}
    _write(layout.run_json(run), content)


def result(
    expansion: Expansion, layout: Layout, run: str, name: str, values: dict[str, Any], **more: Any
) -> None:
    """A made-up result; `arrays`: by name."""
    wanted: Evaluation = expansion.evaluations[run, name]
    arrays = more.pop("arrays", {})
    content = {
        "run": run, "evaluation": name, "status": "complete", "values": values, "flags": [],
        "arrays": sorted(arrays), "spec": wanted.spec, "spec_hash": wanted.hash, **more,
    }  # fmt: skip
    _write(layout.result(run, name), content)
    if arrays:
        np.savez(layout.arrays(run, name), **arrays)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def maps(seed: int) -> dict[str, np.ndarray]:
    """Arrays of `gradient_maps` of ten images."""
    noise = np.random.default_rng(seed)
    shape = (10, 1, 8, 8)
    return {
        "images": noise.random(shape, dtype=np.float32),
        "gradients": noise.normal(size=shape).astype(np.float32),
    }


def artifact_files(expansion: Expansion, layout: Layout) -> None:
    """A picture of every figure, and a text of every table."""
    for plan in expansion.artifacts.values():
        path: Path = getattr(layout, plan.kind)(plan.paper, plan.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if plan.kind == "figure":
            Image.new("RGB", (40, 30), "white").save(path)
        else:
            path.write_text("row\n")


def claims(layout: Layout, *verdicts: str, nasty: str = NASTY) -> None:
    """A `claims.csv` with the claims K1, K2, ..., each with the next verdict."""
    with layout.claims().open("w", newline="") as file:
        writer = csv.DictWriter(file, CLAIM_COLUMNS)
        writer.writeheader()
        for number, verdict in enumerate(verdicts, 1):
            row = dict.fromkeys(CLAIM_COLUMNS, f"text {number} {nasty}")
            row |= {"paper": "tiny", "claim": f"K{number}", "place": "Table 1", "n_seeds": 10 - number}
            writer.writerow(row | {"verdict": verdict})


def finish(expansion: Expansion, layout: Layout) -> None:
    """Everything of the two groups on images; of the toy line one run that diverged."""
    for place, run in enumerate(run for run in expansion.runs if run.startswith("digits")):
        seed = int(run[-1])
        sidecar(expansion, layout, run, notes=[NASTY])
        result(expansion, layout, run, "clean", {"accuracy": 0.5 + 0.0712345678901234 * place, "loss": None})
        result(expansion, layout, run, "pgd", {"accuracy": 0.1 * place, "clean_accuracy": 0.5})
        result(expansion, layout, run, "edges", {"saliency": 0.3 - 0.1 * seed, "undefined": 0.0})
        if "noisy" in run:
            result(expansion, layout, run, "maps", {"zero_maps": 0.0}, arrays=maps(seed))
    sidecar(expansion, layout, "line_plain_s0", status="diverged")
    result(expansion, layout, "line_plain_s0", "clean", {"accuracy": 0.5}, status="diverged")
    artifact_files(expansion, layout)
    claims(layout, "confirmed", "not testable")
