"""What benchmarks share that start processes: time and memory of a command, and copies of the workflow."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CODE = ("Snakefile", "workflow", "profiles", "envs", "src", "config")

# A small process in between: a child's memory counts from that of its parent, which here has loaded torch.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print()
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""


@dataclass(frozen=True)
class Ended:
    """text: what a command said; cpu, wall: seconds, with those of its children; megabytes: the most of one
    process."""

    text: str
    cpu: float
    wall: float
    megabytes: float


def launched(command: Sequence[str], folder: Path, source: Path | None = None) -> Ended:
    """Run a command with one thread. source: the `src` that it imports from (default: that of `folder`).
    Raises RuntimeError with the end of its output when it fails."""
    path = str(source or folder / "src")
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wall = time.perf_counter() - start
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)[:300]}\n{ended.stdout[-3000:]}")
    text, _, used = ended.stdout.rstrip().rpartition("\n")
    cpu, kilobytes = map(float, used.split())
    return Ended(text, cpu, wall, kilobytes / 1024)


def copy_workflow(root: Path) -> None:
    """Everything that the workflow reads, but no results."""
    for name in CODE:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)


def snakemake(root: Path, *options: str) -> Ended:
    """A call of the workflow in `root`."""
    return launched([sys.executable, "-m", "snakemake", *options], root)


def jobs(text: str) -> int:
    """Number of jobs that a dry run announces."""
    return int(re.findall(r"^total +(\d+)$", text, re.MULTILINE)[-1])
