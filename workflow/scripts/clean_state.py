"""Say what can go from the folder of a tier and how much that frees; delete it only when told to.

Without a tier only what no configuration can need: resume states of finished runs, what killed processes
left. With `--tier`, also runs, fields, results and kept work that its configuration does not ask for.
"""

import argparse
import json
from pathlib import Path

from pagrepro import configuration, expand, leftovers, removal, script
from pagrepro.errors import UserError
from pagrepro.layout import Layout
from pagrepro.plan import size


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", required=True, type=Path, help="results/<tier>")
    parser.add_argument("--delete", action="store_true", help="delete what is listed")
    parser.add_argument("--tier", help="also what the configuration of this tier does not ask for")
    about = "what runs were given by --config besides, as JSON; laid over config/config.yaml"
    parser.add_argument("--config", default={}, type=json.loads, help=about)
    parser.add_argument(
        "--idle-s", type=float, default=3600.0, help="leave what was touched in the last seconds (3600)"
    )
    parser.add_argument(
        "--copies", action="store_true",
        help="also kept work whose outputs are there, where hard links do not work: a pack that runs again"
        " will compute all its members",
    )  # fmt: skip
    parser.add_argument("--paths", action="store_true", help="list every path")
    return parser.parse_args()


def wanted_of(tier: str, given: dict) -> leftovers.Wanted:
    config = configuration.of_tier(tier, given)
    return leftovers.wanted(expand.expand(config))


def text(rows: list[removal.Row]) -> str:
    """The table, with a total."""
    lines = [(row.what, row.why, str(row.count), size(row.freed)) for row in rows]
    lines.append(("total", "", str(sum(row.count for row in rows)), size(sum(row.freed for row in rows))))
    lines.insert(0, ("what", "why it can go", "how many", "frees"))
    left, middle = (max(len(line[k]) for line in lines) for k in (0, 1))
    return "\n".join(f"{a:<{left}}  {b:<{middle}}  {c:>8}  {d:>10}" for a, b, c, d in lines)


def main(args: argparse.Namespace) -> None:
    removal.check_results(args.results)
    if args.tier and args.tier != args.results.name:
        raise UserError(f"{args.results} is not of tier {args.tier!r}: nearly all of it would go")
    wanted = wanted_of(args.tier, args.config) if args.tier else None
    found = leftovers.Search(Layout(args.results), wanted, args.idle_s, args.copies).find()
    print(text(removal.rows(found.leftovers)))
    if found.in_use:
        print(f"left alone, being fitted: {', '.join(found.in_use)}")
    if args.paths:
        print(*(item.path for item in found.leftovers), sep="\n")
    if not args.delete:
        print("Nothing was deleted; --delete does it.", flush=True)
    elif left := removal.remove(found.leftovers, args.results):
        raise UserError("left: " + "\nleft: ".join(left))


if __name__ == "__main__":
    with script.main():
        main(parse())
