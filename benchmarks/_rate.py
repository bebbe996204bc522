"""Operations per second that a step achieves, beside those of a large matrix product on the same device."""

import functools
import time
from typing import Any

import torch

from _measure import clock

# Rows and columns of the product: large enough that more would not be faster.
SIDE = {"cpu": 512, "cuda": 8192}
TIMES = 5


@functools.cache
def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a product of two square matrices, a multiplication and an addition counted as
    two: the fastest of some."""
    n = SIDE[device.type]
    a, b = (torch.rand(n, n, dtype=torch.float32).to(device, dtype) for _ in range(2))
    torch.mm(a, b)
    found = 0.0
    for _ in range(TIMES):
        start = clock(device)
        torch.mm(a, b)
        found = max(
            found, 2 * n**3 / max(clock(device) - start, time.get_clock_info("process_time").resolution)
        )
    return found


def with_rates(rows: list[dict[str, Any]], device: torch.device) -> list[dict[str, Any]]:
    """Rows that say operations (`GFLOP`) and `seconds` of a step, with operations per second and their share
    of a product's; the others as they are. `precision`: data type of the row (default float32)."""
    return [_rated(row, device) if row.get("GFLOP") and row.get("seconds") else row for row in rows]


def _rated(row: dict[str, Any], device: torch.device) -> dict[str, Any]:
    dtype = getattr(torch, row.get("precision", "float32").split(",")[0])
    rate = row["GFLOP"] * 1e9 / row["seconds"]
    unit, size = ("TFLOP/s", 1e12) if device.type == "cuda" else ("GFLOP/s", 1e9)
    return row | {unit: rate / size, "of a product": rate / product_rate(device, dtype)}
