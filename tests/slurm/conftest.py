"""The cluster of one test session, and everything that is run on it, a few things at a time."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from cluster import Cluster, NoPackages, Refused, missing_commands
from heads import demo_paper, environment
from sandbox import CODE, LEFT_OUT, REPOSITORY

# Calls of Snakemake. More of them would wait for two cores.
AT_ONCE = 4


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to start Slurm's daemons: run it in a container, or `sudo make test-slurm`")
    if missing_commands() and os.environ.get("ALLOW_INSTALL") != "1":
        pytest.skip(
            f"needs Slurm and munge ({', '.join(missing_commands())} are missing): ALLOW_INSTALL=1 make"
            " test-slurm installs Debian's packages for the time of the tests"
        )
    running = Cluster()
    try:
        running.start()
    except Refused as reason:
        pytest.fail(str(reason), pytrace=False)
    except NoPackages as reason:
        running.stop()
        pytest.skip(f"needs a network for Debian's packages: {reason}")
    except RuntimeError as error:
        running.stop()
        # Once, and not for every test.
        pytest.exit(f"Slurm did not start: {error}", returncode=1)
    except BaseException:
        running.stop()
        raise
    yield running
    running.stop()


@pytest.fixture(scope="session")
def at_once(cluster: Cluster) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def demo(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, at_once: ThreadPoolExecutor) -> Future:
    """(folder, what Snakemake said) of one paper of the demo tier, some time. It takes longest: first."""
    folder = tmp_path_factory.mktemp("demo")
    for name in (*CODE, "config"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, folder / name)
    return at_once.submit(demo_paper, folder)


@pytest.fixture(scope="session")
def planned(cluster: Cluster, at_once: ThreadPoolExecutor) -> Future:
    """What `plan` says of the full tier, some time."""
    command = ["snakemake", "--profile", "profiles/slurm", "plan"]
    say = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return at_once.submit(subprocess.run, command, cwd=REPOSITORY, env=environment(REPOSITORY), **say)
