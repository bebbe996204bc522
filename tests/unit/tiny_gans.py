"""Small class-conditional GANs for tests, and runs of them."""

import torch

from pagrepro.gan_networks import ConditionalGan, Discriminator, Generator
from pagrepro.load import freeze
from pagrepro.request import LoadedRun


def tiny_gan(
    shape: tuple[int, ...] = (1, 8, 8), classes: int = 4, low: float = 0.0, high: float = 1.0,
    seed: int = 0,
) -> ConditionalGan:  # fmt: skip
    """Untrained, in train mode; embeddings, batch statistics and biases far enough from zero that every part
    has an effect, and that classes differ."""
    torch.manual_seed(seed)
    side = 8
    network = ConditionalGan(
        Generator(5, 6, 4, 1, shape[0], classes), Discriminator(6, 3, 1, shape[0], classes), shape, side
    )
    network.set_range(low, high)
    with torch.no_grad():
        for module in network.generator.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.normal_(0, 0.7)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.02, 0.1)
    return network


def gan_run(dtype: torch.dtype = torch.float64, **options) -> LoadedRun:
    """The network above as a finished run."""
    return LoadedRun("gan", freeze(tiny_gan(**options).to(dtype)), {})
