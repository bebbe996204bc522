"""Fit the runs of one job, one after another in one process; resumes where an earlier job was stopped."""

import argparse
import json
from pathlib import Path

import torch

from pagrepro import script
from pagrepro.argument import given
from pagrepro.device import choose_device
from pagrepro.fit_all import fit_all
from pagrepro.fit_options import FitOptions
from pagrepro.layout import Layout
from pagrepro.provenance import opening_line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    about = "JSON list of members {name, spec, revisions}, or a file with it"
    parser.add_argument("--spec", required=True, help=about)
    parser.add_argument("--results", required=True, type=Path, help="results/<tier>")
    parser.add_argument("--resources", default=Path("resources"), type=Path)
    parser.add_argument("--device", default=script.machine()["device"], choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="CPU threads of torch; else what OMP_NUM_THREADS says")
    parser.add_argument(
        "--save-every-s",
        type=float,
        default=script.machine()["save_every_s"],
        help="seconds between saved states",
    )
    parser.add_argument("--job", default="", help="id of this job in the queue, for messages")
    parser.add_argument("--again", action="store_true", help="fit even what is finished")
    return parser.parse_args()


if __name__ == "__main__":
    args = parse()
    with script.main():
        if args.threads:
            torch.set_num_threads(args.threads)
        device = choose_device(args.device)
        print(opening_line(device), flush=True)
        members = given(args.spec)
        print(json.dumps(members, sort_keys=True), flush=True)
        options = FitOptions(save_every_s=args.save_every_s, job=args.job, again=args.again)
        failed = fit_all(members, Layout(args.results, args.resources), device, options)
        if failed:
            raise SystemExit("\n".join(f"failed: {line}" for line in failed))
