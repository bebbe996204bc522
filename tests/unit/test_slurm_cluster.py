"""The test cluster leaves machines alone that are not its own (tests/slurm/cluster.py)."""

import importlib.util
import sys
from pathlib import Path

import pytest

from pagrepro.settings import Slurm

SPEC = importlib.util.spec_from_file_location(
    "slurm_test_cluster", Path(__file__).parents[1] / "slurm" / "cluster.py"
)
cluster = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = cluster
SPEC.loader.exec_module(cluster)


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return cluster.Places(tmp_path)


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


def test_an_untouched_machine_is_accepted(places):
    assert cluster.of_others(places, []) == []
    cluster.check_ours(places, [])


@pytest.mark.parametrize(
    "name", ["etc/slurm/slurm.conf", "etc/slurm/site.conf", "etc/munge/munge.key", "etc/slurm-llnl/x"]
)
def test_files_of_somebody_else_are_named(places, name):
    put(places.root / name)
    with pytest.raises(cluster.Refused, match=name.rsplit("/x")[0]):
        cluster.check_ours(places, [])


def test_daemons_of_somebody_else_are_named(places):
    with pytest.raises(cluster.Refused, match=r"slurmctld \(12\)"):
        cluster.check_ours(places, ["slurmctld (12)"])


def test_a_configuration_elsewhere_is_named(places, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/opt/slurm.conf")
    with pytest.raises(cluster.Refused, match=r"SLURM_CONF=/opt/slurm\.conf"):
        cluster.check_ours(places, [])


def test_what_an_earlier_run_of_ours_left_is_accepted(places):
    put(places.etc / "slurm.conf")
    put(places.root / "etc/munge/munge.key")
    put(places.marker)
    assert cluster.of_others(places, ["munged (7)"]) == []
    cluster.check_ours(places, ["munged (7)"])


def test_daemons_are_found_by_name(tmp_path):
    for pid, name in ((3, "bash"), (7, "munged"), (9, "slurmctld")):
        put(tmp_path / str(pid) / "comm")
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    assert cluster.running(tmp_path) == ["munged (7)", "slurmctld (9)"]


def test_nothing_is_installed_unasked(places, monkeypatch):
    monkeypatch.delenv("ALLOW_INSTALL", raising=False)
    monkeypatch.setattr(cluster, "missing_commands", lambda: ["sbatch"])
    monkeypatch.setattr(cluster, "_call", lambda *command, **_: pytest.fail(f"called {command}"))
    with pytest.raises(cluster.Refused, match="ALLOW_INSTALL=1"):
        cluster.Cluster(places)._install()


def test_a_site_chooses_partitions_by_whether_a_job_has_gpus():
    site = Slurm(account="lab", partition="cpu", gpu_partition="gpu", gpu_model="h100", gpu_qos="long")
    cpu = {"slurm_account": "lab", "slurm_partition": "cpu", "qos": None, "gpu_model": None, "nodes": None}
    assert site.resources(0) == cpu
    assert site.resources(1) == cpu | {"slurm_partition": "gpu", "qos": "long", "gpu_model": "h100"}
    assert site.resources(4)["nodes"] == 1


def test_one_partition_serves_both_kinds():
    assert Slurm(partition="all").resources(1)["slurm_partition"] == "all"
    assert set(Slurm().resources(1).values()) == {None}


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        ("E: Failed to fetch http://deb.debian.org/x", cluster.NoPackages),
        ("E: dpkg was interrupted", RuntimeError),
    ],
)
def test_a_missing_network_is_told_from_other_failures(places, monkeypatch, said, raised):
    def call(*command, **_):
        raise RuntimeError(said)

    places.etc.mkdir(parents=True)
    places.policy.parent.mkdir(parents=True)
    monkeypatch.setenv("ALLOW_INSTALL", "1")
    monkeypatch.setattr(cluster, "_call", call)
    monkeypatch.setattr(cluster, "_installed", set)
    monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: None)
    with pytest.raises(raised, match=said):
        cluster.Cluster(places)._install()
