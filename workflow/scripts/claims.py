"""Judge claims: one line per claim, `claims.csv`."""

import argparse
from pathlib import Path

from pagrepro import judge, script
from pagrepro.argument import given
from pagrepro.layout import Layout

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--claims", required=True, nargs="+", help="resolved claims, one JSON (or file) per paper"
)
parser.add_argument("--results", required=True, type=Path, help="folder of the tier's results")
parser.add_argument("--output", required=True, type=Path, help="CSV to write")
parser.add_argument(
    "--allow-missing", action="store_true", help="preview: claims with unfinished runs stay open"
)


if __name__ == "__main__":
    args = parser.parse_args()
    with script.main():
        layout = Layout(args.results)
        judged = [j for text in args.claims for j in judge.judge_all(given(text), layout, args.allow_missing)]
        args.output.parent.mkdir(parents=True, exist_ok=True)
        judge.to_frame(judged).to_csv(args.output, index=False)
