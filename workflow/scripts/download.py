"""Put one file from outside at its place, checked by hash: offline copy first, then mirrors."""

import argparse
import json
from pathlib import Path

from pagrepro import script
from pagrepro.download import fetch


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="name under `sources:` in config/datasets.yaml")
    parser.add_argument("--spec", required=True, type=json.loads, help="that entry, as JSON")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--offline-dir", type=Path, help="folder looked at before any network is touched")
    parser.add_argument("--path", type=Path, help="the user's own file, or folder of images")
    return parser.parse_args()


def place(given: Path | None, chosen: str | None) -> Path | None:
    """What the command line says, or else config.yaml."""
    return given or (Path(chosen) if chosen else None)


if __name__ == "__main__":
    args = parse()
    with script.main():
        machine = script.machine()
        offline = place(args.offline_dir, machine["offline_dir"])
        fetch(
            args.source, args.spec, args.output, offline, place(args.path, machine["paths"].get(args.source))
        )
        print(f"{args.output}: {args.spec['hash']}", flush=True)
