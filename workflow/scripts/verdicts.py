"""Show the verdicts: on the terminal, and as a page of their own that links to figures and tables."""

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

from pagrepro import judge, script

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--claims", required=True, nargs="*", type=Path, help="claims.csv, or one per paper")
parser.add_argument("--html", type=Path, help="page to write")
parser.add_argument("--csv", type=Path, help="all claims in one CSV")
parser.add_argument(
    "--artifacts", nargs="*", default=[], type=Path, help="files to link to: .../<paper>/<name>"
)
parser.add_argument("--quiet", action="store_true", help="print the sums only")


def links(artifacts: list[Path], page: Path) -> dict[str, list[str]]:
    """Paper -> paths of its files, relative to the page."""
    found: dict[str, list[str]] = {}
    for path in artifacts:
        here = Path(os.path.relpath(path, page.parent))
        found.setdefault(path.parent.name, []).append(here.as_posix())
    return found


if __name__ == "__main__":
    args = parser.parse_args()
    with script.main():
        tables = [pd.read_csv(path) for path in args.claims] or [judge.to_frame([])]
        table = pd.concat(tables, ignore_index=True)
        if args.html:
            args.html.write_text(judge.to_html(table, links(args.artifacts, args.html)), encoding="utf-8")
        if args.csv:
            table.to_csv(args.csv, index=False)
        print(judge.counts(table) if args.quiet else judge.to_text(table, colour=sys.stdout.isatty()))
