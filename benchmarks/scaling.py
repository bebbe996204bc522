"""Dry runs of generated grids: ten times as many seeds as the full tier has.

A copy of the workflow gets a configuration in which every list of seeds is so many times longer; everything
else is the published grid. What a dry run costs is CPU time and memory of one process: it is also what the
head spends before the first job. Reading the Snakefile is what each submitted job spends, twice, to start.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from _measure import note
from _process import Ended, copy_workflow, jobs, snakemake

NAME = "dry runs of the full tier with more seeds"

# One paper: the graph of all four takes minutes to build.
PAPER = "ganz2022"
# 50 times takes as long as all other benchmarks together; docs/scaling.md has it.
FACTORS = (1, 10)


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
            dry, reading = call(root, "--dry-run", "--quiet", "rules"), call(root, "--list-rules")
            count = jobs(dry.text)
            rows.append(
                {"variant": f"{factor} times the seeds", "jobs": count, "dry run, s of CPU": dry.cpu,
                 "ms per job": 1000 * dry.cpu / count, "MB": dry.megabytes, "reading alone, s": reading.cpu}
            )  # fmt: skip
    return {"rows": rows, "bars": [], "settings": {"paper": PAPER, "tier": "full"}}


def more_seeds(value: Any, factor: int, key: str = "") -> Any:
    """The configuration with every list of seeds `factor` times as long."""
    if isinstance(value, dict):
        return {name: more_seeds(inner, factor, str(name)) for name, inner in value.items()}
    seeds = key == "seeds" or key.startswith("seeds_") or key.endswith("_seeds")
    if isinstance(value, list) and value and seeds and all(isinstance(seed, int) for seed in value):
        return list(range(len(value) * factor))
    return [more_seeds(item, factor) for item in value] if isinstance(value, list) else value


def call(root: Path, *options: str) -> Ended:
    """A call of Snakemake for the paper."""
    config = ("--config", "tier=full", f"papers=[{PAPER}]")
    return snakemake(root, "--profile", "profiles/slurm", *options, *config)
