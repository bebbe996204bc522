"""A denoiser of images, for the score of the data where no public one is at hand.

Karras et al. (2022), Eq. 2 and Table 1: the squared error of D(x + sigma n; sigma), with
    ln sigma ~ N(p_mean, p_std^2),   weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2,
in the coordinates [-1, 1]. Its place in Srinivas et al. (2023) is section 4.2. The moving average of the
weights (`fit.ema`) is what is to be used.
"""

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.augment import draw
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.denoiser import EdmPreconditioned, build_denoiser
from pagrepro.denoiser_options import DenoiserNetwork
from pagrepro.optimizer_options import Adam, Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Number, Strict
from pagrepro.score import check_bounded, to_coordinates
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1


class Config(Strict):
    """network: unet2d, ddpmpp or adm. conditional: it is told the class. sigma_data: standard deviation of
    the data in [-1, 1]. p_mean, p_std: of ln sigma."""

    network: DenoiserNetwork
    conditional: bool = False
    sigma_data: Number = Field(0.5, gt=0)
    p_mean: Number = -1.2
    p_std: Number = Field(1.2, gt=0)
    optimizer: Optimizer = Adam(name="adam", lr=1e-3)
    augment: Augment = Augment()


def network(config: Config, shape: tuple[int, ...], classes: int) -> EdmPreconditioned:
    """The untrained denoiser; its initial weights come from the global generator."""
    return build_denoiser(config.network, shape, classes if config.conditional else 0, config.sigma_data)


class DenoiserTask:
    """Network and optimiser of one run."""

    def __init__(self, config: Config, setup: TaskSetup):
        check_bounded(setup.low, setup.high)
        self.config = config
        self.network = network(config, setup.shape, setup.classes).to(setup.device)
        self.optimizer = build_optimizer(config.optimizer, self.network)
        self.optimizers = {"network": self.optimizer}

    def step(self, state: LoopState, batch: Batch) -> dict[str, Tensor]:
        """One step on noised versions of the batch; "error" is the squared error per pixel without weight."""
        shape = tuple(batch.x.shape[1:])
        batch.draw = draw(self.config.augment, len(batch.y), shape, state.generator("augment"))
        x = to_coordinates(batch.augmented(), batch.low, batch.high)
        generator = state.generator("noise")
        about = {"dtype": x.dtype, "device": x.device, "generator": generator}
        sigma = (self.config.p_mean + self.config.p_std * torch.randn(len(x), **about)).exp()
        noise = torch.randn(x.shape, **about)
        y = batch.y if self.config.conditional else None
        self.optimizer.zero_grad(set_to_none=True)
        denoised = self.network(x + sigma.view(-1, 1, 1, 1) * noise, sigma, y)
        error = (denoised - x).square().flatten(1).mean(1)
        s = self.config.sigma_data
        loss = ((sigma.square() + s**2) / (sigma * s).square() * error).mean()
        loss.backward()
        terms = {"error": error.detach().mean()}
        norm = finite_or_diverge(loss, self.network.parameters(), terms, state.step)
        self.optimizer.step()
        return {"loss": loss.detach(), **terms, "gradient_norm": norm}


def build(config: Config, setup: TaskSetup) -> DenoiserTask:
    """The task of one run; seed the global generator before, it draws the initial weights. Raises
    DataError for data without a range, and as `build_denoiser`."""
    return DenoiserTask(config, setup)
