"""Dry runs of generated grids: 10 and 50 times as many seeds as the full tier has.

A copy of the workflow gets a configuration in which every list of seeds is so many times longer; everything
else is the published grid. What a dry run costs is CPU time and memory of one process: it is also what the
head spends before the first job. Reading the Snakefile is what each submitted job spends, twice, to start.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from _measure import note

NAME = "dry runs of the full tier with more seeds"

REPOSITORY = Path(__file__).resolve().parents[1]
CODE = ("Snakefile", "workflow", "profiles", "envs", "src", "config")
# One paper: fifty times the seeds of all four are 100,000 jobs, which take the better part of an hour.
PAPER = "ganz2022"
FACTORS = (1, 10, 50)

# A small process in between: a child's memory counts from that of its parent, which here has loaded torch.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Jobs, seconds of CPU and memory of a dry run, and seconds of reading alone, for each factor."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_workflow(root)
        original = (root / f"config/papers/{PAPER}.yaml").read_text(encoding="utf-8")
        for factor in (1, 2) if quick else FACTORS:
            note(f"{factor} times the seeds")
            content = more_seeds(yaml.safe_load(original), factor)
            (root / f"config/papers/{PAPER}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
            text, seconds, megabytes = call(root, "--dry-run", "--quiet", "rules")
            jobs = int(re.findall(r"^total +(\d+)$", text, re.MULTILINE)[-1])
            _, reading, _ = call(root, "--list-rules")
            rows.append(
                {"variant": f"{factor} times the seeds", "jobs": jobs, "dry run, s of CPU": seconds,
                 "ms per job": 1000 * seconds / jobs, "MB": megabytes, "reading alone, s": reading}
            )  # fmt: skip
    return {"rows": rows, "bars": [], "settings": {"paper": PAPER, "tier": "full"}}


def copy_workflow(root: Path) -> None:
    for name in CODE:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)


def more_seeds(value: Any, factor: int, key: str = "") -> Any:
    """The configuration with every list of seeds `factor` times as long."""
    if isinstance(value, dict):
        return {name: more_seeds(inner, factor, str(name)) for name, inner in value.items()}
    seeds = key == "seeds" or key.startswith("seeds_") or key.endswith("_seeds")
    if isinstance(value, list) and value and seeds and all(isinstance(seed, int) for seed in value):
        return list(range(len(value) * factor))
    return [more_seeds(item, factor) for item in value] if isinstance(value, list) else value


def call(root: Path, *options: str) -> tuple[str, float, float]:
    """(what it says, seconds of CPU, MB at most) of a call of Snakemake for the paper."""
    command = [
        sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *options,
        "--config", "tier=full", f"papers=[{PAPER}]",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    launched = [sys.executable, "-c", LAUNCHER, *command]
    ended = subprocess.run(
        launched, cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if ended.returncode:
        raise RuntimeError(ended.stdout[-3000:])
    text, _, used = ended.stdout.rstrip().rpartition("\n")
    seconds, kilobytes = map(float, used.split())
    return text, seconds, kilobytes / 1024
