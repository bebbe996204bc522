"""What may know what (style.md D.2): rules about imports and names that hold for every file under src/."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from fingerprints import NUMERIC_KINDS

from pagrepro import plugins

PACKAGE = plugins.PACKAGE
FILES = sorted(PACKAGE.rglob("*.py"))

TORCH_FREE_KINDS = ("claims", "figures", "tables")
HEAVY = (
    "torch", "torchvision", "safetensors.torch", "timm", "lpips", "diffusers", "pythae", "pyautoattack",
    "foolbox",
)  # fmt: skip

# Jobs that make numbers: what stands behind them has revisions.
ENTRY_POINTS = ("fit", "make_field", "measuring", "convert", "load_data")

# Modules behind numeric plugins that cannot change a number, and why.
WITHOUT_REVISION = {
    "attention": "refuses networks, with a message",
    "augment_options": "options, which a spec holds",
    "denoiser_options": "options, which a spec holds",
    "map_options": "options, which a spec holds",
    "epoch_line": "text of logs",
    "download": "gets files whose hash is checked",
    "errors": "messages",
    "finished": "keeps and puts back files, byte by byte",
    "fit_options": "when to save, and what protects a fit",
    "layout": "places of files",
    "lock": "who may fit",
    "optimizer_options": "options, which a spec holds",
    "options": "how options are read; the spec holds the outcome",
    "plugins": "finds modules",
    "problems": "messages",
    "provenance": "versions and times beside the numbers",
    "spec": "shape of specs, and their hash",
    "state": "saves and loads bits; a resumed fit is tested to be the same",
    "storage": "writes and reads files",
}

PAPER_KEY = re.compile(r"(ganz|lanfredi|srinivas|rodriguez-?munoz|shah)(_?(20)?\d\d)?", re.I)
TIER = re.compile(r"^(demo|small|full)$|\b(results|profiles|tiers)/(demo|small|full)\b")

# The one message of the package that tells how to start the workflow.
MAY_NAME_THE_WORKFLOW = {"configuration.py"}


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def nodes(path):
    return list(ast.walk(tree(path)))


@cache
def docstrings(path):
    """Identities of all docstring nodes."""
    owners = [n for n in nodes(path) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    return {id(owner.body[0].value) for owner in owners if ast.get_docstring(owner) is not None}


def words(path):
    """(line, text) of every name and every string that is no docstring."""
    skip = docstrings(path)
    for node in nodes(path):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            yield line, node.value
        elif isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield line, node.name
        elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            yield line, node.arg


def strings(path):
    skip = docstrings(path)
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            yield node.lineno, node.value


def imports(path):
    """(line, dotted name) of everything that a file imports when it runs, also inside functions."""
    typing_only = set()
    for node in nodes(path):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing_only |= {id(inner) for part in node.body for inner in ast.walk(part)}
    for node in nodes(path):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: write the whole name of the module"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_in(name, packages):
    return any(name == package or name.startswith(package + ".") for package in packages)


def where(path, found):
    return [f"{path.relative_to(PACKAGE)}, line {line}: {what}" for line, what in found]


def everywhere(rule):
    """What `rule`, a function path -> [(line, what)], finds in all files."""
    return [text for path in FILES for text in where(path, rule(path))]


def module_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


# --- torch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TORCH_FREE_KINDS)
def test_artifacts_and_claims_never_reach_torch(kind):
    behind = plugins.closure(*(f"{kind}.{name}" for name in plugins.names(kind)))
    found = [w for p in behind for w in where(p, ((n, i) for n, i in imports(p) if is_in(i, HEAVY)))]
    assert not found, f"{kind} have to work where only results are: {found}"


def says_torch_free(path):
    return "Torch-free" in (ast.get_docstring(tree(path)) or "")


def test_torch_free_modules_import_with_torch_blocked():
    """In a process of its own, where importing torch fails; so does calling `plugins.load` on the plugins."""
    modules = [f"pagrepro.{module_of(path)}" for path in FILES if says_torch_free(path)]
    modules += [f"pagrepro.{kind}.{name}" for kind in TORCH_FREE_KINDS for name in plugins.names(kind)]
    assert {"pagrepro.expand", "pagrepro.pack", "pagrepro.plugins", "pagrepro.results"} <= set(modules)
    program = (
        "import importlib, sys\n"
        "sys.modules |= dict.fromkeys(('torch', 'torchvision'))\n"  # importing None raises ImportError
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *modules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_options_are_read_without_torch():
    """The Snakefile sees names, options, roles and revisions of all plugins, and imports none of them."""
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('torch', 'torchvision', 'matplotlib'))\n"
        "from pagrepro import plugins\n"
        "for kind in plugins.KINDS:\n"
        "    for name in plugins.names(kind):\n"
        "        plugins.config_class(kind, name), plugins.roles(kind, name)\n"
        "        plugins.revisions(f'{kind}.{name}')\n"
        "        assert f'pagrepro.{kind}.{name}' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# --- what the package does not know ------------------------------------------------------------------


def test_snakemake_is_not_known():
    def rule(path):
        found = [(n, i) for n, i in imports(path) if is_in(i, ["snakemake"])]
        if path.name not in MAY_NAME_THE_WORKFLOW:
            found += [(n, w) for n, w in words(path) if "snakemake" in w.lower()]
        return found

    assert everywhere(rule) == []


def test_environment_is_not_read():
    """`script.py` reads it for the scripts. Libraries may be told something by setting a variable."""
    named = ("environ", "environb", "getenv", "getenvb")

    def rule(path):
        if path == PACKAGE / "script.py":
            return []
        targets = [t for node in nodes(path) if isinstance(node, ast.Assign) for t in node.targets]
        written = {id(target.value) for target in targets if isinstance(target, ast.Subscript)}
        found = [n for n in nodes(path) if isinstance(n, ast.Attribute) and n.attr in named]
        read = [(n.lineno, ast.unparse(n)) for n in found if id(n) not in written]
        return read + [(n, i) for n, i in imports(path) if i in {f"os.{name}" for name in named}]

    assert everywhere(rule) == []


def test_papers_are_not_known():
    """Docstrings and comments name them as authors do; code that depends on a paper belongs to config/."""
    declared = {p.stem for p in (PACKAGE.parents[1] / "config" / "papers").glob("*.yaml")}
    unknown = sorted(key for key in declared if not PAPER_KEY.fullmatch(key))
    assert not unknown, f"papers {unknown}: add them to PAPER_KEY"
    assert everywhere(lambda path: [(n, w) for n, w in words(path) if PAPER_KEY.search(w)]) == []


def test_tiers_are_not_known():
    def rule(path):
        allowed = "snakemake --profile" if path.name in MAY_NAME_THE_WORKFLOW else "\0"
        return [(n, s) for n, s in strings(path) if TIER.search(s) and allowed not in s]

    assert everywhere(rule) == []


# --- who may import whom -----------------------------------------------------------------------------


def test_plugins_of_one_kind_do_not_import_each_other():
    """What they share is a module of the package, or `_name.py` beside them."""

    def rule(path):
        prefix = f"pagrepro.{path.parent.name}."
        below = [(n, i.removeprefix(prefix)) for n, i in imports(path) if i.startswith(prefix)]
        return [(n, i) for n, i in below if not i.startswith("_")]

    assert everywhere(rule) == []


def test_plugins_are_found_by_their_names_in_options():
    """Nobody imports a plugin but a source, which may know the network that its weights are for."""

    def rule(path):
        kind = path.parent.name
        own = {kind, "models"} if kind == "sources" else {kind}
        others = [f"pagrepro.{other}" for other in plugins.KINDS if other not in own]
        return [(n, i) for n, i in imports(path) if is_in(i, others)]

    assert everywhere(rule) == []


def test_what_can_change_numbers_has_a_revision():
    numeric = [f"{kind}.{name}" for kind in (*NUMERIC_KINDS, "sources") for name in plugins.names(kind)]
    behind = {module_of(p) for p in plugins.closure(*numeric, *ENTRY_POINTS) if p.name != "__init__.py"}
    without = behind - plugins.revisions(*numeric, *ENTRY_POINTS).keys()
    new, gone = sorted(without - WITHOUT_REVISION.keys()), sorted(WITHOUT_REVISION.keys() - without)
    assert not new, f"{new}: add `REVISION = 1`, or say in WITHOUT_REVISION why no number can depend on it"
    assert not gone, f"{gone} in WITHOUT_REVISION: they have a REVISION, or no numeric module imports them"


def parsed_imports(path):
    """Files of the package that a file imports, found by parsing all of it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from filter(None, map(plugins._module_file, names))


def test_imports_behind_revisions_are_those_of_the_parsed_file():
    """`plugins` looks only at lines that seem to import."""
    for path in FILES:
        assert set(plugins._imports(path)) == set(parsed_imports(path)), path


def test_prose_that_looks_like_an_import_is_no_import(tmp_path):
    file = tmp_path / "prose.py"
    file.write_text(
        '"""\nimport pagrepro in your notebook\n"""\n\nfrom pagrepro.errors import (\n    DataError,\n)\n'
    )
    assert plugins._imports(file) == (PACKAGE / "errors.py",)


def test_revisions_are_plain_numbers():
    """They are read by parsing: `REVISION = 1`, once, at the top level."""

    def rule(path):
        names = [n for n in nodes(path) if isinstance(n, ast.Name) and n.id == "REVISION"]
        plain = [
            node
            for node in tree(path).body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "REVISION"
            and isinstance(node.value, ast.Constant)
            and type(node.value.value) is int
            and node.value.value >= 1
        ]
        return [(n.lineno, "REVISION") for n in names[len(plain) :]] if len(plain) <= 1 else [(1, "twice")]

    assert everywhere(rule) == []


def test_packages_hold_no_code():
    """A kind's __init__ stands behind every module in it, and has no revision."""
    for kind in plugins.KINDS:
        path = PACKAGE / kind / "__init__.py"
        assert len(tree(path).body) == 1, f"{path}: a docstring only"
        assert ast.get_docstring(tree(path)), f"{path}: a docstring"


# --- size and safety ---------------------------------------------------------------------------------


def test_size():
    def rule(path):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        functions = [n for n in nodes(path) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        sizes = [(n.lineno, n.name, n.end_lineno - n.lineno + 1) for n in functions]
        found = [(n, f"{name} has {size} lines, at most 60") for n, name, size in sizes if size > 60]
        return found + ([(lines, f"{lines} lines, at most 300")] if lines > 300 else [])

    assert everywhere(rule) == []


def test_public_functions_have_docstrings():
    def rule(path):
        functions = [n for n in tree(path).body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
        found = [(n.lineno, n.name) for n in functions if not ast.get_docstring(n)]
        return found if ast.get_docstring(tree(path)) else [(1, "the module"), *found]

    assert everywhere(rule) == []


PICKLES = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


def test_nothing_is_unpickled():
    """`sources/` and `data/` read foreign files with unpicklers of their own that execute nothing."""

    def rule(path):
        kind, found = path.parent.name, []
        if kind not in ("data", "sources"):
            found += [(n, i) for n, i in imports(path) if is_in(i, PICKLES)]
        for node in nodes(path):
            if not isinstance(node, ast.Call):
                continue
            function, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            loads = function in ("torch.load", "torch.serialization.load") and kind != "sources"
            if loads and options.get("weights_only") != "True":
                found.append((node.lineno, "torch.load without weights_only=True"))
            if options.get("allow_pickle", "False") != "False":
                found.append((node.lineno, f"{function} with allow_pickle"))
        return found + [(n, i) for n, i in imports(path) if i in ("torch.load", "torch.serialization.load")]

    assert everywhere(rule) == []


def test_there_are_files_to_look_at():
    assert len(FILES) > 80
    assert Path(plugins.__file__) in FILES
