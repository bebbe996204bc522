"""Plugins: one module per objective, model, data set, ... found by file name. Torch-free.

A plugin module has `REVISION`, `Config`, one function that does the work (its name depends on the
kind, see `docs/adding.md`) and, where it needs other results, `ROLES`. The Snakefile must know all
of these but the function, without importing torch; so they are read by parsing the source.
"""

import ast
import functools
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from pagrepro.options import Strict
from pagrepro.problems import OptionError, Problem, problems

PACKAGE = Path(__file__).parent
KINDS = (
    "attacks", "claims", "data", "evaluations", "fields", "figures", "generators",
    "models", "objectives", "sources", "tables", "tasks",
)  # fmt: skip

# Modules that the statements before `class Config` may import when a plugin is only parsed.
LIGHT_MODULES = (
    "typing", "pydantic", "pagrepro.options", "pagrepro.statistics", "pagrepro.augment_options",
    "pagrepro.optimizer_options", "pagrepro.denoiser_options",
    "pagrepro.map_options", "pagrepro.figure_options", "pagrepro.matrix_options",
)  # fmt: skip


@functools.cache
def names(kind: str) -> list[str]:
    """Names of all plugins of one kind, sorted."""
    return sorted(p.stem for p in (PACKAGE / kind).glob("*.py") if not p.stem.startswith("_"))


def source_path(kind: str, name: str) -> Path:
    """The file of one plugin. Raises KeyError with the allowed names."""
    if kind not in KINDS or name not in names(kind):
        raise KeyError(f"no {kind} plugin {name!r}; there are: {', '.join(names(kind))}")
    return PACKAGE / kind / f"{name}.py"


def load(kind: str, name: str) -> ModuleType:
    """Import one plugin (this is where torch gets imported)."""
    source_path(kind, name)
    return importlib.import_module(f"pagrepro.{kind}.{name}")


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(_text(path), filename=str(path))


def _constant(path: Path, name: str, default: Any) -> Any:
    values = _constants(path, name)
    return values[0] if values else default


@functools.cache
def _constants(path: Path, name: str) -> tuple[Any, ...]:
    """The value of a module constant, or nothing. Most files say at a glance that they lack it."""
    if not re.search(rf"^{name}\b", _text(path), re.M):
        return ()
    if number := re.search(rf"^{name} = (\d+)$", _text(path), re.M):
        return (int(number[1]),)
    for node in _tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return (ast.literal_eval(node.value),)
    return ()


def roles(kind: str, name: str) -> dict[str, str]:
    """Inputs a plugin asks for: role -> "run", "field", "source" or "evaluation"; "run?" is optional."""
    return _constant(source_path(kind, name), "ROLES", {})


def constant(kind: str, name: str, key: str, default: Any = None) -> Any:
    """Any literal module constant of a plugin, without importing it."""
    return _constant(source_path(kind, name), key, default)


@functools.cache
def config_class(kind: str, name: str) -> type[Strict]:
    """The plugin's `Config`, built from its source without importing the module.

    Only the class itself, classes defined before it, and imports of `LIGHT_MODULES` are executed.
    """
    path = source_path(kind, name)
    keep = [
        node
        for node in _tree(path).body
        if (isinstance(node, ast.ClassDef) and _is_option_class(node))
        or (isinstance(node, ast.ImportFrom) and node.module in LIGHT_MODULES)
    ]
    namespace: dict[str, Any] = {"__name__": f"pagrepro.{kind}.{name}"}
    exec(compile(ast.Module(keep, []), str(path), "exec"), namespace)
    if "Config" not in namespace:
        raise TypeError(f"{path} has no class Config(Strict)")
    return namespace["Config"]


def _is_option_class(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Strict" for base in node.bases)


def resolve(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """Check `{name: ..., options}` against the plugin's `Config`; return it with defaults filled in.

    Raises OptionError (a ValueError, so that pydantic adds the key path) for an unknown name or option.
    """
    if not isinstance(value, dict) or "name" not in value:
        raise OptionError([Problem((), value, f"{{name: <{kind} plugin>, its options}}")])
    name = value["name"]
    if name not in names(kind):
        raise OptionError([Problem(("name",), name, ", ".join(names(kind)))])
    options = {k: v for k, v in value.items() if k != "name"}
    model = config_class(kind, name)
    try:
        config = model(**options)
    except ValidationError as error:
        raise OptionError(problems(error, model)) from error
    return {"name": name, **config.model_dump(mode="json")}


def instantiate(kind: str, value: dict[str, Any], *args: Any) -> Any:
    """Load the plugin a resolved `{name, ...}` names and call its `build(config, *args)`."""
    module = load(kind, value["name"])
    config = module.Config(**{k: v for k, v in value.items() if k != "name"})
    return module.build(config, *args)


# --- revisions -------------------------------------------------------------------------------


# An import statement on a line of its own, its names over several lines if they are in parentheses.
_IMPORT = re.compile(r"^[ \t]*((?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+(?:\([^)]*\)|[^\n]*))", re.M)


@functools.cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files of this package that one file imports anywhere in it (also inside functions).

    Only lines that look like imports are parsed: the Snakefile asks for all files, at every start.
    """
    statements = [text for text in _IMPORT.findall(_text(path)) if PACKAGE.name in text]
    found = []
    for node in (node for text in statements for node in _parsed(text)):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            dotted = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [file for name in dotted if (file := _module_file(name))]
    return tuple(found)


def _parsed(text: str) -> list[ast.stmt]:
    """The statement in `text`, or nothing: it was a line of prose that looks like an import."""
    try:
        return ast.parse(text).body
    except SyntaxError:
        return []


def _module_file(dotted: str) -> Path | None:
    if dotted.split(".")[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    init = path / "__init__.py"
    return init if init.is_file() and path != PACKAGE else None


@functools.cache
def revisions(*modules: str) -> dict[str, int]:
    """Revision of every module with a REVISION in the import closure of the given modules.

    Modules are dotted names below the package (`objectives.cosine_alignment`). Bumping a REVISION
    reschedules the jobs whose closure holds that module, and no others.
    """
    found = {}
    for path in closure(*modules):
        revision = _constant(path, "REVISION", None)
        if revision is not None:
            found[".".join(path.relative_to(PACKAGE).with_suffix("").parts)] = revision
    return found


@functools.cache
def closure(*modules: str) -> tuple[Path, ...]:
    """Files of this package that the given modules import, directly or through others, and themselves."""
    todo = [_module_file(f"{PACKAGE.name}.{m}") or _missing(m) for m in modules]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(_imports(path))
    return tuple(sorted(seen))


def _missing(module: str) -> Path:
    raise KeyError(f"no module {PACKAGE.name}.{module}")


def mentioned(spec: Any) -> list[str]:
    """Dotted names of all plugins that a resolved spec names, by the key they stand under.

    `{"model": {"name": "toy_mlp"}}` mentions `models.toy_mlp`: the key is the kind in the singular.
    """
    singular = {
        "model": "models", "objective": "objectives", "attack": "attacks", "task": "tasks",
        "measure": "evaluations", "field": "fields", "data": "data", "adapter": "sources",
        "generator": "generators", "discriminator": "models",
    }  # fmt: skip
    found: list[str] = []
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in singular and isinstance(value, dict) and "name" in value:
                found.append(f"{singular[key]}.{value['name']}")
            found += mentioned(value)
    elif isinstance(spec, list):
        for value in spec:
            found += mentioned(value)
    return sorted(set(found))
