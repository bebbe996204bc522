"""A few numbers per numeric plugin, made in float64 on tiny inputs, compared with tests/fingerprints.json.

A job runs again when the REVISION of a module behind it changed, and only then: numbers that change under
the same REVISION would leave old results beside new ones. `python tests/unit/fingerprints.py --write` records
new numbers, and refuses those that changed without a REVISION. (Changed the input of a case here? Then give
the case another name.)

A fingerprint is {case: [sum, dot product with a fixed vector, sum of magnitudes]}. Everything runs with
float64 as default type, so that processors and thread counts agree to 1e-9 of the magnitude; inputs come from
formulas or from the package's own generators. Sources copy tensors and claims state verdicts: they have tests
of their own and no fingerprint.
"""

import argparse
import contextlib
import importlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import official_files
import torch
from fingerprint_tools import (
    CPU,
    L2_ATTACK,
    Cases,
    Formula,
    build,
    data_cases,
    field_cases,
    folder,
    frozen_convnet,
    generator,
    image_request,
    images,
    measured,
    model_cases,
    module_and_config,
    numbers,
    objective_cases,
    pattern,
    plane,
    plane_request,
    resolved,
)  # fmt: skip
from networks import CLASSES, IMAGE, examples
from PIL import Image

from pagrepro import augment, gradients, plugins, schedule, seeding, splits, statistics
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions, Parts
from pagrepro.layout import Layout
from pagrepro.replay import ReplayRequest
from pagrepro.request import LoadedField, LoadedRun
from pagrepro.storage import load_tensors
from pagrepro.task import LoopState, TaskSetup
from pagrepro.training_data import TrainingData

FILE = Path(__file__).parents[1] / "fingerprints.json"
NUMERIC_KINDS = ("attacks", "data", "evaluations", "fields", "generators", "models", "objectives", "tasks")
RTOL = 1e-9


# --- numbers ---------------------------------------------------------------------------------------


# --- attacks, objectives, models, tasks ------------------------------------------------------------


def pgd() -> Cases:
    x, y = images()
    model, cases = frozen_convnet(), {}
    common = {"eps": 0.1, "steps": 4}
    variants = {
        "linf": {"norm": "linf", "relative_step": 2},
        "l2": {"norm": "l2", "relative_step": 2, "eps": 0.7},
        "linf pixel start": {"norm": "linf", "step_size": 0.02, "start": "pixel"},
        "l2 targeted": {"norm": "l2", "step_size": 0.1, "targeted": True, "start": "zero"},
        "linf margin, worst of 2": {
            "norm": "linf", "step_size": 0.03, "loss": "margin", "keep": "worst", "restarts": 2,
            "drop_fooled": True,
        },
    }  # fmt: skip
    for case, options in variants.items():
        attack = build("attacks", "pgd", **{**common, **options})
        cases[case] = numbers(attack.perturb(model, x, y, generator(1)))
    attack = build("attacks", "pgd", norm="l2", relative_step=2, **common)
    budgets = torch.linspace(0.1, 0.5, len(x))
    cases["own budgets, no box"] = numbers(
        attack.perturb(model, x, y, generator(1), eps=budgets, low=None, high=None)
    )
    return cases


def cosine_alignment() -> Cases:
    variants = {
        "default": {},
        "log-probabilities, mean": {"gradient_of": "log_probability", "reduce": "mean"},
        "eval": {"batchnorm": "eval"},
        "frozen, others": {"batchnorm": "frozen", "drop_own_class": True},
        "two classes, product": {"classes": 2, "cosine_floor": "product", "cosine_eps": 0.5},
        "two passes": {"shared_forward": False},
        # The third method, "recompute", is compared with this one in test_objectives.py: its first use in a
        # process imports a compiler, which takes longer than all fingerprints together.
        "batched": {"method": "batched"},
    }
    augmented = {
        "augmented, pre, visible": {"mask_invisible": True},
        "augmented, post": {"augment_gradient": "post"},
        "augmented, recompute": {"augment_gradient": "recompute"},
    }
    cases = {}
    for some, drawn in ((variants, None), (augmented, Augment(crop_padding=2, flip=True))):
        weighted = {case: {"weight": 0.7, **options} for case, options in some.items()}
        cases |= objective_cases("cosine_alignment", weighted, drawn)
    return cases


def cross_entropy() -> Cases:
    return objective_cases("cross_entropy", {"augmented": {}}, Augment(crop_padding=2, flip=True))


def adversarial_training() -> Cases:
    attack = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "relative_step": 2}
    modes = ("eval", "train")
    return objective_cases(
        "adversarial_training", {mode: {"attack": attack, "attack_mode": mode} for mode in modes}
    )


def cifar_resnet18() -> Cases:
    variants = {
        "cifar": {"width": 2},
        "imagenet": {"width": 2, "stem": "imagenet", "mean": [0.4], "std": [0.2]},
        "frozen": {"width": 2, "bn": "frozen"},
        "removed": {"width": 2, "bn": "removed"},
    }
    return model_cases("cifar_resnet18", (3, 16, 16), variants)


def resnet50() -> Cases:
    return model_cases("resnet50", (3, 16, 16), {"narrow": {"width": 2}})


def toy_mlp() -> Cases:
    return model_cases("toy_mlp", (2,), {"default": {}, "scaled": {"hidden": [5, 4], "input_scale": 0.3}})


def task_options(**changes: Any) -> dict[str, Any]:
    options = {
        "model": {"name": "cifar_resnet18", "width": 2},
        "objective": {"name": "cosine_alignment", "weight": 0.5},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True},
        "augment": {"crop_padding": 1, "flip": True},
    }
    return resolved("tasks", "classifier", **(options | changes))


def classifier() -> Cases:
    x, y, g = examples(5)
    optimizers = {
        "sgd": {},
        "adam": {"optimizer": {"name": "adam", "lr": 0.01, "betas": [0.8, 0.99], "weight_decay": 1e-3}},
        "adamw": {"optimizer": {"name": "adamw", "lr": 0.01}},
    }
    cases = {}
    for case, changes in optimizers.items():
        torch.manual_seed(1)
        setup = TaskSetup(IMAGE, CLASSES, 0.0, 1.0, 0, 3, CPU)
        task = plugins.instantiate("tasks", task_options(**changes), setup)
        losses, state = [], LoopState(0, 3, CPU)
        for state.step in range(3):
            batch = Batch(x, y, torch.arange(len(x)), fields={"targets": lambda index, x: g[index]})
            losses.append(task.step(state, batch)["loss"])
        cases[f"{case}: losses"] = numbers(losses)
        cases[f"{case}: weights"] = numbers(task.network.state_dict())
    return cases


def external() -> Cases:
    module, config = module_and_config(
        "tasks", "external", adapter={"name": "robustness_checkpoint"}, model={"name": "toy_mlp"}
    )
    torch.manual_seed(0)
    return {"network": numbers(module.network(config, (2,), 2)(pattern(4, 2)))}


def fitted() -> Cases:
    """Six steps of the real loop: order, seeds, schedule, moving average, last batch smaller."""
    x, y = 6 * pattern(13, 2) - 3, torch.arange(13) % 2
    task = task_options(
        model={"name": "toy_mlp", "hidden": [6]}, objective={"name": "cross_entropy"}, augment={}
    )
    options = {
        "epochs": 2, "batch_size": 5, "drop_last": False, "ema": {"decay": 0.9}, "amp": "none",
        "schedule": {"name": "cosine", "warmup": 0.3}, "keep_epochs": [1], "deterministic": True,
        "tf32": False, "channels_last": False,
    }  # fmt: skip
    spec = {"task": task, "dataset": {"files": {}}, "split": {}, "fit": options, "monitor": [], "seed": 3}
    parts = Parts(data=lambda *about: TrainingData(x, y, 2, None, None))
    cases = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        layout = Layout(Path(folder))
        fit({**spec, "inputs": {}}, "tiny", layout, {}, options=FitOptions(), parts=parts)
        for which in ("final", "ema", "epoch:1"):
            cases[which] = numbers(load_tensors(layout.weights("tiny", which)))
        lines = [json.loads(line) for line in layout.history("tiny").read_text().splitlines()]
        cases["history"] = numbers([[line["lr"], line["metrics"]["loss"]] for line in lines])
    return cases


# --- fields and evaluations ------------------------------------------------------------------------


def class_mean() -> Cases:
    variants = {"norm": {}, "global": {"scale": "global", "coordinates": "unit"}, "number": {"scale": 1.5}}
    return field_cases("class_mean", variants)


def nearest_neighbour() -> Cases:
    return field_cases("nearest_neighbour", {"pool": {"pool": 3}, "all": {"pool": "all", "mean": [0.4]}})


def one_image() -> Cases:
    return field_cases("one_image", {pick: {"pick": pick} for pick in ("random", "first", "medoid")})


def teacher_gradient() -> Cases:
    variants = {"float16": {}, "float32": {"dtype": "float32", "gradient_of": "log_probability"}}
    # Stored bytes would be read as float32, in which the teacher's gradients differ between processors.
    teacher = LoadedRun("t", frozen_convnet(), {})
    return field_cases("teacher_gradient", variants, torch.float64, teacher=teacher)


def alignment() -> Cases:
    directions = pattern(6, CLASSES, *IMAGE) - 0.5
    targets = LoadedField("t", lambda rows, x: directions[rows] - x[:, None], {})
    variants = {
        "plain": {},
        "attacked": {"attack": L2_ATTACK, "gradient_of": "log_probability", "gradient_batch": 3},
    }
    return measured("alignment", image_request(inputs={"targets": targets}), variants)


def line_margin() -> Cases:
    options = {"slope": 1.5, "directions": 8, "max_radius": 4.0, "scan": 16}
    return measured("line_margin", plane_request(), {"line": options})


def grid_attack() -> Cases:
    options = {"directions": 7, "radii": [0.3, 0.9], "slope": 0.5}
    return measured("grid_attack", plane_request(), {"grid": options})


def protocol() -> Cases:
    x, y = plane()
    directions = pattern(12, 2, 2) - 0.5
    fields = {"targets": lambda rows, x: directions[rows]}
    batch = Batch(x, y, torch.arange(12), None, fields, None, None)
    objectives = {
        "logits": {"name": "cosine_alignment", "weight": 0.5},
        "log-probabilities": {"name": "cosine_alignment", "weight": 0.5, "gradient_of": "log_probability"},
        "attacked": {"name": "adversarial_training", "attack": L2_ATTACK},
    }
    cases = {}
    for case, options in objectives.items():
        spec = {"seed": 0, "task": {"objective": plugins.resolve("objectives", options)}}
        cases |= measured("protocol", plane_request(ReplayRequest, batch=batch, run_spec=spec), {case: {}})
    return cases


def targeted_images() -> Cases:
    attack = {**L2_ATTACK, "eps": 2.0, "targeted": True}
    judge = {"judge": LoadedRun("j", frozen_convnet(5), {})}
    return measured("targeted_images", image_request(inputs=judge), {"judged": {"attack": attack}})


def decision_map() -> Cases:
    options = {"x_bounds": (-3, 3), "y_bounds": (-4, 2), "resolution": 17}
    return measured("decision_map", plane_request(), {"map": options})


# --- data ------------------------------------------------------------------------------------------


def cifar10() -> Cases:
    with folder() as path:
        official_files.cifar_archive(path / "a.tar.gz")
        return data_cases("cifar10", {"archive": path / "a.tar.gz"}, {"archive": {}})


def mnist() -> Cases:
    with folder() as path:
        return data_cases(
            "mnist", official_files.mnist_folder(path), {"files": {}, "2, 0": {"classes": (2, 0)}}
        )


def stl10() -> Cases:
    x = Formula().integers(0, 256, (3, 3, 96, 96))
    # A plain frame: weights at the border are no ninths, and a pixel half-way between levels would be rounded
    # up on one processor and down on another.
    for edge in (slice(0, 5), slice(91, 96)):
        x[:, :, edge] = x[:, :, :, edge] = 40
    thirds = {"resize": 32}
    variants = {"96": {}, "area": thirds, "antialias": {**thirds, "resampling": "antialias"}}
    with folder() as path:
        official_files.stl_archive(path / "a.tar.gz", x, [1, 10, 4])
        return data_cases("stl10", {"archive": path / "a.tar.gz"}, variants)


def digits() -> Cases:
    variants = {
        "8": {},
        "16, nearest": {"size": 16, "upsampling": "nearest"},
        "32, few": {"size": 32, "train_per_class": 5},
        "5, 3": {"classes": (5, 3)},
    }
    return data_cases("digits", {}, variants)


def toy_line() -> Cases:
    return data_cases("toy_line", {}, {"small": {"per_mode_train": 20, "per_mode_test": 7}}, seed=3)


def class_folders(root: Path) -> Path:
    """Images `<part>/<class>/<file>` below `root`."""
    values = Formula()
    for part in ("train", "test"):
        for name in ("cat", "dog", "ape"):
            for i in range(2):
                pixels = values.integers(0, 256, (4, 5, 3)).astype(np.uint8)
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


FOLDERS = {"colour": {}, "grey, ordered": {"channels": 1, "class_folders": ("dog", "ape", "cat")}}


def image_folder() -> Cases:
    with folder() as path:
        return data_cases("image_folder", {"images": class_folders(path)}, FOLDERS)


def image_archive() -> Cases:
    with folder() as path:
        root, archives = class_folders(path / "images"), {}
        for part in ("train", "test"):
            archives[part] = path / f"{part}.tar"
            with tarfile.open(archives[part], "w") as archive:
                archive.add(root / part, part)
        return data_cases("image_archive", archives, FOLDERS)


# --- modules that are no plugins -------------------------------------------------------------------


def augmented() -> Cases:
    x, cases = pattern(6, 2, 5, 4), {}
    for scope in ("example", "batch"):
        options = Augment(crop_padding=2, flip=True, scope=scope, fill=0.25)
        draw = augment.draw(options, len(x), (2, 5, 4), generator(1))
        cases[scope] = numbers(draw.apply(x), draw.apply(x, fill=0.0))
    return cases


def cosines() -> Cases:
    """Also of vectors so small that the floors count."""
    v, u = pattern(3, 5) - 0.5, (pattern(3, 5, start=50) - 0.5) * torch.tensor([[1.0], [1e-12], [0.0]])
    floors = {floor: gradients.cosine(v, u, floor=floor) for floor in ("each", "product")}
    x, _ = images()
    found = gradients.class_gradients(frozen_convnet(), x, "log_probability", torch.tensor([2, 0]))
    return {"floors": numbers(floors), "classes": numbers(found)}


def scheduled() -> Cases:
    shapes = {
        "constant": {"name": "constant"},
        "step": {"name": "step", "milestones": {"0.49": 0.1, "0.75": "1/100"}, "per": "epoch"},
        "cosine": {"name": "cosine", "warmup": 0.2, "warmup_factor": 0.1, "final": 0.01},
        "cosine under the warm-up": {"name": "cosine", "warmup": 0.2, "after_warmup": False},
        "linear": {"name": "linear", "points": {"0": 0, "0.4": 1, "1": 0}},
    }
    return {
        case: numbers([schedule.parse(options).at(step, 40, 4) for step in range(40)])
        for case, options in shapes.items()
    }


def seeded() -> Cases:
    seeds = [seeding.seed_for(seed, name, k) for seed in (0, 7) for name in ("order", "init") for k in (0, 1)]
    halves = [half for seed in seeds for half in divmod(seed, 2**32)]
    drawn = torch.rand(20, generator=seeding.generator(3, "noise", 5))
    order = torch.randperm(20, generator=seeding.generator(3, "order", 5))
    return {"seeds": numbers(halves), "draws": numbers(drawn), "order": numbers(order)}


def chosen() -> Cases:
    labels = [k * k % 7 % 3 for k in range(60)]
    return {
        "uniform": numbers(splits.uniform(60, 20, 0)),
        "stratified": numbers(splits.stratified(labels, 17, "a")),
        "per class": numbers(splits.per_class(labels, 4, 1)),
    }


def intervals() -> Cases:
    a, b = (pattern(2, 8) + torch.tensor([[0.4], [0.9]])).numpy()
    values = pattern(2, 40).numpy().copy()
    values[0, 3] = np.nan
    return {
        "t": numbers(*statistics.t_interval(a)),
        "welch": numbers(*statistics.welch_interval(a, b[:5])),
        "fieller": numbers(*statistics.fieller_interval(a, b)),
        "sd": numbers(*statistics.sd_interval(a)),
        "share": numbers(*statistics.share_interval(3, 7), *statistics.share_interval(0, 4)),
        "fisher": numbers(
            statistics.fisher_interval(0.6, 9), statistics.fisher_interval(0.6, 9, rank=True),
            statistics.fisher_interval(1.0, 9, rank=True),
        ),
        "correlation": numbers(statistics.correlation(a, b), statistics.correlation(a, b, rank=True)),
        "bootstrap": numbers(statistics.resampled_means(values, 0, 50)),
        "percentiles": numbers(statistics.percentile_interval(values)),
    }  # fmt: skip


# Modules beside this one, each with `FINGERPRINTS` of its area.
AREAS = (
    "fingerprints_alignment",
    "fingerprints_attacked",
    "fingerprints_attacks",
    "fingerprints_autoattack",
    "fingerprints_data",
    "fingerprints_denoisers",
    "fingerprints_distractor",
    "fingerprints_generators",
    "fingerprints_imagenet",
    "fingerprints_manifold",
    "fingerprints_natural",
    "fingerprints_objectives",
    "fingerprints_recipe",
    "fingerprints_similarity",
    "fingerprints_statistics",
    "fingerprints_terms",
)

FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "attacks.pgd": pgd,
    "augment": augmented,
    "data.cifar10": cifar10,
    "data.digits": digits,
    "data.image_archive": image_archive,
    "data.image_folder": image_folder,
    "data.mnist": mnist,
    "data.stl10": stl10,
    "data.toy_line": toy_line,
    "evaluations.accuracy": lambda: measured("accuracy", image_request(), {"clean": {}}),
    "evaluations.alignment": alignment,
    "evaluations.decision_map": decision_map,
    "evaluations.grid_attack": grid_attack,
    "evaluations.line_margin": line_margin,
    "evaluations.pgd_accuracy": lambda: measured(
        "pgd_accuracy", image_request(), {"l2": {"attack": L2_ATTACK}}
    ),
    "evaluations.protocol": protocol,
    "evaluations.targeted_images": targeted_images,
    "fields.class_mean": class_mean,
    "fields.nearest_neighbour": nearest_neighbour,
    "fields.one_image": one_image,
    "fields.teacher_gradient": teacher_gradient,
    "fit": fitted,
    "gradients": cosines,
    "models.cifar_resnet18": cifar_resnet18,
    "models.resnet50": resnet50,
    "models.toy_mlp": toy_mlp,
    "objectives.adversarial_training": adversarial_training,
    "objectives.cosine_alignment": cosine_alignment,
    "objectives.cross_entropy": cross_entropy,
    "schedule": scheduled,
    "seeding": seeded,
    "splits": chosen,
    "statistics": intervals,
    "tasks.classifier": classifier,
    "tasks.external": external,
}
for area in AREAS:
    FINGERPRINTS |= importlib.import_module(area).FINGERPRINTS


def wanted() -> set[str]:
    """Every plugin of a numeric kind, and the shared modules that have a fingerprint of their own."""
    modules = {
        "augment",
        "fit",
        "gradients",
        "image_noise",
        "recipe",
        "schedule",
        "score",
        "seeding",
        "splits",
        "statistics",
    }
    return modules | {f"{kind}.{name}" for kind in NUMERIC_KINDS for name in plugins.names(kind)}


def compute(name: str) -> Cases:
    """The fingerprint of one module, in float64 and without a trace in this process's random state."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            return FINGERPRINTS[name]()
    finally:
        torch.set_default_dtype(before)


# --- the file --------------------------------------------------------------------------------------
# {module: {"revision": n, "values": {case: [sum, dot, magnitude]}}}; modules that only stand behind others
# have no values.

Recorded = dict[str, dict[str, Any]]


def current(names: Mapping[str, Cases]) -> Recorded:
    """What the file should say of these fingerprints."""
    revisions = plugins.revisions(*names)
    return {m: {"revision": n, "values": names.get(m, {})} for m, n in sorted(revisions.items())}


def same(a: list[float], b: list[float]) -> bool:
    """Equal to 1e-9 of the sum of magnitudes (a sum may be the small difference of large terms)."""
    size = max(a[2], b[2])
    return all(abs(p - q) <= RTOL * size for p, q in zip(a, b, strict=True))


def changed(old: Recorded, new: Recorded, name: str) -> list[str]:
    """Cases of a module whose numbers changed."""
    before = old.get(name, {}).get("values", {})
    return [
        case
        for case, found in new[name]["values"].items()
        if case in before and not same(before[case], found)
    ]


def refusals(old: Recorded, new: Recorded, closure: Callable[[str], list[str]]) -> list[str]:
    """Changes that nobody may record: of numbers under the same revisions, and revisions that went down.

    closure: module -> all modules with a REVISION that stand behind it, itself included.
    """
    found = []
    for name in new:
        cases, behind = changed(old, new, name), closure(name)
        if cases and all(old.get(m, {}).get("revision") == new[m]["revision"] for m in behind):
            others = ", ".join(m for m in behind if m != name) or "none"
            found.append(
                f"{name}: its numbers changed ({', '.join(cases)}) and no REVISION did. If that is meant,\n"
                f"  bump REVISION of {name} (or of the module you changed, of those it imports: {others}),\n"
                "  run `python tests/unit/fingerprints.py --write`, note it in CHANGELOG.md"
            )
        recorded = old.get(name, {}).get("revision", 0)
        if new[name]["revision"] < recorded:
            found.append(
                f"{name}: REVISION {new[name]['revision']} was {recorded} before; it never goes down"
            )
    return found


def out_of_date(old: Recorded, new: Recorded) -> list[str]:
    """Names of entries that the file has otherwise, or not at all, or too many."""
    return sorted(
        name
        for name in old.keys() | new.keys()
        if name not in old
        or name not in new
        or old[name]["revision"] != new[name]["revision"]
        or old[name]["values"].keys() != new[name]["values"].keys()
        or changed(old, new, name)
    )


def closure(name: str) -> list[str]:
    return sorted(plugins.revisions(name))


def read() -> Recorded:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def text(content: Recorded) -> str:
    """JSON with one line per case, so that a diff shows which numbers changed. Floats are written by repr."""
    entries = []
    for name, entry in sorted(content.items()):
        cases = ",\n".join(f"   {json.dumps(case)}: {json.dumps(v)}" for case, v in entry["values"].items())
        values = f"{{\n{cases}\n  }}" if cases else "{}"
        entries.append(f' {json.dumps(name)}: {{"revision": {entry["revision"]}, "values": {values}}}')
    return "{\n" + ",\n".join(entries) + "\n}\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Fingerprints of all numeric plugins.")
    parser.add_argument("--write", action="store_true", help="record them in tests/fingerprints.json")
    write = parser.parse_args(arguments).write
    old, new = read(), current({name: compute(name) for name in sorted(FINGERPRINTS)})
    refused, stale = refusals(old, new, closure), out_of_date(old, new)
    if refused:
        print("\n".join(refused), file=sys.stderr)
        return 1
    if not write and stale:
        print(f"out of date: {', '.join(stale)}; run with --write", file=sys.stderr)
        return 1
    if write:
        # Numbers that agree stay as they were recorded: another processor leaves the file alone.
        for name, entry in new.items():
            before = old.get(name, {}).get("values", {})
            kept = set(entry["values"]) & set(before) - set(changed(old, new, name))
            entry["values"] |= {case: before[case] for case in kept}
        FILE.write_text(text(new), encoding="utf-8")
    print(f"{len(FINGERPRINTS)} fingerprints, {len(stale)} entries {'written' if write else 'differ'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
