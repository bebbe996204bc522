"""Models whose answers are known, and requests to measure them: shared by several test files."""

import torch
from torch import nn

from pagrepro.request import MeasureRequest

CPU = torch.device("cpu")


class Linear(nn.Module):
    """logits = W x + b on flattened examples."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float32))
        self.bias = nn.Parameter(torch.as_tensor(bias, dtype=torch.float32))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T.to(x) + self.bias.to(x)


def request(model, x, y, low=None, high=None, classes=2, batch_size=7, seed=0, build=MeasureRequest, **more):
    x, y = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    model = model.eval().requires_grad_(False)
    return build(
        model=model, x=x, y=y, index=torch.arange(len(x)), classes=classes, seed=seed,
        low=low, high=high, device=CPU, batch_size=batch_size, **more,
    )  # fmt: skip


def step_right(x1=0.0):
    """Class 1 where the first coordinate exceeds x1; boundary the vertical line there."""
    return Linear([[0.0, 0.0], [1.0, 0.0]], [0.0, -x1])
