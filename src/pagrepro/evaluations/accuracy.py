"""Accuracy and cross-entropy on clean examples (Ganz et al. 2022, Tables 1, 2 and 4, column "clean")."""

import torch
from torch.nn.functional import cross_entropy

from pagrepro.checks import check_range
from pagrepro.options import Strict
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """Nothing to choose."""


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy (fraction), loss (mean cross-entropy, nats).

    arrays: correct (N,) bool; margin (N,) float32: logit of the label minus the largest other logit.
    """
    check_range(request.x, request.low, request.high)
    scores = torch.cat([logits(request.model, x, len(x)) for _, x, _ in batches(request)]).float()
    y = request.y.to(scores.device)
    correct = predicted(scores) == y
    own = scores.gather(1, y[:, None]).squeeze(1)
    other = scores.scatter(1, y[:, None], -torch.inf).max(1).values
    flags = [] if bool(scores.isfinite().all()) else ["nonfinite_logits"]
    return Measurement(
        {"accuracy": correct.double().mean().item(), "loss": cross_entropy(scores.double(), y).item()},
        {"correct": correct.cpu().numpy(), "margin": (own - other).cpu().numpy()},
        flags,
    )
