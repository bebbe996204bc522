"""One warm Snakemake for all workflow tests, and one tiny workflow that has been run."""

from collections.abc import Iterator

import pytest
from sandbox import Sandbox, Server
from small_workflow import small


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(scope="session")
def finished(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """All artifacts, claims and the report are made. Tests leave it as it is (`edited`, `copy`, ...)."""
    sandbox = Sandbox(tmp_path_factory.mktemp("finished"), small(), server)
    ended = sandbox.snakemake()
    assert ended.status == 0, ended.text
    return sandbox
