"""Sidecars of fits, fields and measurements: where they are, what they say if whole. Torch-free."""

import json
from pathlib import Path
from typing import Any

from pagrepro.expansion import Evaluation, Field, Run
from pagrepro.layout import Layout


def path_of(member: Run | Field | Evaluation, layout: Layout) -> Path:
    """The sidecar of what a member of a job makes."""
    if isinstance(member, Run):
        return layout.run_json(member.name)
    if isinstance(member, Field):
        return layout.field_json(member.name)
    return layout.result(member.run, member.name)


def read(path: Path) -> dict[str, Any]:
    """Content of a JSON file; empty when there is none, or half of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
