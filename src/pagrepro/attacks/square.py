"""Square attack: random search with square-shaped changes, no gradients.

Andriushchenko et al. (2020), Algorithms 1 and 2, Linf. Start: vertical stripes of +-eps. Every later query
sets one square window of the best point so far to x + eps or x - eps, per channel, and is kept where the
margin z_y - max_{j != y} z_j falls. The side of the window follows the share p of the pixels, halved at fixed
fractions of the queries. Bigolin Lanfredi et al. (2020) use 5,000 queries and p = 0.8 at first.

Own code, because budgets, windows and signs have to be those of each example: the public implementations have
one budget and one window for the whole batch (and never reach the last row and column), so that the result
of an example depends on its neighbours, and on which of them are already fooled.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.options import Box, Number, Strict
from pagrepro.threat import box_of, budgets, clip, per_example

REVISION = 1

# p is halved after these queries of 10,000 (section 5 of the paper); other numbers of queries rescale them.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
SCHEDULED = 10_000

# Draws made at once. Fixed: another number would give other draws.
CHUNK = 64

# Side of the window (None: the stripes), upper left corner (B, 2), and where the sign is + (B, c, 1, 1 or w).
Draw = tuple[int | None, Tensor | None, Tensor]


class Config(Strict):
    """eps: budget in the max norm, in `unit` of the data's units (0.5 where a paper counts in [-1, 1] and the
    images are in [0, 1]); queries: points tried for each example, the start included; p_init: share of
    the pixels that the first windows change.

    reshape: (channels, height, width) in which vectors are seen as images; None for images. box: "data" keeps
    x_adv in the range of the data, "none" nowhere, [low, high] in that box (data's units); pixels of x
    outside of the box are moved into it, which may take more than eps.
    """

    eps: Number = Field(ge=0)
    unit: Number = Field(1, gt=0)
    queries: int = Field(5000, ge=1)
    p_init: Number = Field(0.8, gt=0, le=1)
    reshape: tuple[int, int, int] | None = None
    box: Box = "data"


@dataclass
class Search:
    """Examples that are not fooled yet, as images (n, c, h, w): their rows in the batch, label, the two
    values a pixel may take, best point so far and its margin (n,)."""

    rows: Tensor
    y: Tensor
    below: Tensor
    above: Tensor
    best: Tensor
    margin: Tensor

    def keep(self, chosen: Tensor) -> None:
        """Go on with the examples of the mask `chosen` (n,) only."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[chosen])


class Square:
    """The attack. `forward_passes` counts the examples that went through the network, over all calls so far
    (`backward_passes` stays 0); `queries` (B,) int64 are the points tried in the latest call. An example is
    fooled when its predicted class is another than y; a point with non-finite logits is never chosen."""

    def __init__(self, config: Config):
        self.config = config
        self.eps = config.eps * config.unit
        self.forward_passes = self.backward_passes = 0
        self.queries = torch.zeros(0, dtype=torch.int64)

    @torch.no_grad()
    def perturb(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        generator: torch.Generator,
        eps: float | Tensor | None = None,
        low: float | None = 0.0,
        high: float | None = 1.0,
        active: Tensor | None = None,
    ) -> Tensor:
        """Perturbed x, (B, *shape), within eps of x in the max norm and within the box.

        The first fooling point found, else the one of lowest margin; x itself where its class is wrong
        already. model, x, y, eps (in the data's units), low, high: as in the other attacks. active: (B,)
        bool, which examples to attack; the others come back as they are. Windows and signs are drawn for
        all B in any case. Raises RangeError if x is outside [low, high], ValueError for examples that are no
        images, or that do not fit `reshape`.
        """
        check_range(x, low, high, "inputs of the attack")
        x, box = x.detach(), box_of(self.config.box, low, high)
        images = self._images(x)
        radius = per_example(budgets(self.eps if eps is None else eps, x), images)
        draws = self._draws(images, generator)
        self.queries = torch.zeros(len(x), dtype=torch.int64, device=x.device)

        def margins(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            self.forward_passes += len(points)
            return _margins(model(points.view(-1, *x.shape[1:])), labels)

        rows = torch.arange(len(x), device=x.device) if active is None else active.nonzero()[:, 0]
        result = images.clone()
        if len(rows):
            margin, wrong = margins(images[rows], y[rows])
            below, above = (clip(images + side * radius, *box)[rows] for side in (-1, 1))
            nothing = torch.full_like(margin, torch.inf)
            search = Search(rows, y[rows], below, above, clip(images[rows], *box), nothing)
            search.keep(~wrong)
            self._search(search, draws, margins, result)
        return result.view_as(x)

    def _search(self, search: Search, draws: Iterator[Draw], margins: Callable, result: Tensor) -> None:
        """Write the points that are found into `result` (B, c, h, w)."""
        for side, corner, up in draws:
            if len(search.rows) == 0:
                return
            point = torch.where(up[search.rows], search.above, search.below)
            if side is not None:
                point = torch.where(_window(side, corner[search.rows], point), point, search.best)
            margin, fooled = margins(point, search.y)
            self.queries[search.rows] += 1
            # Every comparison with NaN is false, so such a point is never the better one.
            better = (margin < search.margin) | fooled
            search.best = torch.where(better[:, None, None, None], point, search.best)
            search.margin = torch.where(better, margin, search.margin)
            if bool(fooled.any()):
                result[search.rows[fooled]] = search.best[fooled]
                search.keep(~fooled)
        result[search.rows] = search.best

    def _draws(self, images: Tensor, generator: torch.Generator) -> Iterator[Draw]:
        """What each query tries, for all examples: first the stripes, then windows."""
        n, channels, height, width = images.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=generator.device).to(images.device)

        yield None, None, uniform(n, channels, 1, width) < 0.5
        for start in range(1, self.config.queries, CHUNK):
            places, signs = uniform(CHUNK, n, 2), uniform(CHUNK, n, channels, 1, 1) < 0.5
            for k in range(min(CHUNK, self.config.queries - start)):
                side = self.side(start + k, height, width)
                # One place more than the image is larger than the window: the last row and column count.
                room = torch.tensor([height - side + 1, width - side + 1], device=images.device)
                # (Rounding may give 1 * room.)
                yield side, torch.minimum((places[k] * room).long(), room - 1), signs[k]

    def side(self, query: int, height: int, width: int) -> int:
        """Side of the window of a query; the start is query 0."""
        halvings = sum(query * SCHEDULED // self.config.queries > after for after in HALVINGS)
        share = self.config.p_init / 2**halvings
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)

    def _images(self, x: Tensor) -> Tensor:
        """x as (B, c, h, w)."""
        shape = tuple(x.shape[1:]) if self.config.reshape is None else self.config.reshape
        if len(shape) != 3 or math.prod(shape) != x[0].numel():
            raise ValueError(
                f"square: examples of shape {tuple(x.shape[1:])} as images of shape {shape}; give `reshape:"
                " [channels, height, width]` with the same number of entries"
            )
        return x.reshape(-1, *shape)


def _window(side: int, corner: Tensor, like: Tensor) -> Tensor:
    """Mask (n, 1, h, w) of the windows with these upper left corners (n, 2), for images `like`."""
    inside = []
    for axis in (0, 1):
        place = torch.arange(like.shape[2 + axis], device=like.device) - corner[:, axis, None]
        inside.append((place >= 0) & (place < side))
    return inside[0][:, None, :, None] & inside[1][:, None, None, :]


def _margins(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """z_y - max_{j != y} z_j (n,), and whether the predicted class is another than y (n,)."""
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    margin = logits.gather(1, y[:, None])[:, 0] - others
    return margin, (logits.argmax(1) != y) & logits.isfinite().all(1)


def build(config: Config) -> Square:
    """The attack of this configuration."""
    return Square(config)
