"""One fit in several processes, started by torchrun: which part of a batch is whose, and who speaks for all.

Every process holds the whole network. A batch is cut into micro-batches, whose random streams are their own;
process r of W takes r, r + W, ... and DistributedDataParallel adds up the gradients. So W changes a result by
the order of summation only. Process 0, the leader, owns lock, state, monitors and outputs. Without torchrun
there is one process, which leads, and nothing here communicates.
"""

import datetime
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pagrepro.errors import StateError, UserError

REVISION = 1

T = TypeVar("T")

# The leader may measure or write for long while the others wait.
PATIENCE = datetime.timedelta(hours=6)


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def join(device: torch.device) -> None:
    """Take part in the group that torchrun made; nothing where it did not start this process."""
    if launched():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)


def leave() -> None:
    """End of the group, if there is one."""
    if active():
        dist.destroy_process_group()


def active() -> bool:
    """Whether there are several processes (or one, in a group)."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if active() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if active() else 1


def leads() -> bool:
    """Whether this process is the leader."""
    return rank() == 0


def mine(micro_batches: int) -> list[int]:
    """Numbers of this process's micro-batches. Raises UserError where they cannot be shared out evenly."""
    if micro_batches % world():
        raise UserError(
            f"fit.micro_batches: {micro_batches} cannot be shared out evenly among {world()} processes;"
            " cost.devices has to divide it"
        )
    return list(range(rank(), micro_batches, world()))


def by_leader(act: Callable[[], T]) -> T | None:
    """What `act` returns to the leader, who alone calls it; None to the others, once it is done. Where it
    raises for the leader, all raise."""
    problem, result = None, None
    if leads():
        try:
            result = act()
        except BaseException as error:
            problem = error
    if active():
        told = [None if problem is None else f"{type(problem).__name__}: {problem}"]
        dist.broadcast_object_list(told, 0)
        if told[0] is not None and problem is None:
            raise StateError(f"process 0 stopped: {told[0]}")
    if problem is not None:
        raise problem
    return result


def from_leader(act: Callable[[], T]) -> T:
    """The same, and what it returns is told to all."""
    values = [by_leader(act)]
    if active():
        dist.broadcast_object_list(values, 0)
    return values[0]


def agreed(*numbers: int) -> list[int]:
    """The largest of each number over all processes."""
    if not active():
        return list(numbers)
    # NCCL takes what is on the GPU of this process only.
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(numbers, device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.tolist()


def summed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums over all processes of 0-dim tensors; all have the same names."""
    if not active():
        return values
    stacked = torch.stack([value.double() for value in values.values()])
    dist.all_reduce(stacked)
    return dict(zip(values, stacked.unbind(), strict=True))


class Parallel(nn.parallel.DistributedDataParallel):
    """A network whose weight gradients are averaged over the processes, and which otherwise is the network:
    it answers for its attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, or what stands for it in several processes. Attacks call it, too: their gradients are of
    images only, which sets nothing off. Buffers are not exchanged here (`same_buffers`)."""
    if not active():
        return network
    devices = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():
        # Its new name is not known to older versions.
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        return Parallel(network, device_ids=devices, broadcast_buffers=False)


def same_buffers(network: nn.Module) -> None:
    """Batch-norm statistics are the leader's, as DistributedDataParallel has it; those of a single process
    see every micro-batch, so that a network which updates them depends on the number of processes. Other
    buffers are the same anyway."""
    statistics = [b for b in network.buffers() if b.is_floating_point()] if active() else []
    if statistics:
        together = torch.cat([buffer.detach().flatten() for buffer in statistics])
        dist.broadcast(together, 0)
        parts = together.split([buffer.numel() for buffer in statistics])
        with torch.no_grad():
            for buffer, part in zip(statistics, parts, strict=True):
                buffer.copy_(part.view_as(buffer))
