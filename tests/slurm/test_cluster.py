"""A test run that was killed: the next one begins with an empty cluster."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from cluster import DAEMONS, NODES, Cluster, idle_nodes, output, until
from heads import environment
from sandbox import REPOSITORY

PARTITIONS = {"gpu1": "gpu", "gpu2": "gpu", "cpu1": "cpu"}


def commands() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_what_a_killed_run_left_is_ended(cluster, tmp_path):
    name = f"left-{uuid.uuid4().hex}"
    marked = environment(REPOSITORY)
    wait = [sys.executable, "-c", "import time; time.sleep(900)", name]
    head = subprocess.Popen(wait, env=marked)
    for node, partition in PARTITIONS.items():
        script = f"#!/bin/sh\n{wait[0]} -c '{wait[2]}' {name} {node}\n"
        # As many again as there is room for: they wait, and would fill the nodes after a restart.
        for _ in range(2):
            command = ["sbatch", "--parsable", "-p", partition, "-w", node, "--exclusive", "-J", name]
            subprocess.run(command, input=script, text=True, env=marked, cwd=tmp_path, check=True)
    until(lambda: output("squeue", "-h", "-t", "running").count("\n") == len(NODES), 30, "running jobs")
    # Slurm writes what it knows some seconds later; a state without the jobs would prove nothing.
    state, jobs = cluster.own / "state/job_state", 2 * len(NODES)
    until(lambda: state.is_file() and state.read_bytes().count(name.encode()) >= jobs, 60, "the saved state")
    for path in Path("/proc").glob("[0-9]*/comm"):
        if path.read_text().strip() in (*DAEMONS, "slurmstepd"):
            os.kill(int(path.parent.name), signal.SIGKILL)
    assert name in commands()

    Cluster().start()

    assert head.wait(10) == -signal.SIGKILL
    assert name not in commands()
    assert output("squeue", "-h") == ""
    assert idle_nodes() == set(NODES)
