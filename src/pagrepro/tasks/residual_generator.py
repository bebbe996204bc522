"""A generator of residuals that take an example to the other class, trained against a discriminator.

Bigolin Lanfredi et al. (2020), section 2.3.1, Eq. 10-13, for two classes; y' is the other class than y:
    moved = x + G(x, y')
    D minimises   d_real CE(D(x), y) + d_moved CE(D(moved), y)
    G minimises   g CE(D(moved), y') + length mean ||G(x, y')||_2 / sqrt(n).
D is a classifier of its own, from the start (or from weights for other classes) trained together with G. The
paper has one logit and binary cross-entropy; cross-entropy of two logits (-f/2, f/2) is the same.
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.optimizer_options import Adam, Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Number, Strict, plugin
from pagrepro.pretrained import start_from_file
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1
# Weights made for other classes that the discriminator starts from, without its last layer.
ROLES = {"pretrained": "source?"}


class Weights(Strict):
    """Of the four losses: lambda_Dx, lambda_Dx', lambda_G, lambda_RegG."""

    d_real: Number = 1.0
    d_moved: Number = 0.01
    g: Number = 0.3
    length: Number = 0.5


class Config(Strict):
    """optimizer: one of this kind for each of the two networks. update: simultaneous takes the gradients of
    both networks before either moves, which needs one forward pass of D at the moved examples; alternating
    moves D first. unit: one unit of the length in the data's units; the paper's inputs are in [-1, 1], so
    0.5 for images in [0, 1]. adapter: reads the file of the role `pretrained`; given if and only if that
    is."""

    generator: plugin("generators")
    discriminator: plugin("models")
    optimizer: Optimizer = Adam(name="adam", lr=1e-4, betas=(0.0, 0.9))
    weights: Weights = Weights()
    update: Literal["simultaneous", "alternating"] = "simultaneous"
    unit: Number = Field(1.0, gt=0)
    adapter: plugin("sources") | None = None


class Networks(nn.Module):
    """Both networks; called, it is the generator: (x, target, source) -> residual (B, *shape)."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def forward(self, x: Tensor, target: Tensor, source: Tensor) -> Tensor:
        return self.generator(x, target, source)


def network(config: Config, shape: tuple[int, ...], classes: int) -> Networks:
    """The untrained networks; initial weights come from the global generator. Raises DataError for more than
    two classes."""
    if classes != 2:
        raise DataError(f"residual_generator is for data of 2 classes, found {classes}")
    return Networks(
        plugins.instantiate("generators", config.generator, shape, classes),
        plugins.instantiate("models", config.discriminator, shape, classes),
    )


class ResidualGenerator:
    """Both networks and their optimisers."""

    def __init__(self, config: Config, setup: TaskSetup):
        self.config = config
        self.network = network(config, setup.shape, setup.classes).to(setup.device)
        start_from_file(self.network.discriminator, config.adapter, setup.inputs.get("pretrained"))
        self.optimizers = {
            name: build_optimizer(config.optimizer, getattr(self.network, name))
            for name in ("generator", "discriminator")
        }

    def step(self, state: LoopState, batch: Batch) -> dict[str, Tensor]:
        """One update of each network on the batch. "loss" is the sum of both networks' losses."""
        x, y, other = batch.x, batch.y, 1 - batch.y
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        residual = self.network(x, other, y)
        moved = x + residual
        alternating = self.config.update == "alternating"
        scores = self.network.discriminator(moved.detach() if alternating else moved)
        d_terms = {
            "d_real": F.cross_entropy(self.network.discriminator(x), y),
            "d_moved": F.cross_entropy(scores, y),
        }
        d_loss, d_norm = self._differentiate("discriminator", d_terms, state, keep=not alternating)
        if alternating:
            self.optimizers["discriminator"].step()
            scores = self.network.discriminator(moved)
        g_terms = {
            "g": F.cross_entropy(scores, other),
            "length": mean_length(residual) / self.config.unit,
        }
        g_loss, g_norm = self._differentiate("generator", g_terms, state)
        if not alternating:
            self.optimizers["discriminator"].step()
        self.optimizers["generator"].step()
        terms = {name: term.detach() for name, term in (d_terms | g_terms).items()}
        norms = {"d_gradient_norm": d_norm, "g_gradient_norm": g_norm}
        return {"loss": d_loss + g_loss, "d_loss": d_loss, "g_loss": g_loss, **terms, **norms}

    def _differentiate(
        self, name: str, terms: dict[str, Tensor], state: LoopState, keep: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the weighted sum of the terms for one network alone; the sum and the gradients'
        norm."""
        parameters = list(getattr(self.network, name).parameters())
        weights = self.config.weights
        loss = sum(getattr(weights, term) * value for term, value in terms.items())
        loss.backward(inputs=parameters, retain_graph=keep)
        norm = finite_or_diverge(loss, parameters, terms, state.step, self.network.buffers())
        return loss.detach(), norm


def mean_length(residual: Tensor) -> Tensor:
    """Eq. 12: mean over the batch of ||residual||_2 / sqrt(n), n values per example (B, *shape)."""
    flat = residual.flatten(1).float() if residual.dtype.itemsize < 4 else residual.flatten(1)
    return flat.norm(dim=1).mean() / flat.shape[1] ** 0.5


def build(config: Config, setup: TaskSetup) -> ResidualGenerator:
    """The task of one run; seed the global generator before, it draws the initial weights."""
    return ResidualGenerator(config, setup)
