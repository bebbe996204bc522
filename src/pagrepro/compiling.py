"""What is compiled here: whole functions, for fixed shapes, by `torch.compile`, with CUDA graphs or without.

A compiled function has fewer and larger kernels. CUDA graphs launch all of them at once, for networks so
small (Spheres, toy line, digits) that a GPU waits for the next launch most of the time. On a CPU they change
nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pagrepro.options import Compiled

REVISION = 1

BACKEND = "inductor"


def compiled_whole(function: Callable[..., Any], compiled: Compiled) -> Any:
    """`function`, or a network, compiled at its first call and once more for every new shape of its inputs
    (seconds for small networks, minutes for deep ones; on a CPU it needs a C++ compiler). It rounds otherwise
    than the plain one. compiled: true, or "cudagraphs".

    Whatever earlier fits of this process have compiled is forgotten: it would count against a limit, after
    which compiling fails.
    """
    torch.compiler.reset()
    options = None
    if BACKEND == "inductor":
        # Random numbers (dropout) are those of the plain function.
        options = {"fallback_random": True, "triton.cudagraphs": compiled == "cudagraphs"}
    return torch.compile(function, fullgraph=True, dynamic=False, backend=BACKEND, options=options)


def step_begins(compiled: Compiled) -> None:
    """To be called before each step of what was compiled: results of the step before may be overwritten."""
    if compiled == "cudagraphs":
        torch.compiler.cudagraph_mark_step_begin()


@contextmanager
def constant_weights(model: nn.Module) -> Iterator[None]:
    """Inside the block no weight requires a gradient. Attacks ask for gradients of images only, and so leave
    out those of the weights; the backward pass of a compiled network computes all that are required."""
    weights = [p for p in model.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
