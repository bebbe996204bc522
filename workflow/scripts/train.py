"""Fit the runs of one job, one after another; resumes where an earlier job was stopped.

A run whose `cost` has `devices: n` is fitted by n processes, which torchrun starts:
    torchrun --standalone --nproc-per-node 4 workflow/scripts/train.py --spec ... --results ...
On several machines with a common file system, on each of them:
    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint <first machine>:29500 \\
        workflow/scripts/train.py --spec ... --results ...
The number of all processes has to divide the run's `fit.micro_batches`; it does not change the result but for
the order of summation.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from pagrepro import distributed, script
from pagrepro.argument import given
from pagrepro.device import choose_device
from pagrepro.fit_all import fit_all
from pagrepro.fit_options import FitOptions
from pagrepro.layout import Layout
from pagrepro.provenance import opening_line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        elif distributed.launched():
            # The threads of the job are shared out.
            torch.set_num_threads(max(1, torch.get_num_threads() // script.local_world()))
        device = choose_device(args.device, number=script.local_rank() if distributed.launched() else None)
        distributed.join(device)
        if not distributed.leads():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
        print(opening_line(device), flush=True)
        members = given(args.spec)
        print(json.dumps(members, sort_keys=True), flush=True)
        options = FitOptions(save_every_s=args.save_every_s, job=args.job, again=args.again)
        failed = fit_all(members, Layout(args.results, args.resources), device, options)
        distributed.leave()
        if failed:
            raise SystemExit("\n".join(f"failed: {line}" for line in failed))
