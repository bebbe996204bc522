"""What a sidecar says about where a number came from."""

import json
import subprocess

import torch

from pagrepro import provenance


def test_a_sidecar_names_versions_device_code_time_and_memory():
    found = provenance.provenance(torch.device("cpu"), 1.23456, "2026-01-01T00:00:00+00:00", resumed=2)
    assert found["versions"]["torch"] == torch.__version__.split("+")[0] or torch.__version__
    assert found["versions"]["python"].startswith("3.")
    assert found["device"]["type"] == "cpu"
    assert found["device"]["name"]
    assert found["wall_s"] == 1.235
    assert found["resumed"] == 2
    assert 50 < found["peak_mb"] < 1e6
    assert found["started"] < found["finished"]
    assert json.loads(json.dumps(found)) == found


def test_git_commit_and_changes(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    assert provenance.git(tmp_path / "nowhere") == {"commit": None, "dirty": None}
    git("init")
    (tmp_path / "code.py").write_text("a = 1")
    git("add", ".")
    git("commit", "-m", "a")
    provenance.git.cache_clear()
    clean = provenance.git(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "code.py").write_text("a = 2")
    provenance.git.cache_clear()
    assert provenance.git(tmp_path) == {**clean, "dirty": True}


def test_opening_line():
    line = provenance.opening_line(torch.device("cpu"))
    assert "torch=" in line
    assert "cpu: " in line
    assert "git " in line
