"""A copy of the workflow in a folder of its own, with a tiny configuration that tests may edit and run."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CODE = ("Snakefile", "workflow", "profiles", "envs", "src")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")

# A job of `snakemake -n`: "rule NAME:" and then indented "key: value" lines.
_JOB = re.compile(r"^(?:local)?rule (\S+):\n((?:    .*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """A job that a dry run announces; `outputs` are paths."""

    rule: str
    outputs: tuple[str, ...]
    threads: int
    resources: dict[str, str]


@dataclass(frozen=True)
class Ended:
    """One call of Snakemake: exit status and everything it printed."""

    status: int
    text: str

    @property
    def jobs(self) -> list[Job]:
        return [_job(*found.groups()) for found in _JOB.finditer(self.text)]

    @property
    def rules(self) -> list[str]:
        """Rules of all jobs, sorted, one entry per job."""
        return sorted(job.rule for job in self.jobs)

    def made(self, folder: str) -> set[str]:
        """Names below results/<tier>/<folder>/ that the announced jobs would write: runs, fields, ..."""
        paths = [Path(path) for job in self.jobs for path in job.outputs]
        return {path.parts[3] for path in paths if path.parts[2:3] == (folder,)}


def _job(rule: str, body: str) -> Job:
    values = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
    resources = dict(pair.split("=", 1) for pair in values.get("resources", "").split(", ") if "=" in pair)
    outputs = tuple(values["output"].split(", ")) if "output" in values else ()
    return Job(rule, outputs, int(values.get("threads", 1)), resources)


class Server:
    """The warm Snakemake process (`snakemake_server.py`)."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("snakemake_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)

    def run(self, folder: Path, source: Path, output: Path, *arguments: str) -> Ended:
        """`snakemake <arguments>` in `folder`, with the package in `source`. Blocks until it ends."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PAGREPRO", "SNAKEMAKE"))}
        environment |= {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(source),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        request = {
            "folder": str(folder), "arguments": arguments, "environment": environment, "output": str(output),
        }  # fmt: skip
        print(json.dumps(request), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        return Ended(status, output.read_text(errors="replace"))


class Sandbox:
    """The workflow's code in `root`, and the configuration that `tiny` writes (None: the repository's)."""

    def __init__(self, root: Path, tiny: Any, server: Server) -> None:
        self.root, self.tiny, self.server = root, tiny, server
        for name in CODE if tiny else (*CODE, "config"):
            place = root / name
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, place, ignore=LEFT_OUT)
            else:
                shutil.copy2(REPOSITORY / name, place)

    def snakemake(self, *arguments: str) -> Ended:
        """A real run: `snakemake --cores 2 <arguments>`, of tier tiny if they name no other."""
        return self._run("--cores", "2", *arguments)

    def dry(self, *arguments: str) -> Ended:
        return self._run("-n", *arguments)

    def _run(self, *arguments: str) -> Ended:
        if self.tiny:
            self.tiny.write(self.root)
            arguments = arguments if "--config" in arguments else (*arguments, "--config", "tier=tiny")
        return self.server.run(self.root, self.root / "src", self.root / "snakemake.txt", *arguments)

    @property
    def results(self) -> Path:
        return self.root / "results" / "tiny"

    def log(self, name: str) -> str:
        return (self.results / "logs" / f"{name}.log").read_text()

    def copy(self, root: Path) -> "Sandbox":
        """Another folder with the same code, results and records of Snakemake."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        other = object.__new__(Sandbox)
        other.root, other.tiny, other.server = root, copy.deepcopy(self.tiny), self.server
        return other

    @contextmanager
    def edited(self) -> Iterator[Any]:
        """The configuration, changed for the time of the block; every call of Snakemake writes it first."""
        before = copy.deepcopy(self.tiny)
        try:
            yield self.tiny
        finally:
            self.tiny = before

    @contextmanager
    def changed_source(self, module: str, old: str, new: str) -> Iterator[None]:
        """One file of the package with `old` replaced by `new`, for the time of the block."""
        path = self.root / "src" / "pagrepro" / module
        before = path.read_text()
        assert old in before, f"{module} does not hold {old!r}"
        path.write_text(before.replace(old, new, 1))
        try:
            yield
        finally:
            path.write_text(before)
