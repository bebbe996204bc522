"""The theorems about off-manifold robustness, on models for which they can be checked to rounding.

Srinivas, Bordt and Lakkaraju (2023). Nothing of the measured run is used but its data; the models are built
here, in float64:
    Theorem 1    rho_1 tends to rho_2 (`off_manifold.py`): a smooth random network at the data's images, with
                 random subspaces,
    Argument 2   (section 3.3) ridge regression on images in a linear subspace: the weights lie in it, and the
                 output does not change off it; weights on coordinates independent of the label vanish,
    Theorem 2    the gradient of a Bayes posterior is the class's score minus the posterior mean of scores,
                 with no part where the density does not depend on the class: a mixture of Gaussians.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from pagrepro import seeding
from pagrepro.gradients import input_gradient
from pagrepro.off_manifold import Scalar, off_manifold_change, off_manifold_gradient
from pagrepro.options import Number, Strict
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

# What it says does not depend on the model that is measured.
OF_MODEL = False

# Of the smooth network. Theorem 1 is checked on at most so many values of an image, evenly spaced: with
# thousands of them, the projections would take minutes.
HIDDEN, MOST_INPUTS = 32, 256

# Of the synthetic data: values with and without a part in the label, and noise beside the signal.
SIGNAL, DISTRACTOR, NOISE = 6, 8, 0.5
CLASSES = 4
BAYES_SIGMA = 0.5


class Config(Strict):
    """points, draws, sigmas: images, noise vectors per image and noise levels for Theorem 1. images: of the
    data set, for ridge regression; subspace: dimensions of theirs; ridge: weight of the penalty. examples:
    a small and a large number of synthetic examples for coordinates without a part in the label."""

    points: int = Field(16, ge=1)
    draws: int = Field(2048, ge=4, multiple_of=2)
    sigmas: Annotated[tuple[Annotated[Number, Field(gt=0)], ...], Field(min_length=1)] = (
        1e-3,
        1e-2,
        0.1,
        1.0,
    )
    images: int = Field(512, ge=2)
    subspace: int = Field(8, ge=1)
    ridge: Number = Field(0.01, gt=0)
    examples: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=2)]] = (1000, 100_000)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: theorem1_error, |rho1 - rho2| / rho2 of the means at the smallest sigma (sampling error
    included); ridge_span, norm of the weights' part outside the subspace over their norm; ridge_off_change,
    largest change of an output over the length of an off-subspace step; ridge_distractor_small and
    ridge_distractor, norm share of the weights on label-independent coordinates for few and many examples;
    bayes_gradient, relative difference of gradient and formula, and bayes_distractor, norm share of the
    gradient off the signal, both in the norm over all points; bayes_off_manifold, largest rho1 of the
    posterior's logarithm at noise that is not small.

    arrays: sigma (S,), rising; rho1 (S,), means over points; rho2 (points,).
    """
    options = {"dtype": torch.float64, "device": request.device}
    x = request.x[: max(config.points, config.images)].to(**options).flatten(1)
    y = request.y[: len(x)].to(request.device)
    values, arrays = _theorem1(config, request, x[: config.points])
    values |= _ridge(config, request, x[: config.images], one_hot(y, request.classes)[: config.images].to(x))
    few, many = (_label_independent(config, request, count) for count in config.examples)
    values |= {"ridge_distractor_small": few, "ridge_distractor": many}
    return Measurement(values | _bayes(config, request), arrays)


def _draws(request: MeasureRequest, *names: str | int) -> dict:
    """Options of a random tensor of one purpose."""
    generator = seeding.generator(request.seed, "manifold_theory", *names, device=request.device)
    return {"generator": generator, "dtype": torch.float64, "device": request.device}


def _orthonormal(rows: int, columns: int, draws: dict) -> Tensor:
    """Random orthonormal rows (rows, columns)."""
    return torch.linalg.qr(torch.randn(columns, rows, **draws))[0].T


# --- Theorem 1 -------------------------------------------------------------------------------------


def _theorem1(config: Config, request: MeasureRequest, x: Tensor) -> tuple[dict[str, float], dict]:
    x = x[:, :: -(-x.shape[1] // MOST_INPUTS)]
    inputs, draws = x.shape[1], _draws(request, "theorem1")
    f = _smooth_network(inputs, draws)
    # A quarter of all dimensions: neither part of the noise is negligible.
    basis = torch.stack([_orthonormal(max(1, inputs // 4), inputs, draws) for _ in x])  # (points, k, inputs)
    noise = (torch.randn(x.shape, **draws) for _ in range(config.draws))
    sigmas = sorted(config.sigmas)
    rho1 = off_manifold_change(f, x, basis, noise, sigmas).mean(1)
    rho2 = off_manifold_gradient(f, x, basis)
    error = (rho1[0] - rho2.mean()).abs() / rho2.mean()
    arrays = {"sigma": torch.tensor(sigmas, dtype=torch.float64), "rho1": rho1, "rho2": rho2}
    return {"theorem1_error": error.item()}, {name: value.cpu().numpy() for name, value in arrays.items()}


def _smooth_network(inputs: int, draws: dict) -> Scalar:
    """Two hidden layers of tanh with random weights: (B, inputs) -> (B,)."""
    first = torch.randn(inputs, HIDDEN, **draws) / inputs**0.5
    second = torch.randn(HIDDEN, HIDDEN, **draws) / HIDDEN**0.5
    bias, last = torch.randn(HIDDEN, **draws), torch.randn(HIDDEN, **draws)
    return lambda x: torch.tanh(torch.tanh(x @ first + bias) @ second) @ last


# --- ridge regression ------------------------------------------------------------------------------


def ridge_weights(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """W (C, n) that minimises mean ||x W^T - y||^2 + weight ||W||^2, for x (N, n), y (N, C)."""
    gram = x.T @ x / len(x) + weight * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram, x.T @ y / len(x)).T


def _ridge(config: Config, request: MeasureRequest, x: Tensor, y: Tensor) -> dict[str, float]:
    """Ridge regression of the classes on images projected to their leading singular vectors."""
    span = torch.linalg.svd(x, full_matrices=False)[2][: config.subspace]  # (r, n)
    inside = x @ span.T @ span
    w = ridge_weights(inside, y, config.ridge)
    off = torch.randn(x.shape, **_draws(request, "ridge"))
    off = off - off @ span.T @ span
    change = ((inside + off) @ w.T - inside @ w.T).abs().amax(1) / off.norm(dim=1)
    return {
        "ridge_span": ((w - w @ span.T @ span).norm() / w.norm()).item(),
        "ridge_off_change": change.max().item(),
    }


def _label_independent(config: Config, request: MeasureRequest, count: int) -> float:
    """Norm share of ridge weights on coordinates that are independent of the label, of `count` examples whose
    other coordinates are the label (-1 or 1) in noise."""
    draws = _draws(request, "label_independent", count)
    y = torch.randint(2, (count, 1), generator=draws["generator"], device=request.device).double() * 2 - 1
    signal = y + NOISE * torch.randn(count, SIGNAL, **draws)
    w = ridge_weights(torch.cat([signal, torch.randn(count, DISTRACTOR, **draws)], 1), y, config.ridge)
    return (w[:, SIGNAL:].norm() / w.norm()).item()


# --- Bayes posteriors ------------------------------------------------------------------------------


class GaussianClasses:
    """p(x | y) = N(s; m_y, S_y) q(d), where s and d are the coordinates of x along orthonormal directions:
    signal, and a distractor with a density of two modes that is the same for every class."""

    def __init__(self, draws: dict):
        self.directions = _orthonormal(SIGNAL + DISTRACTOR, SIGNAL + DISTRACTOR, draws)
        self.signal = self.directions[:SIGNAL]
        self.mean = torch.randn(CLASSES, SIGNAL, **draws)
        self.root = torch.randn(CLASSES, SIGNAL, SIGNAL, **draws) / SIGNAL**0.5 + torch.eye(SIGNAL).to(
            self.mean
        )
        self.modes = torch.randn(2, DISTRACTOR, **draws)

    def sample(self, count: int, draws: dict) -> tuple[Tensor, Tensor]:
        """x (count, n), y (count,)."""
        y = torch.arange(count, device=self.mean.device) % CLASSES
        standard = torch.randn(count, SIGNAL, 1, **draws)
        s = self.mean[y] + (self.root[y] @ standard).squeeze(2)
        d = self.modes[y // CLASSES % 2] + torch.randn(count, DISTRACTOR, **draws)
        return torch.cat([s, d], 1) @ self.directions, y

    def log_densities(self, x: Tensor) -> Tensor:
        """log p(x | y) (B, CLASSES), up to a constant."""
        s, d = (x @ self.directions.T).split([SIGNAL, DISTRACTOR], 1)
        whitened = torch.linalg.solve(self.root, (s[:, None] - self.mean)[..., None]).squeeze(3)
        modes = (-(d[:, None] - self.modes).square().sum(2) / 2).logsumexp(1)
        return -whitened.square().sum(2) / 2 - torch.linalg.slogdet(self.root)[1] + modes[:, None]

    def scores(self, x: Tensor) -> Tensor:
        """Gradients of log p(x | y) with respect to x, (B, CLASSES, n), by their formulas."""
        s, d = (x @ self.directions.T).split([SIGNAL, DISTRACTOR], 1)
        covariance = self.root @ self.root.transpose(1, 2)
        of_s = -torch.linalg.solve(covariance, (s[:, None] - self.mean)[..., None]).squeeze(3)
        gaps = self.modes - d[:, None]  # (B, 2, DISTRACTOR)
        of_d = ((-gaps.square().sum(2) / 2).softmax(1)[..., None] * gaps).sum(1)
        return torch.cat([of_s, of_d[:, None].expand(-1, CLASSES, -1)], 2) @ self.directions


def _bayes(config: Config, request: MeasureRequest) -> dict[str, float]:
    """Theorem 2 and its proof, for points of every class and the posterior of each point's own class."""
    draws = _draws(request, "bayes")
    densities = GaussianClasses(draws)
    x, y = densities.sample(16 * CLASSES, draws)

    def log_posterior(points: Tensor) -> Tensor:
        return densities.log_densities(points).log_softmax(1).gather(1, y[:, None]).squeeze(1)

    x.requires_grad_()
    gradient = input_gradient(log_posterior(x), x)
    x = x.detach()
    scores, posterior = densities.scores(x), densities.log_densities(x).softmax(1)
    formula = scores[torch.arange(len(y)), y] - (posterior[..., None] * scores).sum(1)
    signal = densities.signal.expand(len(x), -1, -1)
    off = gradient - gradient @ densities.signal.T @ densities.signal
    noise = (torch.randn(x.shape, **draws) for _ in range(16))
    change = off_manifold_change(log_posterior, x, signal, noise, [BAYES_SIGMA])
    return {
        "bayes_gradient": ((gradient - formula).norm() / gradient.norm()).item(),
        "bayes_distractor": (off.norm() / gradient.norm()).item(),
        "bayes_off_manifold": change.max().item(),
    }
