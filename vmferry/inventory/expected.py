"""pydantic's report on an inventory entry → problems in an operator's words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vmferry.inventory.problems import Problem, did_you_mean
from vmferry.model.host import Host

Schema = dict[str, Any]


def entry_problems(error: ValidationError, prefix: tuple[str, ...]) -> list[Problem]:
    """Translate every error of one entry; `prefix` is the entry's place in the file."""
    problems = []
    for detail in error.errors(include_url=False):
        path = tuple(str(part) for part in detail["loc"])
        problems.append(Problem(path=(*prefix, *path), text=_words(detail, path)))
    return problems


def _words(detail: ErrorDetails, path: tuple[str, ...]) -> str:
    if detail["type"] == "extra_forbidden":
        known = [name for name in _properties(path[:-1]) if name != "name"]
        return f"unknown field; {did_you_mean(path[-1], known)}"
    if detail["type"] == "value_error":  # what a model's own validator says
        return str(detail.get("ctx", {}).get("error", detail["msg"]))
    schema = find_schema(path)
    if detail["type"] == "missing":
        return f"is missing; it must be {describe(schema)}"
    value = detail["input"]
    if value is None:
        return f"is empty; write {describe(schema)}, or remove the line"
    return f"{value!r} must be {describe(schema)}; {_advice(value, schema, path[-1])}"


def _advice(value: object, schema: Schema, field: str) -> str:
    if _plain(schema).get("type") == "string" and isinstance(value, int | float):
        return f'put it into quotes: {field}: "{value}"'
    if _plain(schema).get("type") == "boolean":
        return f"write {field}: true or {field}: false"
    if _plain(schema).get("type") == "array":
        return f"write {field}: [ … ], or one line with a dash for each"
    default = schema.get("default")
    if default is not None and not isinstance(default, dict | list):
        return f"for example {field}: {default}"
    return "see deployments/inventory.example.yaml"


@cache
def _root() -> Schema:
    return Host.model_json_schema()


def _plain(schema: Schema) -> Schema:
    """Follow a reference, and leave null out of a choice."""
    if "$ref" in schema:
        found: Schema = _root()["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return found
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    return _plain(choices[0]) if choices else schema


def find_schema(path: Sequence[str]) -> Schema:
    """Return the JSON schema of the field at `path` of an entry; {} when there is none."""
    schema = _root()
    for part in path:
        plain = _plain(schema)
        schema = plain.get("items", {}) if part.isdigit() else plain.get("properties", {}).get(part, {})
    return schema


def _properties(path: Sequence[str]) -> list[str]:
    return list(_plain(find_schema(path)).get("properties", {}))


def describe(schema: Schema) -> str:
    """Say what a field takes: `a whole number from 1 to 64`, `one of tls, tunnelled, none`."""
    plain = _plain(schema)
    match plain.get("type"):
        case "integer":
            return "a whole number" + _range(plain)
        case "number":
            return "a number" + _range(plain)
        case "boolean":
            return "true or false"
        case "array":
            return "a list"
        case "object":
            return f"a mapping with the fields {', '.join(plain.get('properties', {}))}"
    if "enum" in plain:
        return f"one of {', '.join(plain['enum'])}"
    return "text"


def _range(schema: Schema) -> str:
    low, high, above = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", {low} or more"
    return f" above {above:g}" if above is not None else ""
