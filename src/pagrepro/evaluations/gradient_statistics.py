"""Size of the loss gradient: its L1 norm, by outcome of an attack, and the magnitudes of its entries.

Rodriguez-Munoz, Wang and Torralba (2024), Table 1 and Figures 6 and 7: g = d CE(f(x), y) / dx for x in the
data's range, ||g||_1 the sum over channels and pixels. Table 1 conditions on the outcome of PGD-10; an image
that is wrong without an attack counts as broken. With p the share that holds,
    E ||g||_1 = p E[||g||_1 | holds] + (1 - p) E[||g||_1 | broken].
Figure 6 shows the distribution of ||g||_1, Figure 7 that of |g| per channel, both over a logarithmic axis.
Bimodality is a number of this project for Figure 6: (skewness^2 + 1) / kurtosis of log ||g||_1, 5/9 for a
uniform distribution, 1/3 for a normal one, up to 1 for two points (Sarle's coefficient).
"""

from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.input_gradients import classifier_gradient
from pagrepro.options import Number, Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: an untargeted attack that norms are conditioned on; entries: number of images, from the first
    on, whose entries are counted (Figure 7); small: bound of the entries called small, per unit of x;
    log10_low, log10_high, per_decade: bins of the histogram of entries, evenly spaced in log10 |g|."""

    attack: plugin("attacks") | None = None
    entries: Annotated[int, Field(ge=1)] = 1000
    small: Number = Field(1e-9, gt=0)
    log10_low: int = -15
    log10_high: int = 3
    per_decade: Annotated[int, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _bins(self):
        if self.log10_low >= self.log10_high:
            raise ValueError("log10_low has to be below log10_high")
        return self


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: l1, l2, loss, means over the examples; l1_std (n - 1); l1_correct, l1_wrong, means over those
    classified correctly or not; clean_accuracy; bimodality; zero_gradients, the number of gradients that are
    exactly zero (left out of bimodality). With an attack: attack_accuracy, the share p that holds; l1_held,
    l1_broken. A mean over no example is NaN. Of the counted entries, all together and (for images) of channel
    c: share_small, share_zero, share_small_<c>, share_zero_<c>; zeros are small.

    arrays: l1, l2, loss (N,) float32; clean_correct and, with an attack, attack_correct (N,) bool;
    histogram_edges (bins + 1,) float64; histogram (1 + channels, bins + 2) int64 of |g|, first all channels
    together: the first column counts what is below the first edge but not zero, the last what reaches the
    last edge; histogram_zero (1 + channels,) int64 exact zeros. Means leave out gradients that are not
    finite, which have a flag.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack) if config.attack else None
    edges, parts, entries = histogram_edges(config), [], 0
    for start, x, y in batches(request):
        found, gradient = _batch(request, attack, start, x, y)
        parts.append(found)
        if start < config.entries:
            entries = entries + _entries(config, gradient[: config.entries - start], edges)
    joined = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    values = _values(joined) | _shares(entries)
    arrays = {name: v.numpy() if v.dtype == torch.bool else v.float().numpy() for name, v in joined.items()}
    arrays |= {"histogram_edges": edges, "histogram": entries[:, 2:], "histogram_zero": entries[:, 0]}
    flags = {
        f"{int(values['zero_gradients'])} gradients are zero": values["zero_gradients"] > 0,
        "nonfinite_gradients": not bool(joined["l1"].isfinite().all()),
    }
    return Measurement(values, arrays, [flag for flag, present in flags.items() if present])


def histogram_edges(config: Config) -> np.ndarray:
    """(bins + 1,) edges 10^log10_low to 10^log10_high."""
    bins = (config.log10_high - config.log10_low) * config.per_decade
    return 10.0 ** (config.log10_low + np.arange(bins + 1) / config.per_decade)


def bimodality(values: Tensor) -> float:
    """(skewness^2 + 1) / kurtosis of values (n,), with population moments; NaN for equal ones."""
    z = values.double() - values.double().mean()
    second, third, fourth = (z.pow(k).mean() for k in (2, 3, 4))
    return ((third.square() / second**3 + 1) * second.square() / fourth).item()


def _batch(
    request: MeasureRequest, attack: Any, start: int, x: Tensor, y: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Per-example outcome (B,), norms in float64, and the gradient (B, *shape)."""
    gradient = classifier_gradient(request.model, x, y, "loss")
    scores = logits(request.model, x, len(x))
    flat = gradient.double().flatten(1)
    found = {
        "l1": flat.abs().sum(1),
        "l2": flat.norm(dim=1),
        "loss": F.cross_entropy(scores, y, reduction="none").double(),
        "clean_correct": predicted(scores) == y,
    }
    if attack is not None:
        # The noise of the measurement pgd_accuracy, so that both see the same attack.
        noise = seeding.generator(request.seed, "attack", start, device=x.device)
        x_adv = attack.perturb(request.model, x, y, noise, low=request.low, high=request.high)
        correct = predicted(logits(request.model, x_adv, len(x))) == y
        found["attack_correct"] = correct & found["clean_correct"]
    return found, gradient


def _entries(config: Config, gradient: Tensor, edges: np.ndarray) -> np.ndarray:
    """(1 + channels, 2 + bins + 2) int64: zeros, small ones, and the histogram of |g|; for data that are not
    images (1, ...)."""
    g = gradient.abs().cpu().double().numpy()
    rows = [g.ravel(), *(g[:, c].ravel() for c in range(g.shape[1] if g.ndim == 4 else 0))]
    counts = []
    for row in rows:
        zero, small = int((row == 0).sum()), int((row < config.small).sum())
        places = np.searchsorted(edges, row[row > 0], side="right")
        counts.append([zero, small, *np.bincount(places, minlength=len(edges) + 1)])
    return np.array(counts, np.int64)


def _values(found: dict[str, Tensor]) -> dict[str, float]:
    l1, correct = found["l1"], found["clean_correct"]
    finite = l1.isfinite() & found["loss"].isfinite()
    nonzero = finite & (l1 > 0)
    values = {name: found[name][finite].mean().item() for name in ("l1", "l2", "loss")} | {
        "l1_std": l1[finite].std().item() if finite.sum() > 1 else float("nan"),
        "l1_correct": l1[finite & correct].mean().item(),
        "l1_wrong": l1[finite & ~correct].mean().item(),
        "clean_accuracy": correct.double().mean().item(),
        "bimodality": bimodality(l1[nonzero].log()),
        "zero_gradients": float((l1 == 0).sum()),
    }
    if "attack_correct" in found:
        held = found["attack_correct"]
        values["attack_accuracy"] = held.double().mean().item()
        values["l1_held"] = l1[finite & held].mean().item()
        values["l1_broken"] = l1[finite & ~held].mean().item()
    return values


def _shares(entries: np.ndarray) -> dict[str, float]:
    # Entries that are not a number are in neither; without any other, shares are not numbers either.
    total = (entries[:, 0] + entries[:, 2:].sum(1)).astype(float)
    total[total == 0] = np.nan
    ends = ["", *(f"_{c}" for c in range(len(entries) - 1))]
    values = {}
    for end, row, n in zip(ends, entries, total):
        values |= {f"share_zero{end}": float(row[0] / n), f"share_small{end}": float(row[1] / n)}
    return values
