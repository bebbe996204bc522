"""Write envs/ with the versions of requirements.lock, or say which of its files are not up to date.

Two conda environments: `torch` for expensive rules and `plots` for cheap ones. A new version of a plotting
library changes only the second, so it redraws figures and retrains nothing. And two recipes of one container,
which install the lock file itself, as `make install` does.
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
    "plots": (
        "snakemake", "pydantic", "pyyaml", "numpy", "scipy", "pandas", "matplotlib", "pillow", "plotly",
    ),
}  # fmt: skip

PYTHON = "3.11"

HEAD = f"""\
# Made by workflow/scripts/environments.py from requirements.lock; do not edit. Used with `--sdm conda`; else
# rules run in the environment that snakemake itself runs in.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={PYTHON}
  - pip
  - pip:
"""


def read_lock(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Package -> (its line for PYTHON, names of the packages that need it)."""
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
    conda = {
        f"{name}.yaml": HEAD + "".join(f'      - "{line}"\n' for line in closure(packages, wanted))
        for name, wanted in WANTED.items()
    }
    return {**conda, **recipes()}


# --- containers --------------------------------------------------------------------------------------

BASE = f"python:{PYTHON}-slim-bookworm"

ABOUT = """\
Made by workflow/scripts/environments.py; do not edit. How to build and use it: docs/housekeeping.md.

The base has no CUDA: the CUDA and cuDNN libraries that torch was built for are wheels of requirements.lock.
An nvidia/cuda image would bring a second set of several GB that nothing loads. The driver is the host's; CUDA
13 wants 580 or newer. Without a GPU the same image computes on the CPU.
"""

# What the workflow needs of the repository, and what the package is built from.
COPIED = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "Snakefile",
    "config",
    "profiles",
    "workflow",
    "envs",
    "src",
)

# git: for the commit in sidecars, also where the checkout belongs to another user than the container has.
SYSTEM = (
    "apt-get update",
    "apt-get install --yes --no-install-recommends git",
    "rm -rf /var/lib/apt/lists/*",
    "git config --system --add safe.directory '*'",
)
INSTALL_LOCK = "python -m pip install --no-cache-dir -r requirements.lock"
INSTALL_PACKAGE = "python -m pip install --no-cache-dir --no-deps -e ."

# One thread per process, as in the Makefile. The rest: `--user` makes a user without a home and a name.
VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "XDG_CACHE_HOME": "/tmp/pagrepro-cache",
    "MPLCONFIGDIR": "/tmp/pagrepro-cache/matplotlib",
    "USER": "pagrepro",
}
# For Docker's GPU support, which nvidia/cuda images set.
NVIDIA = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
COMMAND = ("snakemake", "--profile", "profiles/demo")


def recipes() -> dict[str, str]:
    """Dockerfile, what Docker may send to it, and apptainer.def: the same container twice."""
    about = "".join(f"# {line}".rstrip() + "\n" for line in ABOUT.splitlines())
    allowed = ("requirements.lock", *COPIED)
    return {
        "Dockerfile": about + _dockerfile(),
        "Dockerfile.dockerignore": "*\n" + "".join(f"!{name}\n" for name in allowed) + "**/__pycache__\n",
        "apptainer.def": f"Bootstrap: docker\nFrom: {BASE}\n\n{about}{_apptainer()}",
    }


def _dockerfile() -> str:
    variables = " \\\n    ".join(f"{key}={value}" for key, value in (VARIABLES | NVIDIA).items())
    copies = "".join(f"COPY {name} {name}\n" for name in COPIED)
    command = ", ".join(f'"{word}"' for word in COMMAND)
    return f"""\
FROM {BASE}
RUN {" && ".join(SYSTEM)}
ENV {variables}
WORKDIR /pagrepro
# The lock file alone first: an edit of the code installs nothing again.
COPY requirements.lock requirements.lock
RUN {INSTALL_LOCK}
{copies}RUN {INSTALL_PACKAGE}
# Anybody may write here, whatever `--user` says; a checkout mounted here takes the place of all of it.
RUN chmod -R a+rwX /pagrepro && useradd --create-home pagrepro
USER pagrepro
CMD [{command}]
"""


def _apptainer() -> str:
    files = "".join(f"    {name} /pagrepro/{name}\n" for name in ("requirements.lock", *COPIED))
    steps = "".join(f"    {step}\n" for step in (*SYSTEM, "cd /pagrepro", INSTALL_LOCK, INSTALL_PACKAGE))
    variables = "".join(f"    export {key}={value}\n" for key, value in VARIABLES.items() if key != "USER")
    return f"""
%files
{files}
%post
{steps}    chmod -R a+rX /pagrepro

%environment
{variables}
%runscript
    # An image cannot be written to: a checkout has to be bound to this place.
    cd /pagrepro
    [ $# -gt 0 ] || set -- {" ".join(COMMAND)}
    exec "$@"

%test
    cd /pagrepro && python -c "import pagrepro, torch; print(torch.__version__, torch.version.cuda)"
"""


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
