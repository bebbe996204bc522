"""What a tier would cost before anything runs: jobs, operations, hours and disk. Torch-free.

Operations are counted from specs (`estimate.py`); planned hours are these over a throughput. Beside them
stand the time limits of the configuration (`cost` in paper files, packs in tier files), which are what the
scheduler is told. Disk is computed from the sizes of networks, splits and classes.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pagrepro import declare, pack, plugins
from pagrepro.configuration import Configuration
from pagrepro.estimate import Estimate, Rows
from pagrepro.expansion import Evaluation, Expansion, Field, Run
from pagrepro.finished import run_weights
from pagrepro.pack import Job

# spec of a run -> bytes of one set of its weights
WeightBytes = Callable[[dict[str, Any]], int]

VERBS = {"field": "make_field", "train": "train", "evaluate": "evaluate"}


@dataclass(frozen=True)
class Item:
    """One job. members: fits, fields or measurements in it; gpu_hours, cpu_hours: those of its time limit;
    disk: bytes of its outputs that are kept; flops: operations; gpu_planned, cpu_planned: hours that these
    take."""

    paper: str
    rule: str
    jobs: int
    members: int
    gpu_hours: float
    cpu_hours: float
    disk: int
    flops: float = 0.0
    gpu_planned: float = 0.0
    cpu_planned: float = 0.0


def items(
    loaded: Configuration,
    expansion: Expansion,
    weight_bytes: WeightBytes,
    root: Path = Path("."),
    estimate: Estimate | None = None,
    throughput: float = 1.0,
) -> list[Item]:
    """Every job of a tier, as if nothing had been computed yet. What papers share counts for the first.
    throughput: operations per second; without an estimate nothing is counted."""
    papers = owners(loaded, expansion)
    rows = Rows(root)

    def item(job: Job) -> Item:
        disk = sum(_bytes(member, weight_bytes, rows, expansion.runs) for member in job.members)
        flops = sum(map(estimate.of, job.members)) if estimate else 0.0
        asked, planned = (_hours(job, hours) for hours in (job.cost.minutes / 60, flops / throughput / 3600))
        return Item(
            papers[key_of(job.members[0])], rule_of(job), 1, len(job.members), *asked, disk, flops, *planned
        )

    found = [item(job) for job in pack.jobs(expansion, loaded)]
    found += [Item(a.paper, f"draw_{a.kind}", 1, 1, 0.0, 0.0, 0) for a in expansion.artifacts.values()]
    return found + [Item(paper, "judge_claims", 1, 1, 0.0, 0.0, 0) for paper in expansion.claims]


def _hours(job: Job, hours: float) -> tuple[float, float]:
    """(GPU-hours, CPU-hours) that a job of so many hours occupies; of several GPUs each does its share."""
    return hours * job.cost.gpus, hours * job.cost.threads


def owners(loaded: Configuration, expansion: Expansion) -> dict[Any, str]:
    """Name of a run or field, or (run, evaluation), -> the first paper that declares it."""
    declared = declare.declare(loaded)
    found: dict[Any, str] = {}
    for table in (declared.runs, declared.fields):
        for name, item in table.items():
            found.setdefault(expansion.aliases.get(name, name), item.paper)
    for (run, name), item in declared.evaluations.items():
        found.setdefault((expansion.aliases.get(run, run), name), item.paper)
    return found


def key_of(member: Run | Field | Evaluation) -> Any:
    """What a member is called in `owners`."""
    return (member.run, member.name) if isinstance(member, Evaluation) else member.name


def rule_of(job: Job) -> str:
    """Rule that makes a job, and how it is grouped."""
    if job.pack:
        return f"{VERBS[job.stage]} (packs)"
    if job.stage == "train" and job.members[0].spec["fit"] is None:
        return "convert_weights"
    apart = job.stage == "evaluate" and job.members[0].apart
    return f"{VERBS[job.stage]} (apart)" if apart else VERBS[job.stage]


def too_long(found: list[Item]) -> Counter[tuple[str, str]]:
    """(paper, rule) -> number of its jobs that are planned for longer than their time limit."""
    return Counter((item.paper, item.rule) for item in found if item.cpu_planned > item.cpu_hours)


# --- disk ------------------------------------------------------------------------------------


def _bytes(
    member: Run | Field | Evaluation, weight_bytes: WeightBytes, rows: Rows, runs: Mapping[str, Run]
) -> int:
    """Bytes that stay on disk. Measurements count as nothing: a few numbers per example at most."""
    if isinstance(member, Run):
        return len(run_weights(member.spec)) * weight_bytes(member.spec)
    if isinstance(member, Field):
        return field_bytes(member.spec, rows.of(member.spec), runs)
    return 0


def field_bytes(spec: dict[str, Any], rows: int, runs: Mapping[str, Run] | None = None) -> int:
    """Bytes of a field. A plugin says what it keeps a number for with STORES, a part of ("rows", "classes",
    "pixels", "<role>.<option>"), the last an option of the task of the run (one of `runs`) in a role; one
    that does not say is counted with the first three."""
    stores = plugins.constant("fields", spec["field"]["name"], "STORES", ("rows", "classes", "pixels"))
    data = spec["dataset"]
    sizes = {"rows": rows, "classes": data["classes"], "pixels": math.prod(data["shape"])}
    for role, option in (what.split(".") for what in stores if what not in sizes):
        sizes[f"{role}.{option}"] = runs[spec["inputs"][role]["run"]].spec["task"][option]
    width = 2 if spec["field"].get("dtype") == "float16" else 4
    return width * math.prod(sizes[what] for what in stores)


def uncertain_fields(expansion: Expansion) -> list[str]:
    """Plugins of the tier's fields that do not say what they store, so that their disk is an upper bound."""
    used = {field.spec["field"]["name"] for field in expansion.fields.values()}
    return sorted(name for name in used if plugins.constant("fields", name, "STORES") is None)


def downloads(expansion: Expansion, names: list[str]) -> tuple[int, int, int]:
    """(number of files from outside, their bytes where known, how many have no known size)."""
    sizes = [expansion.catalogue.sources[name].size for name in names]
    return len(sizes), sum(size for size in sizes if size), sum(size is None for size in sizes)


# --- the table ---------------------------------------------------------------------------------


def table(found: list[Item]) -> pd.DataFrame:
    """One line per paper and rule, in the order of the papers, and one per paper that sums them."""
    frame = pd.DataFrame([asdict(item) for item in found])
    lines = frame.groupby(["paper", "rule"], sort=False, as_index=False).sum()
    sums = lines.groupby("paper", sort=False, as_index=False).sum(numeric_only=True).assign(rule="all")
    order = {paper: place for place, paper in enumerate(dict.fromkeys(frame["paper"]))}
    both = pd.concat([lines, sums]).sort_values("paper", key=lambda p: p.map(order), kind="stable")
    whole = lines.sum(numeric_only=True).to_dict()
    total = pd.DataFrame([{"paper": "all", "rule": "all", **whole}])
    return pd.concat([both, total], ignore_index=True).astype({"jobs": int, "members": int, "disk": int})


HEADS = (
    "paper", "rule", "jobs", "members", "PFLOP", "GPU-hours", "CPU-hours", "GPU limit", "CPU limit", "disk",
)  # fmt: skip


def text(frame: pd.DataFrame) -> str:
    """The table for a terminal."""
    return aligned(
        HEADS,
        [
            (
                r.paper, r.rule, f"{r.jobs:,}", f"{r.members:,}", short(r.flops / 1e15),
                short(r.gpu_planned), short(r.cpu_planned), short(r.gpu_hours), short(r.cpu_hours),
                size(r.disk),
            )
            for r in frame.itertuples()
        ],
    )  # fmt: skip


def aligned(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Lines of a table whose first two columns are words and whose others are numbers."""
    cells = [heads, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = []
    for row in cells:
        words = [
            w.ljust(n) if c < 2 else w.rjust(n) for c, (w, n) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def short(number: float) -> str:
    """A number for readers: three digits, or whole from 100 on."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"


def size(count: float) -> str:
    """1536 -> "1.5 kB": a number of bytes for readers, in steps of 1000."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
