"""Judge claims: one line per claim in a CSV, and beside it (.json) rules, results and artifacts of each."""

import argparse
import json
from pathlib import Path

from pagrepro import claim_links, judge, script
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
        contents = [given(text) for text in args.claims]
        judged = [j for content in contents for j in judge.judge_all(content, layout, args.allow_missing)]
        args.output.parent.mkdir(parents=True, exist_ok=True)
        evidence = {
            key: value for content in contents for key, value in claim_links.evidence(content).items()
        }
        args.output.with_suffix(".json").write_text(json.dumps(evidence, ensure_ascii=False, indent=1) + "\n")
        judge.to_frame(judged).to_csv(args.output, index=False)
