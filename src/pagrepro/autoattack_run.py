"""The attacks of AutoAttack one after the other, on what is not broken yet; what is found is kept.

Croce and Hein (2020): an ensemble of attacks without parameters to tune. The attacks are those of the
authors' library pyautoattack, with the constants of its versions; Rodriguez-Munoz et al. (2024) evaluate with
it. Its own driver is not used: that tells states apart by the names of the attacks only, so that it goes on
after a change of eps, and begins an interrupted attack anew. Order, batches and random numbers are its own.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pagrepro import seeding
from pagrepro.checks import check_range
from pagrepro.errors import DataError
from pagrepro.predictions import batches, predicted
from pagrepro.prepared_network import prepared
from pagrepro.request import MeasureRequest
from pagrepro.state import StateStore
from pagrepro.threat import NORMS

REVISION = 1

# Attacks of a version, in their order, with their restarts: the first two as in the library.
SETS = {
    "standard": {"apgd_ce": 1, "apgd_t": 1, "fab_t": 1, "square": 1},
    "plus": {"apgd_ce": 5, "apgd_dlr": 5, "fab": 5, "square": 1, "apgd_t": 1, "fab_t": 1},
    "apgd_ce_t": {"apgd_ce": 1, "apgd_t": 1},
}

LIBRARY_NORMS = {"linf": "Linf", "l2": "L2"}

# Rounding of x + delta in float32. What is further out is not counted as an attack.
TOLERANCE = 1e-5

# Square Attack for the Euclidean norm tiles the image with squares of a fifth of its height.
SMALLEST_SIDE = 5

# What the library's checks say, and the flag that stands for it.
WARNINGS = {
    "randomized defense": "randomised_model",
    "probability distribution": "softmax_output",
    "zero gradient": "zero_gradients",
}


@dataclass(frozen=True)
class Stage:
    """One attack. kind: apgd_ce, apgd_dlr, apgd_t, fab, fab_t or square; targets: classes that a targeted
    one tries; steps: of APGD and FAB; queries: of Square; stream: which random numbers (0: the others')."""

    name: str
    kind: str
    restarts: int = 1
    targets: int = 9
    steps: int = 100
    queries: int = 5000
    stream: int = 0


@dataclass
class Progress:
    """What is known of N examples. clean: (N,) bool, right without an attack; broken_by: (N,) int8, 0: wrong
    without an attack, k: broken by stage k (counted from 1), -1: not broken; size: (N,) float32, norm of the
    perturbation that broke it, else 0. Stages before `stage` are done, and `done` examples of that one."""

    clean: Tensor
    broken_by: Tensor
    size: Tensor
    classes: int
    stage: int = 1
    done: int = 0
    saved: int = 0
    flags: list[str] = field(default_factory=list)

    def warning(self, message: str) -> None:
        """Note a flag; called by the library's checks, for which this is the logger."""
        found = [flag for text, flag in WARNINGS.items() if text in message] or [message]
        self.flags += [flag for flag in found if flag not in self.flags]

    def robust_after(self, stage: int) -> Tensor:
        """(N,) bool: not broken by the first `stage` stages (0: right without an attack)."""
        return (self.broken_by < 0) | (self.broken_by > stage)


def run(
    request: MeasureRequest,
    plan: Callable[[int], list[Stage]],
    norm: str,
    eps: float,
    identity: dict[str, Any],
    prepare: bool = False,
) -> Progress:
    """Attack all examples of a request, whose images are in [0, 1], and say what broke them.

    plan: number of logits -> stages. With `request.scratch`, progress is kept there after every batch under
    `identity` (everything besides model and images that the answer depends on), and a later call goes on.
    prepare: attack a prepared copy of the network, and let the network itself say what is broken.
    Every call of an attack starts the same random numbers, by the request's seed, as in the library. Raises
    DataError for data that the attacks are not made for, RangeError for values outside of [0, 1].
    """
    _check(request)
    store = StateStore(request.scratch, identity) if request.scratch else None
    kept = store.load() if store else None
    # The library reseeds the process's own generators.
    own = [request.device] if request.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=own):
        progress = Progress(**kept) if kept else _clean(request)
        stages = plan(progress.classes)
        _check_square(request, stages, norm)
        if not kept:
            _keep(store, progress)
        attacked = prepared(request.model, request.device) if prepare else request.model
        while progress.stage <= len(stages):
            stage = stages[progress.stage - 1]
            seed = seeding.seed_for(request.seed, "autoattack", stage.stream)
            attack = library_attack(stage, attacked, norm, eps, seed, request.device, progress)
            _attack(request, stage, attack, norm, eps, progress, store)
            progress.stage, progress.done = progress.stage + 1, 0
    return progress


def _check(request: MeasureRequest) -> None:
    if (request.low, request.high) != (0, 1):
        raise DataError(
            f"AutoAttack clips to [0, 1]; the data are in [{request.low}, {request.high}]. Use pgd_accuracy"
        )
    if request.x.dim() != 4 or len(request.x) == 0:
        raise DataError(f"AutoAttack is for images (N, C, H, W), found {tuple(request.x.shape)}")
    check_range(request.x, 0, 1)


def _check_square(request: MeasureRequest, stages: list[Stage], norm: str) -> None:
    side = min(request.x.shape[2:])
    if norm == "l2" and side < SMALLEST_SIDE and any(stage.kind == "square" for stage in stages):
        raise DataError(f"Square Attack in l2 needs {SMALLEST_SIDE} pixels a side, found {side}")


def _clean(request: MeasureRequest) -> Progress:
    """Predictions without an attack, and the library's checks of the model on the first batch."""
    from pyautoattack import checks

    right = [predicted(request.model(x)) == y for _, x, y in batches(request)]
    clean = torch.cat(right).cpu()
    broken_by = torch.where(clean, -1, 0).to(torch.int8)
    progress = Progress(clean, broken_by, torch.zeros(len(clean), dtype=torch.float32), 0)
    _, x, y = next(batches(request))
    checks.check_randomized(request.model, x, y, logger=progress)
    progress.classes = int(checks.check_range_output(request.model, x, logger=progress))
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(request.model(x), y, reduction="sum")
        gradient = torch.autograd.grad(loss, x)[0].contiguous()
    # The library looks at the DLR loss only; where cross-entropy saturates, APGD-CE has nothing to follow.
    checks.check_zero_gradients(gradient, logger=progress)
    return progress


def _attack(
    request: MeasureRequest,
    stage: Stage,
    attack: Any,
    norm: str,
    eps: float,
    progress: Progress,
    store: StateStore | None,
) -> None:
    """The rest of one stage. Its batches are of what stood when it began, wherever it goes on."""
    number = progress.stage
    rows = progress.robust_after(number - 1).nonzero()[:, 0]
    for start in range(progress.done, len(rows), request.batch_size):
        batch = rows[start : start + request.batch_size]
        x, y = (values[batch.to(values.device)].to(request.device) for values in (request.x, request.y))
        with _allowing_cumsum() if stage.kind in ("fab", "fab_t") else contextlib.nullcontext():
            x_adv = attack.perturb(x.clone(), y)
        scores = request.model(x_adv)
        size = NORMS[norm].size(x_adv - x)
        wrong = predicted(scores) != y
        inside = (size <= eps * (1 + TOLERANCE) + TOLERANCE) & ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
        if not bool(scores.isfinite().all()):
            progress.warning("nonfinite_under_attack")
        if bool((wrong & ~inside).any()):
            progress.warning("left_the_ball")
        broken = (wrong & inside).cpu()
        progress.broken_by[batch[broken]] = number
        progress.size[batch[broken]] = size.cpu()[broken].to(progress.size)
        progress.done = start + request.batch_size
        _keep(store, progress)


def _keep(store: StateStore | None, progress: Progress) -> None:
    progress.saved += 1
    if store:
        store.save(progress.saved, asdict(progress))


@contextlib.contextmanager
def _allowing_cumsum() -> Iterator[None]:
    """FAB projects with a cumulative sum, for which CUDA promises no fixed order: a warning, not an error."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(min(before, 1))
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def library_attack(
    stage: Stage,
    model: Callable[[Tensor], Tensor],
    norm: str,
    eps: float,
    seed: int,
    device: torch.device,
    logger: Any = None,
) -> Any:
    """The library's object for a stage; `perturb(x, y)` gives x_adv (B, *shape), or x where it found nothing.

    x: (B, C, H, W) float32 in [0, 1]; eps in the same units; logger: has `warning(message)`.
    """
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    common = {
        "n_restarts": stage.restarts, "eps": eps, "norm": LIBRARY_NORMS[norm], "seed": seed, "device": device,
    }  # fmt: skip
    if stage.kind in ("apgd_ce", "apgd_dlr"):
        loss = stage.kind.removeprefix("apgd_")
        return APGDAttack(model, n_iter=stage.steps, loss=loss, logger=logger, **common)
    if stage.kind == "apgd_t":
        targets = stage.targets
        return APGDAttack_targeted(
            model, n_iter=stage.steps, n_target_classes=targets, logger=logger, **common
        )
    if stage.kind in ("fab", "fab_t"):
        more = {"targeted": stage.kind == "fab_t", "n_target_classes": stage.targets}
        return FABAttack_PT(model, n_iter=stage.steps, **more, **common)
    return SquareAttack(model, n_queries=stage.queries, resc_schedule=False, **common)
