"""Read and write the challenge's files. Source: ROADEF/EURO challenge 2012, problem description, section 3 (file
formats).

A file is a stream of whole numbers; line breaks are only told in errors. All problems of a file are told at once,
with line, value and limit; what follows a wrong count cannot be understood, so reading ends there.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vmferry.errors import InvalidInput
from vmferry.solver.reassignment import Problem

Ints = npt.NDArray[np.int64]

_MOST_TOLD = 20
_GREATEST = 2**40  # of one number: sums of them must fit
_MOST_OF_A_KIND = 10_000_000


class _Numbers:
    """The whole numbers of a file, taken one piece after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self._next = 0
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path}: {error}") from error
        self._lines = text.splitlines()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)  # so it tells of what is no number
                # Not by words: a model of 5,000 machines has 25 million numbers.
                self.values: Ints = np.fromstring(text, dtype=np.int64, sep=" ")
        except (ValueError, OverflowError, DeprecationWarning):
            self._tell_words()
        if not self.values.size:
            raise InvalidInput(f"{path}: holds no numbers")

    def _tell_words(self) -> None:
        for number, line in enumerate(self._lines, 1):
            for word in line.split():
                if not word.lstrip("-").isdigit() or len(word) > 18:
                    self.tell(f"line {number}: {word[:40]!r} is no whole number of at most 18 digits")
        self.fail()

    def line(self, position: int) -> int:
        """Return the line of a number by its position in the file."""
        ends = np.cumsum([len(line.split()) for line in self._lines])
        return int(np.searchsorted(ends, position, side="right")) + 1

    def take(self, count: int, what: str) -> tuple[int, Ints]:
        """Take so many numbers; return the position of the first, and them."""
        first, last = self._next, self._next + count
        if last > self.values.size:
            self.tell(
                f"line {len(self._lines)}: the file ends, but {what} needs {last - self.values.size} more numbers"
            )
            self.fail()
        self._next = last
        return first, self.values[first:last]

    def count(self, what: str, least: int = 1) -> int:
        """Take one number that says how many of something follow."""
        position, (value,) = self.take(1, f"the number of {what}")
        if not least <= value <= _MOST_OF_A_KIND:
            self.tell(f"line {self.line(position)}: number of {what} is {value}, needs {least} to {_MOST_OF_A_KIND}")
            self.fail()
        return int(value)

    def table(self, rows: int, columns: int, what: str) -> _Table:
        """Take a table of so many rows."""
        first, values = self.take(rows * columns, f"{what} ({rows} × {columns} numbers)")
        return _Table(self, first, values.reshape(rows, columns), what)

    def end(self) -> None:
        """Refuse what follows, and fail with everything that was wrong."""
        if self._next < self.values.size:
            more = self.values.size - self._next
            self.tell(f"line {self.line(self._next)}: {more} more numbers than the file says it has")
        if self.problems:
            self.fail()

    def tell(self, problem: str) -> None:
        """Note a problem."""
        if len(self.problems) < _MOST_TOLD:
            self.problems.append(problem)

    def fail(self) -> None:
        """Raise with all problems."""
        raise InvalidInput(f"{self.path}: {'; '.join(self.problems)}", problems=tuple(self.problems))


class _Table:
    """A part of the file, with the lines its numbers stand in."""

    def __init__(self, numbers: _Numbers, first: int, values: Ints, what: str) -> None:
        self._numbers, self._first, self._values, self._what = numbers, first, values, what

    def columns(self, first: int, last: int, name: str, most: int = _GREATEST) -> Ints:
        """Return columns, and tell of values below 0 or above `most`."""
        part = self._values[:, first:last]
        for row, column in np.argwhere((part < 0) | (part > most))[:_MOST_TOLD]:
            line = self._numbers.line(self._first + row * self._values.shape[1] + first + column)
            self._numbers.tell(f"line {line}: {self._what} {row}: {name} is {part[row, column]}, needs 0 to {most}")
        return part

    def column(self, index: int, name: str, most: int = _GREATEST) -> Ints:
        """Return one column."""
        return self.columns(index, index + 1, name, most)[:, 0]


def read_problem(model: Path, assignment: Path) -> Problem:
    """Read a model and its initial assignment; raises `InvalidInput` with every problem found."""
    numbers = _Numbers(model)
    resources = numbers.count("resources")
    kinds = numbers.table(resources, 2, "resource")
    transient, load_weight = kinds.column(0, "transient", 1), kinds.column(1, "load weight")
    machines = numbers.count("machines")
    hosts = numbers.table(machines, 2 + 2 * resources + machines, "machine")
    services = numbers.count("services")
    spread, dependencies = _services(numbers, services)
    processes = numbers.count("processes")
    items = numbers.table(processes, 2 + resources, "process")
    balances = numbers.count("balances", least=0)
    pairs = numbers.table(balances, 4, "balance")
    weights = numbers.table(1, 3, "weights")
    parts = {
        "usage": items.columns(1, 1 + resources, "requirement"),
        "service": items.column(0, "service", services - 1),
        "process_move_cost": items.column(1 + resources, "move cost"),
        "capacity": hosts.columns(2, 2 + resources, "capacity"),
        "safety": hosts.columns(2 + resources, 2 + 2 * resources, "safety capacity"),
        "neighborhood": hosts.column(0, "neighbourhood", 10**6 - 1),
        "location": hosts.column(1, "location", 10**6 - 1),
        "machine_move_cost": hosts.columns(2 + 2 * resources, 2 + 2 * resources + machines, "machine move cost"),
        "load_weight": load_weight,
        "is_transient": transient,
        "spread_min": spread,
        "dependencies": dependencies,
        "balances": np.hstack(
            [pairs.columns(0, 2, "resource", resources - 1), pairs.columns(2, 4, "target or weight")]
        ),
        "weights": weights.columns(0, 3, "weight")[0],
    }
    numbers.end()
    return Problem(initial=read_assignment(assignment, processes, machines), **parts)


def _services(numbers: _Numbers, count: int) -> tuple[Ints, Ints]:
    spread = np.zeros(count, dtype=np.int64)
    pairs: list[tuple[int, int]] = []
    for service in range(count):
        head = numbers.table(1, 2, "service")
        spread[service] = head.column(0, f"spread of service {service}")[0]
        needed = int(head.column(1, f"number of dependencies of service {service}", count)[0])
        if not 0 <= needed <= count:
            numbers.fail()
        on = numbers.table(1, needed, "dependency").columns(0, needed, f"service that {service} depends on", count - 1)
        pairs += [(service, int(other)) for other in on[0]]
    return spread, np.array(pairs, dtype=np.int64).reshape(-1, 2)


def read_assignment(path: Path, processes: int, machines: int) -> Ints:
    """Read the machine of each process; raises `InvalidInput` with every problem found."""
    numbers = _Numbers(path)
    found = numbers.table(1, processes, "assignment").columns(0, processes, "machine", machines - 1)[0]
    numbers.end()
    return found


def write_assignment(path: Path, machine_of: Ints) -> None:
    """Write the machine of each process, in one line, as a whole file or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(" ".join(map(str, machine_of.tolist())) + "\n", encoding="ascii")
    part.replace(path)
