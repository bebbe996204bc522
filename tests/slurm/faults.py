"""What happens to jobs on a cluster, done on purpose to one fit, and what has to be so afterwards.

A scenario strikes once the fit has saved states, lets the workflow come to its end, and returns what there is
to see. Its check compares that with an undisturbed run. `weak` names a protection that the sandbox's copy of
the package is made to do without; then the check has to fail.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import output, until
from heads import RUN, Head, environment, fitting, long_fit, numbers, record, states, table, train_log
from safetensors import SafetensorError, safe_open
from sandbox import Sandbox

# Protection -> (text of fit_options.py, what stands there without it).
WITHOUT = {
    "lock": ("import Lock, RunLock", "import Lock, NoLock\n\n\ndef RunLock(*_):\n    return NoLock()\n"),
    "atomic writes": ("import Writer, write_atomic", "import Writer\n\n\ndef write_atomic(path, content):\n"
                      "    path.parent.mkdir(parents=True, exist_ok=True)\n    path.write_bytes(content)\n"),
    "state check": ("check_state: bool = True", "check_state: bool = False"),
}  # fmt: skip


# What a second process of a fit says that finds the first one's lock, or its states.
SECOND = ("waiting for process", "resumes at step")


@dataclass(frozen=True)
class Outcome:
    """status: of the last call of Snakemake; log: of the fit that wrote the results; resumed: how often it
    went on from a state; seen: what the scenario noticed on its way."""

    status: int
    numbers: dict[str, bytes | str]
    log: str
    resumed: int
    head: str
    seen: dict


def make(folder: Path, weak: str | None = None, **options) -> Sandbox:
    folder.mkdir(parents=True)
    sandbox = Sandbox(folder, long_fit(**options), None)
    if weak:
        path = folder / "src/pagrepro/fit_options.py"
        old, new = WITHOUT[weak]
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return sandbox


def start(sandbox: Sandbox) -> Head:
    return Head(sandbox, str(table(sandbox).relative_to(sandbox.root)))


def outcome(sandbox: Sandbox, head: Head, **seen) -> Outcome:
    status = head.wait()
    assert status == 0, head.text.read_text()[-3000:]
    run = record(sandbox)
    return Outcome(
        status,
        numbers(sandbox),
        train_log(sandbox),
        run["provenance"]["resumed"],
        head.text.read_text(),
        seen,
    )


def undisturbed(folder: Path, **options) -> dict[str, bytes | str]:
    """The same workflow without Slurm and without faults."""
    sandbox = make(folder, **options)
    sandbox.tiny.write(folder)
    subprocess.run(
        ["snakemake", "--cores", "1", "--config", "tier=tiny", "--", str(table(sandbox).relative_to(folder))],
        cwd=folder, env=environment(folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return numbers(sandbox)


def unlock(folder: Path) -> None:
    """What has to be said to Snakemake before it starts again after a head that died."""
    command = ["snakemake", "--unlock", "--cores", "1", "--config", "tier=tiny"]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)


def kill(process: int) -> None:
    """Kill a process, and wait until it does nothing any more."""
    os.kill(process, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{process}").exists(), 30, f"the end of process {process}", every=0.02)


# --- scenarios -----------------------------------------------------------------------------------------


def killed(folder: Path) -> Outcome:
    """The process of the fit is gone, as when a node kills it for its memory."""
    sandbox = make(folder)
    head = start(sandbox)
    kill(fitting(sandbox))
    return outcome(sandbox, head)


def _strike(folder: Path, command: Callable[[str], list[str]], state: str) -> Outcome:
    sandbox = make(folder)
    head = start(sandbox)
    process = fitting(sandbox)
    ((job, _),) = head.jobs("running")
    # Slurm looks at time limits every half minute; the fit must not end before. Signals reach it afterwards.
    os.kill(process, signal.SIGSTOP)
    assert subprocess.run(command(job)).returncode == 0
    until(lambda: dict(head.jobs())[job] != "RUNNING", 90, f"job {job} to be struck")
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)
    until(lambda: state in dict(head.jobs())[job], 60, f"job {job} to be {state}")
    if state == "PENDING":
        # Slurm lets a requeued job wait for two minutes; its administrator may say that it has waited enough.
        output("scontrol", "update", f"JobId={job}", "StartTime=now")
    return outcome(sandbox, head, job=job, jobs=dict(head.jobs()))


def out_of_time(folder: Path) -> Outcome:
    return _strike(folder, lambda job: ["scontrol", "update", f"JobId={job}", "EndTime=now"], "TIMEOUT")


def cancelled(folder: Path) -> Outcome:
    return _strike(folder, lambda job: ["scancel", job], "CANCELLED")


def requeued(folder: Path) -> Outcome:
    """What Slurm does to a job that is preempted, or whose node fails."""
    return _strike(folder, lambda job: ["scontrol", "requeue", job], "PENDING")


def lost_head(folder: Path, weak: str | None = None) -> Outcome:
    """Snakemake is gone while its job runs; a second call submits the same fit again beside the first.

    The first process is held until the second has been seen, so that there are two at once on any machine.
    """
    sandbox = make(folder, weak)
    first = start(sandbox)
    writer = fitting(sandbox)
    ((job, _),) = first.jobs("running")
    os.kill(writer, signal.SIGSTOP)
    first.kill()
    unlock(folder)
    second = start(sandbox)
    until(lambda: any(text in train_log(sandbox) for text in SECOND), 120, "a second process of the fit")
    os.kill(writer, signal.SIGCONT)
    second.wait()
    until(
        lambda: job not in output("squeue", "-h", "-t", "running", "-o", "%i").split(), 120, "the first job"
    )
    return outcome(sandbox, second, first=job)


def damaged_state(folder: Path, weak: str | None = None, truncate: bool = True) -> Outcome:
    """The newest state is not what was written: half of it, or other bytes in it."""
    sandbox = make(folder, weak)
    head = start(sandbox)
    kill(fitting(sandbox))
    *_, older, newest = states(sandbox)
    content = bytearray(newest.read_bytes())
    for place in range(len(content) - 65, len(content), 4):
        content[place] ^= 0x40
    newest.write_bytes(content[: len(content) // 2] if truncate else content)
    return outcome(sandbox, head, older=int(older.stem), newest=int(newest.stem))


def full_disk(folder: Path, weak: str | None = None) -> Outcome:
    """No room for the next states, and then the process is killed."""
    sandbox = make(folder, weak)
    place = sandbox.results / "state" / RUN
    with small_disk(place) as fill:
        head = start(sandbox)
        process = fitting(sandbox)
        fill()
        until(lambda: "state not saved" in train_log(sandbox), 120, "a state that finds no room")
        kill(process)
        whole = {path.name: is_whole(path) for path in states(sandbox)}
        (place / "filler").unlink()
        ended = outcome(sandbox, head, whole=whole)
    return ended


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[], None]]:
    """A file system of its own for the states; what is yielded fills it."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)

    def fill() -> None:
        with open(place / "filler", "wb", buffering=0) as file:
            for size in (4096, 64):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    try:
        yield fill
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def is_whole(path: Path) -> bool:
    try:
        with safe_open(path, framework="np") as file:
            return all(file.get_tensor(name) is not None for name in file.keys())  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError):
        return False


def changed_spec(folder: Path, weak: str | None = None) -> Outcome:
    """A fit is stopped for good, its rate changes, and what it saved lies there when the new one starts."""
    sandbox = make(folder, weak)
    head = start(sandbox)
    fitting(sandbox)
    ((job, _),) = head.jobs("running")
    head.kill()
    output("scancel", job)
    until(lambda: job not in output("squeue", "-h", "-o", "%i").split(), 60, "the cancelled job to end")
    unlock(folder)
    sandbox.tiny = long_fit(lr=0.002)
    return outcome(sandbox, start(sandbox))


def changed_results(folder: Path) -> Outcome:
    """Everything is finished; then the rate changes, and the results of the old one are still there."""
    sandbox = make(folder, epochs=5)
    assert start(sandbox).wait() == 0
    before = numbers(sandbox)
    sandbox.tiny = long_fit(epochs=5, lr=0.002)
    return outcome(sandbox, start(sandbox), before=before)


# --- checks --------------------------------------------------------------------------------------------


def same_numbers(found: Outcome, expected: dict[str, bytes | str]) -> None:
    assert [name for name in expected if found.numbers[name] != expected[name]] == []


def went_on(found: Outcome, expected: dict[str, bytes | str]) -> None:
    """The fit was continued, not begun again, by another attempt."""
    assert "resumes at step" in found.log
    assert found.resumed == 1
    same_numbers(found, expected)


def fitted_once(found: Outcome, expected: dict[str, bytes | str]) -> None:
    """Of two jobs for one fit one has fitted; the other has waited and left its work alone."""
    assert "waiting for process" in found.log
    assert "already finished, nothing to do" in found.log
    assert found.resumed == 0
    same_numbers(found, expected)


def fell_back(found: Outcome, expected: dict[str, bytes | str]) -> None:
    """The damaged state was named and the one before it used."""
    assert "WARNING: state discarded" in found.log
    assert f"resumes at step {found.seen['older']} of" in found.log
    went_on(found, expected)


def survived(found: Outcome, expected: dict[str, bytes | str]) -> None:
    """Nothing torn lay beside the last good state."""
    assert found.seen["whole"]
    assert all(found.seen["whole"].values()), found.seen["whole"]
    went_on(found, expected)


def began_anew(found: Outcome, expected: dict[str, bytes | str]) -> None:
    assert "belongs to another spec or code" in found.log
    assert "starts at step 0 of" in found.log
    assert found.resumed == 0
    same_numbers(found, expected)


def replaced(found: Outcome, expected: dict[str, bytes | str]) -> None:
    assert found.numbers["weights"] != found.seen["before"]["weights"]
    same_numbers(found, expected)
