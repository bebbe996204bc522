"""Say what a tier would cost: jobs, GPU-hours, CPU-hours and disk per paper and rule. Starts nothing.

Where something is finished already, it also says what was planned against what it took.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pagrepro import actual, configuration, expand, plan, script
from pagrepro.configuration import Configuration
from pagrepro.estimate import Estimate, Rows
from pagrepro.expansion import Expansion
from pagrepro.layout import Layout
from pagrepro.targets import Files

# Operations per second of a GPU that is not here. An H200 and an H100 have a peak of 67e12 in float32 without
# TF32, in which everything at published scale is computed; that 30 % of it are sustained is an assumption.
ASSUMED = 2e13


def main(config: dict[str, Any], output: Path | None, flops: float | None, results: Path | None) -> None:
    loaded = configuration.load(config)
    expansion = expand.expand_loaded(loaded)
    print(f"tier {expansion.tier}: {loaded.tier.description}\nneeds {loaded.tier.needs}\n")
    print(
        "counting the operations of every kind of step once; for large tiers this takes minutes",
        file=sys.stderr,
    )
    # Here, because the configuration is checked before torch is worth its two seconds.
    from pagrepro import step_flops

    estimate = Estimate(expansion, step_flops, Rows(Path(".")))
    throughput, whose = choose_throughput(estimate, flops)
    items = plan.items(loaded, expansion, step_flops.weight_bytes, Path("."), estimate, throughput)
    frame = plan.table(items)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(output, index=False)
    print(plan.text(frame))
    print_notes(loaded, expansion, estimate, throughput, whose)
    for (paper, rule), jobs in plan.too_long(items).items():
        print(f"Planned for longer than their limit: {jobs} jobs of {paper}, {rule}.")
    print_actual(loaded, expansion, estimate, throughput, results or Path("results") / expansion.tier)


def choose_throughput(estimate: Estimate, given: float | None) -> tuple[float, str]:
    """Operations per second, and where the number is from."""
    if given:
        return given, "given"
    import torch

    from pagrepro.throughput import measure

    run = estimate.largest()
    gpu = torch.cuda.is_available()
    if run.cost.gpus and not gpu:
        return ASSUMED, "assumed, as no GPU is at hand; give another with --flops or PAGREPRO_FLOPS"
    device = torch.device("cuda" if gpu and run.cost.gpus else "cpu")
    return measure(run.spec, device), f"measured here ({device.type}) with the training step of {run.name}"


def print_notes(
    loaded: Configuration, expansion: Expansion, estimate: Estimate, throughput: float, whose: str
) -> None:
    names = Files(expansion, Layout(Path("results") / expansion.tier)).downloads
    files, known, unknown = plan.downloads(expansion, names)
    rest = f", and {unknown} of unknown size" if unknown else ""
    print(f"\n{files} files from outside: {plan.size(known)}{rest}")
    print(f"GPU-hours and CPU-hours: operations at {throughput / 1e12:.3g} TFLOP/s, {whose}.")
    print("  Counted are matrix products and convolutions; not data loading, start of processes, figures.")
    print("  Limits are what jobs ask the scheduler for. What is finished already is counted, too.")
    if bounds := estimate.at_most():
        hours = sum(bounds.values()) / throughput / 3600
        print(
            f"  At most, as if no example were ever fooled: {plan.short(hours)} hours of {', '.join(bounds)}."
        )
    for what, hours in sorted(estimate.uncounted.items()):
        print(f"  Not counted, and asks for {plan.short(hours)} hours: {what}.")
    if uncertain := plan.uncertain_fields(expansion):
        print(f"Disk of these fields is at most what is shown: {', '.join(uncertain)}")
    if expansion.removed:
        reasons = sorted(set(expansion.removed.values()))
        print(f"{len(expansion.removed)} runs, fields and results left out:", *reasons, sep="\n  ")


def print_actual(
    loaded: Configuration, expansion: Expansion, estimate: Estimate, throughput: float, results: Path
) -> None:
    """Planned against actual, where anything is finished."""
    found = actual.lines(loaded, expansion, estimate, Layout(results))
    if not any(line.finished for line in found):
        return
    print(f"\nFinished in {results}, on {', '.join(actual.devices(found))}:\n")
    print(actual.text(actual.table(found), throughput))
    print("Planned hours are of what is finished; actual ones leave out the start of processes.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=json.loads, help="Snakemake's config, as JSON")
    which.add_argument("--tier", help="a tier, with config/config.yaml as it is")
    parser.add_argument("--output", type=Path, help="CSV to write as well")
    parser.add_argument(
        "--flops", type=lambda text: float(text) if text else None,
        help="operations per second, such as 2e13; else measured here, or assumed for GPUs that are not here",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, help="what is finished (default: results/<tier>)")
    args = parser.parse_args()
    with script.main():
        main(args.config or configuration.of_tier(args.tier), args.output, args.flops, args.results)
