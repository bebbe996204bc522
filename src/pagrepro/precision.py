"""Computations that stay in full precision where a step is in mixed precision."""

from contextlib import AbstractContextManager, nullcontext

import torch

REVISION = 1


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision is off inside the block: operations keep the precision of what they are given.

    On the device "meta", where operations are counted without being done, there is none to switch off, and
    torch would raise an error.
    """
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
