"""What an objective gets to see: one batch of training examples."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pagrepro.augment import Draw

REVISION = 1

# (index, x) -> values of a field for these training examples, e.g. directions (B, C, *shape).
FieldReader = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Batch:
    """x: (B, *shape) float, un-augmented, in the data set's range; y: (B,) int64; index: (B,) int64 rows
    of the training split; draw: augmentation drawn for this batch; fields: readers by role."""

    x: Tensor
    y: Tensor
    index: Tensor
    draw: Draw | None = None
    fields: dict[str, FieldReader] = field(default_factory=dict)
    low: float | None = 0.0
    high: float | None = 1.0
    step: int = 0
    progress: float = 0.0

    def augmented(self) -> Tensor:
        """The images the network is trained on: x after this batch's crop and flip."""
        return self.x if self.draw is None else self.draw.apply(self.x)
