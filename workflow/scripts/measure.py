"""Take every measurement of the papers of a model of your own; writes measurements.json and index.html.

FILE.py is run, as importing it would: only give files that you trust.
"""

import argparse
from pathlib import Path

from pagrepro import script


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about = "FILE.py:NAME, a torch.nn.Module or a function that returns one; or results/<tier>/models/<run>"
    parser.add_argument("--model", help=about)
    parser.add_argument(
        "--dataset", default="digits", help="a name of config/datasets.yaml (default: digits)"
    )
    about = "all, or names, patterns (pgd_*) or plugins with commas between (default: all)"
    parser.add_argument("--measurements", default="all", help=about)
    parser.add_argument("--out", type=Path, help="folder for measurements.json and index.html")
    parser.add_argument(
        "--list", action="store_true", help="only show what can be measured, and what it needs"
    )
    about = "whose sizes and budgets hold (default: of --results, or the only one that has the data set)"
    parser.add_argument("--tier", help=about)
    about = "results/<tier>: finished runs that some measurements need, and to stand beside the model"
    parser.add_argument("--results", type=Path, help=about)
    parser.add_argument("--examples", type=int, help="only so many of each split, for a first look")
    parser.add_argument("--seed", type=int, help="of noise and attacks, in the place of the papers'")
    parser.add_argument("--weights", default="final", help="of a run: final, ema, best or epoch:<n>")
    about = "what the model takes, where it does not say so itself by an attribute input_range"
    parser.add_argument("--input-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=about)
    parser.add_argument("--resources", default=Path("resources"), type=Path)
    parser.add_argument("--device", default=script.machine()["device"], choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    if not args.list and (args.model is None or args.out is None):
        parser.error("--model and --out are needed (or --list)")
    if args.examples is not None and args.examples < 1:
        parser.error("--examples: at least 1")
    return args


def listed(args: argparse.Namespace) -> None:
    from pagrepro.own_choices import list_measurements

    for item in list_measurements(args.dataset, args.tier):
        needs = f"needs {', '.join(item['needs']) or 'nothing'}"
        about = f"not of a model of your own: {item['never']}" if item["never"] else item["absent"] or needs
        print(f"{item['name']}  [{item['plugin']}, split {item['split']}]  {about}")


def measured(args: argparse.Namespace) -> None:
    from pagrepro.own_measure import measure

    content = measure(
        args.model, args.dataset, args.measurements, args.out, tier=args.tier, results=args.results,
        examples=args.examples, seed=args.seed, device=args.device, weights=args.weights,
        input_range=args.input_range, resources=args.resources, verbose=True,
    )  # fmt: skip
    for flag in content["flags"]:
        print(f"{flag['level']}: {flag['name']}: {flag['message']}")
    entries = content["measurements"]
    for name, entry in entries.items():
        if entry["status"] != "measured":
            print(f"{entry['status']}: {name}: {entry['reason']}")
    count = sum(entry["status"] == "measured" for entry in entries.values())
    print(f"{count} of {len(entries)} measured: {args.out / 'index.html'}, {args.out / 'measurements.json'}")
    if failed := [name for name, entry in entries.items() if entry["status"] == "failed"]:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    args = parse()
    with script.main():
        listed(args) if args.list else measured(args)
