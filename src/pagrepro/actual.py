"""What was planned against what it took, from the sidecars of what is finished. Torch-free."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pagrepro import pack, plan, sidecars
from pagrepro.configuration import Configuration
from pagrepro.estimate import Estimate, Member
from pagrepro.expansion import Expansion
from pagrepro.layout import Layout

HEADS = (
    "paper", "rule", "members", "finished", "planned hours", "actual hours", "actual / planned", "GFLOP/s",
    "peak MB",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One member of a job. seconds: of work by its sidecar, without the start of its process; flops: of those
    that are finished only; peak_mb: of the process it was made in, up to then."""

    paper: str
    rule: str
    members: int
    finished: int
    flops: float
    seconds: float
    peak_mb: float
    device: str


def lines(loaded: Configuration, expansion: Expansion, estimate: Estimate, layout: Layout) -> list[Line]:
    """Every fit, field and measurement of a tier. Finished is what has a sidecar of its present spec."""
    papers = plan.owners(loaded, expansion)
    found = []
    for job in pack.jobs(expansion, loaded):
        for member in job.members:
            about = papers[plan.key_of(member)], plan.rule_of(job), 1
            made = _provenance(member, layout)
            if made is None:
                found.append(Line(*about, 0, 0.0, 0.0, 0.0, ""))
            else:
                numbers = estimate.of(member), made["wall_s"], made["peak_mb"]
                found.append(Line(*about, 1, *numbers, made["device"]["name"]))
    return found


def _provenance(member: Member, layout: Layout) -> dict[str, Any] | None:
    """How a member was made; None where it is not finished, damaged, or of another spec."""
    content = sidecars.read(sidecars.path_of(member, layout))
    return content["provenance"] if content.get("spec_hash") == member.hash else None


def table(found: list[Line]) -> pd.DataFrame:
    """One line per paper and rule, and one for everything: sums, but the highest peak."""
    frame = pd.DataFrame([vars(line) for line in found])
    sums = {name: "sum" for name in ("members", "finished", "flops", "seconds")} | {"peak_mb": "max"}
    by_rule = frame.groupby(["paper", "rule"], sort=False, as_index=False).agg(sums)
    total = frame.assign(paper="all", rule="all").groupby(["paper", "rule"], as_index=False).agg(sums)
    return pd.concat([by_rule, total], ignore_index=True)


def text(frame: pd.DataFrame, throughput: float) -> str:
    """The table for a terminal; planned hours are those of what is finished."""
    rows = []
    for r in frame.itertuples():
        planned, actual = r.flops / throughput, r.seconds
        rows.append(
            (
                r.paper, r.rule, f"{r.members:,}", f"{r.finished:,}", plan.short(planned / 3600),
                plan.short(actual / 3600), plan.short(actual / planned) if planned else "-",
                plan.short(r.flops / actual / 1e9) if actual else "-", f"{r.peak_mb:,.0f}",
            )
        )  # fmt: skip
    return plan.aligned(HEADS, rows)


def devices(found: list[Line]) -> list[str]:
    """Names of the devices that made what is finished."""
    return sorted({line.device for line in found if line.finished})
