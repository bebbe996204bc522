"""Input gradients of one scalar of a classifier: which scalar, when the paper says only "the gradient".

Srinivas, Bordt and Lakkaraju (2023). On CIFAR-10 the paper sums the logits of all classes; on ImageNet
and MNIST it takes the logit of the predicted class. The sum is a direction that the cross-entropy leaves
free (adding a constant to all logits changes no probability), and the paper's theory is about
log-probabilities and the energy log sum exp; all of these can be asked for by name.
"""

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagrepro.errors import DataError
from pagrepro.map_options import Gradient

REVISION = 1


def gradient_scalar(logits: Tensor, y: Tensor, of: Gradient) -> Tensor:
    """The scalars (B,) that are differentiated, from logits (B, C) and labels (B,) int64.

    logit_sum: sum_t f_t; label_logit: f_y; predicted_logit: f of the largest logit; logsumexp: log sum_t
    exp f_t; label_log_probability: log p_y; loss: the cross-entropy, -log p_y. Raises ValueError for any
    other name.
    """
    if of == "logit_sum":
        return logits.sum(1)
    if of == "predicted_logit":
        return _of_class(logits, logits.argmax(1))
    if of == "label_logit":
        return _of_class(logits, y)
    if of == "logsumexp":
        return logits.logsumexp(1)
    if of == "label_log_probability":
        return -F.cross_entropy(logits, y, reduction="none")
    if of == "loss":
        return F.cross_entropy(logits, y, reduction="none")
    raise ValueError(f"gradient of {of!r}; allowed: {', '.join(get_args(Gradient))}")


def classifier_gradient(model: nn.Module, x: Tensor, y: Tensor, of: Gradient) -> Tensor:
    """Gradient (B, *shape) of the chosen scalar with respect to x (B, *shape), detached, per unit of x.

    model: (B, *shape) -> logits (B, C), in eval mode, so that examples do not depend on each other; y:
    (B,) int64, looked at by the scalars of the label only. Raises DataError for the sum of the two logits
    of a network with a single output f, which are -f/2 and f/2: it is zero everywhere.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        if of == "logit_sum" and logits.shape[1] == 2 and bool((logits[:, 0] == -logits[:, 1]).all()):
            raise DataError(
                "gradient logit_sum: the two logits of this network always sum to zero; choose label_logit,"
                " predicted_logit, logsumexp, label_log_probability or loss"
            )
        # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
        return torch.autograd.grad(gradient_scalar(logits, y, of).sum(), x)[0]


def _of_class(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]
