"""Batched random crop and flip as one gather, so that gradients pass through it.

Ganz et al. (2022), appendix: random crop with padding 4, horizontal flip with probability 0.5. The draw
is separate from its application because the alignment objective applies the same draw to images and,
in one of its modes, to target directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pagrepro.augment_options import Augment

REVISION = 1


@dataclass(frozen=True)
class Draw:
    """One crop and flip per example: `rows` (B, H) and `columns` (B, W) of the padded image to keep."""

    rows: Tensor
    columns: Tensor
    padding: int
    fill: float

    def apply(self, x: Tensor, fill: float | None = None) -> Tensor:
        """Crop and flip x (B, ..., H, W); linear in x. `fill`: another padding value (0 for directions)."""
        value = self.fill if fill is None else fill
        p = self.padding
        x = torch.nn.functional.pad(x, (p, p, p, p), value=value)
        ones = (1,) * (x.dim() - 3)
        # Whole rows are copied at once: several times faster than a gather, which looks up every entry.
        starts = torch.arange(0, x[..., 0].numel(), x.shape[-2], device=x.device).view(*x.shape[:-2], 1)
        # The draw lies where x does, but when operations are counted without memory (step_flops).
        rows = starts + self.rows.to(x.device).view(len(x), *ones, -1)
        x = x.reshape(-1, x.shape[-1]).index_select(0, rows.flatten()).view(*rows.shape, -1)
        columns = self.columns.to(x.device).view(len(x), *ones, 1, -1).expand(*x.shape[:-1], -1)
        return x.gather(-1, columns)


def draw(augment: Augment, n: int, shape: tuple[int, ...], generator: torch.Generator) -> Draw | None:
    """Draw augmentation for a batch of n images of `shape` (C, H, W); None when nothing is asked for."""
    if not augment.active:
        return None
    height, width = shape[-2:]
    count, device = (n if augment.scope == "example" else 1), generator.device
    top, left = (
        torch.randint(2 * augment.crop_padding + 1, (count, 1), generator=generator, device=device)
        for _ in range(2)
    )
    flipped = torch.rand((count, 1), generator=generator, device=device) < 0.5
    column = torch.arange(width, device=device)
    columns = torch.where(flipped & augment.flip, column.flip(0), column) + left
    rows = torch.arange(height, device=device) + top
    return Draw(rows.expand(n, -1), columns.expand(n, -1), augment.crop_padding, augment.fill)
