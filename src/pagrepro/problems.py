"""Validation errors as a list of (key path, found, allowed). Torch-free."""

import typing
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration: where, what was found, what would be allowed."""

    path: tuple[str, ...]
    found: Any
    allowed: str

    @property
    def key(self) -> str:
        """Dotted path of the key that is wrong."""
        return ".".join(self.path) or "(all of it)"

    def below(self, *prefix: str) -> "Problem":
        """The same problem, seen from further up."""
        return replace(self, path=(*prefix, *self.path))


class OptionError(ValueError):
    """Raised inside a validator: carries the problems of a nested plugin's options outwards."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("; ".join(f"{p.key}: found {p.found!r}, allowed: {p.allowed}" for p in problems))


def problems(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Flatten a pydantic error; `model` is the class that was validated."""
    found: list[Problem] = []
    for item in error.errors(include_url=False):
        path, owner = _locate(model, tuple(str(part) for part in item["loc"]))
        inner = item.get("ctx", {}).get("error")
        if isinstance(inner, OptionError):
            found += [problem.below(*path) for problem in inner.problems]
        elif item["type"] == "extra_forbidden":
            allowed = ", ".join(sorted(owner.model_fields)) if owner else "no options"
            found.append(Problem(path, "unknown key", allowed))
        elif item["type"] == "missing":
            found.append(Problem(path, "nothing", "this key is required"))
        else:
            found.append(Problem(path, item["input"], item["msg"].removeprefix("Value error, ")))
    return found


def _locate(model: type[BaseModel], path: tuple[str, ...]) -> tuple[tuple[str, ...], type[BaseModel] | None]:
    """The key path as the file has it, and the model its last key belongs to.

    Pydantic's path also names the member of a union that was tried (`optimizer.adam.lr`).
    """
    clean: list[str] = []
    owner, inside = model, [model]
    for part in path:
        chosen = [m for m in inside if _tag(m) == part]
        if chosen:
            inside = chosen
            continue
        clean.append(part)
        holder = next((m for m in inside if part in m.model_fields), None)
        owner = holder or (inside[0] if inside else owner)
        if holder:
            inside = _models_in(holder.model_fields[part].annotation)
    return tuple(clean), owner


def _tag(model: type[BaseModel]) -> str | None:
    """The one value that the `name` of a union's member may have."""
    field = model.model_fields.get("name")
    values = typing.get_args(field.annotation) if field else ()
    return values[0] if len(values) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Model classes inside `dict[str, Model]`, `tuple[Model, ...]`, `A | B` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in typing.get_args(annotation) for model in _models_in(arg)]
