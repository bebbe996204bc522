"""Side-by-side measurements: the project's way against the plain formulation of the same mathematics.

    python benchmarks/run.py [--only NAME ...] [--device cpu|cuda] [--output FILE.json] [--quick]
    python benchmarks/run.py --markdown FILE.json

Every file next to this one whose name does not start with an underscore is a benchmark: a module with
`NAME` and `run(device, quick) -> {"rows": [...], "bars": [...], "settings": {...}}`. Rows with operations
(`GFLOP`) and `seconds` get the rate, and its share of that of a large matrix product. The exit code is 1
when a number falls short of its bar. The second form measures nothing: it puts the tables of a report into
docs/performance.md.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from _measure import note, table
from _page import PAGE, filled
from _rate import with_rates
from pagrepro import provenance
from pagrepro.determinism import switches

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """All benchmarks, sorted."""
    files = (path.stem for path in FOLDER.glob("*.py"))
    return sorted(name for name in files if name != "run" and not name.startswith("_"))


def measure(name: str, device: torch.device, quick: bool) -> dict[str, Any]:
    """Run one benchmark and print its table and bars."""
    module = importlib.import_module(name)
    note(f"{name}: {module.NAME}")
    start = time.perf_counter()
    # As in a fit, but without the slower algorithms that repeat themselves: float32 is not TF32.
    with switches(deterministic=False):
        result = module.run(device, quick)
        result["rows"] = with_rates(result["rows"], device)
    result["wall_s"] = round(time.perf_counter() - start, 1)
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    print(f"\n{name}: {module.NAME}\n{settings}\n\n{table(result['rows'])}\n")
    for bar in result["bars"]:
        verdict = "met        " if bar["met"] else "FALLS SHORT"
        print(f"{verdict} {bar['bar']}: {bar['value']:.3g} (at most {bar['limit']:g} {bar['unit']})")
    print(f"{name} took {result['wall_s']:.0f} s", flush=True)
    return result


def conditions(device: torch.device) -> dict[str, Any]:
    """Hardware, versions, code and date."""
    return {
        "device": provenance.describe_device(device),
        "versions": provenance.versions(),
        "git": provenance.git(),
        "date": provenance.now(),
    }


def earlier(options: argparse.Namespace, now: dict[str, Any]) -> dict[str, Any]:
    """The benchmarks of the report that is written to, if only some are measured: on the same device and with
    the same versions."""
    if not (options.only and options.output and options.output.exists()):
        return {}
    report = json.loads(options.output.read_text(encoding="utf-8"))
    same = all(report[key] == now[key] for key in ("device", "versions", "quick"))
    return report["benchmarks"] if same else {}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Side-by-side measurements; see docs/performance.md.")
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", choices=names(), help="some of: " + ", ".join(names())
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write all numbers as JSON; with --only into an earlier report",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, not how fast")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="only put this report into docs/performance.md"
    )
    options = parser.parse_args(arguments)
    if options.markdown:
        report = json.loads(options.markdown.read_text(encoding="utf-8"))
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; allowed: cpu")
    torch.set_num_threads(1)
    device = torch.device(options.device)
    now = {**conditions(device), "quick": options.quick}
    report: dict[str, Any] = {**now, "benchmarks": earlier(options, now)}
    print(f"{report['date']}, {report['device']['name']}, torch {report['versions']['torch']}, one thread")
    for name in options.only or names():
        when = {"date": provenance.now(), "commit": now["git"]["commit"]}
        found = report["benchmarks"] | {name: measure(name, device, options.quick) | when}
        report["benchmarks"] = dict(sorted(found.items()))
        report["wall_s"] = round(sum(result["wall_s"] for result in report["benchmarks"].values()), 1)
        # After each, so that a run that is killed has not been in vain.
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    walls = {name: result["wall_s"] for name, result in report["benchmarks"].items()}
    print("\nwall time, s: " + ", ".join(f"{n} {s:.0f}" for n, s in walls.items()))
    print(f"all: {report['wall_s']:.0f} s")
    results = {name: report["benchmarks"][name] for name in options.only or names()}
    short = [(name, b["bar"]) for name, result in results.items() for b in result["bars"] if not b["met"]]
    for name, title in short:
        note(f"bar not met: {name}: {title}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
