"""Show the verdicts: on the terminal, and as a page that links to figures, tables, rules and runs."""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from pagrepro import judge, script, verdict_page

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--claims", required=True, nargs="*", type=Path, help="claims.csv, or one per paper")
parser.add_argument("--evidence", nargs="*", default=[], type=Path, help="claims/<paper>.json, one per paper")
parser.add_argument("--html", type=Path, help="page to write")
parser.add_argument("--csv", type=Path, help="all claims in one CSV")
parser.add_argument("--quiet", action="store_true", help="print the sums only")


if __name__ == "__main__":
    args = parser.parse_args()
    with script.main():
        tables = [pd.read_csv(path) for path in args.claims] or [judge.to_frame([])]
        table = pd.concat(tables, ignore_index=True)
        if args.html:
            evidence = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in args.evidence}
            args.html.write_text(verdict_page.page(table, evidence), encoding="utf-8")
        if args.csv:
            table.to_csv(args.csv, index=False)
        print(judge.counts(table) if args.quiet else judge.to_text(table, colour=sys.stdout.isatty()))
