"""Patterns of names: as configuration files write them, and as Snakemake reads them. Torch-free."""

import functools
import itertools
import re
from collections.abc import Sequence


def matches(pattern: str, name: str) -> bool:
    """Shell-style `*` patterns, the only ones configuration files use."""
    return pattern == name or ("*" in pattern and _compiled(pattern).fullmatch(name) is not None)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*"))


def any_of(names: Sequence[str]) -> str:
    """Regular expression of exactly these names (at least one, sorted), common beginnings written once.

    Snakemake compiles it anew for every output of a rule: hundreds of names in full took a tenth of the dry
    run of the full tier.
    """
    if len(names) == 1:
        return re.escape(names[0])
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names))
    common = "".join(letters[0] for letters in alike)
    tails = [name[len(common) :] for name in names]
    branches = [
        any_of(list(same)) for _, same in itertools.groupby(filter(None, tails), lambda tail: tail[0])
    ]
    optional = "?" if "" in tails else ""
    return f"{re.escape(common)}(?:{'|'.join(branches)}){optional}"
