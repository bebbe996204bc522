"""A table of measurements: methods in rows, measurements in columns, published values beside ours."""

from typing import Any

from pagrepro.artifact import TableResult
from pagrepro.options import Number, Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1


class Row(Strict):
    """where: labels that the runs must have; without: columns that are empty in the paper; suffix: appended
    to the value of every column, for rows that are parts of one measurement (`_class0`)."""

    label: str
    group: str
    where: dict[str, Any] = {}
    without: tuple[str, ...] = ()
    suffix: str = ""


class Column(Strict):
    """scale: from the file's unit to the paper's (fractions to percent)."""

    label: str
    evaluation: str
    value: str = "accuracy"
    scale: Number = 100
    digits: int = 2


class Config(Strict):
    """published: row label -> column label -> number or [mean, sd], in the paper's unit;
    published_on: data and network of the paper; place: where in the paper."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    published: dict[str, dict[str, float | list[float]]] = {}
    published_on: str = ""
    place: str = ""


def draw(config: Config, context: Context) -> TableResult:
    """Long form and Markdown. Raises DataError for a published row or column that the table does not have."""
    cells.check_labels(
        config.published, [r.label for r in config.rows], [c.label for c in config.columns], context
    )
    header = ["", "data and network used here"]
    for column in config.columns:
        header += [f"{column.label}: published", f"{column.label}: here"]
    long, lines, notes = [], [], {}
    for row in config.rows:
        line, told = [row.label, cells.used(context, row.group)], None
        for column in config.columns:
            if column.label in row.without:
                line += ["", ""]
                continue
            value = column.value + row.suffix
            cell = cells.measure(context, row.group, column.evaluation, value, column.scale, row.where)
            published = config.published.get(row.label, {}).get(column.label)
            long.append(cells.long_row(row.label, column.label, published, cell, context.tier))
            # A reason is read once per row.
            text = "not testable" if cell.reason and cell.reason == told else cell.text(column.digits)
            told = cell.reason or told
            line += [cells.number(*cells.split(published), column.digits), text]
            if cell.note and not cell.reason:
                notes[f"{row.label}, {column.label}: {cell.note}"] = None
        lines.append(line)
    table = cells.markdown(header, lines)
    return TableResult(
        cells.long_frame(long), cells.page(context, config.published_on, config.place, table, list(notes))
    )
