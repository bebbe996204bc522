"""Attention and second derivatives.

Rodriguez-Munoz et al. (2024) train and measure transformers through gradients of input gradients. PyTorch's
fused attention kernels have a first derivative only, so such networks compute their attention step by step.
"""

from typing import Any

from torch import nn

from pagrepro.errors import DataError


def require_explicit_attention(model: Any) -> None:
    """Raise DataError where a network about to be differentiated twice has fused attention, which PyTorch
    would refuse in the backward pass without saying what to do. model: a network, or any other function of
    the inputs, of which nothing is asked."""
    if not isinstance(model, nn.Module):
        return
    # The name of the switch in timm's attention layers.
    fused = [name for name, module in model.named_modules() if getattr(module, "fused_attn", False)]
    if fused:
        raise DataError(
            f"{type(model).__name__}: fused attention in {len(fused)} layers (the first: {fused[0]}) has no"
            " second derivatives, which this objective or measurement takes;\n"
            "  set `fused_attention: false` in the options of the model"
        )
