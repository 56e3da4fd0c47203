"""YAML text → plain values that remember their lines."""

from __future__ import annotations

import math
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from vmferry.inventory.problems import Problem

Path = tuple[str, ...]
Json = dict[str, Any] | list[Any] | str | int | float | bool | None

_PREFIX = "tag:yaml.org,2002:"


class Located:
    """A value read from YAML, the line of every place in it, and what was wrong on the way."""

    def __init__(self) -> None:
        self.data: Json = None
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.unreadable: set[Path] = set()  # places without a value of their own: no second problem there

    def line(self, path: Path) -> int | None:
        """Return the line of the nearest place that the file has: a missing field's parent."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def parse_located(text: str) -> Located:
    """Parse one YAML document; whatever is wrong becomes a problem, never an exception."""
    located = Located()
    yaml = YAML(typ="rt")
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        located.problems.append(_broken(error))
    except YAMLError as error:
        said = str(error).splitlines()[0]
        located.problems.append(Problem(text=f"is not YAML: {said}; save it as plain UTF-8 text"))
    except RecursionError:
        located.problems.append(Problem(text="is nested too deeply for an inventory"))
    else:
        if root is not None:
            located.data = _Reader(located).value(root, (), ())
    return located


def _broken(error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else None
    column = f" in column {mark.column + 1}" if mark is not None else ""
    if "'\\t'" in (error.problem or ""):
        return Problem(line=line, text=f"a tab{column}: YAML is indented with spaces; replace it by spaces")
    if error.problem == "but found another document":
        return Problem(line=line, text="a second YAML document begins; remove the `---`: an inventory is one")
    context = f" {error.context}" if error.context else ""
    said = f"{error.problem}{context}".strip()
    return Problem(line=line, text=f"broken YAML{column}: {said}; check indentation, brackets and colons")


class _Reader:
    """Turns nodes into values; `trail` holds the nodes above, so that an alias to a parent ends."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.scalars = YAML(typ="safe", pure=True).constructor

    def value(self, node: Node, path: Path, trail: tuple[int, ...]) -> Json:
        self.located.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in trail:
            self._problem(node, path, "an alias that contains itself; write the value out")
            return None
        trail = (*trail, id(node))
        if not isinstance(node, ScalarNode) and _tag(node) not in ("map", "seq"):
            self._unreadable(node, path, f"the YAML tag {_tag(node)!r} is not allowed; write a plain value")
        if isinstance(node, MappingNode):
            return self._mapping(node, path, trail)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, str(n)), trail) for n, item in enumerate(node.value)]
        return self._scalar(node, path)

    @staticmethod
    def _finite(value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("a number must be finite")
        return value

    def _problem(self, node: Node, path: Path, text: str) -> None:
        self.located.problems.append(Problem(line=node.start_mark.line + 1, path=path, text=text))

    def _unreadable(self, node: Node, path: Path, text: str) -> None:
        self.located.unreadable.add(path)
        self._problem(node, path, text)

    def _mapping(self, node: MappingNode, path: Path, trail: tuple[int, ...]) -> dict[str, Any]:
        """Keys of the mapping itself go before merged ones (`<<`), earlier merges before later ones."""
        result: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if _tag(key_node) == "merge":
                continue
            key, line = self._key(key_node, path), key_node.start_mark.line + 1
            if key in first:
                self._duplicate(key, (first[key], line), path)
                continue
            first[key] = line
            self.located.lines.setdefault((*path, key), line)
            result[key] = self.value(value_node, (*path, key), trail)
        for key_node, value_node in node.value:
            if _tag(key_node) == "merge":
                result = self._merged(value_node, path, trail) | result
        return result

    def _duplicate(self, key: str, lines: tuple[int, int], path: Path) -> None:
        what = f"host {key} is" if path == ("hosts",) else f"{key!r} is"
        text = f"{what} in the file twice, in lines {lines[0]} and {lines[1]}; keep one of them"
        place = () if path == ("hosts",) else path
        self.located.problems.append(Problem(line=lines[1], path=place, text=text))

    def _merged(self, node: Node, path: Path, trail: tuple[int, ...]) -> dict[str, Any]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, MappingNode):
                self._problem(part, path, "`<<` takes a mapping, for example `<<: *common`")
                continue
            value = self.value(part, path, trail)
            result = (value if isinstance(value, dict) else {}) | result
        return result

    def _key(self, node: Node, path: Path) -> str:
        if isinstance(node, ScalarNode):
            if _tag(node) != "str" and path == ("hosts",):
                text = f"the name {node.value!r} is read as {_tag(node)}; put it into quotes"
                self._problem(node, (*path, str(node.value)), text)
            return str(node.value)
        self._problem(node, path, "a key must be plain text")
        return f"<key in line {node.start_mark.line + 1}>"

    def _scalar(self, node: Node, path: Path) -> Json:
        try:
            match _tag(node):
                case "int":
                    return int(self.scalars.construct_yaml_int(node))
                case "float":
                    return self._finite(float(self.scalars.construct_yaml_float(node)))
                case "bool":
                    return bool(self.scalars.construct_yaml_bool(node))
                case "null":
                    return None
                case "str" | "timestamp":
                    return str(node.value)
                case tag:
                    self._unreadable(node, path, f"the YAML tag {tag!r} is not allowed; write a plain value")
        except (ValueError, KeyError, AttributeError) as error:
            self._unreadable(node, path, f"{node.value!r} cannot be read: {error}; correct it")
        return None


def _tag(node: Node) -> str:
    return str(node.tag or "").removeprefix(_PREFIX)
