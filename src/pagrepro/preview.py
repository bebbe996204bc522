"""Every artifact and verdict from what is finished so far. Reads results, starts nothing. Torch-free.

A result counts as finished when it was made from the spec and the code revisions that the configuration asks
for now; one of an earlier configuration is missing, not nearly right.
"""

import shutil
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagrepro import artifact, judge, pack, sidecars
from pagrepro.errors import UserError
from pagrepro.expansion import ArtifactPlan, ClaimsPlan, Evaluation, Expansion, Run
from pagrepro.layout import Layout
from pagrepro.results import Context, groups_from_json


@dataclass(frozen=True)
class FinishedLayout(Layout):
    """A tier's files, with results and histories that are not finished at places where no file is."""

    results_there: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    runs_there: frozenset[str] = field(default_factory=frozenset)

    def result(self, run: str, evaluation: str) -> Path:
        """Where a finished result is; a path without a file for any other."""
        path = super().result(run, evaluation)
        return path if (run, evaluation) in self.results_there else _nowhere(path)

    def history(self, run: str) -> Path:
        """Where the history of a finished run is, likewise."""
        path = super().history(run)
        return path if run in self.runs_there else _nowhere(path)


def _nowhere(path: Path) -> Path:
    return path.parent / ".not-finished" / path.name


def finished(expansion: Expansion, layout: Layout) -> FinishedLayout:
    """`layout` as far as its files belong to the expansion."""
    there = {key for key, e in expansion.evaluations.items() if _result_there(e, layout)}
    runs = {name for name, run in expansion.runs.items() if _run_there(run, layout)}
    return FinishedLayout(layout.results, layout.resources, frozenset(there), frozenset(runs))


def _result_there(evaluation: Evaluation, layout: Layout) -> bool:
    content = sidecars.read(sidecars.path_of(evaluation, layout))
    arrays_there = not content.get("arrays") or layout.arrays(evaluation.run, evaluation.name).is_file()
    return arrays_there and _made_for(content, "evaluate", evaluation)


def _run_there(run: Run, layout: Layout) -> bool:
    content = sidecars.read(sidecars.path_of(run, layout))
    return layout.history(run.name).is_file() and _made_for(content, "train", run)


def _made_for(content: dict[str, Any], stage: str, wanted: Run | Evaluation) -> bool:
    if content.get("spec_hash") != wanted.hash:
        return False
    return content.get("revisions") == pack.revisions_of(stage, wanted.spec)


@dataclass(frozen=True)
class Drawn:
    """One line of the summary. file: None when nothing could be drawn; error: it failed, which is a fault."""

    paper: str
    name: str
    state: str
    file: Path | None = None
    error: bool = False

    @property
    def line(self) -> str:
        """What is printed of it."""
        place = f"  {self.file}" if self.file else ""
        return f"{self.paper:<20} {self.name:<12} {self.state}{place}"


def draw_all(expansion: Expansion, layout: Layout) -> list[Drawn]:
    """Draw every artifact and judge every claim into `<results>/preview`, in place of an earlier preview.

    An artifact of which nothing is finished is left out. One that fails does not hold up the others.
    """
    there = finished(expansion, layout)
    place = Layout(layout.results / "preview", layout.resources)
    shutil.rmtree(place.results, ignore_errors=True)
    drawn = [_draw(plan, there, place) for plan in expansion.artifacts.values()]
    return drawn + [_judge(plan, there, place) for plan in expansion.claims.values()]


def _draw(plan: ArtifactPlan, there: FinishedLayout, place: Layout) -> Drawn:
    needed = {run for run, _ in plan.results} | set(plan.histories)
    at_hand = [key for key in plan.results if key in there.results_there]
    at_hand += [run for run in plan.histories if run in there.runs_there]
    if needed and not at_hand:
        return Drawn(plan.paper, plan.name, f"incomplete: 0 of {len(needed)} runs; not drawn")
    context = Context(plan.content, groups_from_json(plan.content["groups"]), there, allow_missing=True)
    target = getattr(place, plan.kind)(plan.paper, plan.name)
    try:
        made = artifact.draw(context)
        save = artifact.save_table if plan.kind == "table" else artifact.save_figure
        save(made, context, target)
    except Exception as error:
        return _failed(plan.paper, plan.name, context.incomplete, error)
    return Drawn(plan.paper, plan.name, context.incomplete or "complete", target)


def _judge(plan: ClaimsPlan, there: FinishedLayout, place: Layout) -> Drawn:
    target = place.results / "claims" / f"{plan.paper}.csv"
    missing = {run for run, evaluation in plan.results if (run, evaluation) not in there.results_there}
    asked = {run for run, _ in plan.results}
    state = f"incomplete: {len(asked) - len(missing)} of {len(asked)} runs" if missing else "complete"
    try:
        table = judge.to_frame(judge.judge_all(plan.content, there, allow_missing=True))
    except Exception as error:
        return _failed(plan.paper, "claims", state, error)
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(target, index=False)
    return Drawn(plan.paper, "claims", f"{state} ({judge.counts(table)})", target)


def _failed(paper: str, name: str, incomplete: str | None, error: Exception) -> Drawn:
    """Too few results are no fault when some are missing; anything else is, and shows where it happened."""
    if isinstance(error, UserError) and incomplete and incomplete != "complete":
        return Drawn(paper, name, f"{incomplete}; not drawn: {error}")
    traceback.print_exception(error)
    return Drawn(paper, name, f"failed: {type(error).__name__}: {error}", error=True)


def summary(drawn: Iterable[Drawn]) -> str:
    """One line per artifact, then how many are complete."""
    drawn = list(drawn)
    complete = sum(d.file is not None and d.state.startswith("complete") for d in drawn)
    return "\n".join([*(d.line for d in drawn), f"{complete} of {len(drawn)} complete"])
