"""Convert the files of one data set into one safetensors file."""

import argparse
import json
from pathlib import Path

from pagrepro import script
from pagrepro.load_data import prepare


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=json.loads, help="`dataset` of a spec, as JSON")
    parser.add_argument("--files", required=True, type=json.loads, help='{"role": "path"} as JSON')
    parser.add_argument("--output", required=True, type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    args = parse()
    with script.main():
        prepare(args.dataset, {role: Path(path) for role, path in args.files.items()}, args.output)
        print(f"{args.output}: {args.output.stat().st_size} bytes", flush=True)
