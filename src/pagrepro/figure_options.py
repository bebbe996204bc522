"""Options that several figures have in common. Torch-free: read without drawing anything."""

from collections.abc import Sequence
from typing import Any

from pydantic import model_validator

from pagrepro.options import Number, Strict


class Line(Strict):
    """What a figure draws of a group, under its own name. where: labels that the runs must have."""

    label: str
    group: str
    where: dict[str, Any] = {}


class Published(Strict):
    """A curve of a published figure, in the units of the axes."""

    x: tuple[Number, ...]
    y: tuple[Number, ...]

    @model_validator(mode="after")
    def _same_length(self) -> "Published":
        if len(self.x) != len(self.y):
            raise ValueError(f"as many x as y, found {len(self.x)} and {len(self.y)}")
        return self


def check_panels(panels: Sequence[Any], lines: Sequence[Line] = ()) -> None:
    """Raise ValueError where two panels have the same label, or one names `lines` that are not there."""
    there = {line.label for line in lines}
    unknown = {name for panel in panels for name in getattr(panel, "lines", ())} - there
    if unknown:
        raise ValueError(f"panels name lines that are not there: {', '.join(sorted(unknown))}")
    if len({panel.label for panel in panels}) < len(panels):
        raise ValueError("two panels have the same label")
