"""House rules that no linter knows: sizes, one retry policy per task, names of flows."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("vmferry", "tasks", "flows")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
FLOW_FILES = sorted(path for path in (ROOT / "flows").glob("*.py") if path.name != "__init__.py")

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
# Tables may be longer: path → the length that they may not pass.
LONG_TABLES: dict[str, int] = {}
POLICIES = {"READ", "REPEATABLE", "ONCE"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def _lines(function: Function) -> int:
    """Count the lines of a function without its docstring: a flow's is the help text of its form."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _decorators(function: Function, name: str) -> list[ast.expr]:
    """Return the decorators `@name` and `@name(…)`."""
    return [
        decorator
        for decorator in function.decorator_list
        if ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator).split(".")[-1] == name
    ]


TASKS = [(path, function) for path in FILES for function in _functions(path) if _decorators(function, "task")]


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {n: length for n, length in lengths.items() if length > LONG_TABLES.get(n, MAX_FILE_LINES)} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    lengths = {f"{_name(path)}:{function.name}": _lines(function) for path in FILES for function in _functions(path)}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_there_are_tasks() -> None:
    assert len(TASKS) > 10


@pytest.mark.parametrize(("path", "function"), TASKS, ids=[f"{p.stem}:{f.name}" for p, f in TASKS])
def test_a_task_takes_exactly_one_of_the_three_policies(path: Path, function: Function) -> None:
    (decorator,) = _decorators(function, "task")
    assert isinstance(decorator, ast.Call), "a bare @task has Prefect's retries and cache"
    spread = [ast.unparse(keyword.value) for keyword in decorator.keywords if keyword.arg is None]
    assert len(spread) == 1
    assert spread[0] in POLICIES
    own = {keyword.arg for keyword in decorator.keywords if keyword.arg is not None}
    assert own <= {"task_run_name", "name", "tags", "description"}, "retries and cache are the policy's"
    imports = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ImportFrom)]
    assert any(i.module == "tasks._policy" and spread[0] in {a.name for a in i.names} for i in imports)


@pytest.mark.parametrize("path", FLOW_FILES, ids=[path.stem for path in FLOW_FILES])
def test_a_flows_file_holds_one_flow_of_the_same_name(path: Path) -> None:
    flows = [(f, d) for f in _functions(path) for d in _decorators(f, "flow")]
    assert len(flows) == 1
    function, decorator = flows[0]
    assert isinstance(decorator, ast.Call)
    names = [keyword.value for keyword in decorator.keywords if keyword.arg == "name"]
    assert len(names) == 1
    assert ast.literal_eval(names[0]).replace("-", "_") == path.stem == function.name
    assert not [keyword.arg for keyword in decorator.keywords if keyword.arg in ("retries", "persist_result")]


@pytest.mark.parametrize("path", FLOW_FILES, ids=[path.stem for path in FLOW_FILES])
def test_a_flows_file_shadows_no_importable_module(path: Path) -> None:
    # Prefect loads the file under its bare stem with flows/ first on sys.path: `poplib.py` would replace the library's.
    assert "_" in path.stem
    assert importlib.util.find_spec(path.stem) is None
