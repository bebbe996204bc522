"""How far the work on a tier is, from the files it has written: sidecars, logs. Starts and locks nothing.

Torch-free. A member of a job (a fit, a field, a measurement) is done when it has a sidecar of the spec that
the configuration asks for. A job runs from the beginning of its log to the line that scripts end with.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagrepro import epoch_line, pack, script, sidecars
from pagrepro.configuration import Configuration
from pagrepro.epoch_line import duration
from pagrepro.estimate import Estimate, Member, Rows
from pagrepro.expand import network_label
from pagrepro.expansion import Evaluation, Expansion
from pagrepro.layout import Layout
from pagrepro.pack import Job
from pagrepro.targets import JobTable

# Folder of a job's log. It begins with the specs of all members, which may be megabytes: its end is read.
LOGS = {"field": "make_field", "train": "train", "evaluate": "evaluate"}
END = 200_000

# Stage -> what its members are called.
MEMBERS = {"train": "fits", "field": "fields", "evaluate": "measurements"}


@dataclass(frozen=True)
class State:
    """One job. done: members that are finished, with the seconds each took; begun: its script has begun and
    not ended; about: the last thing its log tells; silent_s: seconds since then; part: share of the member
    under way that is done."""

    job: Job
    done: dict[int, float]
    begun: bool = False
    about: str = ""
    silent_s: float = 0.0
    part: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether all members of the job are done."""
        return len(self.done) == len(self.job.members)


@dataclass(frozen=True)
class Progress:
    """All jobs of a tier; artifacts: how many of its tables and figures are drawn, and of how many."""

    tier: str
    jobs: list[State]
    artifacts: tuple[int, int]

    @property
    def running(self) -> list[State]:
        """Jobs that have begun and are not finished."""
        return [state for state in self.jobs if state.begun and not state.finished]

    @property
    def complete(self) -> bool:
        """Whether nothing of the tier is left to do."""
        return all(state.finished for state in self.jobs) and self.artifacts[0] == self.artifacts[1]


def survey(loaded: Configuration, expansion: Expansion, layout: Layout) -> Progress:
    """How far a tier is now."""
    jobs = [state_of(job, layout) for job in pack.jobs(expansion, loaded)]
    drawn = [getattr(layout, a.kind)(a.paper, a.name).is_file() for a in expansion.artifacts.values()]
    return Progress(expansion.tier, jobs, (sum(drawn), len(drawn)))


def log_of(job: Job, layout: Layout) -> Path:
    """Where the rule of a job writes its log."""
    folder = LOGS[job.stage]
    if job.stage == "train" and job.members[0].spec["fit"] is None:
        folder = "convert_weights"
    name = f"pack_{job.name}" if job.pack else job.owner + JobTable.tail(job)
    return layout.results / "logs" / folder / f"{name}.log"


def state_of(job: Job, layout: Layout) -> State:
    """Reads the sidecars of all members and the end of the log."""
    done = {}
    for place, member in enumerate(job.members):
        content = sidecars.read(sidecars.path_of(member, layout))
        if content.get("spec_hash") == member.hash:
            done[place] = float(content.get("provenance", {}).get("wall_s", 0.0))
    log = log_of(job, layout)
    if len(done) == len(job.members) or not log.is_file():
        return State(job, done)
    text = end_of(log)
    if script.used(text):
        return State(job, done)
    about, part = last_words(text)
    return State(job, done, True, about, max(0.0, time.time() - log.stat().st_mtime), part)


def end_of(log: Path) -> str:
    """The last END bytes of a file."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - END))
        return file.read().decode(errors="replace")


def last_words(text: str) -> tuple[str, float]:
    """(what a log tells of the member under way, the share of it that is done): its newest epoch, or the
    measurement that was finished last."""
    about, name, part = "", "", 0.0
    for line in text.splitlines():
        if begun := re.match(r"(\S+): (?:starts|resumes) at step (\d+) of (\d+)$", line):
            name, part = begun[1], int(begun[2]) / max(1, int(begun[3]))
            about = f"{name}: begun"
        elif epoch := epoch_line.read(line):
            about, part = f"{name}: {epoch.text}", epoch.epoch / epoch.epochs
        elif ended := re.match(r"(\S+): .*(?:\([\d.]+ s\)|an earlier job)", line):
            about, part = f"after {ended[1]}", 0.0
    return about, part


# --- time left ---------------------------------------------------------------------------------------


class Passes:
    """What the plan counts with torch, in passes of one example instead of operations: that takes no time,
    and what a pass takes is seen in what is finished. A training step is one, and one more per attack
    step."""

    def step(self, spec: dict[str, Any]) -> float:
        """Passes of a training step."""
        attack = (spec["task"].get("objective") or {}).get("attack") or {}
        return 1.0 + attack.get("steps", 0)

    def passes(self, spec: dict[str, Any]) -> tuple[float, float]:
        """A forward pass, and a backward pass."""
        return 0.5, 0.5


class Pace:
    """How long members take, by those that are finished: per pass, like the likes of a member (same plugin,
    network and data), or else like its stage, or else like everything."""

    def __init__(self, progress: Progress, expansion: Expansion, root: Path = Path(".")):
        self.expansion, self.estimate = expansion, Estimate(expansion, Passes(), Rows(root))
        self.finished: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        for state in progress.jobs:
            for place, seconds in state.done.items():
                member = state.job.members[place]
                for kind in self._kinds(state.job.stage, member):
                    self.finished.setdefault(kind, []).append((self.estimate.of(member), seconds))

    def _kinds(self, stage: str, member: Member) -> list[tuple[str, ...]]:
        """From the likes of a member to everything."""
        spec = member.spec
        run = self.expansion.runs[member.run].spec if isinstance(member, Evaluation) else spec
        task = run.get("task", {})
        plugin = (spec.get("measure") or spec.get("field") or task.get("objective") or task)["name"]
        network = network_label(task) if task else ""
        return [(stage, plugin, network, spec["dataset"]["name"]), (stage,), ()]

    def seconds(self, stage: str, member: Member) -> float | None:
        """Of a member that is not finished; None before anything is."""
        likes = next((self.finished[k] for k in self._kinds(stage, member) if k in self.finished), None)
        if likes is None:
            return None
        own, counted = self.estimate.of(member), [(passes, took) for passes, took in likes if passes]
        if own and counted:
            return own * sum(took for _, took in counted) / sum(passes for passes, _ in counted)
        return sum(took for _, took in likes) / len(likes)


def seconds_left(progress: Progress, pace: Pace) -> float | None:
    """Seconds of work that is left in all jobs, one after another; None before anything is finished. Start
    of processes, tables and figures are left out."""
    if not pace.finished:
        return None
    left = 0.0
    for state in progress.jobs:
        waiting = [member for place, member in enumerate(state.job.members) if place not in state.done]
        times = [pace.seconds(state.job.stage, member) or 0.0 for member in waiting]
        # The members of a job are made in turn.
        left += sum(times) - (state.part * times[0] if times and state.begun else 0.0)
    return left


# --- text --------------------------------------------------------------------------------------------


def text(progress: Progress, left_s: float | None) -> str:
    """For a terminal: sums, time left, and one line per job under way."""
    running, jobs = progress.running, progress.jobs
    done = sum(state.finished for state in jobs)
    waiting = len(jobs) - done - len(running)
    lines = [
        f"tier {progress.tier}: {done} of {len(jobs)} jobs done, {len(running)} running, {waiting} left",
        ", ".join(
            [*_members(jobs), f"{progress.artifacts[0]} of {progress.artifacts[1]} tables and figures"]
        ),
    ]
    if left_s:
        at_once = max(1, len(running))
        time_left = f"about {duration(left_s / at_once)} left, with {at_once} at a time"
        lines.append(f"{time_left}: by the plan, at the speed so far, without tables and figures")
    return "\n".join([*lines, *(_line(state) for state in running)])


def _members(jobs: Iterable[State]) -> list[str]:
    found: dict[str, list[int]] = {}
    for state in jobs:
        sums = found.setdefault(state.job.stage, [0, 0])
        sums[0] += len(state.done)
        sums[1] += len(state.job.members)
    return [f"{done} of {all_} {MEMBERS[stage]}" for stage, (done, all_) in found.items()]


def _line(state: State) -> str:
    job: Any = state.job
    silent = f"; silent for {duration(state.silent_s)}" if state.silent_s > 60 else ""
    head = f"  {LOGS[job.stage]} {job.name}: {len(state.done)} of {len(job.members)}"
    return f"{head}  {state.about}{silent}".rstrip()
