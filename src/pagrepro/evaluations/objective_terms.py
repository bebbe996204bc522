"""The terms of a run's training objective at the end of its training: was what it asks for reached?

Rodriguez-Munoz, Wang and Torralba (2024), appendix E and Figure 14: aligning the loss gradient with edges
does not optimise, the cosine stays near zero, while that of class gradients and of saliencies rises.
"""

import copy
from dataclasses import replace

import torch

from pagrepro.options import Strict
from pagrepro.replay import ReplayRequest
from pagrepro.request import Measurement

REVISION = 1

REPLAYS = True
ARRAYS = False


class Config(Strict):
    """Nothing to choose."""


def measure(config: Config, request: ReplayRequest) -> Measurement:
    """values: mean of every term that the objective reports (loss, cross_entropy, cosine, penalty, ...) on
    the first batch of the training split, at most 64 examples, in float64 and eval mode, with the weights
    that terms have at the end of training. Classes and noise are drawn as at every other call."""
    model = copy.deepcopy(request.model).double().requires_grad_(True)
    with torch.enable_grad():
        terms = request.objective()(model, replace(request.batch, progress=1.0), request.generator())
    return Measurement({name: value.detach().double().mean().item() for name, value in terms.items()})
