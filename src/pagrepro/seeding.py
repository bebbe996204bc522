"""Randomness: every draw is a function of a run's seed, the draw's name and its position.

Nothing ever continues a random stream from one step to the next, so there is no generator state to
save: a fit resumed at step k draws exactly what an uninterrupted one would have drawn.
"""

import hashlib

import torch

REVISION = 1


def seed_for(seed: int, *names: str | int) -> int:
    """Child seed for a named purpose, stable across machines and Python versions.

    Adding a purpose never shifts another: `seed_for(0, "order", 3)` depends on its arguments only.
    """
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for a named purpose."""
    return torch.Generator(device).manual_seed(seed_for(seed, *names))
