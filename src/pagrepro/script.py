"""What every script in `workflow/scripts/` shares. Torch-free."""

import contextlib
import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any

from pagrepro.errors import UserError


@contextlib.contextmanager
def main() -> Iterator[None]:
    """Print a `UserError` as its message alone and exit with 1; let everything else show its traceback.

    At the end of a log, whatever that end is, one line tells what the process has used: Snakemake's benchmark
    files look at the CPU time now and then and miss the last half minute.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    finally:
        if not sys.stdout.isatty():
            print(used_line(), flush=True)


def used_line() -> str:
    """`used: 12.3 s of CPU, 550 MB`: of this process from its start, and of processes it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return f"used: {seconds:.1f} s of CPU, {max(usage.ru_maxrss for usage in usages) / 1024:.0f} MB"


def used(log: str) -> tuple[float, float] | None:
    """(seconds of CPU, peak MB) that a script's log ends with; None for a log without that line."""
    found = re.findall(r"^used: ([\d.]+) s of CPU, ([\d.]+) MB$", log, re.MULTILINE)
    return (float(found[-1][0]), float(found[-1][1])) if found else None


def local_rank() -> int:
    """Number of this process on its machine, from torchrun; 0 without."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world() -> int:
    """Number of processes of the fit on this machine, from torchrun; 1 without."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def machine() -> dict[str, Any]:
    """Choices of `config.yaml` that belong to the machine: offline_dir, device, save_every_s, paths.

    The Snakefile hands them down in the environment; by hand, options of the script say the same.
    """
    defaults = {"offline_dir": None, "device": "auto", "save_every_s": 600.0, "paths": {}}
    return {**defaults, **json.loads(os.environ.get("PAGREPRO_MACHINE", "{}"))}
