"""What the workflow itself costs before the first job: dry run, plan, and a call that finds nothing to do.

The graph of the published grid (tier `full`) has some 2,000 jobs. The time is that of one process of
Snakemake with this workflow in it. The project's design wants at most 15 s for a dry run, and for finding
that there is nothing to do; it was written on a faster machine. So seconds are given as measured here, and
also divided by how much slower this machine is, by the training steps of `machine.py`, measured in the same
run. Both are printed; bars are judged by the second and say so.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

import machine
from _measure import bar, note
from _process import REPOSITORY, Ended, copy_workflow, jobs, snakemake

NAME = "the workflow's own time: dry run and plan of the full tier, and nothing to do"

LIMIT = 15.0  # seconds
DRY, PLAN, NOTHING = "dry run of the full tier", "plan of the full tier", "nothing to do"
SLURM = ("--profile", "profiles/slurm")
DEMO = ("--profile", "profiles/demo")
# What `-n -q` does, and the table of jobs besides.
DRY_RUN = ("-n", "--quiet", "rules")
SMALL = ("--config", "tier=demo", "papers=[lanfredi2020]")
# A drawing that reads no results: the whole of a tiny finished workflow.
TINY = "lanfredi2020_fig2"
DONE = "Nothing to be done"


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Rows, bars and settings; quick: one paper of the demo in the place of the full tier, and no plan."""
    note("  the speed of this machine")
    ratio = statistics.median(row["ratio"] for row in machine.run(torch.device("cpu"), quick)["rows"])
    found: dict[str, Ended] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_workflow(root)
        note(f"  {DRY}")
        found[DRY] = snakemake(root, *((*DEMO, *DRY_RUN, *SMALL) if quick else (*SLURM, *DRY_RUN)))
        if not quick:
            note(f"  {PLAN}")
            found[PLAN] = snakemake(root, *SLURM, "plan")
        note(f"  {NOTHING}")
        found[NOTHING], what = nothing_to_do(root, quick)
    rows = [_row(name, ended, ratio) for name, ended in found.items()]
    rows[0]["jobs"] = jobs(found[DRY].text)
    settings = {"this machine is slower by": round(ratio, 2), "finished": what}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def nothing_to_do(root: Path, quick: bool) -> tuple[Ended, str]:
    """A call that finds everything finished, and of what: the demo where its results are complete, else one
    drawing that is made first."""
    if not quick and (REPOSITORY / "results/demo/claims.csv").exists():
        ended = snakemake(REPOSITORY, *DEMO, "-n")
        if DONE in ended.text:
            return ended, "the demo, all of it"
    snakemake(root, *DEMO, *SMALL, "--", TINY)
    ended = snakemake(root, *DEMO, *SMALL, "--", TINY)
    if DONE not in ended.text:
        raise RuntimeError(f"{TINY} was to be finished: {ended.text[-500:]}")
    return ended, f"{TINY} alone"


def _row(name: str, ended: Ended, ratio: float) -> dict[str, Any]:
    return {
        "variant": name, "seconds of CPU": ended.cpu, "wall": ended.wall, "MB": ended.megabytes,
        "CPU by the speed of the machine": ended.cpu / ratio,
    }  # fmt: skip


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """15 s for a dry run and for nothing to do, on a machine as fast as that of the design."""
    by_name = {row["variant"]: row["CPU by the speed of the machine"] for row in rows}
    title = "seconds of CPU by the speed of the machine"
    return [bar(f"{name}, {title}", by_name[name], LIMIT, "s") for name in (DRY, NOTHING)]
