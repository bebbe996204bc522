"""What an objective gets to see: one batch of training examples."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from pagrepro.augment import Draw

REVISION = 1

# (index, x) -> values of a field for these training examples, e.g. directions (B, C, *shape).
FieldReader = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Batch:
    """x: (B, *shape) float, un-augmented, in the data set's range; y: (B,) int64; index: (B,) int64 rows
    of the training split; draw: augmentation drawn for this batch; fields: readers by role; soft: (B, C)
    probabilities of the classes in the place of labels, of mixed or smoothed examples. parts: (number, rows)
    of the micro-batches among these examples, where the batch has such; whole: number of examples of the
    whole batch, of which this process may have a part."""

    x: Tensor
    y: Tensor
    index: Tensor
    draw: Draw | None = None
    fields: dict[str, FieldReader] = field(default_factory=dict)
    low: float | None = 0.0
    high: float | None = 1.0
    step: int = 0
    progress: float = 0.0
    soft: Tensor | None = None
    parts: list[tuple[int, slice]] | None = None
    whole: int | None = None

    @property
    def micro(self) -> list[tuple[int, slice]]:
        """Number and rows of each micro-batch; an undivided batch is the only one."""
        return self.parts or [(0, slice(0, len(self.y)))]

    @property
    def size(self) -> int:
        """Number of examples of the whole batch."""
        return self.whole or len(self.y)

    @property
    def target(self) -> Tensor:
        """What a cross-entropy compares with: labels (B,), or probabilities (B, C) where there are such."""
        return self.y if self.soft is None else self.soft

    def part(self, rows: slice) -> "Batch":
        """Some consecutive examples; as drawn from the data, before anything is drawn for them."""
        return replace(self, x=self.x[rows], y=self.y[rows], index=self.index[rows], parts=None, whole=None)

    def augmented(self) -> Tensor:
        """The images the network is trained on: x after this batch's crop and flip."""
        return self.x if self.draw is None else self.draw.apply(self.x)
