"""One training job: the members of a pack in turn, where finished ones stay finished."""

import traceback
from pathlib import Path
from typing import Any

import torch

from pagrepro import distributed
from pagrepro.errors import UserError
from pagrepro.finished import keep, kept_folder, key_for, restore, run_outputs
from pagrepro.fit import fit
from pagrepro.fit_options import DEFAULT_OPTIONS, FitOptions
from pagrepro.layout import Layout


def fit_all(
    members: list[dict[str, Any]],
    layout: Layout,
    device: torch.device,
    options: FitOptions = DEFAULT_OPTIONS,
) -> list[str]:
    """Fit `members` ({name, spec, revisions}), in order; returns one line per member that failed.

    What an earlier job finished is put back without fitting it, unless `options.again`. A signal ends the
    whole job (`Stopped`); members that are finished then are kept. In several processes a failure ends it,
    too: the others cannot be told where this one is.
    """
    failed = []
    for member in members:
        try:
            _one(member, layout, device, options)
        except UserError as error:
            if distributed.active():
                raise
            failed.append(f"{member['name']}: {error}")
        except Exception as error:
            if distributed.active():
                raise
            traceback.print_exc()
            failed.append(f"{member['name']}: {type(error).__name__}: {error}")
    return failed


def _one(member: dict[str, Any], layout: Layout, device: torch.device, options: FitOptions) -> None:
    name, spec, revisions = member["name"], member["spec"], member["revisions"]
    outputs: list[Path] = run_outputs(layout, name, spec)
    folder, key = kept_folder(layout, "models", name), key_for(spec, revisions)
    if not options.again and distributed.from_leader(lambda: restore(folder, key, outputs)):
        print(f"{name}: unchanged, kept from an earlier job", flush=True)
        return
    fit(spec, name, layout, revisions, device, options)
    distributed.by_leader(lambda: keep(folder, key, outputs))
