"""Long command-line arguments. Torch-free.

Linux takes at most 128 KiB in one argument, and a job's command is passed as one. Snakemake keeps a command
and its parameters once for every output of a job, and reads all of them at every call. Packs and declarations
of sweeps name hundreds of runs in much the same words: what is too long to be read by eye is compressed.
"""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from pagrepro.errors import DataError, UserError

READABLE = 8_000
LIMIT = 120_000
_PACKED = "zlib:"


def packed(what: str, text: str) -> str:
    """`text` as it is, or compressed if it has more than READABLE characters; a UserError if that leaves more
    than LIMIT."""
    if len(text) <= READABLE:
        return text
    short = _PACKED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    if len(short) > LIMIT:
        raise UserError(
            f"{what}: its spec has {len(short)} characters, compressed; at most {LIMIT} fit into one command"
        )
    return short


def given(text: str) -> Any:
    """A script's JSON argument: the text itself, packed or not, or the path of a file that holds it."""
    try:
        if text.startswith(_PACKED):
            content = zlib.decompress(base64.b64decode(text.removeprefix(_PACKED), validate=True)).decode()
        elif text.lstrip().startswith(("{", "[")):
            content = text
        else:
            content = Path(text).read_text(encoding="utf-8")
        return json.loads(content)
    except (OSError, ValueError, zlib.error) as error:
        raise DataError(f"expected JSON or the path of a JSON file, found {text[:80]!r}: {error}") from error
