"""The two U-nets of Karras et al. (2022), whose layers have the names of the public weights.

DDPM++ (Song et al. 2021) for CIFAR-10 and ADM (Dhariwal and Nichol 2021) for ImageNet at 64x64, the networks
behind the scores of Srinivas et al. (2023). Written from the papers' descriptions (appendix F and tables
there), so that weights can be compared by name and shape and loaded.

Numbers of parameters are those published (55.7 and 296 million). Not checked against the public files, which
could not be had here: the order inside the attention's channels, the order of sines and cosines, the scale of
labels, constants that are in no weight.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagrepro.edm_layers import Block, Convolution, PositionalEmbedding, Resampling, norm
from pagrepro.errors import DataError

REVISION = 1

# (channels, out, resampling, attention) -> a residual block of one of the two kinds
MakeBlock = Callable[[int, int, Resampling, bool], Block]

# Of the initial weights of DDPM++, by the last part of a layer's name.
GAINS = {"conv1": 1e-5, "proj": 1e-5, "qkv": math.sqrt(0.2)}


class _Unet(nn.Module):
    """Encoder and decoder: x (B, C, H, W), c_noise (B,), labels (B, classes) or None -> (B, C, H, W)."""

    def __init__(self, shape: tuple[int, int, int], width: int, multipliers: tuple[int, ...], blocks: int):
        super().__init__()
        halvings = 2 ** (len(multipliers) - 1)
        if shape[1] % halvings or shape[2] % halvings:
            raise DataError(
                f"images of {shape[1]}x{shape[2]} cannot be halved {len(multipliers) - 1} times, once for"
                " each of the multipliers but the first"
            )
        self.shape, self.width, self.multipliers, self.blocks = shape, width, multipliers, blocks

    def _side(self, level: int) -> tuple[int, str]:
        """Height of the image at a level, and how its layers are called."""
        height, columns = self.shape[1] >> level, self.shape[2] >> level
        return height, f"{height}x{columns}"

    def _encoder(self, make: MakeBlock, attention: tuple[int, ...], first: int) -> nn.ModuleDict:
        layers: dict[str, nn.Module] = {}
        out = first
        for level, multiplier in enumerate(self.multipliers):
            height, name = self._side(level)
            if level == 0:
                layers[f"{name}_conv"] = Convolution(self.shape[0], first, 3)
            else:
                layers[f"{name}_down"] = make(out, out, "down", False)
            for k in range(self.blocks):
                channels, out = out, self.width * multiplier
                layers[f"{name}_block{k}"] = make(channels, out, None, height in attention)
        return nn.ModuleDict(layers)

    def _decoder(self, make: MakeBlock, attention: tuple[int, ...], only_last: bool) -> nn.ModuleDict:
        """only_last: of the blocks of a level, only the last one has attention."""
        skips = [layer.out if isinstance(layer, Block) else layer.out_channels for layer in self.enc.values()]
        layers: dict[str, nn.Module] = {}
        out = skips[-1]
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            height, name = self._side(level)
            if level == len(self.multipliers) - 1:
                layers[f"{name}_in0"] = make(out, out, None, True)
                layers[f"{name}_in1"] = make(out, out, None, False)
            else:
                layers[f"{name}_up"] = make(out, out, "up", False)
            for k in range(self.blocks + 1):
                channels, out = out + skips.pop(), self.width * multiplier
                here = height in attention and (k == self.blocks or not only_last)
                layers[f"{name}_block{k}"] = make(channels, out, None, here)
        return nn.ModuleDict(layers)

    def _features(self, x: Tensor, emb: Tensor) -> Tensor:
        """Through the encoder and all blocks of the decoder."""
        skips = []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.dec.values():
            if isinstance(layer, Block):
                x = layer(x if x.shape[1] == layer.channels else torch.cat([x, skips.pop()], 1), emb)
        return x


class DdpmPlusPlus(_Unet):
    """DDPM++. classes: 0 without labels; the rest as in `denoiser_options.Ddpmpp`."""

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int = 128,
        multipliers: tuple[int, ...] = (2, 2, 2), blocks: int = 4, attention: tuple[int, ...] = (16,),
        dropout: float = 0.0, augment_dim: int = 0,
    ):  # fmt: skip
        super().__init__(shape, width, multipliers, blocks)
        emb = 4 * width

        def make(channels: int, out: int, how: Resampling, attends: bool) -> Block:
            return Block(
                channels, out, emb, how, int(attends), dropout,
                project=True, skip_scale=math.sqrt(0.5), eps=1e-6,
            )  # fmt: skip

        self.map_noise = PositionalEmbedding(width, endpoint=True, sines_first=True)
        self.map_label = nn.Linear(classes, width) if classes else None
        # Labels of augmentation are zero wherever this is used, and there is no bias.
        self.map_augment = nn.Linear(augment_dim, width, bias=False) if augment_dim else None
        self.map_layer0, self.map_layer1 = nn.Linear(width, emb), nn.Linear(emb, emb)
        self.enc = self._encoder(make, attention, width)
        self.dec = self._decoder(make, attention, only_last=True)
        out, (_, name) = width * multipliers[0], self._side(0)
        self.dec[f"{name}_aux_norm"] = norm(out, 1e-6)
        self.dec[f"{name}_aux_conv"] = Convolution(out, shape[0], 3)
        self.last = f"{name}_aux"
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Xavier-uniform weights, zero biases; what ends a residual branch or the network close to zero."""
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_uniform_(module.weight)
                module.weight.mul_(GAINS.get(name.rsplit(".", 1)[-1], 1.0))
                if module.bias is not None:
                    module.bias.zero_()
        self.dec[f"{self.last}_conv"].weight.mul_(1e-5)

    def forward(self, x: Tensor, c: Tensor, labels: Tensor | None = None) -> Tensor:
        emb = self.map_noise(c)
        if self.map_label is not None and labels is not None:
            emb = emb + self.map_label(labels * math.sqrt(labels.shape[1]))
        emb = F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))
        h = self.dec[f"{self.last}_norm"](self._features(x, emb))
        return self.dec[f"{self.last}_conv"](F.silu(h))


class Adm(_Unet):
    """ADM. classes: 0 without labels; the rest as in `denoiser_options.Adm`."""

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int = 192,
        multipliers: tuple[int, ...] = (1, 2, 3, 4), blocks: int = 3,
        attention: tuple[int, ...] = (32, 16, 8), head: int = 64, dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__(shape, width, multipliers, blocks)
        emb = 4 * width

        def make(channels: int, out: int, how: Resampling, attends: bool) -> Block:
            if attends and out % head:
                raise DataError(f"attention over {out} channels cannot have heads of {head} (head)")
            return Block(channels, out, emb, how, out // head if attends else 0, dropout, scale_shift=True)

        self.map_noise = PositionalEmbedding(width)
        self.map_layer0, self.map_layer1 = nn.Linear(width, emb), nn.Linear(emb, emb)
        self.map_label = nn.Linear(classes, emb, bias=False) if classes else None
        self.enc = self._encoder(make, attention, width * multipliers[0])
        self.dec = self._decoder(make, attention, only_last=False)
        self.out_norm = norm(width * multipliers[0], 1e-5)
        self.out_conv = Convolution(width * multipliers[0], shape[0], 3)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """PyTorch's, but zero for what ends a residual branch and the network, and N(0, 1) for labels."""
        for name, module in self.named_modules():
            if name.endswith(("conv1", "proj", "out_conv")):
                module.weight.zero_()
                module.bias.zero_()
        if self.map_label is not None:
            self.map_label.weight.normal_()

    def forward(self, x: Tensor, c: Tensor, labels: Tensor | None = None) -> Tensor:
        emb = self.map_layer1(F.silu(self.map_layer0(self.map_noise(c))))
        if self.map_label is not None and labels is not None:
            emb = emb + self.map_label(labels)
        return self.out_conv(F.silu(self.out_norm(self._features(x, F.silu(emb)))))
