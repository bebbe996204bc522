"""What a fit says of itself in its log, one line per epoch, and how to read that again. Torch-free."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm


def log_line(line: dict[str, Any], epochs: int) -> str:
    """One line of the log for one line of the history; the time left is as if all epochs took alike."""
    parts = [f"epoch {line['epoch']}/{epochs}", f"step {line['steps']}", f"lr {line['lr']:.4g}"]
    parts += [f"{name} {value:.5g}" for name, value in line["metrics"].items()]
    parts += [
        f"{monitor}.{name} {value:.5g}"
        for monitor, values in line["monitor"].items()
        for name, value in values.items()
    ]
    if line["images_per_s"]:
        parts.append(f"{line['images_per_s']:.0f} images/s")
    left = seconds_left(line["epoch"], epochs, line["wall_s"])
    return "  ".join([*parts, f"{line['wall_s']:.1f} s", *([f"{left:.0f} s left"] if left else [])])


@dataclass(frozen=True)
class Epoch:
    """The newest epoch of a fit. loss, accuracy: None where the line has none (accuracy may be a monitor's);
    left_s: seconds to the end of the fit."""

    epoch: int
    epochs: int
    loss: float | None
    accuracy: float | None
    images_per_s: float | None
    left_s: float

    @property
    def text(self) -> str:
        """`epoch 3/10, loss 0.52, accuracy 0.91, 913 images/s, 12 s left`."""
        parts = [f"epoch {self.epoch}/{self.epochs}"]
        parts += [] if self.loss is None else [f"loss {self.loss:.3g}"]
        parts += [] if self.accuracy is None else [f"accuracy {self.accuracy:.3g}"]
        parts += [f"{self.images_per_s:.0f} images/s"] if self.images_per_s else []
        return ", ".join([*parts, f"{duration(self.left_s)} left"])


def read(text: str) -> Epoch | None:
    """What a line of `log_line` says; None for any other line."""
    head = re.match(r"epoch (\d+)/(\d+)  ", text)
    if not head:
        return None
    parts = text.strip().split("  ")
    named = [part.rsplit(" ", 1) for part in parts if re.fullmatch(r"[\w.]+ [-+.\w]+", part)]
    numbers = {name: number for name, number in named if name not in ("epoch", "step", "lr")}
    accuracy = next((value for name, value in numbers.items() if name.split(".")[-1] == "accuracy"), None)
    speed, wall = re.search(r"  (\d+) images/s", text), re.search(r"  ([\d.]+) s(?:  |$)", text)
    loss, epoch, epochs = numbers.get("loss"), int(head[1]), int(head[2])
    return Epoch(
        epoch,
        epochs,
        float(loss) if loss else None,
        float(accuracy) if accuracy else None,
        float(speed[1]) if speed else None,
        seconds_left(epoch, epochs, float(wall[1]) if wall else 0.0),
    )


def seconds_left(epoch: int, epochs: int, wall_s: float) -> float:
    """Seconds to the end of a fit that took `wall_s` up to an epoch, as if all epochs took alike."""
    return wall_s / epoch * (epochs - epoch)


def bar(steps: range, name: str, epoch: int, epochs: int, history: list[dict[str, Any]]) -> Iterable[int]:
    """`steps` of an epoch; on a terminal with a bar, and beside it what the epoch before came to."""
    if not sys.stderr.isatty():
        return steps
    last = read(log_line(history[-1], epochs)) if history else None
    about = last.text if last else ""
    return tqdm(steps, desc=f"{name} {epoch}/{epochs}", postfix=about, leave=False, dynamic_ncols=True)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
