"""Which device a process computes on; with several GPUs on one machine, each process takes a free one.

Snakemake counts GPUs but does not assign them, so two jobs would both use the first.
"""

import fcntl
import os
import tempfile
from pathlib import Path

import torch

from pagrepro.errors import UserError

# Open slot files of this process: closing one would give its GPU to somebody else.
_held: dict[int, int] = {}


class DeviceError(UserError):
    """The wanted device is not there."""


def choose_device(wanted: str = "auto", slots: Path | None = None, number: int | None = None) -> torch.device:
    """Device for this process: "auto" (a GPU where there is one), "cpu" or "cuda".

    number: of the visible GPU to take, for one of several processes that share a job's GPUs (else the first
    that is free).

    `slots`: folder of the files by which processes of one machine agree on GPUs (the system's folder for
    temporary files). Raises DeviceError when "cuda" is wanted and none is visible.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device: {wanted!r} is not known; allowed: auto, cpu, cuda")
    count = torch.cuda.device_count() if wanted != "cpu" and torch.cuda.is_available() else 0
    if wanted == "cuda" and count == 0:
        raise DeviceError(
            f"device: cuda was asked for, but this torch ({torch.__version__}) sees no GPU;"
            " use `device: auto` or `cpu`, or look at CUDA_VISIBLE_DEVICES and the driver"
        )
    if count == 0:
        return torch.device("cpu")
    if number is not None and number >= count:
        raise DeviceError(f"process {number} of this machine has no GPU of its own: {count} are visible")
    if number is None:
        number = 0 if count == 1 else take_slot([_identity(k) for k in range(count)], slots)
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def _identity(index: int) -> str:
    """Name of a GPU that does not depend on which others are visible."""
    properties = torch.cuda.get_device_properties(index)
    return str(getattr(properties, "uuid", f"{properties.name}-{index}")).replace(" ", "-").replace("/", "-")


def take_slot(identities: list[str], folder: Path | None = None) -> int:
    """Index of the first GPU that no other process holds; this process holds it until it ends.

    When all are held, processes share: the choice then goes by process number.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    for index, identity in enumerate(identities):
        if index in _held:
            return index
        descriptor = _open(folder / f"pagrepro-gpu-{identity}.lock")
        if descriptor is None:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        _held[index] = descriptor
        return index
    shared = os.getpid() % len(identities)
    print(f"all {len(identities)} GPUs are held by other processes; sharing number {shared}", flush=True)
    return shared


def release_slots() -> None:
    """Give back what this process holds; the end of the process does the same."""
    while _held:
        os.close(_held.popitem()[1])


def _open(path: Path) -> int | None:
    """A descriptor to lock by. Another user's file in a shared folder can often only be opened to read."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        try:
            return os.open(path, flags, 0o666)
        except OSError:
            continue
    return None
