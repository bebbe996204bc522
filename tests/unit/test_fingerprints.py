"""Numbers that a plugin makes change only together with a REVISION; see `fingerprints.py`."""

import copy

import fingerprints
import pytest
from fingerprints import FINGERPRINTS, compute, current, out_of_date, read, refusals, wanted

HOW = "run `python tests/unit/fingerprints.py --write`"


@pytest.fixture(scope="module")
def recorded():
    return read()


@pytest.fixture(scope="module")
def new():
    """Entries with values for the fingerprints that a test asked for, computed once each."""
    return current({name: compute(name) for name in sorted(FINGERPRINTS)})


def test_every_numeric_plugin_has_a_fingerprint():
    missing, extra = sorted(wanted() - FINGERPRINTS.keys()), sorted(FINGERPRINTS.keys() - wanted())
    assert not missing, f"no fingerprint of {missing}: add one to tests/unit/fingerprints.py, then {HOW}"
    assert not extra, f"fingerprints of {extra}, which are not there any more: remove them, then {HOW}"


def test_every_fingerprint_says_something(new):
    """A case that is all zeros would never change."""
    silent = [(n, case) for n in FINGERPRINTS for case, v in new[n]["values"].items() if not v[2] > 0]
    assert not silent
    assert all(new[name]["values"] for name in FINGERPRINTS)


def test_numbers_change_only_with_a_revision(recorded, new):
    refused = refusals(recorded, new, fingerprints.closure)
    assert not refused, "\n".join(refused)


def test_the_file_is_up_to_date(recorded, new):
    stale = out_of_date(recorded, new)
    assert not stale, f"tests/fingerprints.json is out of date in {stale}: {HOW}, note it in CHANGELOG.md"


def test_the_file_is_written_by_the_program(recorded):
    assert fingerprints.FILE.read_text(encoding="utf-8") == fingerprints.text(recorded)


# --- the rules themselves ----------------------------------------------------------------------------

OLD = {
    "attacks.a": {"revision": 1, "values": {"case": [1.0, 2.0, 3.0]}},
    "data.d": {"revision": 1, "values": {"case": [1.0, 2.0, 3.0]}},
    "threat": {"revision": 1, "values": {}},
}
BEHIND = {"attacks.a": ["attacks.a", "threat"], "data.d": ["data.d"], "threat": ["threat"]}


def changes(revisions=(), attack=(1.0, 2.0, 3.0)):
    found = copy.deepcopy(OLD)
    found["attacks.a"]["values"]["case"] = list(attack)
    for name, revision in dict(revisions).items():
        found[name]["revision"] = revision
    return found


def refused(found):
    return refusals(OLD, found, BEHIND.get)


def test_nothing_changed():
    assert refused(changes()) == []
    assert out_of_date(OLD, changes()) == []


def test_changed_numbers_under_the_same_revision_are_refused():
    (message,) = refused(changes(attack=(1.0, 2.0 + 1e-8, 3.0)))
    assert "bump REVISION of attacks.a" in message
    assert "threat" in message
    assert "fingerprints.py --write" in message
    assert "CHANGELOG.md" in message


@pytest.mark.parametrize("bumped", ["attacks.a", "threat"])
def test_the_revision_of_any_module_behind_the_numbers_allows_it(bumped):
    found = changes({bumped: 2}, attack=(5.0, 2.0, 3.0))
    assert refused(found) == []
    assert out_of_date(OLD, found) == sorted({"attacks.a", bumped})


def test_the_revision_of_another_module_does_not():
    assert len(refused(changes({"data.d": 2}, attack=(5.0, 2.0, 3.0)))) == 1


def test_a_revision_never_goes_down():
    (message,) = refused(changes({"threat": 0}))
    assert "never goes down" in message


def test_rounding_is_measured_by_the_size_of_the_terms():
    before = {**OLD, "attacks.a": {"revision": 1, "values": {"case": [1e-17, 0.0, 1.0]}}}
    assert refusals(before, changes(attack=(3e-17, 1e-10, 1.0)), BEHIND.get) == []
    assert len(refusals(before, changes(attack=(3e-17, 2e-9, 1.0)), BEHIND.get)) == 1


def test_new_and_removed_entries_have_to_be_written():
    found = changes()
    del found["data.d"]
    found["attacks.b"] = {"revision": 1, "values": {"case": [0.0, 0.0, 1.0]}}
    assert refusals(OLD, found, {**BEHIND, "attacks.b": ["attacks.b"]}.get) == []
    assert out_of_date(OLD, found) == ["attacks.b", "data.d"]


@pytest.fixture
def one_plugin(tmp_path, monkeypatch):
    """A file of its own with the fingerprint of one plugin."""
    monkeypatch.setattr(fingerprints, "FILE", tmp_path / "fingerprints.json")
    monkeypatch.setattr(fingerprints, "FINGERPRINTS", {"schedule": fingerprints.scheduled})
    assert fingerprints.main(["--write"]) == 0
    return fingerprints.FILE


def test_writing_refuses_changed_numbers_and_keeps_the_file(one_plugin, monkeypatch, capsys):
    before = one_plugin.read_text()
    assert fingerprints.main([]) == 0
    monkeypatch.setattr(fingerprints.schedule.Linear, "factor", lambda self, done: done)
    assert fingerprints.main(["--write"]) == 1
    assert "schedule: its numbers changed (linear) and no REVISION did" in capsys.readouterr().err
    assert one_plugin.read_text() == before
    revisions = {"schedule": 2}
    monkeypatch.setattr(fingerprints.plugins, "revisions", lambda *names: revisions)
    assert fingerprints.main(["--write"]) == 0
    assert one_plugin.read_text() != before
    assert fingerprints.main([]) == 0
    revisions["schedule"] = 1
    assert fingerprints.main([]) == 1


def test_computing_leaves_no_trace_in_the_process():
    torch = fingerprints.torch
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    compute("models.toy_mlp")
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.rand(3), expected)
