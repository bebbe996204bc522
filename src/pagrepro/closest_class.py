"""The closest other class of an example, by the linearised distances of Lemma 1, and the function ell.

Lanfredi et al. (2020), Eq. 3 to 6. Where the network is linear, its boundary between the label y and class c
is at the signed distance
    d_c = (z_y - z_c) / ||grad z_y - grad z_c||_2   (z: logits, gradients with respect to x),
negative where c is preferred to y. The closest class c~ has the smallest distance, and ell = z_c~ - z_y. By
"signed" d_c (the public code) a wrongly classified x gets the class that is violated most, by "abs" (Eq. 5)
the nearest boundary; where y is predicted the two agree. With two classes there is nothing to choose.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from pagrepro.gradients import class_gradients, single

REVISION = 1

Choice = Literal["signed", "abs"]


def linearised(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) and their gradients (B, C, *shape) at x (B, *shape), detached. model: set eval mode
    first.

    For two classes one backward pass serves both: the paper's binary networks have a single logit
    f = z_1 - z_0, so the gradients are those of the pair (-f/2, f/2), whatever the network's own pair is.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        if logits.shape[1] != 2:
            return logits.detach(), class_gradients(logits, x).detach()
        # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
        half = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), x)[0] / 2
    return logits.detach(), torch.stack([-half, half], 1)


def class_distances(logits: Tensor, gradients: Tensor, y: Tensor, unit: float = 1.0) -> Tensor:
    """Signed distances d_c (B, C) from the class y (B,); +inf for y itself.

    logits: (B, C); gradients: (B, C, *shape); unit: length of one unit of the result in the data's units (0.5
    for a paper on [-1, 1] whose data here are in [0, 1]). Where two classes have the very same gradient the
    distance is infinite, with the sign of the difference of logits, or 0 where the logits are equal too.
    """
    logits = single(logits)
    ahead = of_class(logits, y)[:, None] - logits
    between = of_class(gradients, y)[:, None] - gradients
    slope = _norm(between.flatten(2)).to(ahead)
    distances = torch.where(ahead == 0, 0.0, ahead / slope) / unit
    return distances.scatter(1, y[:, None], torch.inf)


def closest_classes(distances: Tensor, y: Tensor, ctilde: Choice = "signed", most: int = 1) -> Tensor:
    """The `most` closest classes (B, most) int64, the closest first, never y; the lower index wins a tie.

    distances: (B, C) from y (B,). Raises ValueError for more classes than there are others.
    """
    if ctilde not in ("signed", "abs"):
        raise ValueError(f"ctilde {ctilde!r}; allowed: signed, abs")
    if not 1 <= most < distances.shape[1]:
        raise ValueError(f"{most} closest classes asked for; allowed: 1 to {distances.shape[1] - 1}")
    # Finite for every other class, even one without a boundary, so that y always comes last.
    far = torch.finfo(distances.dtype).max
    keys = (distances.abs() if ctilde == "abs" else distances).nan_to_num(far, far, -far)
    return keys.scatter(1, y[:, None], torch.inf).sort(dim=1, stable=True).indices[:, :most]


def closest_class(distances: Tensor, y: Tensor, ctilde: Choice = "signed") -> Tensor:
    """The closest class c~ (B,) int64."""
    return closest_classes(distances, y, ctilde)[:, 0]


def ell(logits: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """z_c - z_y (B,), Eq. 6: positive where c is preferred to y. logits: (B, C); y, c: (B,) int64."""
    return of_class(logits, c) - of_class(logits, y)


def ell_gradient(gradients: Tensor, y: Tensor, c: Tensor) -> Tensor:
    """grad z_c - grad z_y (B, *shape), the gradient of ell, from gradients (B, C, *shape)."""
    return of_class(gradients, c) - of_class(gradients, y)


def of_class(values: Tensor, c: Tensor) -> Tensor:
    """Entry c (B,) of each row of values (B, C, ...): (B, ...)."""
    return values[torch.arange(len(c), device=values.device), c]


def exact_cosine(v: Tensor, u: Tensor) -> Tensor:
    """Cosine (B,) of v and u (B, *shape) without a floor: 0 where a vector is exactly zero, and not for a
    vector that is merely small."""
    v, u = (z.flatten(1) / _scale(z.flatten(1)) for z in (v, u))
    norms = torch.linalg.vector_norm(v, dim=1) * torch.linalg.vector_norm(u, dim=1)
    return (v * u).sum(1) / norms.where(norms != 0, 1.0)


def is_zero(v: Tensor) -> Tensor:
    """Whether v (B, *shape) is exactly zero: (B,) bool."""
    return (v.flatten(1) == 0).all(1)


def _scale(v: Tensor) -> Tensor:
    """Largest magnitude along the last dimension, kept as one of size 1; 1 for zero vectors."""
    largest = v.abs().amax(-1, keepdim=True)
    return largest.where(largest != 0, 1.0)


def _norm(v: Tensor) -> Tensor:
    """Euclidean norm along the last dimension; squares of small entries do not underflow."""
    scale = _scale(v)
    return scale.squeeze(-1) * torch.linalg.vector_norm(v / scale, dim=-1)
