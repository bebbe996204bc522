"""A finished tier becomes one archive, the same wherever it is made, and everything in it can be checked."""

import hashlib
import json
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny import Tiny

from pagrepro import crate, export
from pagrepro.errors import DataError, UserError
from pagrepro.expand import expand_loaded
from pagrepro.layout import Layout
from pagrepro.verify import verify

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
CLAIM = "paper,claim,verdict\ntiny,K1,confirmed\ntiny,K2,not testable\n"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def made(minute):
    return {
        "started": f"2026-01-02T03:{minute:02d}:00+00:00", "finished": f"2026-01-02T03:{minute:02d}:30+00:00",
        "git": {"commit": "abc", "dirty": False}, "device": {"name": "a processor"},
        "versions": {"torch": "2.14.1"},
    }  # fmt: skip


class Tier:
    """A tier as the workflow leaves it, with bytes instead of networks."""

    def __init__(self, root):
        self.root = Tiny().write(root)
        self.loaded = Tiny().load(root)
        self.expansion = expand_loaded(self.loaded, root)
        self.layout = Layout(root / "results" / "tiny")
        for number, run in enumerate(self.expansion.runs.values()):
            weights, history = f"weights of {run.name}".encode(), b"{}\n"
            put(self.layout.weights(run.name), weights)
            put(self.layout.history(run.name), history)
            outputs = {"model.safetensors": sha(weights), "history.jsonl": sha(history)}
            content = {
                "spec": run.spec,
                "spec_hash": run.hash,
                "outputs": outputs,
                "provenance": made(number),
            }
            put(self.layout.run_json(run.name), content)
        for field in self.expansion.fields.values():
            shard = f"shard of {field.name}".encode()
            put(self.layout.field_shard(field.name, 0), shard)
            content = {"shards": ["000.safetensors"], "content": [f"sha256:{sha(shard)}"]}
            put(self.layout.field_json(field.name), {"spec": field.spec, "spec_hash": field.hash, **content})
        for e in self.expansion.evaluations.values():
            put(self.layout.arrays(e.run, e.name), b"arrays")
            inputs = {"run": f"sha256:{sha(f'weights of {e.run}'.encode())}"}
            content = {
                "spec": e.spec, "spec_hash": e.hash, "arrays": ["correct"], "values": {"accuracy": 0.5},
                "provenance": {**made(40), "inputs": inputs},
            }  # fmt: skip
            put(self.layout.result(e.run, e.name), content)
        table = self.layout.table("tiny", "table1")
        used = [
            {"run": e.run, "result": e.name, "spec_hash": e.hash} for e in self.expansion.evaluations.values()
        ]
        put(table, b"row,column\n")
        put(table.with_suffix(".md"), b"| |")
        put(table.with_suffix(".json"), {"incomplete": None, "inputs": used})
        put(self.layout.claims(), CLAIM.encode())
        put(self.layout.results / "claims" / "tiny.csv", CLAIM.encode())
        put(self.layout.results / "report.zip", b"report")
        put(self.layout.results / "logs" / "train" / "a.log", b"log")

    def contents(self, without=()):
        return export.contents(self.expansion, self.loaded, self.layout, self.root, set(without))

    def export(self, target, without=(), partial=False):
        found = self.contents(without)
        if not partial:
            export.refuse_unfinished(found)
        export.write(target, found, export.facts(found, self.loaded, set(without)))
        return target

    def a_run(self):
        return next(iter(self.expansion.runs))


@pytest.fixture
def tier(tmp_path):
    return Tier(tmp_path / "here")


def changed(archive, target, name, content):
    """A copy of an archive with one file replaced (None: left out), and the manifest made to agree."""
    files = {i.filename: zipfile.ZipFile(archive).read(i) for i in zipfile.ZipFile(archive).infolist()}
    files[name] = content
    files = {k: v for k, v in files.items() if v is not None}
    files.pop(crate.MANIFEST)
    files[crate.MANIFEST] = "".join(f"{sha(v)}  {k}\n" for k, v in files.items()).encode()
    with zipfile.ZipFile(target, "w") as copy:
        for key, value in files.items():
            copy.writestr(key, value)
    return target


def edited(archive, name, **changes):
    return json.dumps(json.loads(zipfile.ZipFile(archive).read(name)) | changes).encode()


def test_a_finished_tier_is_exported_and_verified(tier, tmp_path):
    archive = tier.export(tmp_path / "a.zip")
    found = verify(archive)
    assert found.problems == []
    assert (found.status, found.left_out) == ("complete", 0)
    runs, results = len(tier.expansion.runs), len(tier.expansion.evaluations)
    assert found.checks["spec hashes"] == runs + results + len(tier.expansion.fields)
    assert found.checks["weights and histories"] == 2 * runs
    assert found.checks["claims"] == 2
    names = zipfile.ZipFile(archive).namelist()
    assert {"claims.csv", "config/papers/tiny.yaml", "logs/train/a.log"} <= set(names)


def test_the_same_files_give_the_same_bytes(tier, tmp_path):
    one, other = tier.export(tmp_path / "a.zip"), Tier(tmp_path / "there").export(tmp_path / "b.zip")
    assert one.read_bytes() == other.read_bytes()


def test_the_metadata_say_what_where_and_when(tier, tmp_path):
    document = json.loads(zipfile.ZipFile(tier.export(tmp_path / "a.zip")).read(crate.METADATA))
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert entities["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert entities["./"]["datePublished"] == "2026-01-02"
    assert entities["#made"]["startTime"] == "2026-01-02T03:00:00+00:00"
    assert entities["#made"]["endTime"] == "2026-01-02T03:40:30+00:00"
    assert "a processor" in entities["#made"]["description"]
    assert entities["#pagrepro"]["version"] == "abc"
    assert entities["#tiny"]["description"] == "Somebody, 2022"
    assert entities["claims.csv"] == {
        "@id": "claims.csv", "@type": "File", "contentSize": str(len(CLAIM)), "encodingFormat": "text/csv",
    }  # fmt: skip


def test_sha256sum_reads_the_manifest(tier, tmp_path):
    archive = tier.export(tmp_path / "a.zip")
    zipfile.ZipFile(archive).extractall(tmp_path / "out")
    done = subprocess.run(["sha256sum", "-c", "--quiet", crate.MANIFEST], cwd=tmp_path / "out")
    assert done.returncode == 0


@pytest.mark.parametrize("part", export.PARTS)
def test_parts_can_be_left_out(tier, tmp_path, part):
    put(tier.layout.state("x") / "000001.safetensors", b"state")
    put(tier.layout.results / "timings" / "a.jsonl", b"{}")
    everything = set(zipfile.ZipFile(tier.export(tmp_path / "a.zip")).namelist())
    archive = tier.export(tmp_path / "b.zip", without=[part])
    less = everything - set(zipfile.ZipFile(archive).namelist())
    assert less
    assert all(export.part_of(name) == part for name in less)
    found = verify(archive)
    assert found.problems == []
    assert (found.left_out > 0) == (part in ("models", "fields", "arrays"))


def test_an_unfinished_tier_is_refused_and_says_which_files(tier, tmp_path):
    run = tier.a_run()
    tier.layout.weights(run).unlink()
    message = rf"not finished: 1 of its files[\s\S]*{run}/model.safetensors[\s\S]*--partial"
    with pytest.raises(UserError, match=message):
        tier.export(tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    archive = tier.export(tmp_path / "a.zip", partial=True)
    found = verify(archive)
    assert found.problems == []
    assert found.status == "incomplete"
    assert f"{run}/model.safetensors" in zipfile.ZipFile(archive).read("missing.txt").decode()


def test_work_of_another_specification_is_not_finished(tier):
    path = tier.layout.run_json(tier.a_run())
    put(path, json.loads(path.read_text()) | {"spec_hash": "f" * 16})
    assert tier.contents().missing == [f"of another specification: {path}"]


def test_a_preview_is_not_finished(tier):
    path = tier.layout.table("tiny", "table1").with_suffix(".json")
    put(path, json.loads(path.read_text()) | {"incomplete": "1 of 6 runs"})
    assert "a preview (1 of 6 runs)" in tier.contents().missing[0]


def test_what_is_not_asked_for_stays_behind(tier, tmp_path):
    put(tier.layout.run_json("another"), {"spec": {}, "spec_hash": "x"})
    put(tier.layout.results / "kept" / "models" / "a", b"again")
    put(tier.layout.results / "preview" / "tables" / "kept.csv", b"early")
    put(tier.layout.results / "tables" / ".hidden.tmp", b"half")
    found = tier.contents()
    assert found.unasked == ["models/another/run.json"]
    assert not [name for name in found.files if "another" in name or "kept" in name or "hidden" in name]


def test_a_failed_export_leaves_nothing(tier, tmp_path, monkeypatch):
    found = tier.contents()
    found.files["gone"] = tmp_path / "gone"
    with pytest.raises(FileNotFoundError):
        export.write(tmp_path / "out" / "a.zip", found, export.facts(found, tier.loaded, set()))
    assert list((tmp_path / "out").iterdir()) == []


# --- what verify finds ---------------------------------------------------------------------------------


def test_every_changed_byte_is_found(tier, tmp_path):
    archive = tier.export(tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    place = content.find(b"weights of")
    content[place] ^= 1
    archive.write_bytes(content)
    (problem,) = {line.partition(":")[0] for line in verify(archive).problems if "cannot be read" in line}
    assert problem.endswith("model.safetensors")


@pytest.mark.parametrize("name", ["claims.csv", "config/papers/tiny.yaml"])
def test_what_is_missing_or_more_is_found(tier, tmp_path, name):
    archive = tier.export(tmp_path / "a.zip")
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(tmp_path / "b.zip", "w") as less:
        for info in whole.infolist():
            if info.filename != name:
                less.writestr(info.filename, whole.read(info))
        less.writestr("extra.txt", b"x")
    problems = verify(tmp_path / "b.zip").problems
    assert f"{name}: in manifest-sha256.txt, but not there" in problems
    assert "extra.txt: not in manifest-sha256.txt" in problems
    assert "ro-crate-metadata.json: hasPart lacks extra.txt" in problems


def case(tier, archive, what):
    run = tier.a_run()
    (evaluation,) = [e for e in tier.expansion.evaluations.values() if (e.run, e.name) == (run, "clean")]
    result, sidecar = f"evaluations/{run}/clean.json", f"models/{run}/run.json"
    return {
        "weights": (f"models/{run}/model.safetensors", b"others", "its sidecar says"),
        "spec": (result, edited(archive, result, spec=evaluation.spec | {"seed": 7}), "its spec gives"),
        "no spec": (sidecar, b"{}", "its spec gives None"),
        "not JSON": (sidecar, b"{", "not JSON"),
        "run": (sidecar, None, f"run {run} is not there"),
        "field": ("fields/line_near_s0/000.safetensors", b"others", "its sidecar says"),
        "result": (result, None, f"measurement {run}/clean is not there"),
        "table": ("tables/tiny/table1.csv", None, "its csv is not there"),
        "verdict": ("claims.csv", CLAIM.replace("confirmed", "true").encode(), "verdict 'true'"),
        "claim": ("claims.csv", CLAIM.replace("confirmed", "contradicted").encode(), "as it is here"),
        "metadata": (crate.METADATA, b'{"@graph": 3}', "no JSON-LD"),
        "form": (sidecar, edited(archive, sidecar, outputs=[1, 2]), "not of the form"),
        "descriptor": (crate.METADATA, b'{"@graph": [{"@id": "./"}]}', "no descriptor that conforms"),
    }[what]  # fmt: skip


@pytest.mark.parametrize(
    "what",
    ["weights", "spec", "no spec", "not JSON", "run", "field", "result", "table", "verdict", "claim",
     "metadata", "descriptor", "form"],
)  # fmt: skip
def test_what_does_not_belong_together_is_found_behind_right_checksums(tier, tmp_path, what):
    archive = tier.export(tmp_path / "a.zip")
    name, content, problem = case(tier, archive, what)
    found = verify(changed(archive, tmp_path / "b.zip", name, content))
    assert not any("sha256 is" in line and crate.MANIFEST in line for line in found.problems)
    assert any(problem in line for line in found.problems), found.problems


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        verify(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_text("text")
    with pytest.raises(DataError, match="no ZIP file"):
        verify(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("../outside", b"")
    problems = verify(tmp_path / "b.zip").problems
    assert any("no name for a file" in line for line in problems)
    assert any("this is no archive of export.py" in line for line in problems)


def test_the_scripts(tier, tmp_path, monkeypatch, capsys):
    def call(script, *words):
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        monkeypatch.chdir(tier.root)
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return capsys.readouterr().out

    target = tmp_path / "a.zip"
    assert "files" in call("export.py", "--tier", "tiny", "--output", target)
    assert "everything agrees" in call("verify.py", target)
    call("export.py", "--tier", "tiny", "--output", target, "--without", "models", "state")
    assert "references to files that were left out" in call("verify.py", target)
    tier.layout.claims().unlink()
    with pytest.raises(SystemExit):
        call("export.py", "--tier", "tiny", "--output", target)
    assert "missing: results/tiny/claims.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="problems"):
        call("verify.py", changed(target, tmp_path / "b.zip", "tables/tiny/table1.csv", None))
