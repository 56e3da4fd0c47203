"""Moments of a voyage: the whole world and the journal, kept, compared and gone back to.

A process that dies leaves a moment behind; the next process begins there. So a history is run once up to each point
where it can branch, and two histories that have led to the same moment go on as one.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from tests.unit.steps.ledger import Ledger
from tests.unit.steps.voyage import Voyage
from vmferry.adapters.simulated import Blow, Fault, Operation, SimulatedFleet
from vmferry.adapters.simulated.faults import Gate
from vmferry.adapters.simulated.moves import Flight
from vmferry.model.base import Model
from vmferry.model.journal import Mark, Row
from vmferry.steps.recover import _SETTLE


@dataclass(frozen=True)
class Moment:
    """The world and the journal as they stand."""

    _world: bytes
    _shared: tuple[object, ...]
    _journal: Ledger

    @classmethod
    def of(cls, voyage: Voyage) -> Moment:
        """Keep what is true now."""
        out, shared = io.BytesIO(), list[object]()
        pickler = _Pickler(out, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.shared = shared
        pickler.dump(_parts(voyage.fleet))
        return cls(out.getvalue(), tuple(shared), ledger_of(voyage).copy())

    def bring_back(self, voyage: Voyage) -> None:
        """Make the world of a voyage what it was; its earlier processes are dead."""
        unpickler = _Unpickler(io.BytesIO(self._world))
        unpickler.shared = self._shared
        _assemble(voyage.fleet, unpickler.load())
        voyage.go_on_with(self._journal.copy())


class _Pickler(pickle.Pickler):
    """Keeps frozen models as they are: only what can change is copied."""

    shared: list[object]

    def persistent_id(self, value: object) -> int | None:
        if not isinstance(value, Model | UUID):
            return None
        self.shared.append(value)
        return len(self.shared) - 1


class _Unpickler(pickle.Unpickler):
    shared: tuple[object, ...]

    def persistent_load(self, pid: int) -> object:
        return self.shared[pid]


_GROUND = ("seconds", "links_down", "path_mtus", "daemon_starts")
_WATCH = ("incidents", "_active", "_known", "_persistent", "_double")


def _parts(fleet: SimulatedFleet) -> tuple[Any, ...]:
    ground, watch = ({name: getattr(it, name) for name in names} for it, names in _owners(fleet))
    return dict(fleet.hosts), list(fleet.flights), ground, watch


def _owners(fleet: SimulatedFleet) -> tuple[tuple[object, tuple[str, ...]], ...]:
    return (fleet, _GROUND), (fleet.watch, _WATCH)


def _assemble(fleet: SimulatedFleet, parts: tuple[Any, ...]) -> None:
    hosts, flights, *values = parts
    fleet.hosts.clear()  # the watch looks at the same one
    fleet.hosts.update(hosts)
    fleet.flights[:] = flights
    for (owner, _), given in zip(_owners(fleet), values, strict=True):
        for name, value in given.items():
            setattr(owner, name, value)
    fleet.watch.cause = ""
    fleet.gate.log.clear()
    fleet.gate.disarm()


def ledger_of(voyage: Voyage) -> Ledger:
    """Return the journal behind the gate."""
    journal = voyage.journal
    assert isinstance(journal, Ledger)
    return journal


# what makes two moments the same


def fingerprint(voyage: Voyage) -> int:
    """Return what is the same for worlds from which vmferry can only go on in the same way.

    It holds all that is in the world, and all of the journal that anybody acts on; not the time of day, nor the numbers
    that were given: what counts is which file is which.
    """
    seen, fleet, record = _Canon(voyage.fleet.seconds), voyage.fleet, voyage.record()
    world = (
        tuple(seen.of(host) for host in fleet.hosts.values()),
        tuple(seen.flight(flight) for flight in fleet.flights),
        frozenset(fleet.links_down),
        len(fleet.problems()),
    )
    rows = tuple(seen.row(row) for row in _rows_that_count(ledger_of(voyage).rows(voyage.run)))
    return hash((world, rows, record and (record.state, record.outcome)))


@lru_cache(maxsize=4096)
def _rows_that_count(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Leave out what settlement writes for humans, and what was written twice with nothing undone in between."""
    if not rows:
        return ()
    *_, last = rows
    kept = _rows_that_count(rows[:-1])
    if last.step == _SETTLE:
        return kept
    since = max((n for n, row in enumerate(kept) if row.mark is Mark.UNDONE), default=-1) + 1
    return kept if any(_text(row) == _text(last) for row in kept[since:]) else (*kept, last)


def _text(row: Row) -> tuple[object, ...]:
    return row.step, row.mark, _wordy(row.note), row.effect


@lru_cache(maxsize=4096)
def _wordy(note: str) -> str:
    """Return a note without its figures: nobody acts on seconds and iterations."""
    return re.sub(r"[\d.]+", "#", note)


_ABOUT_S = 10
_LONG_S = 600  # nothing of ours waits for that
_NUMBERS = ("inode", "device_id")  # unique in the world: which one is which counts, not what it is
_NOT_COUNTED = {"next_id", "id", "mtime_ns", "cause"}


@lru_cache
def _names(kind: type) -> tuple[str, ...]:
    """Return what counts of a dataclass; nothing for what is compared as it is."""
    return tuple(f.name for f in fields(kind) if f.name not in _NOT_COUNTED) if is_dataclass(kind) else ()


@lru_cache(maxsize=4096)
def _timeless(text: str) -> str:
    """Return a text without the times in it, such as those of a mark."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.+-]+", "#", text)


class _Canon:
    """Turns values into what can be hashed and compared."""

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s
        self._numbers: dict[object, int] = {}

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return _timeless(value)
        if kind is int or kind is bool:
            return value
        if kind is float:
            return round(value, 1)
        if kind is dict:
            return tuple([(key, self.of(value[key])) for key in sorted(value, key=str)])
        if kind is list or kind is tuple:
            return tuple([self.of(one) for one in value])
        if kind is set:
            return frozenset(value)
        if names := _names(kind):
            return tuple(
                [self._number(getattr(value, k)) if k in _NUMBERS else self.of(getattr(value, k)) for k in names]
            )
        return id(value) if isinstance(value, Model) else value

    def _fields(self, named: dict[str, Any]) -> Any:
        return tuple([self._number(v) if k in _NUMBERS else self.of(v) for k, v in named.items()])

    def _number(self, value: object) -> int:
        return self._numbers.setdefault(value, len(self._numbers)) if value else -1

    def row(self, row: Row) -> Any:
        """A row of the journal."""
        effect = dict(row.effect) if row.effect is not None else {}
        return (row.step, row.mark, _wordy(row.note), *self._fields(effect))

    def flight(self, flight: Flight) -> Any:
        """A move in flight, by what is still to come of it, to some seconds: time alone makes no other history."""
        to_come = tuple((round(min(at - self._now_s, _LONG_S) / _ABOUT_S), beat) for at, beat in flight.beats)
        is_there = flight.dest.domains.get(flight.incoming.uuid) is flight.incoming
        is_stopped = flight.precopy is not None and flight.precopy.is_stopped
        parts = (self.of(flight.guest), self.of(flight.incoming), self.of(flight.replaced))
        state = (flight.phase, flight.error, flight.is_broken, flight.was_on_cpu, is_stopped, is_there)
        return (flight.source.name, to_come, *state, *parts)


# noticing moments


class Witness(Gate):
    """A gate that calls `see` at every moment at which the process may die, if anything has changed since the last."""

    def __init__(self, fleet: SimulatedFleet) -> None:
        super().__init__(fleet.now, fleet._strike)
        self.see: Callable[[], None] | None = None
        self.is_awake = True  # a fault that is still to strike wakes it: before, it is as without any
        self._fleet = fleet
        self._is_changed = True
        self._flights: tuple[object, ...] = ()

    def enter(self, operation: Operation) -> Blow | None:
        flights = tuple((f.phase, len(f.beats), self._fleet.seconds // _ABOUT_S) for f in self._fleet.flights)
        if self.see is not None and self.is_awake and (self._is_changed or flights != self._flights):
            self._is_changed, self._flights = False, flights
            self.see()
        return super().enter(operation)

    def _is_due(self, fault: Fault, count: list[int], operation: Operation) -> bool:
        is_due = super()._is_due(fault, count, operation)
        self.is_awake = self.is_awake or is_due
        return is_due

    def answer(self, operation: Operation, answer: str) -> None:
        super().answer(operation, answer)
        self._is_changed = self._is_changed or operation.is_write
