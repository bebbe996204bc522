"""Every measurement of the papers on a model of one's own: as a mapping, one JSON file and one page.

    pagrepro.measure("mine.py:build", "digits", out="measured")

Nothing of the workflow has to have run; what needs finished runs of it (an autoencoder's tangent spaces, a
denoiser's scores, a generator's projections) takes them from a folder of results, or is listed as not
measured."""

import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pagrepro import own_after, own_choices, own_health, own_range, seeding
from pagrepro.dataset import Dataset, to_float
from pagrepro.determinism import switches
from pagrepro.device import choose_device
from pagrepro.errors import UserError
from pagrepro.image_files import ImageFiles
from pagrepro.inputs import Loader
from pagrepro.layout import Layout
from pagrepro.measuring import take
from pagrepro.own_choices import Catalogue, Choice
from pagrepro.own_health import Flag
from pagrepro.own_inputs import OwnInputs
from pagrepro.own_model import as_measured, load_model
from pagrepro.own_model import input_range as checked_range
from pagrepro.own_page import page
from pagrepro.provenance import now, provenance
from pagrepro.request import LoadedRun
from pagrepro.storage import finite_json, write_atomic, write_json

# Examples that the model is checked with, and of them those for gradients and repeated calls.
CHECKED, REPEATED = 1000, 48
# Of these plugins' arrays, the page shows pictures.
PICTURES = ("gradient_maps", "natural_maps")


@dataclass
class _Session:
    """What is the same for all measurements of one model."""

    network: nn.Module
    inputs: OwnInputs
    loader: Loader
    examples: int | None
    seed: int | None
    deterministic: bool
    pictures: dict[str, Any] = field(default_factory=dict)


def measure(
    model: nn.Module | str | Path,
    dataset: str = "digits",
    measurements: str | list[str] = "all",
    out: str | Path | None = None,
    *,
    tier: str | None = None,
    results: str | Path | None = None,
    examples: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    weights: str = "final",
    input_range: tuple[float, float] | None = None,
    resources: str | Path = "resources",
    root: str | Path | None = None,
    verbose: bool = False,
) -> dict[str, Any]:
    """Measure a classifier as the papers measure theirs, with the options of their files on this data set.

    model: network (N, *shape) in the data's range -> logits (N, classes); or what `own_model.load_model`
    takes. measurements: "all", or names, patterns or plugins (`list_measurements`), in a list or with commas.
    out: folder for `measurements.json` and `index.html`. tier: whose sizes and budgets hold; left out, that
    of `results`, or the only one that measures on the data set. results: `results/<tier>`, finished runs that
    some measurements need, and whose values then stand beside these. examples: of each split, only so many.
    seed: of noise and attacks, in the place of the papers'. weights: of a finished run. input_range: that the
    model takes, where it has no such attribute. root: of the repository.

    Returns what the JSON holds: model, dataset, settings, flags, measurements by name (status "measured",
    "not measured" with a reason, or "failed"), provenance. Values that are not finite are None. Raises
    ModelError for a model that cannot be measured as it is, UserError for other input that cannot be used.
    """
    started, clock = now(), time.monotonic()
    own = load_model(model, weights)
    said = own.input_range if input_range is None else checked_range(input_range)
    catalogue = Catalogue(*own_choices.place(dataset, tier, results, root))
    choices = own_choices.select(catalogue.choices(dataset), measurements)
    chosen, data = choose_device(device), catalogue.dataset(dataset)
    finished = None if results is None else Layout(Path(results), Path(resources))
    loader = Loader(finished or Layout(Path("results"), Path(resources)), chosen, catalogue.root)
    with as_measured(own.network, chosen) as network:
        flags = _health(network, loader, _data_spec(choices, dataset), data, said)
        own_health.refuse(flags)
        deterministic = not any(flag.name == "nondeterministic" for flag in flags)
        inputs = OwnInputs(catalogue, network, loader, finished, deterministic)
        session = _Session(network, inputs, loader, examples, seed, deterministic)
        found = {choice.name: _measured(session, choice, verbose) for choice in choices}
    if finished:
        for choice in choices:
            found[choice.name]["runs"] = own_after.beside(catalogue, choice, finished)
    settings = {
        "tier": catalogue.tier, "declared_in": "config/papers and config/tiers", "examples": examples,
        "seed": seed, "results": None if results is None else str(results),
    }  # fmt: skip
    content = {
        "model": own.about | {"input_range": said}, "dataset": data, "settings": settings,
        "flags": [flag.as_json() for flag in (*flags, *own_after.masking(found))], "measurements": found,
        "provenance": provenance(chosen, time.monotonic() - clock, started),
    }  # fmt: skip
    return _written(finite_json(content), out, session.pictures)


def _written(content: dict[str, Any], out: str | Path | None, pictures: dict[str, Any]) -> dict[str, Any]:
    if out is not None:
        write_json(Path(out) / "measurements.json", content)
        write_atomic(Path(out) / "index.html", page(content, pictures).encode())
    return content


def _data_spec(choices: list[Choice], dataset: str) -> dict[str, Any]:
    for choice in choices:
        if choice.template is not None:
            return choice.template.spec["dataset"]
    reasons = "\n  ".join(f"{choice.name}: {choice.never or choice.absent}" for choice in choices)
    raise UserError(f"nothing can be measured on {dataset}\n  {reasons}")


# --- before: health ------------------------------------------------------------------------------------


def _health(
    network: nn.Module,
    loader: Loader,
    spec: dict[str, Any],
    data: dict[str, Any],
    said: tuple[float, float] | None,
) -> list[Flag]:
    """Flags of a model on evenly spaced examples; raises ModelError when it cannot even be called."""
    dataset = loader.dataset(spec)
    x, y = _some(dataset, "test", loader.device)
    train, _ = _some(dataset, "train", loader.device)
    few = slice(None, REPEATED)
    noise = torch.rand(x[few].shape, generator=seeding.generator(0, "own_health")).to(x)
    low, high = (float(v) for v in x.aminmax())
    noise = low + (high - low) * noise
    flags = own_health.check_deterministic(network, x[few], y[few])
    with switches(deterministic=not flags):
        flags += own_health.check_outputs(network, x[few], noise, data)
        flags += own_health.check_gradients(network, x[few], y[few])
        if any(flag.level == "refused" for flag in flags):
            return flags
        flags += own_health.check_repeats(network, x[few])
        flags += own_health.check_accuracy(network, x, y)
        return flags + own_range.check_range(network, x, y, train, data, said)


def _some(dataset: Dataset, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """At most CHECKED examples of a part, evenly spaced, as float (files may be sorted by class)."""
    part = dataset.parts.get(name) or next(iter(dataset.parts.values()))
    rows = torch.linspace(0, len(part.y) - 1, min(CHECKED, len(part.y))).long()
    x = part.x[rows]
    return to_float(x.decoded() if isinstance(x, ImageFiles) else x).to(device), part.y[rows].to(device)


# --- one measurement -----------------------------------------------------------------------------------


def _measured(session: _Session, choice: Choice, verbose: bool) -> dict[str, Any]:
    about = own_after.about(choice)
    if choice.never is not None or choice.template is None:
        return about | {"status": "not measured", "reason": choice.never or choice.absent}
    template, clock = choice.template, time.monotonic()
    spec = template.spec if session.seed is None else template.spec | {"seed": session.seed}
    try:
        inputs, without = session.inputs.of(spec, template.run, "evaluations")
        loaded = LoadedRun("own", session.network, {})
        taken = take(
            spec, loaded, session.loader, inputs,
            examples=session.examples, deterministic=session.deterministic,
        )  # fmt: skip
    except UserError as error:
        return about | {"status": "not measured", "reason": str(error)}
    except Exception as error:
        traceback.print_exc()
        return about | {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    if choice.plugin in PICTURES and not session.pictures:
        session.pictures.update(taken.arrays)
    if verbose:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in list(taken.values.items())[:6])
        print(f"{choice.name}: {shown}  ({time.monotonic() - clock:.1f} s)", flush=True)
    return about | {
        "status": "measured", "seed": spec["seed"], "values": taken.values, "flags": taken.flags,
        "without": without, "seconds": round(time.monotonic() - clock, 2),
    }  # fmt: skip
