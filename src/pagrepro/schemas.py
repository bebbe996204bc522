"""JSON schemas of the configuration files, made from the models that check them. Torch-free.

The schemas serve editors (completion, help, red lines) and readers; the models stay the check that counts.
In paper files any value may be a reference, so there every schema also accepts one.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from pagrepro import plugins
from pagrepro.options import parse_number
from pagrepro.schema_text import TEXT
from pagrepro.settings import Settings, Tier
from pagrepro.spec import (
    Artifact,
    Claim,
    DatasetsFile,
    EvaluationTemplate,
    FieldTemplate,
    RunTemplate,
)

Schema = dict[str, Any]

# What `options.parse_number` reads besides numbers: "8/255", "1e-4".
FRACTION = {"type": "string", "pattern": r"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?(/[0-9]+)?\s*$"}

REFERENCE = {
    "type": "string",
    "pattern": r"^\$|\{[A-Za-z_][\w.]*\}",
    "description": "$a.b: the value at that path of `settings` or of the grid; {a.b} inside a text: its text",
}

GRID = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "array"}, {"$ref": "#/$defs/reference"}]},
    "description": "key -> list of values: one declaration per combination; keys may refer to earlier ones",
}

# Pydantic leaves constraints of an optional `Number` under its own names.
KEYWORDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}

# Written as a list in the paper file, because expansion looks into it before references are filled in.
WRITTEN_OUT = {("EvaluationTemplate", "groups"), ("Claim", "parts")}


def all_schemas() -> dict[str, Schema]:
    """File name in workflow/schemas/ -> schema."""
    settings = model_schema(Settings)
    # The profile or the command line chooses the tier, not the file.
    settings["required"].remove("tier")
    return {
        "config.schema.json": _file("config/config.yaml", settings),
        "tier.schema.json": _file("config/tiers/<tier>.yaml", model_schema(Tier)),
        "datasets.schema.json": _file("config/datasets.yaml", _with_plugins(model_schema(DatasetsFile))),
        "paper.schema.json": _file("config/papers/<paper>.yaml", paper_schema()),
    }


def _file(title: str, schema: Schema) -> Schema:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, **schema}


# --- models ------------------------------------------------------------------------------------


class _Generator(GenerateJsonSchema):
    """Pydantic's schemas, with fractions, plugins by kind, and a description of every key."""

    def function_before_schema(self, schema: Any) -> Schema:
        inner = super().function_before_schema(schema)
        return {"anyOf": [inner, dict(FRACTION)]} if schema["function"]["function"] is parse_number else inner

    def function_after_schema(self, schema: Any) -> Schema:
        kind = _kind_of(schema["function"]["function"])
        return {"plugin": kind} if kind else super().function_after_schema(schema)

    def model_schema(self, schema: Any) -> Schema:
        found = super().model_schema(schema)
        for key, value in found.get("properties", {}).items():
            text = describe(schema["cls"], key)
            if text:
                value.setdefault("description", text)
        return found


def _kind_of(check: Callable[..., Any]) -> str | None:
    """The kind of plugin that a check made by `options.plugin` looks for."""
    made_there = getattr(check, "__qualname__", "") == "plugin.<locals>.check"
    return inspect.getclosurevars(check).nonlocals["kind"] if made_there else None


def describe(model: type[BaseModel], key: str) -> str | None:
    """What a key means: from the table, else from a docstring that says `key: text`; None if neither does."""
    for owner in model.__mro__:
        if f"{owner.__name__}.{key}" in TEXT and owner.__module__.count(".") < 2:
            return TEXT[f"{owner.__name__}.{key}"]
    return _clauses(model.__doc__ or "", list(model.model_fields)).get(key) or TEXT.get(f"*.{key}")


def _clauses(docstring: str, keys: list[str]) -> dict[str, str]:
    """`{"norm": ..., "eps": ...}` from "norm, eps: the threat model; `steps`: how many"."""
    names = "|".join(sorted(map(re.escape, keys), key=len, reverse=True))
    if not names:
        return {}
    text = " ".join(docstring.split())
    # Only where a sentence or clause begins: `eps` is not explained by "(steps of eps: too long)".
    marks = list(re.finditer(rf"(?:^|(?<=[.;] ))(`?(?:{names})`?(?:, `?(?:{names})`?)*): ", text))
    found: dict[str, str] = {}
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if mark is not marks[-1] else len(text)
        found |= dict.fromkeys(mark[1].replace("`", "").split(", "), text[mark.end() : end].strip(" ;."))
    return found


def model_schema(model: type[BaseModel], prefix: str = "") -> Schema:
    """Schema of one model; definitions it refers to carry `prefix` in their names."""
    schema = model.model_json_schema(schema_generator=_Generator, ref_template=f"#/$defs/{prefix}{{model}}")
    inner = schema.pop("$defs", {})
    schema = _tidy(schema)
    if inner:
        schema["$defs"] = {f"{prefix}{name}": _tidy(part) for name, part in inner.items()}
    return schema


def _tidy(node: Any, is_map: bool = False) -> Any:
    """Drop what says nothing, close what the models close; `is_map`: keys are the user's, not keywords."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if is_map:
        return {key: _tidy(value) for key, value in node.items()}
    found = {}
    for key, value in node.items():
        if key in ("title", "discriminator"):
            continue
        if key in ("default", "const", "enum", "required"):
            found[key] = value
        elif key == "plugin":
            found["$ref"] = f"#/$defs/{value}"
        else:
            found[KEYWORDS.get(key, key)] = _tidy(value, key in ("properties", "patternProperties"))
    if "patternProperties" in found:
        found.setdefault("additionalProperties", False)
    return found


# --- plugins -----------------------------------------------------------------------------------


def plugin_schemas(kind: str) -> dict[str, Schema]:
    """Definitions of one kind: the kind itself (any of its plugins) and `<kind>.<name>` for each."""
    found: dict[str, Schema] = {}
    chosen = [{"$ref": f"#/$defs/{kind}.{name}"} for name in plugins.names(kind)]
    found[kind] = {"description": f"a plugin of src/pagrepro/{kind}/", "anyOf": chosen}
    for name in plugins.names(kind):
        schema = model_schema(plugins.config_class(kind, name), f"{kind}.{name}.")
        found |= schema.pop("$defs", {})
        said = [_module_docstring(kind, name), schema.get("description", "")]
        chooses = {"const": name, "description": f"src/pagrepro/{kind}/{name}.py"}
        found[f"{kind}.{name}"] = {
            **schema,
            "description": "\n\n".join(text for text in said if text),
            "properties": {"name": chooses, **schema.get("properties", {})},
            "required": ["name", *schema.get("required", [])],
        }
    for name, schema in found.items():
        for key, value in schema.get("properties", {}).items():
            value.setdefault("description", f"`{key}` of {name}: see its description and source file")
    return found


def _module_docstring(kind: str, name: str) -> str:
    tree = ast.parse(plugins.source_path(kind, name).read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def _with_plugins(schema: Schema) -> Schema:
    """Add the definitions of every kind of plugin that is referred to, directly or through others."""
    defs = schema.setdefault("$defs", {})
    while missing := sorted({ref for ref in _references(schema) if ref in plugins.KINDS and ref not in defs}):
        for kind in missing:
            defs |= plugin_schemas(kind)
    schema["$defs"] = dict(sorted(defs.items()))
    return schema


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix("#/$defs/")
            else:
                yield from _references(value)


# --- paper files -------------------------------------------------------------------------------


def paper_schema() -> Schema:
    """`title`, `citation`, `category`, `settings`, and sections of declarations written with references."""
    defs: Schema = {}
    for model in (RunTemplate, FieldTemplate, EvaluationTemplate, Artifact, Claim):
        schema = model_schema(model)
        defs |= schema.pop("$defs", {})
        defs[model.__name__] = schema
    # The key that an evaluation is declared under is its name unless it gives another.
    defs["EvaluationTemplate"]["required"].remove("name")
    for name in ("RunTemplate", "FieldTemplate", "EvaluationTemplate", "ClaimPart"):
        defs[name]["properties"] = {"grid": GRID, **defs[name]["properties"]}
    defs = _with_plugins({"$defs": defs})["$defs"]
    defs = {name: _loosen(schema, name) for name, schema in defs.items()}
    text = {"type": "string"}
    return {
        "description": "One paper: what is fitted, measured, drawn and claimed.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "title": {**text, "description": "title of the paper"},
            "citation": {**text, "description": "authors, year and where it was published"},
            "category": {**text, "description": "heading in the report; without it the key of the paper"},
            "settings": {
                "type": ["object", "null"],
                "description": "published values that the sections refer to; a tier lays others over them",
            },
            "runs": _section("RunTemplate", "fits, by group"),
            "fields": _section("FieldTemplate", "arrays per image, by group"),
            "evaluations": _section("EvaluationTemplate", "measurements, by name"),
            "artifacts": _section("Artifact", "tables and figures, named as numbered: table1, figure_s8"),
            "claims": _section("Claim", "statements of the paper, by short name"),
        },
        "$defs": {**defs, "reference": REFERENCE},
    }


def _section(declaration: str, description: str) -> Schema:
    items = {"$ref": f"#/$defs/{declaration}"}
    return {"type": ["object", "null"], "additionalProperties": items, "description": description}


def _loosen(schema: Schema, name: str) -> Schema:
    """Accept a reference in place of every value inside `schema`, the definition called `name`."""
    found = dict(schema)
    for keyword in ("properties", "patternProperties"):
        if keyword in found:
            found[keyword] = {
                key: value if value is GRID or (name, key) in WRITTEN_OUT else _or_reference(value)
                for key, value in found[keyword].items()
            }
    if "patternProperties" in found:
        # A key may hold a reference, too.
        found["patternProperties"] |= {r"\{": next(iter(found["patternProperties"].values()))}
    for keyword in ("items", "additionalProperties"):
        if isinstance(found.get(keyword), dict):
            found[keyword] = _or_reference(found[keyword])
    if "prefixItems" in found:
        found["prefixItems"] = [_or_reference(item) for item in found["prefixItems"]]
    for keyword in ("anyOf", "oneOf"):
        if keyword in found:
            found["anyOf"] = [_loosen(item, "") for item in found.pop(keyword)]
    return found


def _or_reference(schema: Schema) -> Schema:
    """`schema` or a reference. What says something of the key stays outside, where editors look."""
    about = {key: schema[key] for key in ("description", "default") if key in schema}
    value = _loosen({k: v for k, v in schema.items() if k not in about}, "")
    if not value or value == {"type": "string"}:
        return {**value, **about}
    choices = value["anyOf"] if set(value) == {"anyOf"} else [value]
    return {"anyOf": [*choices, {"$ref": "#/$defs/reference"}], **about}
