"""Convert third-party weights into runs of this workflow, without executing anything they contain."""

import argparse
import json
from pathlib import Path

import torch

from pagrepro import script
from pagrepro.argument import given
from pagrepro.convert import convert
from pagrepro.layout import Layout
from pagrepro.provenance import opening_line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    about = "JSON list of members {name, spec, revisions}, or a file with it"
    parser.add_argument("--spec", required=True, help=about)
    parser.add_argument("--results", required=True, type=Path, help="results/<tier>")
    parser.add_argument("--resources", default=Path("resources"), type=Path)
    parser.add_argument("--device", default="auto", help="accepted for uniformity; conversion needs no GPU")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse()
    with script.main():
        device = torch.device("cpu")
        print(opening_line(device), flush=True)
        members = given(args.spec)
        print(json.dumps(members, sort_keys=True), flush=True)
        for member in members:
            layout = Layout(args.results, args.resources)
            convert(member["spec"], member["name"], layout, member["revisions"], device)
            print(f"{member['name']}: converted", flush=True)
