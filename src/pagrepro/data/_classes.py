"""Some classes of a data set as a data set of their own."""

from dataclasses import replace

import torch

from pagrepro.dataset import Part
from pagrepro.errors import DataError

REVISION = 1


def keep_classes(parts: dict[str, Part], classes: tuple[int, ...] | None) -> dict[str, Part]:
    """Only the rows of these classes, in the order they had; labels become positions in `classes`.

    None keeps everything. Raises DataError for a class named twice and for one without rows.
    """
    if classes is None:
        return parts
    if len(set(classes)) != len(classes):
        raise DataError(f"option classes: expected classes that differ, found {list(classes)}")
    kept = {}
    for name, part in parts.items():
        position = torch.full((max(*classes, int(part.y.max())) + 1,), -1)
        position[list(classes)] = torch.arange(len(classes))
        rows = (position[part.y] >= 0).nonzero().flatten()
        chosen = part.rows(rows)
        y = position[chosen.y]
        missing = set(range(len(classes))) - set(y.tolist())
        if missing:
            raise DataError(f"option classes: part {name} has no class {[classes[i] for i in missing]}")
        kept[name] = replace(chosen, y=y)
    return kept
