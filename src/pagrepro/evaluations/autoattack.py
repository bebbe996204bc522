"""Accuracy under AutoAttack, the ensemble of attacks by which robustness is compared.

Croce and Hein (2020), section 5: APGD on cross-entropy, targeted APGD on the difference of logits ratio
(DLR), targeted FAB and Square, each on what those before it have not broken. Rodriguez-Munoz et al. (2024),
section 3 (attack benchmark) and appendices C.2 and C.7: the standard version on 5,000 images; with 200 steps,
and the larger version, as a check.
"""

from typing import Literal

from pydantic import Field, model_validator

from pagrepro.autoattack_run import SETS, Progress, Stage, run
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """version: standard (APGD-CE, APGD-T, FAB-T, Square) or plus (APGD-CE, APGD-DLR and FAB with 5 restarts
    each, Square, APGD-T, FAB-T), as in the library; apgd_ce_t: APGD-CE and APGD-T only, a cheap set that is
    no AutoAttack and is not called so; custom: `attacks`, in this order.

    norm, eps: the ball, in units of images in [0, 1]. steps: of APGD and FAB. targets: classes that a
    targeted attack tries, the likeliest first, at most all others. queries: of Square. restarts: of APGD-CE,
    APGD-DLR and FAB in a custom set. few_classes: DLR is not defined for fewer than 4 classes; refuse, or
    cross_entropy: those attacks give way to one more APGD-CE, with 5 restarts and its own random numbers.
    prepared: attack a copy of the network with the batch normalisation folded into its convolutions, which is
    the same but for rounding; whether an image is broken, the network itself says.
    """

    version: Literal["standard", "plus", "apgd_ce_t", "custom"] = "standard"
    attacks: list[Literal["apgd_ce", "apgd_dlr", "apgd_t", "fab", "fab_t", "square"]] = []
    norm: Literal["linf", "l2"] = "linf"
    eps: Number = Field(gt=0)
    steps: int = Field(100, ge=1)
    targets: int = Field(9, ge=1)
    queries: int = Field(5000, ge=1)
    restarts: int = Field(1, ge=1)
    few_classes: Literal["refuse", "cross_entropy"] = "refuse"
    prepared: bool = False

    @model_validator(mode="after")
    def _consistent(self):
        # The largest in use are 0.3 and 5; more is a budget in other units.
        largest = {"linf": 1, "l2": 10}[self.norm]
        if self.eps > largest:
            raise ValueError(
                f"eps: in units of images in [0, 1], at most {largest} in {self.norm}: write 8/255"
            )
        if (self.version == "custom") != bool(self.attacks):
            raise ValueError("attacks: to be given with version: custom, and only then")
        if len(set(self.attacks)) != len(self.attacks):
            raise ValueError("attacks: every attack once")
        if self.version != "custom" and self.restarts != 1:
            raise ValueError("restarts: an option of version: custom; the others have their own")
        weaker = self.steps < 100 or self.targets != 9 or self.queries != 5000
        if self.version in ("standard", "plus") and weaker:
            raise ValueError(
                f"version: {self.version} has 9 targets, 5000 queries and at least 100 steps;"
                " anything cheaper is version: custom or apgd_ce_t"
            )
        return self


RESTARTED = ("apgd_ce", "apgd_dlr", "fab")
DLR = ("apgd_dlr", "apgd_t")
DLR_CLASSES = 4

# Square sees no gradients: if it breaks more than this share of all images, gradients are masked.
SQUARE_SHARE = 0.002


def stages(config: Config, classes: int) -> list[Stage]:
    """The attacks in their order, for a network with so many logits. Raises DataError for too few of them."""
    chosen = SETS.get(config.version) or {
        name: config.restarts if name in RESTARTED else 1 for name in config.attacks
    }
    if classes < 2:
        raise DataError(f"AutoAttack needs two logits or more, found {classes}")
    given = {"targets": min(config.targets, classes - 1), "steps": config.steps, "queries": config.queries}
    found = [Stage(name, name, restarts, **given) for name, restarts in chosen.items()]
    undefined = [stage for stage in found if stage.kind in DLR]
    if classes >= DLR_CLASSES or not undefined:
        return found
    if config.few_classes == "refuse":
        raise DataError(
            f"{', '.join(stage.name for stage in undefined)}: the DLR loss needs {DLR_CLASSES} classes, the"
            f" network has {classes}; few_classes: cross_entropy puts APGD-CE with 5 restarts in their place"
        )
    instead = Stage("apgd_ce_restarts", "apgd_ce", 5, **given, stream=1)
    place = found.index(undefined[0])
    return [
        instead if index == place else stage
        for index, stage in enumerate(found)
        if index == place or stage not in undefined
    ]


def accuracy_name(version: str) -> str:
    """Name of the robust accuracy: `accuracy` for AutoAttack itself, else with the name of the set."""
    return "accuracy" if version in ("standard", "plus") else f"{version}_accuracy"


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy (share that no attack breaks; apgd_ce_t_accuracy, custom_accuracy for these versions),
    clean_accuracy, after_<attack> (share that stands after this attack and those before it), max_norm
    (largest perturbation that broke an image, in the norm of the ball).

    arrays: correct (N,) bool; broken_by (N,) int8, -1: not broken, 0: wrong without an attack, k: by the k-th
    attack of after_<attack>. flags: randomised_model, softmax_output, zero_gradients (of an image:
    cross-entropy on the first batch, or DLR), square_stronger (Square broke more than 0.2 % of all images),
    dlr_replaced, nonfinite_under_attack, left_the_ball (not counted as broken). Depends on the seed, on the
    order of the images and on the batch size. With `request.scratch` a measurement that was killed goes on.
    """
    identity = {
        "options": config.model_dump(mode="json"), "seed": request.seed, "batch_size": request.batch_size,
        "examples": len(request.x),
    }  # fmt: skip
    progress = run(
        request, lambda classes: stages(config, classes), config.norm, config.eps, identity, config.prepared
    )
    names = [stage.name for stage in stages(config, progress.classes)]
    after = [progress.robust_after(k).double().mean().item() for k in range(len(names) + 1)]
    values = {
        accuracy_name(config.version): after[-1],
        "clean_accuracy": after[0],
        **{f"after_{name}": share for name, share in zip(names, after[1:])},
        "max_norm": progress.size.max().item(),
    }
    arrays = {"correct": (progress.broken_by < 0).numpy(), "broken_by": progress.broken_by.numpy()}
    return Measurement(values, arrays, _flags(progress, names, after))


def _flags(progress: Progress, names: list[str], after: list[float]) -> list[str]:
    flags = list(progress.flags)
    if "square" in names:
        number = names.index("square") + 1
        if number > 1 and after[number] < after[number - 1] - SQUARE_SHARE:
            flags.append("square_stronger")
    if "apgd_ce_restarts" in names:
        flags.append("dlr_replaced")
    return flags
