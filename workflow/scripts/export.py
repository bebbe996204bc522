"""Write a finished tier into one archive: a ZIP file with metadata (RO-Crate) and checksums of every file.

Refused while the tier is not finished, unless --partial is given: then the archive says what it lacks.
"""

import argparse
import json
from pathlib import Path

from pagrepro import configuration, expand, export, removal, script
from pagrepro.layout import Layout
from pagrepro.plan import size


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tier", required=True)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.zip")
    parser.add_argument("--results", type=Path, help="default: results/<tier>")
    parts = "; ".join(f"{name}: {what}" for name, what in export.PARTS.items())
    parser.add_argument(
        "--without", nargs="+", default=[], choices=list(export.PARTS), metavar="PART", help=parts
    )
    parser.add_argument("--partial", action="store_true", help="also of an unfinished tier, marked so")
    about = "what runs were given by --config besides, as JSON; laid over config/config.yaml"
    parser.add_argument("--config", default={}, type=json.loads, help=about)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    results = args.results or Path("results", args.tier)
    removal.check_results(results)
    config = configuration.of_tier(args.tier, args.config)
    loaded = configuration.load(config)
    without = set(args.without)
    found = export.contents(expand.expand_loaded(loaded), loaded, Layout(results), Path(), without)
    if not args.partial:
        export.refuse_unfinished(found)
    written = export.write(args.output, found, export.facts(found, loaded, without))
    if found.unasked:
        print(f"left out: {len(found.unasked)} files that the configuration does not ask for")
    mark = f", incomplete: {len(found.missing)} files are missing" if found.missing else ""
    print(f"{args.output}: {len(found.files)} files, {size(written)}{mark}", flush=True)


if __name__ == "__main__":
    with script.main():
        main(parse())
