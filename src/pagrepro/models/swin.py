"""Swin transformer, as timm builds it.

Liu et al. (2021), "Swin Transformer: hierarchical vision transformer using shifted windows". Swin-B and
Swin-L with patches of 4 and windows of 7 at 224x224 are the main networks of Rodriguez-Munoz et al. (2024):
87,768,224 and 196,532,476 parameters for 1,000 classes. Without dropout and stochastic depth, as there; GELU
and layer normalisation throughout, so that examples never interact. Other dimensions give small networks of
the same code for small images.

Attention is computed step by step by default: fused kernels have no second derivatives (`attention.py`), and
other rounding. Where a stage's grid of patches is no larger than the window, the window is the grid and
nothing is shifted, as in the public networks' last stage.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from pagrepro.layers import Normalize, image_shape
from pagrepro.options import Number, Strict

REVISION = 1


class Dimensions(Strict):
    """patch: side of a patch, pixels; window: side of an attention window, patches; embed_dim: channels of
    the first stage, doubled in each following one; depths, heads: blocks and attention heads by stage."""

    patch: Annotated[int, Field(ge=1)]
    window: Annotated[int, Field(ge=1)]
    embed_dim: Annotated[int, Field(ge=1)]
    depths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    heads: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self):
        if len(self.heads) != len(self.depths):
            raise ValueError(f"heads: {len(self.heads)} stages, depths: {len(self.depths)}; the same number")
        for stage, heads in enumerate(self.heads):
            channels = self.embed_dim * 2**stage
            if channels % heads:
                raise ValueError(f"heads: {heads} heads do not divide the {channels} channels of their stage")
        return self


class Config(Strict):
    """size: Swin-B, Swin-L, or dimensions of one's own; mean, std: normalisation of [0, 1] inputs, one value
    or one per channel (defaults: ImageNet's); fused_attention: PyTorch's fused kernels, faster, but without
    second derivatives."""

    size: Literal["base", "large"] | Dimensions
    mean: list[Number] = Field([0.485, 0.456, 0.406])
    std: list[Number] = Field([0.229, 0.224, 0.225])
    fused_attention: bool = False


SIZES = {
    "base": Dimensions(patch=4, window=7, embed_dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
    "large": Dimensions(patch=4, window=7, embed_dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48)),
}


class Swin(nn.Module):
    """(B, C, H, W) in [0, 1] -> logits (B, classes). Weights are named `network.<name in timm>`."""

    # What weights made for other classes do not fill.
    final_layer = "network.head.fc"

    def __init__(self, config: Config, shape: tuple[int, int, int], classes: int):
        super().__init__()
        from timm.models.swin_transformer import SwinTransformer  # seconds of import, for those who use it

        channels, *sides = shape
        made = SIZES[config.size] if isinstance(config.size, str) else config.size
        if any(side % made.patch for side in sides):
            raise ValueError(f"model swin: {sides} pixels do not divide into patches of {made.patch}")
        self.normalize = Normalize(config.mean, config.std, channels)
        self.network = SwinTransformer(
            img_size=tuple(sides),
            patch_size=made.patch,
            in_chans=channels,
            num_classes=classes,
            embed_dim=made.embed_dim,
            depths=made.depths,
            num_heads=made.heads,
            window_size=made.window,
            drop_path_rate=0.0,
        )
        # timm's own default depends on an environment variable.
        for layer in self.network.modules():
            if hasattr(layer, "fused_attn"):
                layer.fused_attn = config.fused_attention

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.normalize(x))

    def no_weight_decay(self) -> set[str]:
        """Names, as in `named_parameters`, of the tables of relative positions, which weight decay leaves
        alone although they are matrices."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, C, H, W) in [0, 1] of this one size. Raises ValueError for data that are not
    images, and for sides that are no multiple of the patch."""
    return Swin(config, image_shape(shape, "swin"), classes)
