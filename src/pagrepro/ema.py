"""Exponential moving average of a network's weights: w_ema <- decay * w_ema + (1 - decay) * w."""

import torch
from torch import Tensor, nn

REVISION = 1


class Ema:
    """Averages every floating point entry of the state dict, batch normalisation statistics included;
    counters are copied. Starts at the network's own weights, without warm-up; updated after each step. During
    the first `start` steps the average is the network itself."""

    def __init__(self, network: nn.Module, decay: float, start: int = 0):
        self.decay, self.start = decay, start
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int = 0) -> None:
        """Take in the weights after step number `step` (counted from 0)."""
        current = network.state_dict()
        averaging = step >= self.start
        averaged = [name for name, value in self.values.items() if averaging and value.is_floating_point()]
        if averaged:
            torch._foreach_lerp_(
                [self.values[name] for name in averaged], [current[name] for name in averaged], 1 - self.decay
            )
        for name in self.values.keys() - set(averaged):
            self.values[name].copy_(current[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """Continue from saved values. Raises KeyError or RuntimeError when they are of another network."""
        if values.keys() != self.values.keys():
            raise KeyError(f"moving average of other weights: {sorted(values.keys() ^ self.values.keys())}")
        for name, value in self.values.items():
            value.copy_(values[name])
