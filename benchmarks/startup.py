"""What a process pays before it computes: CPU seconds of fresh ones, each started several times.

A workflow of short jobs is a workflow of starts. A job that needs no more than torch (a fit, a measurement)
imports neither torchvision nor timm nor what else is heavy, and what the Snakefile imports, which every
submitted job reads twice, does not import torch at all.
"""

import copy
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from _measure import bar, note
from _process import REPOSITORY, Ended, launched
from pagrepro import configuration, expand

NAME = "CPU seconds until a process computes"

PYTHON, TORCH, SNAKEFILE = "python", "import torch", "what the Snakefile imports"
TRAIN, EVALUATE = "train.py, up to its options", "evaluate.py, up to its options"
FIT = "train.py, a fit of one step"
RUN = "toy_line_mlp_vanilla_s0"
JOBS = (TRAIN, EVALUATE, FIT)
JOB_LIMIT, SNAKEFILE_LIMIT = 3.0, 1.0  # seconds of CPU
MARK = "imported torch:"
SAY = f"import sys; print('{MARK}', 'torch' in sys.modules)"


def imports() -> str:
    """The import lines of the package in what the Snakefile reads first."""
    text = (REPOSITORY / "workflow/rules/common.smk").read_text(encoding="utf-8")
    return "; ".join(re.findall(r"^ *(from pagrepro\S* import .*)$", text, re.MULTILINE))


def fit_of_one_step() -> list[dict[str, Any]]:
    """What train.py is given for a fit: the demo's plain network on the toy line, for a single step."""
    config = configuration.read_yaml(REPOSITORY / "config/config.yaml")
    loaded = configuration.load(config | {"tier": "demo", "papers": ["ganz2022"]}, REPOSITORY)
    spec = copy.deepcopy(expand.expand_loaded(loaded, REPOSITORY).runs[RUN].spec)
    spec["fit"] |= {"epochs": 1, "steps_per_epoch": 1, "keep_epochs": []}
    spec["monitor"] = []
    return [{"name": RUN, "spec": spec, "revisions": {}}]


def programs(results: Path) -> dict[str, list[str]]:
    """Name -> command, without the interpreter."""
    (results / "fit.json").write_text(json.dumps(fit_of_one_step()), encoding="utf-8")
    given = ["--spec", str(results / "fit.json"), "--results", str(results), "--device", "cpu", "--again"]
    return {
        PYTHON: ["-c", "pass"],
        TORCH: ["-c", "import torch"],
        SNAKEFILE: ["-c", f"{imports()}; {SAY}"],
        TRAIN: ["workflow/scripts/train.py", "--help"],
        EVALUATE: ["workflow/scripts/evaluate.py", "--help"],
        FIT: ["workflow/scripts/train.py", *given],
    }


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Rows, bars and settings; quick: one round. The programs run on the CPU, whatever `device` is."""
    rounds = 1 if quick else 3
    note(f"  {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        commands = programs(Path(folder))
        ended: dict[str, list[Ended]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, words in commands.items():
                ended[name].append(launched([sys.executable, *words], REPOSITORY))
    rows = [_row(name, of) for name, of in ended.items()]
    torch_free = MARK + " False" in ended[SNAKEFILE][0].text
    return {"rows": rows, "bars": bars(rows, torch_free), "settings": {"rounds": rounds}}


def _row(name: str, ended: list[Ended]) -> dict[str, Any]:
    spent = [one.cpu for one in ended]
    return {
        "variant": name, "seconds of CPU": statistics.median(spent), "lowest": min(spent),
        "highest": max(spent), "wall": statistics.median(one.wall for one in ended),
        "MB": statistics.median(one.megabytes for one in ended),
    }  # fmt: skip


def bars(rows: list[dict[str, Any]], torch_free: bool) -> list[dict[str, Any]]:
    """Starts of jobs that need no more than torch, and of what needs none. No correction for the machine."""
    spent = {row["variant"]: row["seconds of CPU"] for row in rows}
    return [
        *(bar(name, spent[name], JOB_LIMIT, "s of CPU") for name in JOBS),
        bar(SNAKEFILE, spent[SNAKEFILE], SNAKEFILE_LIMIT, "s of CPU"),
        bar(f"{SNAKEFILE}: torch", float(not torch_free), 0.0, "times imported"),
    ]
