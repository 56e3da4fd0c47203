"""A journal in memory that can be copied at any moment: a history branches there, at a thirtieth of SQL's cost.

`Twin` asks the real journal the same things and compares every answer: what holds here holds there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vmferry.adapters.journal import SqlJournal
from vmferry.errors import AlreadyMoving, NotFound, VmferryError
from vmferry.model.effects import Effect
from vmferry.model.host import Cordon
from vmferry.model.journal import Mark, Row, RunRecord, RunState
from vmferry.model.migration import MigrationOutcome, MigrationPlan

AT = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass
class Ledger:
    """What `vmferry.ports.Journal` promises; every earlier owner is dead."""

    records: dict[str, RunRecord] = field(default_factory=dict)
    written: dict[str, tuple[Row, ...]] = field(default_factory=dict)

    def open_run(self, plan: MigrationPlan) -> None:
        if any(record.plan.uuid == plan.uuid for record in self.unsettled()):
            raise AlreadyMoving(f"vm {plan.vm}: another run holds it", vm=plan.vm)
        self.records[plan.run] = RunRecord(run=plan.run, plan=plan, state=RunState.OPEN, owner="vmferry", opened_at=AT)

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        before = self.written.get(run, ())
        row = Row(seq=len(before), run=run, step=step, mark=mark, effect=effect, note=note, at=AT)
        self.written[run] = (*before, row)

    def rows(self, run: str) -> tuple[Row, ...]:
        return self.written.get(run, ())

    def find(self, run: str) -> RunRecord:
        if run not in self.records:
            raise NotFound(f"run {run}: not in the journal")
        return self.records[run]

    def unsettled(self) -> tuple[RunRecord, ...]:
        return tuple(record for record in self.records.values() if record.state is not RunState.CLOSED)

    def recent(self, limit: int) -> tuple[RunRecord, ...]:
        return tuple(self.records.values())[-limit:]

    def take_over(self, run: str, *, lost_owner: str = "") -> bool:
        return self.find(run).state is not RunState.CLOSED

    def hold(self, run: str, reason: str) -> None:
        self._change(run, state=RunState.HELD, reason=reason)

    def close_run(self, run: str, outcome: MigrationOutcome) -> None:
        self._change(run, state=RunState.CLOSED, outcome=outcome.kind, reason=outcome.reason, closed_at=AT)

    def _change(self, run: str, **values: object) -> None:
        if self.records[run].state is not RunState.CLOSED:
            self.records[run] = self.records[run].model_copy(update=values)

    def cordon(self, host: str, reason: str) -> None:
        raise NotImplementedError(host)

    def uncordon(self, host: str) -> bool:
        raise NotImplementedError(host)

    def cordons(self) -> tuple[Cordon, ...]:
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def copy(self) -> Ledger:
        """Return a journal of its own; what it holds cannot be changed."""
        return Ledger(dict(self.records), dict(self.written))


_UNEQUAL = {"at", "seq", "opened_at", "closed_at", "owner"}


class Twin:
    """The SQL journal, with each of its answers compared to the ledger's."""

    def __init__(self, real: SqlJournal) -> None:
        self._real, self._model = real, Ledger()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*given: Any) -> Any:
            real, model = (_answer(journal, name, given) for journal in (self._real, self._model))
            assert _plain(real) == _plain(model), (name, given, real, model)
            if isinstance(real, VmferryError):
                raise real
            return real

        return ask


def _answer(journal: object, name: str, given: tuple[Any, ...]) -> Any:
    try:
        return getattr(journal, name)(*given)
    except VmferryError as error:
        return error


def _plain(answer: Any) -> Any:
    """Return what must be equal of an answer: not its times, and of an error its class."""
    if isinstance(answer, VmferryError):
        return type(answer)
    if isinstance(answer, tuple):
        return tuple(_plain(one) for one in answer)
    # A stored plan has no XML of its own.
    return answer.model_dump(exclude=_UNEQUAL) if isinstance(answer, Row | RunRecord) else answer
