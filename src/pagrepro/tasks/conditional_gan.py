"""A class-conditional GAN with a multi-class hinge loss, the manifold that images are projected to.

Bigolin Lanfredi et al. (2020), section 2.3.2, who use the network and loss of Kavalerov et al. (2021); the
defaults are the published configuration for images of 32x32. Losses: `multi_hinge.py`; networks:
`gan_networks.py`.
"""

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.gan_networks import ConditionalGan, Discriminator, Generator
from pagrepro.layers import image_shape
from pagrepro.multi_hinge import feature_distance, multi_hinge
from pagrepro.optimizer_options import Adam, Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Number, Strict
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1


class Config(Strict):
    """width: channels of all layers; latent: dimensions of z; bottom: side of the smallest image inside the
    generator, which is doubled up to the side of the data. blocks: of the discriminator, of which the first
    `halvings` halve the image. pad_to: side that images are framed to with their lowest value (28x28 to
    32); what is generated is cropped back. optimizer: one for each network. d_steps: updates of the
    discriminator for one of the generator, each on its own part of the batch, so that `fit.batch_size` is
    d_steps times the published batch. features, class_hinge: weights of the generator's two losses."""

    width: int = Field(256, ge=1)
    latent: int = Field(128, ge=1)
    bottom: int = Field(4, ge=1)
    blocks: int = Field(4, ge=1)
    halvings: int = Field(2, ge=0)
    pad_to: int | None = None
    optimizer: Optimizer = Adam(name="adam", lr=2e-4, betas=(0.0, 0.999))
    d_steps: int = Field(4, ge=1)
    features: Number = 1.0
    class_hinge: Number = 0.05


def network(config: Config, shape: tuple[int, ...], classes: int) -> ConditionalGan:
    """The untrained networks; initial weights come from the global generator. Raises DataError for images
    of a size that they cannot have."""
    channels, rows, columns = image_shape(shape, "conditional_gan")
    side = config.pad_to or rows
    doublings, rest = divmod(side, config.bottom)
    fits = rows == columns == side or (config.pad_to is not None and max(rows, columns) <= side)
    if rest or doublings.bit_count() != 1 or not fits:
        raise DataError(
            f"conditional_gan: images of {rows}x{columns}, pad_to {config.pad_to}: the side has to be"
            f" {config.bottom} (bottom) times a power of 2; others need `pad_to`"
        )
    if side >> config.halvings == 0:
        raise DataError(f"conditional_gan: halvings: an image of side {side} cannot be halved that often")
    ups = doublings.bit_length() - 1
    return ConditionalGan(
        Generator(config.latent, config.width, config.bottom, ups, channels, classes),
        Discriminator(config.width, config.blocks, config.halvings, channels, classes),
        shape,
        side,
    )


class ConditionalGanTask:
    """Both networks and their optimisers."""

    def __init__(self, config: Config, setup: TaskSetup):
        self.config, self.classes = config, setup.classes
        self.network = network(config, setup.shape, setup.classes)
        self.network.set_range(setup.low, setup.high)
        self.network.to(setup.device)
        self.optimizers = {
            name: build_optimizer(config.optimizer, getattr(self.network, name))
            for name in ("generator", "discriminator")
        }

    def step(self, state: LoopState, batch: Batch) -> dict[str, Tensor]:
        """d_steps updates of the discriminator, then one of the generator with the latents, classes and
        images of the last of them. "loss" is the sum of both networks' losses."""
        count, d_steps = len(batch.y), self.config.d_steps
        if count < d_steps:
            raise DataError(f"fit.batch_size: {count} examples, but the discriminator takes {d_steps} steps")
        generator = state.generator("latents")
        about = {"device": batch.x.device, "generator": generator}
        z = torch.randn(count, self.network.latent, dtype=batch.x.dtype, **about)
        made_y = torch.randint(self.classes, (count,), **about)
        everything = (self.network.framed(batch.x), batch.y, z, made_y)
        parts = list(zip(*(values.tensor_split(d_steps) for values in everything), strict=True))
        found = [self._discriminator_step(state, *part) for part in parts]
        means = {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}
        real, _, z, made_y = parts[-1]
        means |= self._generator_step(state, real, z, made_y)
        return {"loss": means["d_loss"] + means["g_loss"], **means}

    def _discriminator_step(
        self, state: LoopState, real: Tensor, y: Tensor, z: Tensor, made_y: Tensor
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            made = self.network.generator(z, made_y)
        scores, _ = self.network.discriminator(torch.cat([real, made]))
        fake = torch.full_like(made_y, self.classes)
        terms = {
            "d_real": multi_hinge(scores[: len(real)], y).mean(),
            "d_made": multi_hinge(scores[len(real) :], fake).mean(),
        }
        return self._update("discriminator", "d", sum(terms.values()), terms, state)

    def _generator_step(self, state: LoopState, real: Tensor, z: Tensor, made_y: Tensor) -> dict[str, Tensor]:
        scores, features = self.network.discriminator(self.network.generator(z, made_y))
        with torch.no_grad():
            _, real_features = self.network.discriminator(real)
        terms = {
            "g_features": feature_distance(features, real_features),
            "g_class": multi_hinge(scores, made_y).mean(),
        }
        loss = self.config.features * terms["g_features"] + self.config.class_hinge * terms["g_class"]
        return self._update("generator", "g", loss, terms, state)

    def _update(
        self, name: str, letter: str, loss: Tensor, terms: dict[str, Tensor], state: LoopState
    ) -> dict[str, Tensor]:
        """One optimiser step of one network; its terms, loss and gradient norm, detached."""
        parameters = list(getattr(self.network, name).parameters())
        self.optimizers[name].zero_grad(set_to_none=True)
        # For these weights alone: the other network's are not trained on this loss.
        loss.backward(inputs=parameters)
        norm = finite_or_diverge(loss, parameters, terms, state.step, self.network.buffers())
        self.optimizers[name].step()
        detached = {key: term.detach() for key, term in terms.items()}
        return {f"{letter}_loss": loss.detach(), **detached, f"{letter}_gradient_norm": norm}


def build(config: Config, setup: TaskSetup) -> ConditionalGanTask:
    """The task of one run; seed the global generator before, it draws the initial weights."""
    return ConditionalGanTask(config, setup)
