"""One writer per run, on network file systems too. Torch-free.

A lock is a numbered file `lock.<n>` in the run's state folder; the highest number owns the run. It is made
with O_CREAT|O_EXCL, which network file systems keep (advisory locks they do not), so of several processes
that want to replace a dead owner's `lock.<n>` exactly one gets `lock.<n+1>`, and no file is ever taken away
from under somebody. The owner touches its file every `heartbeat_s`; after three missed beats it counts as
dead. An owner that slept through that finds a higher number before its next write, and stops.
"""

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pagrepro.errors import StateError

MISSED_BEATS = 3


class Lock(Protocol):
    """What a fit asks of its lock."""

    def acquire(self) -> None: ...
    def check(self) -> None: ...
    def release(self) -> None: ...


class NoLock:
    """No protection at all; only to show in a test what the protection is for."""

    def acquire(self) -> None:
        """Nothing to wait for."""

    def check(self) -> None:
        """Nothing to lose."""

    def release(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Owner:
    """Content of a lock file. `place` names host, boot and process space: within it a pid means something."""

    token: str
    host: str
    place: str
    pid: int
    started: str
    job: str
    heartbeat_s: float


class RunLock:
    """Lock of one run. `acquire` waits for a living owner up to `wait_s` seconds and replaces a dead one."""

    def __init__(
        self,
        folder: Path,
        job: str = "",
        heartbeat_s: float = 30.0,
        wait_s: float = 3600.0,
        poll_s: float = 1.0,
    ):
        self.folder, self.wait_s, self.poll_s = folder, wait_s, poll_s
        token, pid = secrets.token_hex(8), os.getpid()
        self.me = Owner(token, platform.node(), _place(), pid, _started(pid), job, heartbeat_s)
        self.path: Path | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Own the run. Raises StateError, naming the owner, when it still lives after `wait_s` seconds."""
        deadline = time.monotonic() + self.wait_s
        told = False
        while not self._try():
            if time.monotonic() >= deadline:
                raise StateError(f"{self.folder}: in use by {self._describe()}; waited {self.wait_s:g} s")
            if not told:
                print(f"{self.folder}: waiting for {self._describe()}", flush=True)
                told = True
            time.sleep(self.poll_s)
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock heartbeat")
        self._thread.start()

    def check(self) -> None:
        """Raise StateError unless this process still owns the run. Call before every write."""
        highest = _numbers(self.folder)[-1:]
        if self.path is None or highest != [_number(self.path)] or _read(self.path) != self.me:
            silent = MISSED_BEATS * self.me.heartbeat_s
            raise StateError(
                f"{self.folder}: the lock of this fit is gone; {self._describe()} owns the run now."
                f" Nothing was written. (It was silent for {silent:g} s, or its folder was deleted.)"
            )

    def release(self) -> None:
        """Give the run back; harmless when it was lost or never owned."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        # A file of this number and token is ours for ever: numbers are not used again while it is there.
        if self.path is not None and _read(self.path) == self.me:
            self.path.unlink(missing_ok=True)
        self.path = None
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def taken(self) -> bool:
        """Whether a living process owns the run now. Takes nothing and takes nothing away."""
        numbers = _numbers(self.folder)
        return bool(numbers) and self._alive(self.folder / f"lock.{numbers[-1]:06d}")

    def _try(self) -> bool:
        """One attempt: True when this process owns the run now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = _numbers(self.folder)
        if numbers and self._alive(self.folder / f"lock.{numbers[-1]:06d}"):
            return False
        mine = self.folder / f"lock.{(numbers[-1] if numbers else 0) + 1:06d}"
        if not _create(mine, self.me):
            return False
        # Whoever looked at the folder long ago may have made a number that is not the highest any more.
        if _numbers(self.folder)[-1:] != [_number(mine)]:
            mine.unlink(missing_ok=True)
            return False
        self.path = mine
        for number in numbers:
            print(f"{self.folder}: taken over from a process that is gone", flush=True)
            (self.folder / f"lock.{number:06d}").unlink(missing_ok=True)
        return True

    def _alive(self, path: Path) -> bool:
        """Whether the owner of a lock file still shows signs of life."""
        owner = _read(path)
        if owner is not None and owner.place == self.me.place and owner.started:
            # The same machine: ask the kernel. A process number in use by a later process is not the owner.
            return _started(owner.pid) == owner.started
        age = _age(path)
        patience = MISSED_BEATS * (owner.heartbeat_s if owner else self.me.heartbeat_s)
        return age is not None and age < patience

    def _beat(self) -> None:
        while not self._stop.wait(self.me.heartbeat_s):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _describe(self) -> str:
        numbers = _numbers(self.folder)
        owner = _read(self.folder / f"lock.{numbers[-1]:06d}") if numbers else None
        if owner is None:
            return "no process"
        return f"process {owner.pid} on {owner.host}" + (f" (job {owner.job})" if owner.job else "")


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _numbers(folder: Path) -> list[int]:
    """Numbers of all lock files, ascending."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(n[5:]) for n in names if n.startswith("lock.") and n[5:].isdigit())


def _create(path: Path, owner: Owner) -> bool:
    """Make a lock file; False when somebody else was first."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except (FileExistsError, FileNotFoundError):
        return False
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(owner.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # A full disk: an empty file left here would keep others waiting for nobody.
        path.unlink(missing_ok=True)
        raise
    return True


def _read(path: Path) -> Owner | None:
    """Content of a lock file; None when it is missing or not written yet."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return Owner(**content)
    except (OSError, ValueError, TypeError):
        return None


def _age(path: Path) -> float | None:
    """Seconds since a file was touched, by the clock of the file server; None when it is gone."""
    probe = path.with_name(f".clock.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return None
    finally:
        probe.unlink(missing_ok=True)


def _place() -> str:
    """Identity of the set of processes that this process can see."""
    parts = [platform.node()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                 lambda: os.readlink("/proc/self/ns/pid")):  # fmt: skip
        try:
            parts.append(read())
        except OSError:
            parts.append("?")
    return "/".join(parts)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" for none, a zombie, or without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
