"""What the documentation names exists, and what it shows works."""

import ast
import csv
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from pagrepro import (
    augment_options,
    configuration,
    expand,
    optimizer_options,
    pack,
    plan,
    plugins,
    schedule,
    settings,
    spec,
)
from pagrepro.configuration import PAPER_KEYS, Paper
from pagrepro.data import _chest_manifest
from pagrepro.layout import Layout
from pagrepro.statistics import VERDICTS
from pagrepro.targets import Files, JobTable, alias

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "results/README.md",
    "profiles/README.md", "docs/adding.md", "docs/architecture.md", "docs/claims.md",
    "docs/cost.md", "docs/deviations.md", "docs/export.md", "docs/fast-paths.md",
    "docs/glossary.md", "docs/housekeeping.md", "docs/known-issues.md", "docs/matrix.md", "docs/measuring.md",
    "docs/performance.md",
    "docs/reproducibility.md", "docs/results.md", "docs/scaling.md", "docs/slurm.md",
]  # fmt: skip
every_page = pytest.mark.parametrize("page", PAGES)
# What the worked example of docs/adding.md adds.
EXAMPLE = re.compile("input_gradient_(penalty|size)|seed_strip|drucker1992|tutorial")
DEVIATIONS = "docs/deviations.md"

# Paper -> number of the ambiguities A1, A2, ... that were found in it.
LOADED = configuration.read_yaml(ROOT / "config/config.yaml")["papers"]
PAPERS = [key for key in LOADED if key != configuration.MATRIX]
AMBIGUITIES = {"ganz2022": 18, "lanfredi2020": 24, "srinivas2023": 21, "rodriguezmunoz2024": 22}
every_paper = pytest.mark.parametrize("paper", PAPERS)
FENCE = re.compile(r"(?:<!-- test: (\w+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def parts(content: str, level: int) -> dict[str, str]:
    """Heading of this level -> what stands below it; what stands before the first one under ""."""
    before, *rest = re.split(rf"^{'#' * level} (.*)$", content, flags=re.MULTILINE)
    return {"": before, **dict(zip(rest[::2], rest[1::2], strict=True))}


def deviations(paper: str) -> dict[str, str]:
    """What the page of deviations says of one paper, by heading."""
    return parts(parts(text(DEVIATIONS), 2)[paper], 3)


def table_rows(content: str) -> list[tuple[str, str]]:
    """(first cell, the others) of every row of tables whose first cell is one word."""
    return re.findall(r"^\| (\w+) \| (.*)$", content, re.MULTILINE)


def blocks(page: str, mark: str) -> list[str]:
    """Fenced blocks below a comment `<!-- test: mark -->`."""
    return [body for found, _, body in FENCE.findall(text(page)) if found == mark]


def code(page: str) -> list[str]:
    """Inline code, and the lines of shell blocks."""
    return code_of(text(page))


def code_of(content: str) -> list[str]:
    """The same of a part of a page."""
    fences = FENCE.findall(content)
    shell = [line for _, language, body in fences if language == "sh" for line in body.splitlines()]
    return shell + re.findall(r"`([^`\n]+)`", FENCE.sub("", content))


# --- names, paths, links -----------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if re.match(r"https?:", target):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


@every_page
def test_paths_exist(page):
    tops = "src|config|docs|workflow|tests|profiles|envs|benchmarks"
    for span in code(page):
        for path in re.findall(rf"(?<![\w/.<>-])((?:{tops})/[\w./*<>{{}},-]*)", span):
            # The worked example is written to a copy of the package, below.
            if not re.search(r"[<>{}*]", path) and not EXAMPLE.search(path):
                assert (ROOT / path.rstrip(".,")).exists(), f"{page}: {path}"


@every_page
def test_modules_exist(page):
    for dotted in re.findall(r"\bpagrepro((?:\.[a-z_]+)+)\b", text(page)):
        names = dotted.strip(".").split(".")
        # The last name may be that of something inside the module.
        whole, outer = (plugins.PACKAGE.joinpath(*parts) for parts in (names, names[:-1]))
        files = {path: (path.with_suffix(".py"), path / "__init__.py") for path in (whole, outer)}
        module = next((path for path, tried in files.items() if any(f.is_file() for f in tried)), None)
        assert module, f"{page}: pagrepro{dotted}"
        if module != whole:
            (file,) = [f for f in files[module] if f.is_file()]
            assert names[-1] in file.read_text(), f"{page}: pagrepro{dotted}"


@every_page
def test_no_path_of_a_machine(page):
    assert not re.search(r"(?<![\w.:/<~])/(home|work|root|tmp|usr|mnt|opt)/", text(page))


@cache
def rule_names() -> frozenset[str]:
    """Everything that can be asked for on the command line."""
    rules = "".join(p.read_text() for p in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")])
    expansion, loaded = tier("demo")
    names = set(re.findall(r"^rule (\w+):", rules, re.MULTILINE))
    names |= {f"paper_{paper}" for paper in loaded.papers}
    names |= {alias(paper, name) for paper, name in expansion.artifacts}
    jobs = JobTable(pack.jobs(expansion, loaded))
    return frozenset(names | {f"train_pack_{job.name}" for job in jobs.packs("train")})


@cache
def paper_file(paper: str) -> dict[str, Any]:
    return configuration.read_yaml(ROOT / f"config/papers/{paper}.yaml")


@cache
def tier(name: str) -> tuple[Any, configuration.Configuration]:
    config = configuration.read_yaml(ROOT / "config/config.yaml") | {"tier": name}
    loaded = configuration.load(config, ROOT)
    return expand.expand_loaded(loaded, ROOT), loaded


# Options of snakemake that the pages use, and whether a value follows.
OPTIONS = {
    "--profile": 1,
    "--config": 2,
    "-n": 0,
    "--printshellcmds": 0,
    "--forcerun": 0,
    "--set-resources": 1,
    "--configfile": 1,
    "--unlock": 0,
    "-q": 0,
    "--": 0,
}


@every_page
def test_commands_exist(page):
    for line in code(page):
        line = line.partition("#")[0].strip()
        for target in re.findall(r"\bmake ([a-z]\w*)", line if line.startswith("make") else ""):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (
                f"{page}: make {target}"
            )
        if line.startswith("snakemake --profile"):
            check_snakemake(line.split()[1:], page)
        if script := re.match(r"python ((?:workflow/scripts|tests/unit|benchmarks)/\w+\.py)(.*)", line):
            source = (ROOT / script[1]).read_text()
            missing = [o for o in re.findall(r"--[a-z-]+", script[2]) if f'"{o}"' not in source]
            assert not missing, f"{page}: {script[1]} has no {missing}"


def check_snakemake(words: list[str], page: str) -> None:
    """Options, profiles, tiers, configuration keys and targets of one command."""
    while words:
        word = words.pop(0)
        if word == "--config":
            while words and "=" in words[0]:
                key, _, value = words.pop(0).partition("=")
                assert key in settings.Settings.model_fields, f"{page}: --config {key}"
                if key == "tier" and "<" not in value:
                    assert (ROOT / f"config/tiers/{value}.yaml").is_file(), f"{page}: tier {value}"
        elif word.startswith("-"):
            assert word in OPTIONS, f"{page}: {word}"
            value = words.pop(0) if OPTIONS[word] else ""
            if word == "--profile" and "<" not in value:
                assert (ROOT / value / "profile.yaml").is_file(), f"{page}: {value}"
        else:
            assert word in rule_names() or "<" in word, f"{page}: no target {word}"


def test_every_target_and_tier_is_in_the_readme():
    for word in ("plan", "preview", "downloads", f"paper_{PAPERS[0]}", f"{PAPERS[0]}_fig3"):
        assert re.search(rf"snakemake --profile \S+ {word}`", text("README.md")), word
    for path in (ROOT / "config/tiers").glob("*.yaml"):
        assert f"| `{path.stem}` |" in text("README.md"), path


@every_paper
def test_the_readme_counts_artifacts_and_claims_as_they_are(paper):
    content = paper_file(paper)
    tables = sum("table" in artifact for artifact in content["artifacts"].values())
    figures = len(content["artifacts"]) - tables
    expected = f"complete: {tables} tables, {figures} figures, {len(content['claims'])} claims |"
    (line,) = [line for line in text("README.md").splitlines() if line.startswith(f"| `{paper}` |")]
    assert line.endswith(expected), f"README.md, {paper}: {expected}"


def test_the_readme_calls_no_paper_complete_that_is_not_here():
    complete = re.findall(r"^\| `(\w+)` \| .* \| complete: .* \|$", text("README.md"), re.MULTILINE)
    assert sorted(complete) == sorted(PAPERS)


@pytest.mark.parametrize("name", ["small", "full"])
def test_the_readme_tells_what_plan_tells(name):
    expansion, loaded = tier(name)
    hours = round(sum(item.gpu_hours for item in plan.items(loaded, expansion, lambda spec: 0, ROOT)))
    line = next(line for line in text("README.md").splitlines() if line.startswith(f"| `{name}` |"))
    assert f" {hours} GPU-hours" in line, f"README.md: the {name} tier asks for {hours} GPU-hours"


def test_the_readme_leaves_no_cuda_library_for_a_laptop():
    pattern = re.search(r"grep -vE '(.*)' requirements.lock", text("README.md"))[1]
    kept = [line for line in text("requirements.lock").splitlines() if not re.match(pattern, line)]
    names = {line.partition("==")[0] for line in kept if "==" in line}
    assert "snakemake" in names
    assert not {name for name in names if re.match("nvidia|cuda|torch|triton", name)}
    for package in ("torch", "torchvision"):
        pin = re.search(rf"^{package}==\S+", text("requirements.lock"), re.MULTILINE)[0]
        assert pin in text("README.md")


# --- options -----------------------------------------------------------------------------------------

OPTION_CLASSES = {"fit": spec.Fit, "augment": augment_options.Augment}
NAMED = [TypeAdapter(kind) for kind in (schedule.Schedule, optimizer_options.Optimizer)]


@every_page
def test_options_in_the_text_exist(page):
    """`{name: plugin, option: value}`, `fit.option`, `augment.option` and `settings.key` of a paper: of the
    one that the section is about, elsewhere of any."""
    for title, section in parts(text(page), 2).items():
        papers = [title] if title in PAPERS else PAPERS
        for span in code_of(section):
            if re.match(r"\{name: [a-z0-9_]+, .*: .*\}$", span) and "..." not in span:
                check_plugin(yaml.safe_load(span), page)
            if option := re.fullmatch(r"(fit|augment)\.(\w+)(: .*)?", span):
                assert option[2] in OPTION_CLASSES[option[1]].model_fields, f"{page}: {span}"
            if key := re.fullmatch(r"settings\.([\w.]+)(: .*)?", span):
                found = [setting(paper_file(paper)["settings"], key[1]) for paper in papers]
                assert any(is_there for is_there, _ in found), f"{page}, {', '.join(papers)}: {span}"


def setting(settings: dict[str, Any], path: str) -> tuple[bool, Any]:
    """Whether there is a setting at a path such as `main.fit.epochs`, and its value."""
    value: Any = settings
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def check_plugin(value: dict[str, Any], page: str) -> None:
    """Options and their values are those of a plugin of that name (or schedule, or optimizer)."""
    options = {k: v for k, v in value.items() if k != "name"}
    kinds = [kind for kind in plugins.KINDS if value["name"] in plugins.names(kind)]
    tried = [lambda kind=kind: plugins.config_class(kind, value["name"])(**options) for kind in kinds]
    tried += [lambda other=other: other.validate_python(value) for other in NAMED]
    for make in tried:
        try:
            make()
        except ValidationError as error:
            # What is shown is a part: required options may be left out.
            if {item["type"] for item in error.errors()} == {"missing"}:
                return
        else:
            return
    raise AssertionError(f"{page}: {value}")


def test_the_check_of_options_can_fail():
    for wrong in ("{name: pgd, strat: zero}", "{name: pgd, start: zreo}", "{name: pdg, start: zero}"):
        with pytest.raises(AssertionError):
            check_plugin(yaml.safe_load(wrong), "here")


@every_paper
def test_choices_of_tiers_are_those_of_the_tier_files(paper):
    rows = table_rows(deviations(paper)["Smaller tiers"])
    told = [(name, span) for name, row in rows for span in re.findall(r"`settings\.([\w.]+: [^`]+)`", row)]
    smaller = {p.stem for p in (ROOT / "config/tiers").glob("*.yaml") if paper in settings_of(p.stem)}
    assert smaller <= {name for name, _ in told}, "every tier with sizes of its own has a row"
    for name, span in told:
        path, _, value = span.partition(": ")
        _, found = setting(tier(name)[1].papers[paper].settings, path)
        assert found == yaml.safe_load(value), f"{DEVIATIONS}: {name}, {path} is {found}"


def settings_of(name: str) -> dict[str, Any]:
    """What a tier lays over the settings of each paper."""
    return configuration.read_yaml(ROOT / f"config/tiers/{name}.yaml").get("settings") or {}


def test_choices_are_told_of_one_tier_at_a_time():
    """`settings.key: value` belongs to a tier, so it stands in a table of tiers and nowhere else."""
    for paper in PAPERS:
        for title, section in deviations(paper).items():
            spans = re.findall(r"`settings\.[\w.]+: [^`]+`", section)
            assert title == "Smaller tiers" or not spans, f"{paper}, {title}: {spans}"


def test_papers_have_a_section_of_deviations_each():
    assert [title for title in parts(text(DEVIATIONS), 2) if title] == PAPERS
    assert AMBIGUITIES.keys() == set(PAPERS)


@every_paper
def test_every_ambiguity_has_a_row(paper):
    content = parts(text(DEVIATIONS), 2)[paper]
    rows = [name for name, _ in table_rows(content) if re.fullmatch(r"A\d+", name)]
    assert rows == [f"A{n}" for n in range(1, AMBIGUITIES[paper] + 1)]
    cited = set(re.findall(r"\bA\d+\b", text(f"config/papers/{paper}.yaml") + content))
    assert cited <= set(rows)


# --- config/README.md --------------------------------------------------------------------------------


def keys_of(*models: type[BaseModel]) -> set[str]:
    return {key for model in models for key in model.model_fields}


def test_every_configuration_key_is_explained():
    models = [
        value for value in vars(spec).values() if isinstance(value, type) and issubclass(value, BaseModel)
    ]
    wanted = keys_of(*(m for m in models if m.__module__ == "pagrepro.spec"), augment_options.Augment)
    wanted |= keys_of(optimizer_options.Sgd, optimizer_options.Adam, optimizer_options.AdamW)
    wanted |= keys_of(schedule.Step, schedule.Cosine, schedule.Linear) | set(PAPER_KEYS) | {"grid"}
    missing = sorted(key for key in wanted if not re.search(rf"\b{key}\b", text("config/README.md")))
    assert not missing


def test_every_plugin_is_listed():
    rows = re.findall(r"^\| `\w+` \| (\w+) \| (`.*`) \|$", text("config/README.md"), re.MULTILINE)
    listed = {kind: sorted(re.findall(r"`(\w+)`", names)) for kind, names in rows}
    assert listed == {kind: plugins.names(kind) for kind in plugins.KINDS if kind != "claims"}


def test_every_rule_is_listed_with_its_options():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (`.*`) \|$", text("config/README.md"), re.MULTILINE)
    rules = plugins.names("claims")
    listed = {rule: re.findall(r"`(\w+)`", options) for rule, options in rows if rule in rules}
    assert listed == {rule: list(plugins.config_class("claims", rule).model_fields) for rule in rules}
    explained = re.findall(r"^\| `(\w+)` \|", text("docs/claims.md"), re.MULTILINE)
    assert set(rules) <= set(explained)


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {k: merged(base[k], more[k]) for k in base.keys() & more.keys() if isinstance(more[k], dict)}
    return {**base, **more, **both}


def example(root: Path, *more: str) -> Path:
    """The configuration of config/README.md (and further blocks for its paper) in a folder."""
    shutil.copytree(ROOT / "config/splits", root / "config/splits")
    datasets = yaml.safe_load(text("config/datasets.yaml"))
    (own,) = blocks("config/README.md", "datasets")
    # Anchors reach over the blocks of one paper.
    paper: dict[str, Any] = {}
    for block in [*blocks("config/README.md", "paper"), *more]:
        paper = merged(paper, yaml.safe_load(block))
    (config,) = blocks("config/README.md", "config")
    (one,) = blocks("config/README.md", "tier")
    files = {
        "config": config, "tiers/tiny": one,
        "datasets": yaml.safe_dump(merged(datasets, yaml.safe_load(own))),
        "papers/example2000": yaml.safe_dump(paper, sort_keys=False),
    }  # fmt: skip
    for name, content in files.items():
        path = root / "config" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def expanded(root: Path) -> tuple[Any, configuration.Configuration]:
    config = configuration.read_yaml(root / "config/config.yaml") | {"tier": "tiny"}
    loaded = configuration.load(config, root)
    return expand.expand_loaded(loaded, root), loaded


def test_the_example_configuration_expands(tmp_path):
    found, loaded = expanded(example(tmp_path))
    assert isinstance(loaded.papers["example2000"], Paper)
    assert len(found.groups["example2000.vanilla"].runs) == 2
    assert len(found.groups["example2000.aligned"].runs) == 6
    assert found.runs["digits_rn18w8_vanilla_s1"].spec["fit"]["epochs"] == 2
    assert sorted(e for run, e in found.evaluations if run == "digits_rn18w8_vanilla_s0") == [
        "alignment", "clean", "pgd_l2", "pgd_linf"
    ]  # fmt: skip
    parts = {
        c["claim"]: [p["not_testable"] for p in c["parts"]]
        for c in found.claims["example2000"].content["claims"]
    }
    assert parts["K1"] == [None, None]
    assert "absolute value" in parts["K3"][0]
    packed = {job.pack for job in pack.jobs(found, loaded)}
    assert {"means", "plain", "measured"} <= packed
    outputs = Files(found, Layout(Path("results/tiny"))).run_outputs("r", ("ema", "best", "epoch:2"))
    assert "results/tiny/models/r/epoch_002.safetensors" in outputs


def test_the_example_manifest_is_used_as_the_page_says(tmp_path):
    section = parts(text("config/README.md"), 3)["Chest X-rays"]
    (table,) = blocks("config/README.md", "manifest")
    path = tmp_path / "manifest.csv"
    path.write_text(table, encoding="utf-8")
    rows, findings = _chest_manifest.read_manifest(path)
    assert not findings
    options = plugins.config_class("data", "chest_xray")()
    used = _chest_manifest.select(rows, options.max_days)
    told = re.search(r"Used are rows ([^:]*), the header", section)[1]
    expected = [(int(row), label == "1") for row, label in re.findall(r"(\d+) \(class ([01])\)", told)]
    assert [(row.number, row.fev1_fvc < options.below_ratio) for row in used] == expected
    cells = re.findall(r"^\| (`.*?`) \| ", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(cells)) == [*_chest_manifest.COLUMNS, "split"]


def test_a_mistake_in_an_example_would_be_noticed(tmp_path):
    with pytest.raises(configuration.ConfigError, match="batch"):
        expanded(example(tmp_path, "runs: {vanilla: {fit: {batch: 64}}}"))


def test_verdicts_in_the_readme_are_those_of_the_committed_file():
    with (ROOT / "docs/results/demo/claims.csv").open(encoding="utf-8", newline="") as file:
        claims = list(csv.DictReader(file))
    table = text("README.md").split("<!-- verdicts of docs/results/demo/claims.csv -->\n")[1].split("\n\n")[0]
    head, _, *rows = [
        [cell.strip("` ") for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    assert head == ["paper", *VERDICTS, "claims"]
    expected = []
    for paper in (*PAPERS, "all"):
        mine = [claim["verdict"] for claim in claims if paper in (claim["paper"], "all")]
        expected.append([paper, *(str(mine.count(word)) for word in VERDICTS), str(len(mine))])
    assert sorted(rows) == sorted(expected)
    declared = {(paper, claim) for paper in PAPERS for claim in configuration.read_yaml(
        ROOT / f"config/papers/{paper}.yaml")["claims"]}  # fmt: skip
    assert {(claim["paper"], claim["claim"]) for claim in claims} == declared


def test_pictures_are_small_and_all_are_shown():
    files = sorted((ROOT / "docs/images").iterdir())
    assert sum(file.stat().st_size for file in files) < 600_000
    shown = re.findall(r"\]\((docs/images/\S+)\)", text("README.md"))
    assert sorted(shown) == [str(file.relative_to(ROOT)) for file in files]


# --- docs/adding.md ----------------------------------------------------------------------------------

FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text("docs/adding.md"), re.DOTALL))

ONE_STEP = """
import sys
from pathlib import Path

sys.path[:0] = ["src", "tests/unit"]
import fingerprints
import pytest

from pagrepro import plugins

assert plugins.PACKAGE == Path("src/pagrepro").resolve(), plugins.PACKAGE
assert fingerprints.compute("objectives.input_gradient_penalty")["weighted"][2] > 0
assert fingerprints.compute("evaluations.input_gradient_size")
assert fingerprints.wanted() == set(fingerprints.FINGERPRINTS)
tests = ["tests/unit/test_input_gradient_penalty.py", "tests/unit/test_plugins_contract.py"]
chosen = "input_gradient_penalty or input_gradient_size or seed_strip"
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", chosen, *tests]))
"""


def write_example(root: Path) -> None:
    """A copy of the package and its unit tests, with the blocks of the worked example where it says."""
    shutil.copytree(plugins.PACKAGE, root / "src/pagrepro", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(__file__).parent, root / "tests/unit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/fingerprints.json", root / "tests")
    shutil.copytree(ROOT / "config", root / "config")
    shutil.copy(ROOT / "pyproject.toml", root)
    (unit,) = blocks("docs/adding.md", "unit")
    (root / "tests/unit/test_input_gradient_penalty.py").write_text(unit, encoding="utf-8")
    for name, content in FILES.items():
        (root / name).write_text(content, encoding="utf-8")
    for mark, file, head in (
        ("fingerprint", "fingerprints.py", "FINGERPRINTS: dict[str, Callable[[], Cases]] = {\n"),
        ("required", "test_plugins_contract.py", "REQUIRED = {\n"),
    ):
        (lines,) = blocks("docs/adding.md", mark)
        path = root / "tests/unit" / file
        assert head in path.read_text(), f"docs/adding.md: where in {file} does the line go now?"
        path.write_text(path.read_text().replace(head, head + lines), encoding="utf-8")


# That the blocks lead to a figure and a verdict is tests/workflow/test_adding.py.
def test_the_worked_example_passes_the_tests_of_plugins(tmp_path):
    write_example(tmp_path)
    done = subprocess.run([sys.executable, "-c", ONE_STEP], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 10
    assert not re.search(r"failed|error|skipped", done.stdout.splitlines()[-1])


def test_without_its_file_the_worked_example_is_refused(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name, content in FILES.items():
        if name.startswith("config/"):
            (tmp_path / name).write_text(content, encoding="utf-8")
    config = configuration.read_yaml(tmp_path / "config/config.yaml")
    config |= {"papers": ["drucker1992"], "tier": "tutorial"}
    with pytest.raises(configuration.ConfigError, match=r"objective\.name\n.*input_gradient_penalty"):
        expand.expand(config, tmp_path)


def test_every_kind_and_constant_is_in_the_table():
    page = text("docs/adding.md")
    for kind in plugins.KINDS:
        assert f"src/pagrepro/{kind}/" in page, kind
    tree = ast.parse((Path(__file__).parent / "test_plugins_contract.py").read_text())
    constants = next(
        n.value for n in tree.body if isinstance(n, ast.AnnAssign) and n.target.id == "CONSTANTS"
    )
    switches = {key.value for inner in constants.values for key in inner.keys} - {"CONVERTED"}
    assert not {name for name in switches if f"`{name}" not in page}
    for module in plugins.LIGHT_MODULES:
        assert f"`{module}`" in page, module
