"""Which range of inputs does a model take? Measurements give it [0, 1] images; mis-scaled ones are not
errors.

A model that was trained on images in [-1, 1], in [0, 255] or standardised ones answers to [0, 1] images too,
only badly, and every budget of an attack is then in other units. Where the model has learned something,
accuracy tells: it is taken on the same examples under each convention."""

from dataclasses import dataclass
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from pagrepro.own_health import Flag, chance_level, right

# Another convention has to be better by this share of the examples, and so many times more often than the
# other way round that chance gives it with less than this probability.
MARGIN, SIGNIFICANCE = 0.1, 1e-4
ALIKE = 0.02

# With fewer classes than this, a random network may be right about whole classes under one convention and not
# under another: reason for a warning, not for a refusal.
FEW_CLASSES = 5

# Mean and standard deviation per channel of ImageNet, by which most public networks standardise.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

HOW = (
    "make the conversion the model's first layer, so that it takes [0, 1] images: return"
    " torch.nn.Sequential(Convert(), network), where Convert is a torch.nn.Module whose forward"
    " returns {form}"
)


@dataclass(frozen=True)
class Convention:
    """A way to give images to a network: x -> (x - shift) / scale, per channel. form: as code, for
    messages."""

    label: str
    form: str
    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def __call__(self, x: Tensor) -> Tensor:
        shift, scale = (torch.tensor(v, dtype=x.dtype, device=x.device) for v in (self.shift, self.scale))
        return (x - shift.view(-1, 1, 1)) / scale.view(-1, 1, 1)


def conventions(train: Tensor) -> list[Convention]:
    """What images are given as, elsewhere. train: (N, C, H, W) images in [0, 1], for their mean and
    spread."""
    mean = train.double().mean((0, 2, 3)).tolist()
    std = train.double().std((0, 2, 3)).clamp_min(1e-6).tolist()
    found = [
        Convention("[-1, 1]", "2 * x - 1", (0.5,), (0.5,)),
        Convention("[0, 255]", "255 * x", (0.0,), (1 / 255,)),
        Convention("standardised", "(x - mean) / std of the training images", tuple(mean), tuple(std)),
    ]
    if train.shape[1] == 3:
        form = "(x - mean) / std with mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225"
        found.append(Convention("standardised as ImageNet", form, *IMAGENET))
    return found


def check_range(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    train: Tensor,
    data: dict[str, Any],
    said: tuple[float, float] | None,
) -> list[Flag]:
    """Whether the model takes inputs in the range of the data set.

    x: (N, *shape) in that range, with labels y; train: images of the training part; data: name, low and high;
    said: the range that the model says it takes. Another range than the data's is refused. Where nothing is
    said, so is a convention under which the model is much better than on what it will be given; where the
    range was said, that is a warning.
    """
    own = (data["low"], data["high"])
    if said is not None and said != own:
        form = _form(said, own)
        how = HOW.format(form=form) if form else "its range is not that of images"
        return [
            Flag(
                "input_range",
                "refused",
                f"the model takes {_text(said)}, {data['name']} is in {_text(own)}: {how}",
            )
        ]
    if own != (0, 1) or x.dim() != 4:
        return [Flag("input_range", "not checked", f"{data['name']} has no images in [0, 1]: {_text(own)}")]
    return [_judged(model, x, y, conventions(train), said is not None, data["classes"])]


def _judged(
    model: nn.Module, x: Tensor, y: Tensor, others: list[Convention], said: bool, classes: int
) -> Flag:
    as_is = right(model, x, y)
    under = {other: right(model, other(x), y) for other in others}
    best = max(under, key=lambda other: under[other].sum().item())
    accuracy, rival = as_is.double().mean().item(), under[best].double().mean().item()
    told = f"accuracy on {len(y)} examples: {accuracy:.1%} in [0, 1], " + ", ".join(
        f"{hits.double().mean().item():.1%} {other.label}" for other, hits in under.items()
    )
    if max(accuracy, rival) < learned(chance_level(y)):
        return Flag("input_range", "not checked", f"accuracy at chance under every convention ({told})")
    gained, lost = int((under[best] & ~as_is).sum()), int((as_is & ~under[best]).sum())
    if rival - accuracy < MARGIN or sign_test(gained, lost) > SIGNIFICANCE:
        return Flag("input_range", "ok", told)
    # Under several of them a network may be as good.
    alike = [o.label for o, hits in under.items() if rival - hits.double().mean().item() < ALIKE]
    why = f"the model was made for inputs in another form ({' or '.join(alike)}): {told}"
    if said:
        return Flag("input_range", "warning", f"it says it takes [0, 1], but it seems that {why}")
    how = HOW.format(form=best.form)
    if classes < FEW_CLASSES:
        return Flag("input_range", "warning", f"it may be that {why}; if so, {how}")
    return Flag("input_range", "refused", f"{why}; {how}. If it does take [0, 1], say so: --input-range 0 1")


def learned(chance: float) -> float:
    """The accuracy from which a model is taken to have learned something: random networks reach several times
    chance on some data, and more of it the fewer classes there are."""
    return max(chance + 0.1, min(5 * chance, (1 + chance) / 2))


def sign_test(gained: int, lost: int) -> float:
    """Probability of at least `gained` heads in gained + lost throws of a fair coin (McNemar's exact
    test)."""
    n = gained + lost
    return sum(comb(n, k) for k in range(gained, n + 1)) / 2**n


def _form(said: tuple[float, float], own: tuple[float | None, float | None]) -> str | None:
    """The conversion from the data's range to the one that the model takes, as code."""
    if own != (0, 1):
        return None
    low, high = said
    return f"{high - low:g} * x" + (f" {'-' if low < 0 else '+'} {abs(low):g}" if low else "")


def _text(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    return "no bounded range" if low is None or high is None else f"[{low:g}, {high:g}]"
