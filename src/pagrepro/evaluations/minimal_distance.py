"""L2 distance from each example to the closest point found that is classified otherwise.

Bigolin Lanfredi et al. (2020), Figure 7: the distances of Carlini and Wagner's attack beside Lemma 1's
estimate. There a failure of the attack counted as distance 0; here it has no distance.
"""

import numpy as np
import torch
from pydantic import field_validator

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.options import Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: one that looks for a small perturbation (no option eps). Its `unit` is that of the results."""

    attack: plugin("attacks")

    @field_validator("attack")
    @classmethod
    def _without_budget(cls, value):
        if "eps" in value:
            raise ValueError(f"{value['name']} perturbs as far as its budget, not as little as it can")
        return value


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: mean, median, of the distances ||x_adv - x||_2 (NaN without any) in the attack's unit; success,
    the share of examples that have one; clean_accuracy; forward_passes, backward_passes per example.

    arrays: distance (N,), NaN where the attack failed, 0 for an example that is misclassified as it is;
    success, clean_correct (N,) bool. Success is a changed prediction, seen on x_adv itself.
    """
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack)
    parts = []
    for start, x, y in batches(request):
        generator = seeding.generator(request.seed, "attack", start, device=x.device)
        x_adv = attack.perturb(request.model, x, y, generator, low=request.low, high=request.high)
        right, robust = (predicted(logits(request.model, z, len(z))) == y for z in (x, x_adv))
        distance = (x_adv - x).flatten(1).double().norm(dim=1) / config.attack["unit"]
        parts.append((distance.where(~robust, torch.nan), ~robust, right))
    distance, success, right = (torch.cat(part).cpu().numpy() for part in zip(*parts))
    found = distance[success]
    values = {
        "mean": float(found.mean()) if len(found) else float("nan"),
        "median": float(np.median(found)) if len(found) else float("nan"),
        "success": float(success.mean()),
        "clean_accuracy": float(right.mean()),
        "forward_passes": attack.forward_passes / len(success) + 2,
        "backward_passes": attack.backward_passes / len(success),
    }
    flags = [] if success.all() else ["attack_failed"]
    return Measurement(values, {"distance": distance, "success": success, "clean_correct": right}, flags)
