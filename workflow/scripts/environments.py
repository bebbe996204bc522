"""Write envs/*.yaml with the versions of requirements.lock, or say which of them are not up to date.

Two environments: `torch` for expensive rules and `plots` for cheap ones. A new version of a plotting library
changes only the second, so it redraws figures and retrains nothing.
"""

import argparse
import re
from pathlib import Path

from pagrepro import script
from pagrepro.errors import UserError

# What the scripts of each environment import, or start; the rest follows from the lock file.
WANTED = {
    "torch": (
        "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "safetensors", "pydantic",
        "pyyaml", "tqdm", "pyautoattack", "foolbox", "pythae", "lpips", "diffusers", "timm",
    ),
    "plots": ("snakemake", "pydantic", "pyyaml", "numpy", "scipy", "pandas", "matplotlib", "pillow"),
}  # fmt: skip

HEAD = """\
# Made by workflow/scripts/environments.py from requirements.lock; do not edit. Used with `--sdm conda`; else
# rules run in the environment that snakemake itself runs in.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def read_lock(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Package -> (its line for Python 3.11, names of the packages that need it)."""
    found: dict[str, tuple[str, set[str]]] = {}
    needed_by: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([a-z0-9._-]+)==", line):
            # Entries for newer Pythons come as second lines of the same package.
            needed_by = set()
            if "python_full_version >= '3.1" not in line:
                found[pin[1]] = (line.strip(), needed_by)
        elif via := re.match(r"\s+#\s+(?:via)?\s*(\S+)?", line):
            needed_by |= {via[1]} if via[1] else set()
    return found


def closure(lock: dict[str, tuple[str, set[str]]], wanted: tuple[str, ...]) -> list[str]:
    """Lines of the wanted packages and of all that they need. Raises UserError for one without a line."""
    if unknown := [name for name in wanted if name not in lock]:
        raise UserError(f"not in requirements.lock: {', '.join(unknown)}")
    names, size = set(wanted), 0
    while len(names) > size:
        size = len(names)
        names |= {name for name, (_, needed_by) in lock.items() if needed_by & names}
    return [lock[name][0] for name in sorted(names)]


def environments(lock: Path) -> dict[str, str]:
    """File name in envs/ -> its text."""
    packages = read_lock(lock)
    return {
        f"{name}.yaml": HEAD + "".join(f'      - "{line}"\n' for line in closure(packages, wanted))
        for name, wanted in WANTED.items()
    }


def outdated(lock: Path, folder: Path) -> list[str]:
    """Files of `folder` whose text is not what the lock file asks for."""
    wanted = {folder / name: text for name, text in environments(lock).items()}
    return [str(path) for path, text in wanted.items() if not path.is_file() or path.read_text() != text]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    parser.add_argument("--output", type=Path, default=Path("envs"))
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    args = parser.parse_args()
    with script.main():
        if not args.check:
            for name, text in environments(args.lock).items():
                (args.output / name).write_text(text, encoding="utf-8")
        elif differ := outdated(args.lock, args.output):
            raise UserError(f"{', '.join(differ)}: outdated; run workflow/scripts/environments.py")
