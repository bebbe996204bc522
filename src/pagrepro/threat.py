"""Threat models: what a perturbation of size eps means, for the max norm and the Euclidean norm.

A norm knows how to project onto its ball, draw a start inside it, and take the steepest step along a
gradient. Perturbations are (B, *shape); budgets are (B,), one per example, in the data's units.
"""

import torch
from torch import Tensor

REVISION = 1

# Below this a gradient has no usable direction: the step is then zero (or shorter), never NaN. Far
# below the smallest gradient that means anything; a normal number in fp32.
NORM_FLOOR = 1e-30


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to be multiplied with `like` (B, *shape)."""
    return values.to(like).view(-1, *(1,) * (like.dim() - 1))


def budgets(eps: float | Tensor, x: Tensor) -> Tensor:
    """eps as (B,) in the dtype and on the device of x (B, *shape). Raises ValueError if any is negative."""
    values = torch.as_tensor(eps, dtype=x.dtype, device=x.device).expand(len(x))
    if bool((values < 0).any()):
        raise ValueError(f"eps must not be negative, found {float(values.min()):.6g}")
    return values


def box_of(
    box: str | tuple[float, float], low: float | None, high: float | None
) -> tuple[float | None, float | None]:
    """Ends of the box that an attack's option `box` asks for (None: no end), for data in [low, high]."""
    if isinstance(box, str):
        return (low, high) if box == "data" else (None, None)
    return float(box[0]), float(box[1])


def clip(x: Tensor, low: float | None, high: float | None) -> Tensor:
    """x moved into [low, high]; None means no end on that side."""
    return x if low is None and high is None else x.clamp(low, high)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


class Linf:
    """max |delta| <= eps."""

    @staticmethod
    def size(delta: Tensor) -> Tensor:
        """(B, *shape) -> (B,) norms."""
        return delta.flatten(1).abs().amax(1)

    @staticmethod
    def project(delta: Tensor, eps: Tensor) -> Tensor:
        """Nearest point of the ball: clamp every entry to [-eps, eps]."""
        radius = per_example(eps, delta)
        return torch.maximum(torch.minimum(delta, radius), -radius)

    @staticmethod
    def random_start(shape: tuple[int, ...], eps: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the ball: every entry U[-eps, eps]. shape: (B, *shape)."""
        noise = (2 * _uniform(shape, generator) - 1).to(eps)
        return noise * per_example(eps, noise)

    @staticmethod
    def steepest_step(gradient: Tensor) -> Tensor:
        """Ascent direction of unit norm: the sign (0 where the gradient is 0)."""
        return gradient.sign()


class L2:
    """||delta||_2 <= eps, over all entries of one example."""

    @staticmethod
    def size(delta: Tensor) -> Tensor:
        """(B, *shape) -> (B,) norms."""
        return torch.linalg.vector_norm(delta.flatten(1), dim=1)

    @staticmethod
    def project(delta: Tensor, eps: Tensor) -> Tensor:
        """Nearest point of the ball: rescale what is longer than eps."""
        norm = L2.size(delta)
        factor = torch.where(norm > eps, eps / norm.clamp_min(NORM_FLOOR), torch.ones_like(norm))
        return delta * per_example(factor, delta)

    @staticmethod
    def random_start(shape: tuple[int, ...], eps: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the ball: uniform direction, radius eps * u^(1/d) with d entries per example."""
        direction = torch.randn(shape, generator=generator, device=generator.device).to(eps)
        uniform = _uniform((shape[0],), generator).to(eps)
        radius = eps * uniform ** (1 / direction[0].numel())
        return L2.steepest_step(direction) * per_example(radius, direction)

    @staticmethod
    def steepest_step(gradient: Tensor) -> Tensor:
        """Ascent direction of unit norm: gradient / max(norm, floor); zero for a zero gradient.

        The largest entry is divided out first: the square of a gradient entry of 1e-25 is zero in fp32,
        and confident models do have gradients that small.
        """
        largest = per_example(Linf.size(gradient).clamp_min(NORM_FLOOR), gradient)
        scaled = gradient / largest
        return scaled / per_example(L2.size(scaled).clamp_min(NORM_FLOOR), scaled)


NORMS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}
