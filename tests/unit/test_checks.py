"""The range check and what its message says."""

import pytest
import torch

from pagrepro.checks import check_range
from pagrepro.errors import RangeError


def test_accepts_the_declared_range_and_rounding():
    check_range(torch.tensor([0.0, 1.0]), 0.0, 1.0)
    check_range(torch.tensor([-1e-8, 1 + 1e-7], dtype=torch.float64), 0.0, 1.0)
    check_range(torch.tensor([-300.0, 70.0]), None, None)
    check_range(torch.empty(0, 3), 0.0, 1.0)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (torch.tensor([0.0, 255.0]), r"test images: values in \[0, 255\], expected within \[0\.0, 1\.0\]"),
        (torch.tensor([-1.0, 1.0]), r"\[-1, 1\]"),
        (torch.tensor([0.5, float("nan")]), "nan"),
        (torch.tensor([0, 255], dtype=torch.uint8), "uint8"),
    ],
)
def test_the_message_has_the_observed_range(x, text):
    with pytest.raises(RangeError, match=text):
        check_range(x, 0.0, 1.0, "test images")


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_unbounded_data_must_still_be_finite(value):
    with pytest.raises(RangeError):
        check_range(torch.tensor([0.0, value]), None, None)
