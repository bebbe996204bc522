"""Operations that fits, fields and measurements take: passes, examples, epochs. Torch-free."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pagrepro import passes
from pagrepro.expansion import Evaluation, Expansion, Field, Run
from pagrepro.passes import Passes

Spec = dict[str, Any]
Member = Run | Field | Evaluation


class Counts(Protocol):
    """What is counted with torch (`step_flops`), per example."""

    def step(self, spec: Spec) -> float:
        """Operations of a training step of a run."""
        ...

    def passes(self, spec: Spec) -> tuple[float, float]:
        """Operations of a forward and of a backward pass through the network of a run."""
        ...


class Rows:
    """Number of rows of splits; each index file is read once."""

    def __init__(self, root: Path):
        self.root = root
        self.known: dict[str, int] = {}

    def of(self, spec: Spec) -> int:
        """Rows of a spec's split; those of a part whose size is not declared count as none."""
        split = spec["split"]
        if split["indices"]:
            return self._listed(split["indices"])
        size = spec["dataset"]["parts"].get(split["part"], 0)
        left_out = self._listed(split["without"]) if split.get("without") else 0
        return max(0, size - left_out)

    def _listed(self, path: str) -> int:
        if path not in self.known:
            lines = (self.root / path).read_text(encoding="utf-8").splitlines()
            self.known[path] = sum(bool(line.strip()) for line in lines)
        return self.known[path]


@dataclass
class Estimate:
    """Operations of members of jobs. `uncounted`: what could not be counted -> hours of its time limits."""

    expansion: Expansion
    counts: Counts
    rows: Rows
    uncounted: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _known: dict[str, float] = field(default_factory=dict)

    def of(self, member: Member) -> float:
        """Operations; 0 for what cannot be counted, which is noted in `uncounted`."""
        key = member.hash
        if key not in self._known:
            self._known[key] = self._of(member)
        return self._known[key]

    def at_most(self) -> dict[str, float]:
        """Kind of measurement -> operations of all of that kind, where most examples may end early."""
        found = dict.fromkeys(passes.AT_MOST, 0.0)
        for evaluation in self.expansion.evaluations.values():
            name = evaluation.spec["measure"]["name"]
            if name in found:
                found[name] += self.of(evaluation)
        return {name: flops for name, flops in found.items() if flops}

    def largest(self) -> Run:
        """One of the fits that together take the most operations, by task, objective and data set."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        runs: dict[tuple[str, ...], Run] = {}
        for run in self.expansion.runs.values():
            task = run.spec["task"]
            objective = (task.get("objective") or {}).get("name", "")
            kind = (task["name"], objective, run.spec["dataset"]["name"])
            sums[kind] += self.of(run)
            runs.setdefault(kind, run)
        return runs[max(sums, key=sums.__getitem__)]

    def _of(self, member: Member) -> float:
        if isinstance(member, Run):
            return self._run(member)
        found = self._field(member) if isinstance(member, Field) else self._evaluation(member)
        kind = "field" if isinstance(member, Field) else "measure"
        if found is None:
            self._note(member, f"{kind} {member.spec[kind]['name']}")
            return 0.0
        network, each, rows = found
        if each == passes.NOTHING:
            return 0.0
        if rows == 0:
            self._note(member, f"data set {member.spec['dataset']['name']} of unknown size")
        return rows * self._times(each, network)

    def _note(self, member: Member, what: str) -> None:
        self.uncounted[what] += member.cost.minutes / 60

    def _times(self, each: Passes, run: Spec) -> float:
        forward, backward = self.counts.passes(run)
        return each.forward * forward + each.backward * backward

    # --- fits

    def _run(self, run: Run) -> float:
        """Training steps, and measurements during the fit. Converted weights take none."""
        spec, fit = run.spec, run.spec["fit"]
        if fit is None:
            return 0.0
        examples = self.examples(spec)
        if examples == 0:
            self._note(run, f"data set {spec['dataset']['name']} of unknown size")
            return 0.0
        return examples * self.counts.step(spec) + sum(
            self._monitor(run, monitor) for monitor in spec["monitor"]
        )

    def examples(self, spec: Spec) -> int:
        """Training examples of all steps of a fit."""
        fit, rows = spec["fit"], self.rows.of(spec)
        per_epoch = rows // fit["batch_size"] * fit["batch_size"] if fit["drop_last"] else rows
        if fit["steps_per_epoch"]:
            per_epoch = fit["steps_per_epoch"] * fit["batch_size"]
        return fit["epochs"] * per_epoch

    def _monitor(self, run: Run, monitor: Spec) -> float:
        """A measurement taken every few epochs and after the last one."""
        each = passes.of_measure(monitor["measure"], run.spec["dataset"]["classes"])
        if each is None:
            self.uncounted[f"measure {monitor['measure']['name']} during fits"] += 0
            return 0.0
        rows = self.rows.of({"split": monitor["split"], "dataset": run.spec["dataset"]})
        times = math.ceil(run.spec["fit"]["epochs"] / monitor["every"])
        return times * rows * self._times(each, run.spec)

    # --- measurements and fields: run whose network is used, passes per row, rows

    def _evaluation(self, evaluation: Evaluation) -> tuple[Spec, Passes, int] | None:
        spec, measure = evaluation.spec, evaluation.spec["measure"]
        each = passes.of_measure(measure, spec["dataset"]["classes"])
        if each is None:
            return None
        rows, first = self.rows.of(spec), passes.FIRST.get(measure["name"])
        return self._network(evaluation.run), each, min(rows, measure[first]) if first else rows

    def _field(self, field: Field) -> tuple[Spec, Passes, int] | None:
        spec, classes = field.spec, field.spec["dataset"]["classes"]
        runs = [given["run"] for given in spec["inputs"].values() if _is_network(given)]
        network = self._network(runs[0]) if runs else {}
        latent = network.get("task", {}).get("latent", 0)
        each = passes.of_field(spec["field"], classes, self._pairs(spec, classes), latent)
        return None if each is None else (network, each, self.rows.of(spec))

    def _pairs(self, spec: Spec, classes: int) -> int:
        """Classes that each row of a field has directions to: all others, or those of a measurement."""
        for given in spec["inputs"].values():
            if "evaluation" in given:
                measured = self.expansion.evaluations[given["run"], given["evaluation"]]
                return measured.spec["measure"].get("most", classes - 1)
        return classes - 1

    def _network(self, run: str) -> Spec:
        return self.expansion.runs[run].spec


def _is_network(given: Spec) -> bool:
    return "run" in given and "evaluation" not in given
