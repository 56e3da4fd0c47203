"""All histories of one VM's run: each first fault, then crashes at every point of every recovery, however many.

They are enumerated from a run without faults, so a new step, call or row is covered by itself. A history ends when
all is repaired and `vmferry recover` has run; then every promise is checked. Histories that have come to the same
moment go on as one (`moments`), which is why there is an end to them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

import vmferry.steps
from tests.unit.steps.ledger import Ledger
from tests.unit.steps.moments import Moment, Witness, fingerprint
from tests.unit.steps.promises import do_as_told, wrongs_after_help, wrongs_of
from tests.unit.steps.voyage import Scenario, Voyage, counted
from vmferry.adapters.simulated import Blow, Fault
from vmferry.errors import VmferryError

FLIGHT_S = 120  # libvirt's longest own timeout is 40 s
CRASHES = (Blow.CRASH_BEFORE, Blow.CRASH_AFTER)
HARMS = (Blow.POWER_CUT, Blow.QEMU_KILLED)  # what no vmferry can make good
CALM = Fault(does=Blow.CRASH_BEFORE)


@dataclass
class Tally:
    """What was run, and what went wrong."""

    faults: int = 0
    moments: int = 0
    histories: int = 0  # ends that were checked, those that others have come to already included
    ends: int = 0
    held: int = 0
    wrongs: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.faults} first faults, {self.moments} moments of death, {self.histories} histories, "
            f"{self.ends} different ends, {self.held} of them held"
        )


@dataclass(frozen=True)
class Case:
    """A moment at which a process died, what no vmferry can make good of what came before, and how it came there."""

    moment: Moment
    harm: Fault
    path: str


def harm_key(harm: Fault) -> tuple[object, ...]:
    return (harm.does, harm.target or harm.host) if harm.does in HARMS else ()


class Histories:
    """Runs every history of a scenario on one voyage, going back to moments."""

    def __init__(self, scenario: Scenario, journal: Ledger | None = None) -> None:
        self.voyage = Voyage(scenario, journal or Ledger())
        self.voyage.fleet.gate = self._gate = Witness(self.voyage.fleet)
        self.tally = Tally()
        self._start = Moment.of(self.voyage)
        self._waiting: list[Case] = []
        self._known: set[tuple[object, ...]] = set()
        self._ends: set[tuple[object, ...]] = set()

    def run(self, *, until_wrong: bool = False) -> Tally:
        """Run them all, or those up to the first that breaks a promise."""
        for fault in self._first_faults():
            self.tally.faults += 1
            self._start.bring_back(self.voyage)
            self.voyage.fleet.inject(fault)
            self._sail(fault, words(fault))
            if until_wrong and self.tally.wrongs:
                return self.tally
        while self._waiting and not (until_wrong and self.tally.wrongs):
            self._go_on(self._waiting.pop())
        return self.tally

    def _first_faults(self) -> list[Fault]:
        """Sail without any, remembering each moment at which the process may die; return what else can strike."""
        with self._watching(CALM, "crash"):
            self.voyage.sail()
        log = self.voyage.fleet.operations()
        faults = [fault for fault in self.voyage.fleet.faults() if fault.does not in CRASHES]
        return [counted(fault, log) for fault in faults]

    def _sail(self, fault: Fault, path: str) -> None:
        """Sail with one fault, and settle."""
        self._gate.is_awake = False
        with self._watching(fault, path):
            self._guarded(self.voyage.sail_or_settle, path)
        self._gate.is_awake = True
        self._end(fault, path)

    def _go_on(self, case: Case) -> None:
        """Let the next process come at once, in the middle of it, or when all is repaired."""
        case.moment.bring_back(self.voyage)
        self._end(case.harm, f"{case.path} → late")
        case.moment.bring_back(self.voyage)
        with self._watching(case.harm, case.path):
            self._guarded(self.voyage.recover_all, case.path)
        self._end(case.harm, f"{case.path} → recovered at once")

    def _end(self, harm: Fault, path: str) -> None:
        """Repair everything, recover, check; unless another history has come here."""
        voyage = self.voyage
        voyage.fleet.advance(FLIGHT_S)
        voyage.fleet.heal()
        voyage.process()
        self.tally.histories += 1
        key = (fingerprint(voyage), *harm_key(harm))
        if key in self._ends:
            return
        self._ends.add(key)
        self.tally.ends += 1
        with self._watching(harm, path):
            self._guarded(voyage.recover_all, path)
        self._note(path, list(wrongs_of(voyage, harm)))
        if voyage.unsettled():
            self.tally.held += 1
            self._guarded(lambda: do_as_told(voyage), path)
            self._note(path, list(wrongs_after_help(voyage)))

    @contextmanager
    def _watching(self, harm: Fault, path: str) -> Iterator[None]:
        """Keep each moment at which the process could die from now on."""
        voyage, number = self.voyage, 0

        def see() -> None:
            nonlocal number
            number += 1
            key = (fingerprint(voyage), *harm_key(harm))
            if key not in self._known:
                self._known.add(key)
                self._waiting.append(Case(Moment.of(voyage), harm, f"{path} → crash #{number}"))
                self.tally.moments += 1

        self._gate.see = see
        try:
            yield
            if self._gate.is_awake:
                see()
        finally:
            self._gate.see = None

    def _guarded(self, act: Callable[[], object], path: str) -> None:
        try:
            act()
        except VmferryError as error:
            self._note(path, [f"raised {error!r}"])

    def _note(self, path: str, wrongs: list[str]) -> None:
        if wrongs:
            self.tally.wrongs.setdefault(path, []).extend(wrongs)


def words(fault: Fault) -> str:
    """Say where a fault strikes, for a failing test."""
    where = " ".join(word for word in (fault.host or "journal", fault.op, fault.phase, f"#{fault.nth}") if word)
    return f"{where} ← {fault.does} {fault.target}".rstrip()


# one thread, so that the next call is always the same


class OneThread:
    """An executor that does at once what it is given."""

    def __init__(self, **_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, act: Callable[..., Any], *given: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(act(*given))
        except Exception as error:
            done.set_exception(error)
        return done

    def map(self, act: Callable[..., Any], *given: Any) -> Iterator[Any]:
        return map(act, *given)


def in_one_thread(patch: pytest.MonkeyPatch) -> None:
    """Let all steps ask hosts one after the other."""
    for found in pkgutil.iter_modules(vmferry.steps.__path__, "vmferry.steps."):
        module = importlib.import_module(found.name)
        if hasattr(module, "ThreadPoolExecutor"):
            patch.setattr(module, "ThreadPoolExecutor", OneThread)
