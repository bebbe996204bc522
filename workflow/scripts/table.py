"""Draw a table: CSV in long form, Markdown as in the paper and a sidecar beside it."""

import argparse
from pathlib import Path

from pagrepro import artifact, script
from pagrepro.argument import given
from pagrepro.layout import Layout
from pagrepro.results import Context, groups_from_json

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--artifact", required=True, help="resolved declaration: JSON, or a file with it")
parser.add_argument("--results", required=True, type=Path, help="folder of the tier's results")
parser.add_argument("--output", required=True, type=Path, help="CSV to write; .md and .json go beside it")
parser.add_argument(
    "--allow-missing", action="store_true", help="preview: leave out unfinished runs, and say so"
)


if __name__ == "__main__":
    args = parser.parse_args()
    with script.main():
        content = given(args.artifact)
        groups = groups_from_json(content["groups"])
        context = Context(content, groups, Layout(args.results), args.allow_missing)
        artifact.save_table(artifact.draw(context), context, args.output)
