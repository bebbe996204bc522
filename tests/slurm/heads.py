"""Snakemake with `profiles/slurm` on the test cluster, in a folder of its own, and what can be seen of it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from cluster import MARK, output, until
from sandbox import Sandbox
from small_workflow import small
from tiny import TASK

RUN = "line_plain_s0"
# The paper of the demo tier with the fewest jobs.
PAPER = "srinivas2023"
# The test cluster answers at once and its files are local, so nothing has to be waited for.
QUICK = (
    "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5", "--slurm-keep-successful-logs",
    "--max-jobs-per-timespan", "20/1s",
)  # fmt: skip
# Measurements of the scenarios, too, go where the demo does not run.
SITE = "slurm: {partition: gpu}\n"


def long_fit(epochs: int = 400, lr: float = 0.001):
    """One fit of some 20 seconds that asks for a GPU, a measurement, a table; a state every half second."""
    tiny = small()
    paper = tiny.paper
    paper["settings"] |= {"epochs": epochs, "members": [{"seed": 0, "lr": lr}]}
    plain = paper["runs"]["plain"]
    cost = {"minutes": 5, "memory_mb": 1000, "gpus": 1, "threads": 1}
    plain |= {"fit": {"epochs": "$epochs", "batch_size": 12}, "cost": cost}
    plain["task"] = {**TASK, "optimizer": {"name": "adam", "lr": "$member.lr"}}
    tiny.tier["packs"] = []
    paper["runs"] = {"plain": plain}
    paper["fields"], paper["claims"] = {}, {}
    clean = paper["evaluations"]["clean"]
    paper["evaluations"] = {"clean": {**clean, "groups": ["plain"], "cost": {**cost, "gpus": 0}}}
    table = paper["artifacts"]["table1"]
    table |= {"groups": ["plain"], "evaluations": ["clean"]}
    table["table"]["rows"], table["table"]["columns"] = (
        table["table"]["rows"][:1],
        table["table"]["columns"][:1],
    )
    paper["artifacts"] = {"table1": table}
    return tiny


class Head:
    """One call of Snakemake in a sandbox, and the jobs it has submitted."""

    def __init__(self, sandbox: Sandbox, *targets: str):
        self.sandbox, self.text = sandbox, sandbox.root / "head.txt"
        sandbox.tiny.write(sandbox.root)
        (sandbox.root / "site.yaml").write_text(SITE)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile", "site.yaml",
                *QUICK, "--config", "tier=tiny", "save_every_s=0.5", "--", *targets,
            ],
            cwd=sandbox.root, env=environment(sandbox.root), stdout=open(self.text, "a"),  # noqa: SIM115
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self, seconds: float = 800) -> int:
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"no end after {seconds} s:\n{self.text.read_text()[-3000:]}") from None

    def kill(self) -> None:
        """As if the machine it runs on had died: no chance to cancel anything."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def run_id(self) -> str:
        found = re.findall(r"SLURM run ID: (\S+)", self.text.read_text())
        assert found, self.text.read_text()[-3000:]
        return found[-1]

    def jobs(self, states: str = "all") -> list[tuple[str, str]]:
        """(job number, state) of this call's jobs, oldest first."""
        lines = output("squeue", "-h", "-t", states, "--name", self.run_id, "-o", "%i %T").splitlines()
        return sorted((tuple(line.split()) for line in lines), key=lambda job: int(job[0]))


def environment(root: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PAGREPRO", "SNAKEMAKE", "SLURM"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "PATH": path, MARK: "1"}


def states(sandbox: Sandbox) -> list[Path]:
    """Saved states of the fit, oldest first."""
    return sorted((sandbox.results / "state" / RUN).glob("[0-9]*.safetensors"))


def fitting(sandbox: Sandbox, least: int = 2) -> int:
    """Wait until the fit has saved some states; number of its process."""
    until(lambda: len(states(sandbox)) >= least, 180, "saved states of the fit", every=0.05)
    (process,) = [path for path in Path("/proc").glob("[0-9]*") if _fits(path, sandbox.root)]
    return int(process.name)


def _fits(process: Path, folder: Path) -> bool:
    try:
        _, script, *_ = (process / "cmdline").read_bytes().split(b"\0")
        return script.endswith(b"scripts/train.py") and (process / "cwd").resolve() == folder.resolve()
    except (OSError, ValueError):
        return False


def train_log(sandbox: Sandbox) -> str:
    """Nothing while there is none: Snakemake removes the log of an earlier attempt before the next begins."""
    try:
        return (sandbox.results / "logs" / "train" / f"{RUN}.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""


def table(sandbox: Sandbox) -> Path:
    return sandbox.results / "tables" / "tiny" / "table1.csv"


def numbers(sandbox: Sandbox) -> dict[str, bytes | str]:
    """What a fault must not change: weights, history without times, measured values, the table."""
    run = sandbox.results / "models" / RUN
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    result = json.loads((sandbox.results / "evaluations" / RUN / "clean.json").read_text())
    return {
        "weights": (run / "model.safetensors").read_bytes(),
        "history": json.dumps([[line["epoch"], line["steps"], line["metrics"]["loss"]] for line in history]),
        "values": json.dumps(result["values"]),
        "table": table(sandbox).read_text(),
    }


def record(sandbox: Sandbox) -> dict:
    return json.loads((sandbox.results / "models" / RUN / "run.json").read_text())


def demo_paper(folder: Path) -> tuple[Path, subprocess.CompletedProcess]:
    """`profiles/slurm` as it is, in a copy of the repository, but for how often it asks."""
    command = [
        "snakemake", "--profile", "profiles/slurm", "--config", "tier=demo", "--latency-wait", "5",
        "--slurm-init-seconds-before-status-checks", "5", "--", f"paper_{PAPER}",
    ]  # fmt: skip
    say = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return folder, subprocess.run(command, cwd=folder, env=environment(folder), **say)
