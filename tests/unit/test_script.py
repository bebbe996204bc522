import subprocess
import sys

import pytest

import pagrepro
from pagrepro import script
from pagrepro.errors import UserError


def test_a_user_error_is_its_message_and_nothing_else(capsys):
    with pytest.raises(SystemExit) as caught, script.main():
        raise UserError("the file is not there")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: the file is not there\n"


def test_a_log_ends_with_what_the_process_used(capsys):
    with script.main():
        sum(range(10**6))
    seconds, peak = script.used(capsys.readouterr().out)
    assert seconds > 0
    assert peak > 5
    assert script.used("no such line") is None


def test_choices_of_the_machine_come_from_the_environment(monkeypatch):
    monkeypatch.delenv("PAGREPRO_MACHINE", raising=False)
    assert script.machine() == {"offline_dir": None, "device": "auto", "save_every_s": 600.0, "paths": {}}
    monkeypatch.setenv("PAGREPRO_MACHINE", '{"device": "cpu"}')
    assert script.machine()["device"] == "cpu"


def test_the_package_imports_nothing_until_it_is_asked():
    code = "import sys, pagrepro; assert 'torch' not in sys.modules\n"
    code += "pagrepro.load_run; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"public: Layout, .*load_field, load_run, measure"):
        _ = pagrepro.load_runs
