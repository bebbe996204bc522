"""Switches that make a fit repeat itself bit by bit on the same machine, versions and device."""

import contextlib
import os
from collections.abc import Iterator

import torch

REVISION = 1


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the generators that draws without a generator use (initial weights, dropout) on CPU and device.

    `torch.manual_seed` does this for every kind of device there could be; where one is not in use it keeps
    the call and its stack trace for later, for ever, and that once per step is most of a small fit.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def switches(deterministic: bool = True, tf32: bool = False) -> Iterator[None]:
    """Within this context: deterministic algorithms and no cuDNN search, TF32 only where asked for.

    PyTorch promises no more than equality on one machine with the same versions. An operation without a
    deterministic form raises RuntimeError; the run can then say `deterministic: false`.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32,
    )  # fmt: skip
    try:
        # Has to be set before the first cuBLAS call of the process.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        _apply(2 if deterministic else 0, False, not deterministic, deterministic, tf32, tf32)
        yield
    finally:
        _apply(*before)


def _apply(
    algorithms: int,
    fill: bool,
    benchmark: bool,
    repeatable: bool,
    tf32_conv: bool,
    tf32_matmul: bool,
) -> None:
    # The same switch as `use_deterministic_algorithms`, without the import of the compiler (6 s of CPU).
    torch.set_deterministic_debug_mode(algorithms)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = repeatable
    torch.backends.cudnn.allow_tf32 = tf32_conv
    torch.backends.cuda.matmul.allow_tf32 = tf32_matmul
