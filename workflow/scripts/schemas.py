"""Write the JSON schemas of config/ to workflow/schemas/, or say which of them are not up to date."""

import argparse
import json
from pathlib import Path

from pagrepro import script
from pagrepro.errors import UserError
from pagrepro.schemas import Schema, all_schemas


def text(schema: Schema) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def outdated(folder: Path) -> list[str]:
    """Names of schemas whose file differs from the models, and of files without a model."""
    wanted = all_schemas()
    differ = [
        name
        for name, schema in wanted.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text(schema)
    ]
    return differ + sorted(p.name for p in folder.glob("*.schema.*") if p.name not in wanted)


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in all_schemas().items():
        (folder / name).write_text(text(schema), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("workflow/schemas"))
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    args = parser.parse_args()
    with script.main():
        if not args.check:
            write(args.output)
        elif differ := outdated(args.output):
            raise UserError(f"{', '.join(differ)}: not as the models say; run workflow/scripts/schemas.py")
