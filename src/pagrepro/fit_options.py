"""How a fit runs: when it saves, what protects it, where its parts come from, how it is told to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pagrepro import plugins
from pagrepro.layout import Layout
from pagrepro.lock import Lock, RunLock
from pagrepro.monitor import Measure, prepare_measure
from pagrepro.storage import Writer, write_atomic
from pagrepro.task import Task, TaskSetup
from pagrepro.training_data import TrainingData, load_training_data


@dataclass(frozen=True)
class FitOptions:
    """How a fit runs; nothing here can change a number.

    save_every_s, save_every_steps: a state is saved when either has passed; heartbeat_s: between two signs of
    life in the lock; wait_s: how long to wait for another process that fits the same run; job: its id in the
    queue, for messages; again: fit even when the outputs are there; root: where paths of index lists start.
    """

    save_every_s: float = 600.0
    save_every_steps: int | None = None
    heartbeat_s: float = 30.0
    wait_s: float = 3600.0
    job: str = ""
    again: bool = False
    root: Path = Path(".")
    # What protects a run from faults. Tests replace each by something weaker to show that it is needed.
    lock: Callable[[Path, str, float, float], Lock] = RunLock
    write: Writer = write_atomic
    check_state: bool = True


def make_task(spec: dict[str, Any], setup: TaskSetup) -> Task:
    """The task a run's spec names. Draws initial weights from the global generator."""
    return plugins.instantiate("tasks", spec["task"], setup)


@dataclass(frozen=True)
class Parts:
    """Where a fit gets its data, task and monitors from; a test may give its own."""

    data: Callable[[dict[str, Any], Layout, torch.device, Path], TrainingData] = load_training_data
    task: Callable[[dict[str, Any], TaskSetup], Task] = make_task
    measure: Callable[[dict, dict, Layout, torch.device, Path], Measure] = prepare_measure


DEFAULT_OPTIONS, REAL_PARTS = FitOptions(), Parts()


class Stopped(SystemExit):
    """A signal asked the fit to stop; its state is saved. Exit code 128 + signal, 143 for SIGTERM."""


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)

    # Handlers belong to the main thread; a fit started in another cannot be told by signals.
    wanted = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
