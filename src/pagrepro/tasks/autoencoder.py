"""An autoencoder, whose decoder is the manifold that on- and off-manifold directions are told apart by.

Srinivas, Bordt and Lakkaraju (2023), section 4, "Measuring On- and Off-Manifold Robustness": pythae's
networks and loss (squared error summed over pixels, mean over the batch), a latent of 128, Adam. Both are in
`autoencoder_networks.py`.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor

from pagrepro.autoencoder_networks import Autoencoder, autoencoder
from pagrepro.batch import Batch
from pagrepro.optimizer_options import Adam, Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Strict
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1


class Config(Strict):
    """network: conv_cifar, the published one, for images (3, 32, 32); small_conv, for images of any size;
    mlp, one hidden layer. width: channels of the first convolution of small_conv, hidden units of mlp.
    latent: dimensions of z. variational: a VAE, whose mean stands for z."""

    network: Literal["conv_cifar", "small_conv", "mlp"] = "conv_cifar"
    width: Annotated[int, Field(ge=1)] | None = None
    latent: int = Field(128, ge=1)
    variational: bool = False
    optimizer: Optimizer = Adam(name="adam", lr=1e-4)

    @model_validator(mode="after")
    def _width_belongs_to_the_network(self):
        if (self.width is None) != (self.network == "conv_cifar"):
            raise ValueError("width: wanted with small_conv and mlp; the widths of conv_cifar are published")
        return self


def network(config: Config, shape: tuple[int, ...], classes: int) -> Autoencoder:
    """The untrained network; initial weights come from the global generator. Raises DataError for data of a
    form that it cannot have."""
    return autoencoder(config.network, shape, config.latent, config.width, config.variational)


class AutoencoderTask:
    """The network and its optimiser."""

    def __init__(self, config: Config, setup: TaskSetup):
        self.network = network(config, setup.shape, setup.classes)
        self.network.set_range(setup.low, setup.high)
        self.network.to(setup.device)
        self.optimizers = {"network": build_optimizer(config.optimizer, self.network)}

    def step(self, state: LoopState, batch: Batch) -> dict[str, Tensor]:
        """One update. Metrics: loss and its parts (see `Autoencoder.terms`), gradient_norm."""
        optimizer = self.optimizers["network"]
        optimizer.zero_grad(set_to_none=True)
        terms = self.network.terms(batch.augmented(), state.generator("latents"))
        loss = terms["loss"]
        loss.backward()
        norm = finite_or_diverge(loss, self.network.parameters(), terms, state.step, self.network.buffers())
        optimizer.step()
        return {**{name: term.detach() for name, term in terms.items()}, "gradient_norm": norm}


def build(config: Config, setup: TaskSetup) -> AutoencoderTask:
    """The task of one run; seed the global generator before, it draws the initial weights."""
    return AutoencoderTask(config, setup)
