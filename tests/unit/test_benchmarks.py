"""The benchmark program: what it reports of right and of broken formulations, and its exit code."""

import functools
import importlib
import importlib.util
import json
import re

import pytest
import torch
from benchmark_modules import FOLDER

from pagrepro.flops import flops

NAME = "alignment_all_classes"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def program():
    """run.py as a module, with its folder importable as when it is started as a script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        spec = importlib.util.spec_from_file_location("benchmark_program", FOLDER / "run.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def alignment(program):
    return importlib.import_module(NAME)


@pytest.fixture(scope="module")
def measure(program):
    return importlib.import_module("_measure")


@pytest.fixture(scope="module")
def report(program, tmp_path_factory):
    """The exit code and the JSON of a quick run."""
    path = tmp_path_factory.mktemp("benchmark") / "new" / "report.json"
    code = program.main(["--quick", "--only", NAME, "--output", str(path)])
    return code, json.loads(path.read_text())


@pytest.fixture
def rows(report):
    return {row["variant"]: dict(row) for row in report[1]["benchmarks"][NAME]["rows"]}


def test_quick_run_meets_its_bars(report, rows, alignment):
    code, found = report
    assert code == 0
    assert found["device"]["type"] == "cpu"
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["date"]
    assert list(rows) == [alignment.PLAIN, *alignment.OURS, *alignment.REPEATED]
    assert all(row["seconds"] > 0 and row["GFLOP per image"] > 0 for row in rows.values())
    assert rows[alignment.PLAIN]["time ratio"] == rows[alignment.PLAIN]["FLOP ratio"] == 1


def test_reports_a_broken_formulation_as_not_exact(rows, alignment):
    """Copies of an image share the batch statistics; with running statistics they are independent."""
    in_train, in_eval = (rows[name] for name in alignment.REPEATED)
    assert not in_train["exact"]
    assert in_train["error"] > 1e-2
    assert in_eval["exact"]
    assert all(rows[name]["exact"] for name in alignment.OURS)


def test_bar_falls_short_when_the_objective_is_the_broken_formulation(rows, alignment):
    broken = {alignment.OURS[0]: functools.partial(alignment.repeated_images, mode="train")}
    batch = alignment.examples(2, 8, CPU, torch.float64)
    rows[alignment.OURS[0]] |= {"error": alignment.errors(broken, 4, batch, CPU)[alignment.OURS[0]]}
    # Its operations are those of the formulation it is compared with, so that bar falls short too.
    rows[alignment.OURS[0]] |= {"FLOP ratio": rows[alignment.REPEATED[0]]["FLOP ratio"]}
    short = [bar["bar"] for bar in alignment.bars(list(rows.values())) if not bar["met"]]
    assert len(short) == 3
    assert all(title.startswith(alignment.OURS[0]) for title in short)


def test_exit_code_names_the_bar_that_falls_short(rows, program, alignment, monkeypatch, capsys):
    monkeypatch.setattr(alignment, "FLOP_LIMIT", 5.0)

    def run(device, quick):
        return {"rows": list(rows.values()), "bars": alignment.bars(list(rows.values())), "settings": {}}

    monkeypatch.setattr(alignment, "run", run)
    assert program.main(["--quick", "--only", NAME]) == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == f"bar not met: {NAME}: loop, train BN: operations"
    assert printed.out.count("FALLS SHORT") == 1


def test_finds_benchmarks_by_file_name_and_refuses_others(program, capsys):
    assert NAME in program.names()
    assert not {"run", "_measure", "_digits"} & set(program.names())
    with pytest.raises(SystemExit):
        program.main(["--only", "no_such_benchmark"])
    assert NAME in capsys.readouterr().err


def test_operations_of_one_product():
    a, b = torch.rand(3, 5), torch.rand(5, 7)
    assert flops(lambda: a @ b) == 2 * 3 * 5 * 7


def test_peak_memory_of_one_tensor(measure):
    found = measure.peak_mb(lambda: torch.ones(2**23), CPU)  # 32 MiB of float32
    if found is None:
        pytest.skip("this system does not tell a process's peak memory")
    assert 31 < found < 40


def test_every_round_starts_with_another_variant(measure):
    calls = []
    steps = {name: functools.partial(calls.append, name) for name in "abc"}
    seconds = measure.alternate(steps, 3, CPU, slice_s=0.0)
    assert "".join(calls) == "abcbcacab"
    assert all(len(values) == 3 for values in seconds.values())


def test_ratios_are_taken_within_a_round(measure):
    """The second round ran on a machine half as fast; the ratio does not notice."""
    found = measure.ratios({"plain": [1.0, 2.0, 1.0], "other": [3.0, 6.0, 4.0]}, "plain")["other"]
    assert found == {"seconds": 4.0, "time ratio": 3.0, "lowest": 3.0, "highest": 4.0}


def test_a_bar_without_a_number_falls_short(measure):
    assert not measure.bar("x", float("nan"), 1.0, "")["met"]
    assert measure.bar("x", 1.0, 1.0, "")["met"]
    assert not measure.bar("x", 1.1, 1.0, "")["met"]


def test_rates_are_those_of_the_step_and_of_a_product(program):
    rate = importlib.import_module("_rate")
    rows = [
        {"GFLOP": 3.0, "seconds": 2.0},
        {"seconds": 2.0},
        {"GFLOP": 1.0, "seconds": 1.0, "precision": "bfloat16, channels last"},
    ]
    rated, same, half = rate.with_rates(rows, CPU)
    assert rated["GFLOP/s"] == 1.5
    assert rated["of a product"] == pytest.approx(1.5e9 / rate.product_rate(CPU, torch.float32))
    assert same == rows[1]
    assert half["of a product"] == pytest.approx(1e9 / rate.product_rate(CPU, torch.bfloat16))


def test_a_report_is_kept_after_every_benchmark(program, monkeypatch, tmp_path):
    """A run that is killed in its second benchmark leaves the first."""

    def measure(name, device, quick):
        if name == "second":
            raise KeyboardInterrupt
        return {"rows": [], "bars": [], "settings": {}, "wall_s": 1.0}

    monkeypatch.setattr(program, "measure", measure)
    monkeypatch.setattr(program, "names", lambda: ["first", "second"])
    with pytest.raises(KeyboardInterrupt):
        program.main(["--quick", "--output", str(tmp_path / "report.json")])
    assert list(json.loads((tmp_path / "report.json").read_text())["benchmarks"]) == ["first"]


# --- the page --------------------------------------------------------------------------------------------


def test_page_and_report_agree(program):
    page = importlib.import_module("_page")
    report = json.loads((FOLDER / "results/cpu.json").read_text(encoding="utf-8"))
    assert not report["quick"]
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, report) == text, (
        "python benchmarks/run.py --markdown benchmarks/results/cpu.json"
    )
    blocks = set(re.findall(r"<!-- (\w+) -->", text)) - {"end"}
    assert blocks == {"conditions", "bars_not_met", *program.names()}


def test_page_says_which_bars_are_not_met(program):
    page = importlib.import_module("_page")
    bars = [{"bar": "time", "value": 0.5, "limit": 0.4, "unit": "times", "met": False}]
    result = {
        "rows": [{"variant": "a", "seconds": 1.5}],
        "bars": bars,
        "settings": {"n": 3},
        "wall_s": 2.0,
        "date": "2026-11-25T12:00",
    }
    text = "a\n<!-- bars_not_met -->\n<!-- end -->\nb\n<!-- one -->\nold\n<!-- end -->\n"
    filled = page.filled(text, {"benchmarks": {"one": result}})
    assert "| one       | time | at most 0.4 times | 0.5      | no  |" in filled
    assert "2026-11-25: n 3; took 2 s." in filled
    assert "old" not in filled
    assert page.filled(filled, {"benchmarks": {"one": result}}) == filled
    two = page.filled("<!-- two -->\n<!-- end -->\n", {"benchmarks": {}})
    assert two == "<!-- two -->\n\nNot in this report.\n\n<!-- end -->\n"
