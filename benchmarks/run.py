"""Side-by-side measurements: the project's way against the plain formulation of the same mathematics.

    python benchmarks/run.py [--only NAME] [--device cpu|cuda] [--output FILE.json] [--quick]

Every file next to this one whose name does not start with an underscore is a benchmark: a module with
`NAME` and `run(device, quick) -> {"rows": [...], "bars": [...], "settings": {...}}`. The exit code is 1
when a number falls short of its bar.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from _measure import note, table
from pagrepro import provenance

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """All benchmarks, sorted."""
    files = (path.stem for path in FOLDER.glob("*.py"))
    return sorted(name for name in files if name != "run" and not name.startswith("_"))


def measure(name: str, device: torch.device, quick: bool) -> dict[str, Any]:
    """Run one benchmark and print its table and bars."""
    module = importlib.import_module(name)
    note(f"{name}: {module.NAME}")
    result = module.run(device, quick)
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    print(f"\n{name}: {module.NAME}\n{settings}\n\n{table(result['rows'])}\n")
    for bar in result["bars"]:
        verdict = "met        " if bar["met"] else "FALLS SHORT"
        print(f"{verdict} {bar['bar']}: {bar['value']:.3g} (at most {bar['limit']:g} {bar['unit']})")
    return result


def conditions(device: torch.device) -> dict[str, Any]:
    """Hardware, versions, code and date."""
    return {
        "device": provenance.describe_device(device),
        "versions": provenance.versions(),
        "git": provenance.git(),
        "date": provenance.now(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Side-by-side measurements; see docs/performance.md.")
    parser.add_argument("--only", metavar="NAME", choices=names(), help="one of: " + ", ".join(names()))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, not how fast")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; allowed: cpu")
    torch.set_num_threads(1)
    device = torch.device(options.device)
    report: dict[str, Any] = {**conditions(device), "quick": options.quick, "benchmarks": {}}
    print(f"{report['date']}, {report['device']['name']}, torch {report['versions']['torch']}, one thread")
    for name in [options.only] if options.only else names():
        report["benchmarks"][name] = measure(name, device, options.quick)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    short = [(name, b["bar"]) for name, r in report["benchmarks"].items() for b in r["bars"] if not b["met"]]
    for name, title in short:
        note(f"bar not met: {name}: {title}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
