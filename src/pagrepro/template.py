"""The two substitutions that configuration files know. Torch-free.

`$a.b` as a whole value is the value at that path of the scope, of any type; `{a.b}` inside a string
is its text. A path inside `$...` may itself hold `{...}`: `weight: $data.weights.{method}`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_FIELD = re.compile(r"\{([A-Za-z_][\w.]*)\}")


class TemplateError(Exception):
    """A reference that the scope does not hold."""


def lookup(path: str, scope: Mapping[str, Any]) -> Any:
    """Value at a dotted path. Raises TemplateError with the keys that exist at the point of failure."""
    value: Any = scope
    for part in path.split("."):
        if not isinstance(value, Mapping) or _key(value, part) is None:
            there = ", ".join(map(str, value)) if isinstance(value, Mapping) else repr(value)
            raise TemplateError(f"no {part!r} in {path!r}; there is: {there}")
        value = value[_key(value, part)]
    return value


def _key(mapping: Mapping[Any, Any], part: str) -> Any:
    """The key of `mapping` that reads like `part` (YAML keys may be numbers)."""
    return part if part in mapping else next((key for key in mapping if str(key) == part), None)


def fill(value: Any, scope: Mapping[str, Any]) -> Any:
    """`value` with every reference replaced, in nested dicts (keys too) and lists."""
    if isinstance(value, Mapping):
        return {fill(k, scope) if isinstance(k, str) else k: fill(v, scope) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(item, scope) for item in value]
    if not isinstance(value, str):
        return value
    text = _text(value, scope)
    # A setting may itself refer to another setting.
    return fill(lookup(text[1:], scope), scope) if text.startswith("$") else text


def _text(value: str, scope: Mapping[str, Any]) -> str:
    return _FIELD.sub(lambda m: str(fill(lookup(m.group(1), scope), scope)), value)


def _chosen(value: Any, scope: Mapping[str, Any]) -> Any:
    """What a grid's value names, as it is written there: references inside of it are filled where it is used,
    because they may name grid keys that come later."""
    if isinstance(value, str):
        text = _text(value, scope)
        return _chosen(lookup(text[1:], scope), scope) if text.startswith("$") else text
    return [_chosen(item, scope) for item in value] if isinstance(value, list) else value


def combinations(grid: Mapping[str, Any], scope: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid's values; a grid without keys has one, a key without values none.

    Keys are taken in order and may refer to earlier ones: `{data: [$main, $second], seed: $data.seeds}`.
    """
    if not grid:
        yield {}
        return
    (key, values), *rest = grid.items()
    found = _chosen(values, scope)
    if not isinstance(found, list):
        raise TemplateError(f"grid key {key!r}: expected a list of values, found {found!r}")
    for value in found:
        for others in combinations(dict(rest), {**scope, key: value}):
            yield {key: value, **others}


def overlay(base: Mapping[str, Any], over: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """`base` with the values of `over` in place of its own; only keys that `base` has may be given.

    Mappings are merged, but a mapping with a `name` chooses a plugin and is replaced as a whole: the
    options of one plugin mean nothing to another. Raises TemplateError for a key that `base` lacks.
    """
    merged = dict(base)
    for key, value in over.items():
        here = f"{path}{key}"
        if key not in base:
            raise TemplateError(f"{here}: unknown setting; there are: {', '.join(map(str, base))}")
        both = isinstance(value, Mapping) and isinstance(base[key], Mapping)
        merged[key] = overlay(base[key], value, f"{here}.") if both and "name" not in value else value
    return merged
