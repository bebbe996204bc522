"""Device choice, GPU slots and determinism switches, on machines with and without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pagrepro import device
from pagrepro.determinism import switches

IDENTITIES = ["GPU-a", "GPU-b"]


@pytest.fixture(autouse=True)
def free_slots():
    yield
    device.release_slots()


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has so many GPUs."""

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda d: None)
        monkeypatch.setattr(device, "_identity", lambda k: IDENTITIES[k])

    return pretend


def test_without_a_gpu(gpus):
    gpus(0)
    assert device.choose_device("auto") == torch.device("cpu")
    assert device.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(device.DeviceError, match="sees no GPU"):
        device.choose_device("cuda")
    with pytest.raises(device.DeviceError, match="allowed: auto, cpu, cuda"):
        device.choose_device("tpu")


def test_with_gpus(gpus, tmp_path):
    gpus(1)
    assert device.choose_device("auto") == torch.device("cuda", 0)
    assert device.choose_device("cpu") == torch.device("cpu")
    gpus(2)
    assert device.choose_device("cuda", tmp_path) == torch.device("cuda", 0)
    # Asked again, the same process keeps what it has.
    assert device.choose_device("cuda", tmp_path) == torch.device("cuda", 0)


def test_processes_take_different_gpus_and_share_when_there_are_too_few(tmp_path, capsys):
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        " print('held', flush=True); sys.stdin.read()"
    )
    others = [
        subprocess.Popen(
            [sys.executable, "-c", holder, tmp_path / f"pagrepro-gpu-{name}.lock"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in IDENTITIES
    ]  # fmt: skip
    for other in others:
        assert other.stdout.readline() == "held\n"
    assert device.take_slot(IDENTITIES, tmp_path) == os.getpid() % 2
    assert "all 2 GPUs are held" in capsys.readouterr().out
    # The end of a process, however it comes, frees its GPU.
    others[1].kill()
    others[1].wait()
    assert device.take_slot(IDENTITIES, tmp_path) == 1
    others[0].communicate("")


def test_a_file_of_another_user_can_still_be_locked(tmp_path, monkeypatch):
    (tmp_path / "pagrepro-gpu-GPU-a.lock").touch()
    real = os.open

    def refuse_to_write(path, flags, mode=0o777):
        if flags & os.O_RDWR:
            raise PermissionError(path)
        return real(path, flags, mode)

    monkeypatch.setattr(device.os, "open", refuse_to_write)
    assert device.take_slot(["GPU-a"], tmp_path) == 0


def test_switches_are_set_and_put_back():
    def seen():
        return (
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32, torch.utils.deterministic.fill_uninitialized_memory,
        )  # fmt: skip

    before = seen()
    with switches():
        assert seen() == (True, False, True, False, False, False)
        with switches(deterministic=False, tf32=True):
            assert seen() == (False, True, False, True, True, False)
        assert seen()[0]
    assert seen() == before


def test_switches_do_refuse_what_cannot_repeat_itself():
    with switches(), pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)
    torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_real_gpu_has_an_identity():
    assert device._identity(0)
    assert device.choose_device("cuda").type == "cuda"
    assert Path("/proc/driver/nvidia/version").exists()
