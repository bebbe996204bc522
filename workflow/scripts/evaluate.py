"""Take the measurements of one job: one run's suite, a costly measurement by itself, or a pack."""

import argparse
import json
from pathlib import Path

from pagrepro import script
from pagrepro.argument import given
from pagrepro.device import choose_device
from pagrepro.layout import Layout
from pagrepro.measuring import measure_all
from pagrepro.provenance import opening_line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    about = "JSON list of members {run, evaluation, spec, revisions}, or a file with it"
    parser.add_argument("--spec", required=True, help=about)
    parser.add_argument("--results", required=True, type=Path, help="results/<tier>")
    parser.add_argument("--resources", default=Path("resources"), type=Path)
    parser.add_argument("--device", default=script.machine()["device"], choices=("auto", "cpu", "cuda"))
    return parser.parse_args()


if __name__ == "__main__":
    args = parse()
    with script.main():
        device = choose_device(args.device)
        print(opening_line(device), flush=True)
        members = given(args.spec)
        print(json.dumps(members, sort_keys=True), flush=True)
        failed = measure_all(members, Layout(args.results, args.resources), device)
        if failed:
            raise SystemExit("\n".join(f"failed: {line}" for line in failed))
