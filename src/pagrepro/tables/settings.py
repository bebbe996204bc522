"""A table of settings: the published value of a hyper-parameter beside the one that the runs used.

Rows are methods, columns are what the paper's columns are (data sets, say), each cell a group of runs. The
value used is read from the labels that the runs carry from their grid.
"""

from pagrepro.artifact import TableResult
from pagrepro.options import Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1


class Row(Strict):
    """groups: column label -> group of runs."""

    label: str
    groups: dict[str, str]


class Config(Strict):
    """key: the label of the runs; symbol: how the paper calls it; published: row -> column -> number."""

    key: str
    symbol: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    digits: int = 2
    published: dict[str, dict[str, float]] = {}
    published_on: str = ""
    place: str = ""


def draw(config: Config, context: Context) -> TableResult:
    """Long form and Markdown. Raises DataError when a run lacks the label."""
    cells.check_labels(config.published, [row.label for row in config.rows], config.columns, context)
    header = [""]
    for column in config.columns:
        header += [f"{column}: published {config.symbol}", f"{config.symbol} used here", "on"]
    long, lines = [], []
    for row in config.rows:
        line = [row.label]
        for column in config.columns:
            if column not in row.groups:
                line += ["", "", ""]
                continue
            group = row.groups[column]
            cell, values = cells.setting(config.key, [group], context)
            published = config.published.get(row.label, {}).get(column)
            long.append(cells.long_row(row.label, column, published, cell, context.tier))
            text = cell.text(config.digits) if cell.reason else ", ".join(map(cells.plain, values))
            line += [cells.number(*cells.split(published), config.digits), text, cells.used(context, group)]
        lines.append(line)
    page = cells.page(context, config.published_on, config.place, cells.markdown(header, lines), [])
    return TableResult(cells.long_frame(long), page)
