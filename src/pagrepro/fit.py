"""The one loop that fits everything, and that neither loses nor corrupts a run.

A fit's only memory is its state: weights, optimisers, moving average, best weights, averages of the epoch
under way and the history. Every random draw is a function of (seed, name, step), so a fit resumed from its
state at any step computes what an uninterrupted one would have, bit by bit on the same device.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pagrepro import distributed, epoch_line, schedule
from pagrepro.determinism import seed_global, switches
from pagrepro.ema import Ema
from pagrepro.errors import Diverged
from pagrepro.fit_options import DEFAULT_OPTIONS, REAL_PARTS, FitOptions, Parts, Stopped, stop_signals
from pagrepro.history import Averages, history_line
from pagrepro.inputs import diverged_inputs
from pagrepro.layout import Layout
from pagrepro.lock import Lock
from pagrepro.monitor import Best, Monitors, cpu_copy
from pagrepro.outcome import choose_weights, finished_record, run_record, write_run
from pagrepro.provenance import now, peak_mb, provenance
from pagrepro.seeding import seed_for
from pagrepro.spec import spec_hash
from pagrepro.state import StateStore
from pagrepro.task import LoopState, Task, TaskSetup
from pagrepro.training_data import batches_of

REVISION = 1


def fit(
    spec: dict[str, Any],
    name: str,
    layout: Layout,
    revisions: dict[str, int],
    device: torch.device | str = "cpu",
    options: FitOptions = DEFAULT_OPTIONS,
    parts: Parts = REAL_PARTS,
) -> dict[str, Any]:
    """Fit one run, or continue it, and write its outputs. Returns its `run.json`.

    Outputs that are already there, whole and of this spec and code, are left alone (but for
    `options.again`). A fit that diverges also writes all outputs, with status "diverged". Raises Stopped on
    SIGTERM or SIGINT, StateError when another process owns the run, OSError when outputs cannot be written
    (then the state is still there). Under torchrun all processes call this; what is written is the leader's.
    """
    folder = layout.state(name)
    identity = {"spec_hash": spec_hash(spec), "revisions": revisions}
    lock = options.lock(folder, options.job, options.heartbeat_s, options.wait_s)
    distributed.by_leader(lock.acquire)
    try:
        store = StateStore(folder, identity, options.write, options.check_state)
        known = None if options.again else (lambda: finished_record(layout, name, spec, identity))
        record = known and distributed.from_leader(known)
        if record is not None:
            print(f"{name}: already finished, nothing to do", flush=True)
        else:
            with switches(spec["fit"]["deterministic"], spec["fit"]["tf32"]), stop_signals() as received:
                loop = Loop(spec, name, layout, torch.device(device), options, parts, store, lock, received)
                record = loop.fit()
        # Only now, with run.json on the disk, is the state no longer needed.
        distributed.by_leader(store.delete)
        return record
    finally:
        if distributed.leads():
            lock.release()


@dataclass
class Loop:
    """One fit under way: the loop, and what it remembers."""

    spec: dict[str, Any]
    name: str
    layout: Layout
    device: torch.device
    options: FitOptions
    parts: Parts
    store: StateStore
    lock: Lock
    received: list[int]
    averages: Averages = field(default_factory=Averages)
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    started: str = field(default_factory=now)
    resumed: int = 0
    earlier_s: float = 0.0

    def __post_init__(self) -> None:
        self.begun = self.saved_at = self.lap_at = time.monotonic()
        self.saved_step = 0
        spec, fit_spec, seed = self.spec, self.spec["fit"], self.spec["seed"]
        self.data = self.parts.data(spec, self.layout, self.device, self.options.root)
        self.batches = batches_of(self.data, spec)
        self.epochs, self.per_epoch = fit_spec["epochs"], self.batches.per_epoch
        self.state = LoopState(seed, self.epochs * self.per_epoch, self.device)
        self.task = self._make_task()
        self.network, self.notes = self.task.network, list(getattr(self.task, "notes", ()))
        self.schedule = schedule.parse(fit_spec["schedule"])
        self.base_rates = {k: [g["lr"] for g in o.param_groups] for k, o in self.task.optimizers.items()}
        self.ema = Ema(self.network, **fit_spec["ema"]) if fit_spec["ema"] else None
        self.buffers = list(self.network.buffers())
        self.safe_buffers = [b.detach().clone() for b in self.buffers]
        self.monitors = self._make_monitors()

    def _make_task(self) -> Task:
        data, seed, options = self.data, self.state.seed, self.spec["fit"]
        given = (data.shape, data.classes, data.low, data.high, seed, self.state.total_steps)
        setup = TaskSetup(*given, self.device, data.inputs, options.get("compiled", False))
        seed_global(seed_for(seed, "init"), self.device)
        task = self.parts.task(self.spec, setup)
        if options["channels_last"]:
            task.network.to(memory_format=torch.channels_last)
        task.network.train()
        return task

    def _make_monitors(self) -> Monitors:
        entries, root = list(self.spec.get("monitor") or ()), self.options.root
        prepare = self.parts.measure
        measures = {e["name"]: prepare(e, self.spec, self.layout, self.device, root) for e in entries}
        return Monitors(entries, measures, self.epochs, by_metric=self.spec["fit"].get("select"))

    def fit(self) -> dict[str, Any]:
        """Fit from wherever the saved state is to the end, and write the outputs."""
        self.resume()
        for note in self.notes:
            print(f"WARNING: {self.name}: {note}", flush=True)
        try:
            self._steps()
        except Diverged as diverged:
            # The forward pass of the failed step has already moved batch statistics.
            if self.buffers:
                torch._foreach_copy_(self.buffers, self.safe_buffers)
            return self.write_outputs(diverged)
        return self.write_outputs(None)

    def _steps(self) -> None:
        state = self.state
        first, start = divmod(state.step, self.per_epoch)
        self._lap()
        for state.epoch in range(first, self.epochs):
            order = self.batches.order(state.epoch)
            positions = range(start, self.per_epoch)
            for position in epoch_line.bar(positions, self.name, state.epoch + 1, self.epochs, self.history):
                metrics, count = self.step(order, position)
                self.averages.add(metrics, count)
                state.step += 1
                if position + 1 < self.per_epoch:
                    self.save_if_due()
            start = 0
            self.finish_epoch()
            self.save_if_due()

    def step(self, order: Tensor, position: int) -> tuple[dict[str, Tensor], int]:
        """One optimiser step; its metrics and number of examples."""
        state = self.state
        factor = self.schedule.at(state.step, state.total_steps, self.per_epoch)
        for name, optimizer in self.task.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_rates[name], strict=True):
                group["lr"] = base * factor
        if self.buffers:
            torch._foreach_copy_(self.safe_buffers, self.buffers)
        # For dropout and other draws that take no generator.
        seed_global(seed_for(state.seed, "global", state.step), self.device)
        batch = self.batches.batch(order, position, state.step, state.total_steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec["fit"]["amp"] == "bf16"):
            metrics = self.task.step(state, batch)
        if self.ema is not None:
            self.ema.update(self.network, state.step)
        return metrics, batch.size

    def finish_epoch(self) -> None:
        """History line, monitors, best weights and kept weights of the epoch that just ended."""
        epoch, state = self.state.epoch + 1, self.state
        optimizer = next(iter(self.task.optimizers.values()))
        # Reading the means waits for the device, so that the time taken next is the whole epoch's.
        means = self.averages.means()
        if not math.isfinite(means.get("loss", 0.0)):
            raise Diverged("loss", state.step - 1)
        self.averages.seconds += self._lap()
        self.monitors.take_metrics(epoch, means, self.network)
        average = self.ema and self.ema.values
        # The others wait for the leader at the next step.
        monitor = self.monitors.take(epoch, self.network, average) if distributed.leads() else {}
        peak = peak_mb(self.device).get("gpu_peak_mb")
        line = history_line(
            epoch, state.step, optimizer.param_groups[0]["lr"], self.averages, monitor, self.wall_s, peak
        )
        self.history.append(line)
        print(epoch_line.log_line(line, self.epochs), flush=True)
        self.averages = Averages()
        self._lap()
        if epoch in self.spec["fit"]["keep_epochs"]:
            self.kept[str(epoch)] = cpu_copy(self.network.state_dict())

    @property
    def wall_s(self) -> float:
        """Seconds of work on this run, over all processes that shared it."""
        return self.earlier_s + time.monotonic() - self.begun

    def _lap(self) -> float:
        """Seconds since this was last asked."""
        before, self.lap_at = self.lap_at, time.monotonic()
        return self.lap_at - before

    def save_if_due(self) -> None:
        """Save when it is time or a signal came; after a signal, stop (unless the last step is done)."""
        step, every = self.state.step, self.options.save_every_steps
        late = time.monotonic() - self.saved_at >= self.options.save_every_s
        due = late or (every is not None and step - self.saved_step >= every)
        # All processes stop at the same step, whichever of them was told to.
        due, number = distributed.agreed(int(due), self.received[0] if self.received else 0)
        if due or number:
            distributed.by_leader(self.save)
            self.saved_at, self.saved_step = time.monotonic(), step
        if number and step < self.state.total_steps:
            print(f"{self.name}: stopped by signal {number} at step {step}", flush=True)
            raise Stopped(128 + number)

    def save(self) -> None:
        """Save the state. A disk without room costs the progress since the last state, not the fit."""
        self.lock.check()
        self.averages.seconds += self._lap()
        try:
            self.store.save(self.state.step, self.tree())
        except OSError as error:
            print(f"WARNING: {self.name}: state not saved at step {self.state.step}: {error}", flush=True)
        self._lap()

    def tree(self) -> dict[str, Any]:
        """Everything a fit remembers."""
        best = self.monitors.best
        return {
            "step": self.state.step,
            "weights": self.network.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.task.optimizers.items()},
            "ema": self.ema and self.ema.values,
            "best": best and vars(best),
            "kept": self.kept,
            "averages": vars(self.averages),
            "history": self.history,
            "started": self.started,
            "wall_s": self.wall_s,
            "resumed": self.resumed,
        }

    def resume(self) -> None:
        """Continue from the newest state that can be used; without one, start at step 0."""
        # The leader first: it throws away what cannot be used.
        tree = distributed.by_leader(self.store.load)
        tree = tree if distributed.leads() else self.store.load()
        if tree is None:
            print(f"{self.name}: starts at step 0 of {self.state.total_steps}", flush=True)
            return
        self.network.load_state_dict(tree["weights"])
        for name, optimizer in self.task.optimizers.items():
            optimizer.load_state_dict(tree["optimizers"][name])
        if self.ema is not None:
            self.ema.load(tree["ema"])
        self.monitors.best = tree["best"] and Best(**tree["best"])
        self.averages = Averages(**tree["averages"])
        self.averages.sums = {k: v.to(self.device) for k, v in self.averages.sums.items()}
        self.kept, self.history, self.started = tree["kept"], tree["history"], tree["started"]
        self.earlier_s, self.resumed = tree["wall_s"], tree["resumed"] + 1
        self.state.step = self.saved_step = tree["step"]
        print(f"{self.name}: resumes at step {self.state.step} of {self.state.total_steps}", flush=True)

    def write_outputs(self, diverged: Diverged | None) -> dict[str, Any]:
        """Write all declared outputs, whether the fit diverged or not; returns `run.json`."""
        best, last = self.monitors.best, self.history[-1] if self.history else {}
        final, average = cpu_copy(self.network.state_dict()), self.ema and self.ema.values
        weights, notes = choose_weights(self.spec, final, average, best and best.weights, self.kept)
        if diverged:
            notes = [f"diverged: {diverged}; the weights are those before that step", *notes]
            print(f"{self.name}: {notes[0]}", flush=True)
        more = {"resumed": self.resumed, "processes": distributed.world()}
        record = run_record(
            self.name,
            self.spec,
            self.store.identity["revisions"],
            status="diverged" if diverged else "complete",
            steps=self.state.step,
            metrics=last.get("metrics", {}),
            monitor=last.get("monitor", {}),
            best=best and {"value": best.value, "epoch": best.epoch},
            diverged=diverged and {"term": diverged.term, "step": diverged.step},
            notes=[*notes, *self.notes],
            diverged_inputs=diverged_inputs(self.spec, self.layout),
            provenance=provenance(self.device, self.wall_s, self.started, **more),
        )
        end = (self.history, record, self.options.write, self.lock.check)
        return distributed.from_leader(lambda: write_run(self.layout, self.name, weights, *end))
