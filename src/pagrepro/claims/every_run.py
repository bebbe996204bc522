"""The value of every single run lies in a range: for facts about code and protocol, without sampling error.

Role: value. One run outside contradicts the claim.
"""

import numpy as np
import pandas as pd

from pagrepro.claims import _columns as columns
from pagrepro.options import Number, Strict, needs_one
from pagrepro.statistics import CONFIRMED, CONTRADICTED, INCONCLUSIVE, Verdict

REVISION = 1


class Config(Strict):
    """low, high: at least one end of the range; both belong to it."""

    low: Number | None = None
    high: Number | None = None

    _has_end = needs_one("an end of the range", "low", "high")


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effect: the largest value (the smallest, if only `low` is given); interval: smallest to largest."""
    rows = columns.of_role(frame, "value").drop_duplicates("run")
    values = rows["value"].astype(float).to_numpy()
    seeds = rows["seed"].nunique()
    if not np.isfinite(values).all():
        lost = int((~np.isfinite(values)).sum())
        return Verdict(
            INCONCLUSIVE, None, None, seeds, "no finite value", f"{lost} of {len(rows)} values not finite"
        )
    low = -np.inf if config.low is None else config.low
    high = np.inf if config.high is None else config.high
    outside = list(rows["run"][(values < low) | (values > high)])
    reason = f"outside: {', '.join(outside)}" if outside else f"all {len(rows)} runs"
    span = (float(values.min()), float(values.max()))
    worst = span[1] if config.high is not None else span[0]
    word = CONTRADICTED if outside else CONFIRMED
    return Verdict(word, worst, span, seeds, f"{span[0]:.3g} to {span[1]:.3g}", reason, tests=0)
