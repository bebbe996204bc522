"""The page of a tier: an HTML file that needs no server and no network, pictures beside it. Torch-free."""

import csv
import html
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

from pagrepro import page_data, page_maps, page_plan, sidecars
from pagrepro.expansion import Expansion
from pagrepro.layout import Layout
from pagrepro.page_data import POINT_COLUMNS

# Files of the template folder, and what takes the place of `{{name}}` in the first of them.
PAGE, STYLE, PROGRAM = "page.html", "page.css", "page.js"


def write(expansion: Expansion, layout: Layout, template: Path, plotly: str) -> dict[str, Any]:
    """Write `index.html`, `page.csv` and the pictures of gradient maps; returns what the page shows.

    template: folder with PAGE, STYLE and PROGRAM; plotly: text of plotly.js. Pictures of an earlier page are
    removed.
    """
    content = page_data.collect(expansion, layout, _write_pictures(expansion, layout))
    text = build(content, template, plotly)
    layout.page_points().write_text(points_csv(content), encoding="utf-8")
    layout.page().write_text(text, encoding="utf-8")
    return content


def _write_pictures(expansion: Expansion, layout: Layout) -> dict[str, str]:
    """Run -> its picture, relative to the page, of all runs whose maps are there."""
    folder = layout.page_picture("run").parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = {}
    for run, evaluations in page_plan.pictured(expansion).items():
        rows = []
        for name in evaluations:
            evaluation = expansion.evaluations[run, name]
            result = sidecars.read(sidecars.path_of(evaluation, layout))
            if result.get("spec_hash") == evaluation.hash:
                rows += page_maps.rows_of(result, layout.arrays(run, name))
        if rows:
            path = layout.page_picture(run)
            path.write_bytes(page_maps.sheet(rows))
            found[run] = path.relative_to(layout.results).as_posix()
    return found


def points_csv(content: dict[str, Any]) -> str:
    """Text of page.csv; numbers as they are, to the last digit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, POINT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(page_data.points(content))
    return text.getvalue()


def build(content: dict[str, Any], template: Path, plotly: str) -> str:
    """Text of the page. No text of `content` can become markup or script, whatever it is."""
    parts = {
        "tier": html.escape(content["tier"]),
        "style": (template / STYLE).read_text(encoding="utf-8"),
        "program": (template / PROGRAM).read_text(encoding="utf-8"),
        "data": script_safe(content),
        "plotly": plotly,
    }
    page = (template / PAGE).read_text(encoding="utf-8")
    # In one pass: what is put in is not searched again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def script_safe(content: Any) -> str:
    """JSON for the inside of a script element: characters that HTML could see are escaped."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
