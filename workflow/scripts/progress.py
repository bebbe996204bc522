"""Say how far a tier is: jobs done, running and left, time left by the plan, and what each job is at.

Reads sidecars and logs of a run under way, from another terminal; starts and locks nothing.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from pagrepro import configuration, expand, progress, script
from pagrepro.layout import Layout

CLEAR = "\033[H\033[2J"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tier", required=True)
    about = "what the run was given by --config besides, as JSON; laid over config/config.yaml"
    parser.add_argument("--config", default={}, type=json.loads, help=about)
    parser.add_argument("--results", type=Path, help="folder of the tier's results (default: results/<tier>)")
    parser.add_argument("--watch", action="store_true", help="again and again, until everything is done")
    parser.add_argument("--every-s", type=float, default=5.0, help="seconds between two looks (5)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    config = configuration.of_tier(args.tier, args.config)
    loaded = configuration.load(config)
    expansion = expand.expand_loaded(loaded)
    layout = Layout(args.results or Path("results") / expansion.tier)
    while True:
        found = progress.survey(loaded, expansion, layout)
        left = progress.seconds_left(found, progress.Pace(found, expansion))
        print(
            CLEAR if args.watch and sys.stdout.isatty() else "",
            progress.text(found, left),
            sep="",
            flush=True,
        )
        if found.complete or not args.watch:
            break
        time.sleep(args.every_s)


if __name__ == "__main__":
    args = parse()
    with script.main():
        try:
            main(args)
        except KeyboardInterrupt:
            print()
