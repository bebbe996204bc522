"""Options of the cross-paper tables and figures: which objectives, which measures. Torch-free."""

from collections.abc import Sequence
from typing import Literal

from pagrepro.options import Number, Strict

# What a measure is of. The last two are what papers hope to predict the second by.
Kind = Literal["accuracy", "robustness", "alignment", "smoothness"]


class Measure(Strict):
    """A column. source: who introduced it, or uses it like this; better: the direction that goes with more
    robustness in the papers; suffix: of the names of groups, for measures of networks that were trained on
    other data; scale: from the file's unit to the table's (fractions to percent)."""

    label: str
    evaluation: str
    value: str
    better: Literal["high", "low"]
    kind: Kind
    source: str = ""
    suffix: str = ""
    scale: Number = 1
    digits: int = 2

    @property
    def sign(self) -> int:
        """Makes larger numbers the better ones."""
        return 1 if self.better == "high" else -1

    @property
    def title(self) -> str:
        """The label with an arrow to where better is."""
        return f"{self.label} {'↑' if self.better == 'high' else '↓'}"

    @property
    def predicts(self) -> bool:
        """Whether the question is what this says of robustness, rather than robustness itself."""
        return self.kind in ("alignment", "smoothness")


class Objective(Strict):
    """A row: the runs of one group. family: of objectives that are close relatives; optimises: labels of the
    measures that the objective works on itself, or on a quantity that they are made of; without: label of a
    measure -> why this objective has no runs for it."""

    label: str
    group: str
    family: str
    source: str = ""
    optimises: tuple[str, ...] = ()
    without: dict[str, str] = {}


def check_matrix(rows: Sequence[Objective], columns: Sequence[Measure], *more: str) -> None:
    """Raise ValueError where two rows or columns have the same label, or where a row (or one of `more`)
    names a measure that is not there."""
    for kind, labels in (("rows", [r.label for r in rows]), ("columns", [c.label for c in columns])):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two {kind} have the same label: {', '.join(twice)}")
    known = [column.label for column in columns]
    named = {name for row in rows for name in (*row.optimises, *row.without)} | set(more)
    unknown = sorted(named - set(known))
    if unknown:
        raise ValueError(f"measures that are not there: {', '.join(unknown)}; there are: {', '.join(known)}")
