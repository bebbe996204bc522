"""Projection of images to the manifold of a conditional GAN: all pairs at once, and one after another.

Bigolin Lanfredi et al. (2020), Eq. 14-16: the same number of Adam iterations for every pair of an image and a
class. Pairs are independent, so they can be rows of one batch. Compared are the plain loop over images and
classes, and the loop over classes with all images in a batch; the losses they end in are compared in float64.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from _measure import bar, compared, note
from pagrepro.gan_networks import ConditionalGan, Discriminator, Generator
from pagrepro.load import freeze
from pagrepro.projection import project

NAME = "projecting images to every class of a conditional GAN"

CLASSES = 10
SIDE = 16
WEIGHT = 0.5  # lambda of Eq. 15
TIME_LIMIT = 1 / 4  # of the plain loop
ERROR_LIMIT = 1e-10  # of the final losses, float64
BATCHED = "all pairs in one batch"
BY_CLASS = "class by class"
ONE_BY_ONE = "image by image, class by class"

# (generator, x (N, *shape), steps) -> final losses (N, CLASSES)
Projection = Callable[[nn.Module, Tensor, int], Tensor]


def pairs_at_once(generator: nn.Module, x: Tensor, steps: int, rows: int | None = None) -> Tensor:
    """The project's function on all pairs, or on at most `rows` of them at a time."""
    rows = rows or CLASSES * len(x)
    classes = torch.arange(CLASSES, device=x.device).repeat(len(x))
    parts = zip(x.repeat_interleave(CLASSES, 0).split(rows), classes.split(rows))
    losses = [project(generator, *part, WEIGHT, steps, steps // 4)[1] for part in parts]
    return torch.cat(losses).view(len(x), CLASSES)


def class_by_class(generator: nn.Module, x: Tensor, steps: int) -> Tensor:
    """All images at once, one class after another."""
    losses = []
    for c in range(CLASSES):
        classes = torch.full((len(x),), c, device=x.device)
        losses.append(project(generator, x, classes, WEIGHT, steps, steps // 4)[1])
    return torch.stack(losses, 1)


VARIANTS: dict[str, Projection] = {
    BATCHED: pairs_at_once,
    BY_CLASS: class_by_class,
    ONE_BY_ONE: functools.partial(pairs_at_once, rows=1),
}


def network(width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Untrained; embeddings large enough that classes differ, running statistics of some batch."""
    torch.manual_seed(0)
    made = ConditionalGan(
        Generator(32, width, 4, 2, 1, CLASSES), Discriminator(width, 2, 1, 1, CLASSES), (1, SIDE, SIDE), SIDE
    )
    made.set_range(0.0, 1.0)
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.Embedding):
                layer.weight.normal_(0, 0.5)
        for _ in range(50):
            made(torch.randn(64, made.latent), torch.randint(CLASSES, (64,)))
    return freeze(made.to(device, dtype))


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: fewer images and iterations, a narrower generator and one round."""
    width, n, steps, rounds, slice_s = (8, 2, 8, 1, 0.05) if quick else (16, 4, 40, 3, 0.2)
    x = torch.rand(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(device)
    note("  losses in float64")
    exact = network(width, device, torch.float64)
    losses = {name: variant(exact, x.double(), steps) for name, variant in VARIANTS.items()}
    error = {name: float((found - losses[ONE_BY_ONE]).abs().max()) for name, found in losses.items()}
    generator = network(width, device)
    calls = {name: functools.partial(variant, generator, x, steps) for name, variant in VARIANTS.items()}
    found = compared(calls, ONE_BY_ONE, rounds, device, slice_s)
    rows = [{"variant": name, **found[name], "error": error[name]} for name in VARIANTS]
    settings = {"width": width, "images": n, "classes": CLASSES, "iterations": steps + steps // 4}
    return {"rows": rows, "bars": bars(rows), "settings": settings | {"rounds": rounds}}


def bars(rows: list[dict]) -> list[dict]:
    """The losses of the loops, in a quarter of the time of the plain one."""
    found = {row["variant"]: row for row in rows}
    return [
        bar(f"{BATCHED}: losses", max(row["error"] for row in rows), ERROR_LIMIT, "apart, in float64"),
        bar(f"{BATCHED}: time", found[BATCHED]["time ratio"], TIME_LIMIT, f"times {ONE_BY_ONE}"),
    ]
