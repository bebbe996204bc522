"""Mean and standard deviation over seeds (ddof 1), with every seed shown."""

from pagrepro.artifact import TableResult
from pagrepro.options import Number, Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1


class Row(Strict):
    """A group, and how the table calls it."""

    label: str
    group: str


class Column(Strict):
    """scale: from the file's unit to the paper's (fractions to percent)."""

    label: str
    evaluation: str
    value: str = "accuracy"
    scale: Number = 100
    digits: int = 2


class Config(Strict):
    """published: row label -> column label -> [mean, sd], in the paper's unit."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    published: dict[str, dict[str, float | list[float]]] = {}
    published_on: str = ""
    place: str = ""


def draw(config: Config, context: Context) -> TableResult:
    """Long form (rows `<label>` and `<label>, seed <n>`) and Markdown."""
    cells.check_labels(
        config.published, [r.label for r in config.rows], [c.label for c in config.columns], context
    )
    long, lines, notes = [], [], {}
    for row in config.rows:
        found = {
            c.label: cells.measure(context, row.group, c.evaluation, c.value, c.scale) for c in config.columns
        }
        published = config.published.get(row.label, {})
        where = cells.used(context, row.group)
        lines.append(
            [row.label, "paper"]
            + [cells.number(*cells.split(published.get(c.label)), c.digits) for c in config.columns]
        )
        lines.append([row.label, where] + [found[c.label].text(c.digits) for c in config.columns])
        for column in config.columns:
            cell = found[column.label]
            long.append(
                cells.long_row(row.label, column.label, published.get(column.label), cell, context.tier)
            )
            if cell.note and not cell.reason:
                notes[f"{row.label}, {column.label}: {cell.note}"] = None
        seeds = {seed: None for cell in found.values() for seed, _ in cell.per_seed}
        for seed in seeds:
            name, line = f"{row.label}, seed {seed}", []
            for column in config.columns:
                one = _one_seed(found[column.label], seed)
                long.append(cells.long_row(name, column.label, None, one, context.tier))
                line.append(cells.number(one.mean, one.sd, column.digits))
            lines.append([name, where, *line])
    table = cells.markdown(["", "on", *(column.label for column in config.columns)], lines)
    page = cells.page(context, config.published_on, config.place, table, list(notes))
    return TableResult(cells.long_frame(long), page)


def _one_seed(cell: cells.Cell, seed: int) -> cells.Cell:
    value = dict(cell.per_seed).get(seed, float("nan"))
    return cells.Cell(value, float("nan"), int(value == value), "")
