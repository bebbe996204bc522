"""How much of a function's change, and of its gradient, is off a manifold: the same for small noise.

Srinivas, Bordt and Lakkaraju (2023), section 3.1, for a scalar f at x, P the projector to its tangent space:
    rho_1   E (f(x + u_off) - f(x))^2 / E (f(x + u) - f(x))^2                         (Definition 1)
            for u ~ N(0, sigma^2) and u_off = u - P u, which is not rescaled;
    rho_2   ||g - P g||^2 / ||g||^2, g the gradient of f at x                         (Definition 2).
The definitions say "at most rho"; here rho is the smallest such number. Theorem 1: rho_1 tends to rho_2 as
sigma tends to 0.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pagrepro.gradients import input_gradient
from pagrepro.tangent import project

REVISION = 1

# (B, *shape) -> (B,)
Scalar = Callable[[Tensor], Tensor]


@torch.no_grad()
def off_manifold_change(
    f: Scalar, x: Tensor, basis: Tensor, noise: Iterable[Tensor], sigmas: Sequence[float]
) -> Tensor:
    """rho_1 (S, B) at every noise level; NaN where f does not change at all.

    x: (B, *shape), in float64: changes are differences of nearly equal numbers. basis: (B, k, *shape),
    orthonormal. noise: an even number of standard normal draws (B, *shape), at least 4, each of which serves
    numerator and denominator at every level.

    The ratio of sums over D draws is too large, for linear f by 2 rho_1 (1 - rho_1) / (D - 2) in the mean.
    That of half of the draws is so by 2 rho_1 (1 - rho_1) / (D/2 - 2), and the difference of the two tells
    how much to subtract: for linear f the result is without bias.
    """
    before, draws = f(x), 0
    off, whole = (x.new_zeros(2, len(sigmas), len(x)) for _ in range(2))
    for u in noise:
        u_off = u - project(basis, u)
        for level, sigma in enumerate(sigmas):
            off[draws % 2, level] += (f(x + sigma * u_off) - before).square()
            whole[draws % 2, level] += (f(x + sigma * u) - before).square()
        draws += 1
    ratio = off.sum(0) / whole.sum(0)
    return ratio - ((off / whole).mean(0) - ratio) * (draws - 4) / draws


def off_manifold_gradient(f: Scalar, x: Tensor, basis: Tensor) -> Tensor:
    """rho_2 (B,) of f at x (B, *shape), with a basis (B, k, *shape); NaN where the gradient is zero."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        gradient = input_gradient(f(x), x)
    off = gradient - project(basis, gradient)
    return off.flatten(1).square().sum(1) / gradient.flatten(1).square().sum(1)
