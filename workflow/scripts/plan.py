"""Say what a tier would cost: jobs, GPU-hours, CPU-hours and disk per paper and rule. Starts nothing."""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

from pagrepro import configuration, expand, plan, script
from pagrepro.layout import Layout
from pagrepro.spec import canonical_json
from pagrepro.targets import Files


def weight_bytes(spec: dict[str, Any]) -> int:
    """Bytes of one set of weights, from a network without memory."""
    dataset = spec["dataset"]
    return _network_bytes(canonical_json(spec["task"]), tuple(dataset["shape"]), dataset["classes"])


@functools.cache
def _network_bytes(task: str, shape: tuple[int, ...], classes: int) -> int:
    # Here, because the configuration is checked before torch is worth its two seconds.
    import torch

    from pagrepro.load import build_network

    with torch.device("meta"):
        network = build_network(json.loads(task), shape, classes)
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def main(config: dict[str, Any], output: Path | None) -> None:
    loaded = configuration.load(config)
    expansion = expand.expand_loaded(loaded)
    frame = plan.table(plan.items(loaded, expansion, weight_bytes))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(output, index=False)
    print(f"tier {expansion.tier}: {loaded.tier.description}\nneeds {loaded.tier.needs}\n")
    print(plan.text(frame))
    names = Files(expansion, Layout(Path("results") / expansion.tier)).downloads
    files, known, unknown = plan.downloads(expansion, names)
    rest = f", and {unknown} of unknown size" if unknown else ""
    print(f"\n{files} files from outside: {plan.size(known)}{rest}")
    if uncertain := plan.uncertain_fields(expansion):
        print(f"Disk of these fields is at most what is shown: {', '.join(uncertain)}")
    if expansion.removed:
        reasons = sorted(set(expansion.removed.values()))
        print(f"{len(expansion.removed)} runs, fields and results left out:", *reasons, sep="\n  ")
    print("Hours are what the configuration expects; what is finished already is counted, too.", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="Snakemake's config, as JSON")
    parser.add_argument("--output", type=Path, help="CSV to write as well")
    args = parser.parse_args()
    with script.main():
        main(args.config, args.output)
