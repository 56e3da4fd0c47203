"""The register of benchmarks: what one is given, what it gives back.

A benchmark is a function in a module of its own under `tests/bench/suite`:

    @benchmark("evacuation", "one line for --list")
    def run(options: Options, room: Path) -> Result: ...

It measures; `__main__` prints, writes the JSON file and turns problems into the exit code.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench import suite


@dataclass(frozen=True)
class Options:
    """What the command line asks of every benchmark."""

    rounds: int
    vms: int
    link_mib_s: float
    limit: int | None  # moves at once of every host in vmferry's inventory; None: as the lab writes it
    part: tuple[int, int]  # which of how many parts of a long benchmark: (1, 1) is all of it
    say: Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What a benchmark found: tables for people, data for machines, and what must not be overlooked.

    `problems` are failures of what was measured (a lost page, two copies at once): the exit code is then 1.
    """

    tables: tuple[Table, ...]
    data: dict[str, Any]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())


Run = Callable[[Options, Path], Result]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by name."""

    name: str
    summary: str
    run: Run


_registered: dict[str, Benchmark] = {}


def benchmark(name: str, summary: str) -> Callable[[Run], Run]:
    """Register the decorated function under a name, which must be free."""

    def register(run: Run) -> Run:
        if name in _registered:
            raise ValueError(f"two benchmarks are called {name}")
        _registered[name] = Benchmark(name, summary, run)
        return run

    return register


def load_benchmarks() -> dict[str, Benchmark]:
    """Import every module of the suite; return the benchmarks by name."""
    for module in pkgutil.iter_modules(suite.__path__):
        importlib.import_module(f"{suite.__name__}.{module.name}")
    return dict(sorted(_registered.items()))
