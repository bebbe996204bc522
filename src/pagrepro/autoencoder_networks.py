"""Autoencoders, whose decoder's tangent spaces stand for those of the data manifold.

Srinivas, Bordt and Lakkaraju (2023), section 4, use the pythae library (Chadebec et al., 2022). So do we:
its model classes and losses, with its convolutional networks for CIFAR ("conv_cifar", the likely choice of
the paper: 11.6 and 19 million parameters with a latent of 128), or with the smaller ones below, for images
of any size.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pagrepro.errors import DataError

REVISION = 1

Network = Literal["conv_cifar", "small_conv", "mlp"]

# Twice halved, an image of this side has one pixel.
SMALLEST_SIDE = 4


class Autoencoder(nn.Module):
    """x (B, *shape) in the data's range -> its reconstruction, in the same range.

    model: of pythae, on images in [0, 1]. latent: dimensions of z. The range is kept with the weights.
    """

    def __init__(self, model: nn.Module, latent: int, variational: bool):
        super().__init__()
        self.model, self.latent, self.variational = model, latent, variational
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def set_range(self, low: float | None, high: float | None) -> None:
        """The data's range. Raises DataError for data without one: what is decoded lies in an interval."""
        if low is None or high is None:
            raise DataError(f"autoencoder is for data within a range, found [{low}, {high}]")
        self.low.fill_(low)
        self.scale.fill_(high - low)

    def encode(self, x: Tensor) -> Tensor:
        """z (B, latent); of a variational one the mean."""
        return self.model.encoder(self._unit(x)).embedding

    def decode(self, z: Tensor) -> Tensor:
        """z (B, latent) -> (B, *shape) in the data's range."""
        return self.low + self.scale * self.model.decoder(z)["reconstruction"]

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def terms(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """pythae's loss of a batch, per image in [0, 1]: `loss`, the squared error summed over pixels; of a
        variational one half of it, `reconstruction`, and the divergence from N(0, 1), `divergence`, which add
        up to `loss`. Noise of the latents comes from `generator`."""
        unit = self._unit(x)
        found = self.model.encoder(unit)
        if not self.variational:
            made = self.model.decoder(found.embedding)["reconstruction"]
            return {"loss": self.model.loss_function(made, unit)}
        mean, log_variance = found.embedding, found.log_covariance
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        z = mean + noise * (log_variance / 2).exp()
        made = self.model.decoder(z)["reconstruction"]
        terms = self.model.loss_function(made, unit, mean, log_variance, z)
        return dict(zip(("loss", "reconstruction", "divergence"), terms, strict=True))

    def _unit(self, x: Tensor) -> Tensor:
        return (x - self.low) / self.scale


def autoencoder(
    network: Network, shape: tuple[int, ...], latent: int, width: int | None = None, variational: bool = False
) -> Autoencoder:
    """An untrained autoencoder for examples of `shape`; initial weights come from the global generator.

    width: channels of the first convolution of small_conv, hidden units of mlp; none for conv_cifar, whose
    widths are the published ones. Raises DataError for data of a form that a network cannot have.
    """
    # Imported here: processes without an autoencoder need not pay for it (0.6 s of CPU).
    from pythae.models import AE, VAE, AEConfig, VAEConfig

    config = (VAEConfig if variational else AEConfig)(input_dim=shape, latent_dim=latent)
    if network == "conv_cifar":
        encoder, decoder = _conv_cifar(config, shape, variational)
    else:
        bodies = _small_conv(shape, width) if network == "small_conv" else _mlp(shape, width)
        encoder, decoder = _as_pythae(*bodies, latent, variational)
    model = (VAE if variational else AE)(config, encoder=encoder, decoder=decoder)
    return Autoencoder(model, latent, variational)


def _conv_cifar(config, shape: tuple[int, ...], variational: bool) -> tuple[nn.Module, nn.Module]:
    from pythae.models.nn.benchmarks import cifar

    if tuple(shape) != (3, 32, 32):
        raise DataError(f"autoencoder conv_cifar is for images (3, 32, 32), found {tuple(shape)}")
    encoder = cifar.Encoder_Conv_VAE_CIFAR if variational else cifar.Encoder_Conv_AE_CIFAR
    return encoder(config), cifar.Decoder_Conv_AE_CIFAR(config)


# --- smaller networks ------------------------------------------------------------------------------


def _small_conv(shape: tuple[int, ...], width: int) -> tuple[nn.Module, nn.Module, int]:
    """Encoder body, decoder body and features between either of them and the latents. Two convolutions that
    halve the image (rounded down), and two transposed ones that give its size back."""
    if len(shape) != 3 or min(shape[1:]) < SMALLEST_SIDE:
        raise DataError(
            f"autoencoder small_conv is for images (C, H, W) of sides from {SMALLEST_SIDE},"
            f" found {tuple(shape)}"
        )
    channels, *sides = shape
    halves = [side // 2 for side in sides]
    quarters = [side // 2 for side in halves]
    down = nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.Flatten(),
    )  # fmt: skip
    up = nn.Sequential(
        nn.Unflatten(1, (2 * width, *quarters)),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, output_padding=[side % 2 for side in halves]),
        nn.BatchNorm2d(width), nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, 2, 1, output_padding=[side % 2 for side in sides]),
        nn.Sigmoid(),
    )  # fmt: skip
    return down, up, 2 * width * math.prod(quarters)


def _mlp(shape: tuple[int, ...], width: int) -> tuple[nn.Module, nn.Module, int]:
    """As `_small_conv`, of one hidden layer (pythae's default has 512 units)."""
    pixels = math.prod(shape)
    down = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU())
    up = nn.Sequential(nn.ReLU(), nn.Linear(width, pixels), nn.Sigmoid(), nn.Unflatten(1, shape))
    return down, up, width


def _as_pythae(
    down: nn.Module, up: nn.Module, features: int, latent: int, variational: bool
) -> tuple[nn.Module, nn.Module]:
    """The bodies with linear maps to and from the latents, as pythae's models want them."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.body, self.embedding = down, nn.Linear(features, latent)
            self.log_var = nn.Linear(features, latent) if variational else None

        def forward(self, x: Tensor) -> ModelOutput:
            h = self.body(x)
            found = ModelOutput(embedding=self.embedding(h))
            if self.log_var is not None:
                found["log_covariance"] = self.log_var(h)
            return found

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(latent, features), *up)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.body(z))

    return Encoder(), Decoder()
