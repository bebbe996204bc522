"""Layers of the networks in `edm_networks.py`.

Karras et al. (2022), appendix F: residual blocks of group normalisation, SiLU and 3x3 convolution, with the
noise level added (Song et al. 2021) or as scale and shift (Dhariwal and Nichol 2021), and self-attention.
Names of parameters and buffers are those of the public weights.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REVISION = 1

Resampling = Literal["up", "down"] | None


class PositionalEmbedding(nn.Module):
    """Numbers (B,) as cosines and sines (B, channels) at geometrically falling frequencies.

    endpoint: the lowest frequency is 1 / 10,000 itself, not the step before it; sines_first: their order.
    """

    def __init__(self, channels: int, endpoint: bool = False, sines_first: bool = False):
        super().__init__()
        self.half, self.endpoint, self.sines_first = channels // 2, endpoint, sines_first

    def forward(self, c: Tensor) -> Tensor:
        k = torch.arange(self.half, dtype=c.dtype, device=c.device)
        angles = c[:, None] * (1e-4) ** (k / (self.half - self.endpoint))
        waves = [angles.cos(), angles.sin()]
        return torch.cat(waves[::-1] if self.sines_first else waves, 1)


def norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group normalisation with 32 groups, fewer where a group would have less than four channels."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


class Resample(nn.Module):
    """(B, C, H, W) at twice the size (nearest neighbour) or half the size (means of 2x2), without weights."""

    def __init__(self, how: Resampling):
        super().__init__()
        self.how = how
        # Part of the public weights. It is what this is written for; another filter is refused by its reader.
        self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return resampled(x, self.how)


def resampled(x: Tensor, how: Resampling) -> Tensor:
    """What `Resample` does; x itself for None."""
    if how == "up":
        return F.interpolate(x, scale_factor=2, mode="nearest")
    return F.avg_pool2d(x, 2) if how == "down" else x


class Convolution(nn.Conv2d):
    """Convolution that keeps the size, after resampling."""

    def __init__(self, channels: int, out: int, kernel: int, how: Resampling = None):
        super().__init__(channels, out, kernel, padding=kernel // 2)
        self.how = how
        if how:
            self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(resampled(x, self.how))


class Block(nn.Module):
    """Residual block: x (B, channels, H, W), noise level (B, emb) -> (B, out, H', W').

    heads: of the self-attention at its end, 0 for none; scale_shift: the noise level scales and shifts after
    the second normalisation (ADM), else it is added before (DDPM++); project: a changed size gets a 1x1
    convolution on the skip connection, even where the channels stay; skip_scale: factor after each sum.
    """

    def __init__(
        self, channels: int, out: int, emb: int, how: Resampling = None, heads: int = 0, dropout: float = 0.0,
        scale_shift: bool = False, project: bool = False, skip_scale: float = 1.0, eps: float = 1e-5,
    ):  # fmt: skip
        super().__init__()
        self.channels, self.out, self.heads = channels, out, heads
        self.dropout, self.scale_shift, self.skip_scale = dropout, scale_shift, skip_scale
        self.norm0, self.conv0 = norm(channels, eps), Convolution(channels, out, 3, how)
        self.affine = nn.Linear(emb, 2 * out if scale_shift else out)
        self.norm1, self.conv1 = norm(out, eps), Convolution(out, out, 3)
        self.skip: nn.Module | None = None
        if channels != out or (how and project):
            self.skip = Convolution(channels, out, 1, how)
        elif how:
            self.skip = Resample(how)
        if heads:
            self.norm2, self.qkv = norm(out, eps), Convolution(out, 3 * out, 1)
            self.proj = Convolution(out, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        noise = self.affine(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = noise.chunk(2, 1)
            h = F.silu(self.norm1(h) * (1 + scale) + shift)
        else:
            h = F.silu(self.norm1(h + noise))
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        h = self.conv1(h)
        x = self.skip_scale * (h + (x if self.skip is None else self.skip(x)))
        return self.skip_scale * (x + self._attention(x)) if self.heads else x

    def _attention(self, x: Tensor) -> Tensor:
        """Every pixel looks at all others; per head, channels are in the order (channel, q | k | v)."""
        qkv = self.qkv(self.norm2(x)).unflatten(1, (self.heads, -1, 3)).flatten(4)  # (B, heads, c, 3, HW)
        q, k, v = qkv.unbind(3)
        weights = (q.transpose(2, 3) @ k / math.sqrt(q.shape[2])).softmax(3)  # (B, heads, HW, HW)
        return self.proj((v @ weights.transpose(2, 3)).reshape(x.shape))
