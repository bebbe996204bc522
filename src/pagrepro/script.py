"""What every script in `workflow/scripts/` shares. Torch-free."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from pagrepro.errors import UserError


@contextlib.contextmanager
def main() -> Iterator[None]:
    """Print a `UserError` as its message alone and exit with 1; let everything else show its traceback."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def machine() -> dict[str, Any]:
    """Choices of `config.yaml` that belong to the machine: offline_dir, device, save_every_s, paths.

    The Snakefile hands them down in the environment; by hand, options of the script say the same.
    """
    defaults = {"offline_dir": None, "device": "auto", "save_every_s": 600.0, "paths": {}}
    return {**defaults, **json.loads(os.environ.get("PAGREPRO_MACHINE", "{}"))}
