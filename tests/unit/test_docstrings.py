"""Public functions and classes say what they are; what comes from a paper says where it is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagrepro import plugins

# Their modules are a paper's equations in code.
KINDS = ("attacks", "evaluations", "fields", "objectives")
YEAR = re.compile(r"\b(19|20)\d\d\b")
PLACE = re.compile(
    r"\b([Ee]q(uation)?s?\.?|[Ss]ections?|[Aa]ppendi(x|ces)|Figures?|Tables?|Theorems?|Lemma|Definitions?|Algorithms?)\s"
    r"(\d|[A-Z]\b|S\d)"
)
# The interface of a torch module; the class says what it maps to what.
EXEMPT = {"forward"}


def undocumented(tree: ast.AST, inside: str = "") -> Iterator[str]:
    """Names of public functions, classes and methods without a docstring."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_") or node.name in EXEMPT or protocol(node):
            continue
        if not ast.get_docstring(node):
            yield inside + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{inside}{node.name}.")


def protocol(node: ast.AST) -> bool:
    """A method of a Protocol: `def acquire(self) -> None: ...`."""
    body = getattr(node, "body", [])
    return len(body) == 1 and isinstance(body[0], ast.Expr) and getattr(body[0].value, "value", 0) is ...


def modules() -> list[Path]:
    return sorted(plugins.PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(plugins.PACKAGE)))
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, "the module has none"
    assert not list(undocumented(tree))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in plugins.names(kind)])
def test_modules_of_papers_say_where(kind, name):
    words = ast.get_docstring(ast.parse(plugins.source_path(kind, name).read_text(encoding="utf-8"))) or ""
    assert YEAR.search(words), "which paper?"
    assert PLACE.search(words), "which equation, section, figure or table?"


def test_what_is_missing_is_found():
    source = 'class A:\n    """A."""\n    def b(self): return 1\n    def _c(self): return 2\n'
    source += "    def forward(self): return 3\n"
    assert list(undocumented(ast.parse(source))) == ["A.b"]
    assert not PLACE.search("Madry et al. (2018), somewhere")
    assert PLACE.search("Madry et al. (2018), Eq. 2.1")
