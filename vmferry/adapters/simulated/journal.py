"""A journal behind the gate: its calls are touch points too, a crash can strike between row and act."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.port import SimulatedPort
from vmferry.model.effects import Effect
from vmferry.model.host import Cordon
from vmferry.model.journal import Mark, Row, RunRecord
from vmferry.model.migration import MigrationOutcome, MigrationPlan
from vmferry.model.operation import Freeze, Home, OperationKind, SavedOperation
from vmferry.ports import Journal

T = TypeVar("T")


class GatedJournal(SimulatedPort):
    """The given journal; every call passes the gate."""

    port = "journal"

    def __init__(self, ground: Ground, journal: Journal) -> None:
        super().__init__(ground, "")
        self._journal = journal

    @property
    def owner(self) -> str:
        """This process."""
        return self._journal.owner

    def is_dead(self, owner: str) -> bool:
        """Whether an owner was a process of this machine and has ended."""
        return self._journal.is_dead(owner)

    def open_run(self, plan: MigrationPlan) -> None:
        """Open a run."""
        self._write("open_run", plan.run, lambda: self._journal.open_run(plan))

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        """Append a row."""
        self._write("write", f"{step} {mark}", lambda: self._journal.write(run, step, mark, effect, note))

    def rows(self, run: str) -> tuple[Row, ...]:
        """Return the rows of a run."""
        return self._read("rows", run, lambda: self._journal.rows(run))

    def find(self, run: str) -> RunRecord:
        """Return a run."""
        return self._read("find", run, lambda: self._journal.find(run))

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return the open and held runs."""
        return self._read("unsettled", "", self._journal.unsettled)

    def recent(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs."""
        return self._read("recent", "", lambda: self._journal.recent(limit))

    def take_over(self, run: str, *, lost_owner: str = "") -> bool:
        """Become the owner of a dead owner's run."""
        return self._write("take_over", run, lambda: self._journal.take_over(run, lost_owner=lost_owner))

    def hold(self, run: str, reason: str) -> None:
        """Mark a run as waiting for a human."""
        self._write("hold", run, lambda: self._journal.hold(run, reason))

    def close_run(self, run: str, outcome: MigrationOutcome) -> None:
        """Close a run."""
        self._write("close_run", run, lambda: self._journal.close_run(run, outcome))

    def cordon(self, host: str, reason: str, ticket: str = "") -> None:
        """Close a host for arrivals."""
        self._write("cordon", host, lambda: self._journal.cordon(host, reason, ticket))

    def uncordon(self, host: str) -> bool:
        """Open it again."""
        return self._write("uncordon", host, lambda: self._journal.uncordon(host))

    def cordons(self) -> tuple[Cordon, ...]:
        """Return the cordoned hosts."""
        return self._read("cordons", "", self._journal.cordons)

    def freeze(self, reason: str, ticket: str = "") -> Freeze:
        """Let no move start any more."""
        return self._write("freeze", "", lambda: self._journal.freeze(reason, ticket))

    def unfreeze(self) -> bool:
        """Let moves start again."""
        return self._write("unfreeze", "", self._journal.unfreeze)

    def frozen(self) -> Freeze | None:
        """Return the freeze."""
        return self._read("frozen", "", self._journal.frozen)

    def remember_home(self, home: Home) -> None:
        """Write down where a VM belongs."""
        self._write("remember_home", home.uuid, lambda: self._journal.remember_home(home))

    def homes(self, host: str | None = None) -> tuple[Home, ...]:
        """Return the homes written down."""
        return self._read("homes", "", lambda: self._journal.homes(host))

    def find_home(self, uuid: str) -> Home | None:
        """Return where a VM belongs."""
        return self._read("find_home", uuid, lambda: self._journal.find_home(uuid))

    def forget_home(self, uuid: str) -> None:
        """Forget where a VM belongs."""
        self._write("forget_home", uuid, lambda: self._journal.forget_home(uuid))

    def last_run(self, uuid: str) -> str | None:
        """Return the newest run of a VM."""
        return self._read("last_run", uuid, lambda: self._journal.last_run(uuid))

    def save_operation(self, operation: SavedOperation) -> None:
        """Write an operation down."""
        self._write("save_operation", operation.id, lambda: self._journal.save_operation(operation))

    def operation(self, id: str) -> SavedOperation:
        """Return an operation."""
        return self._read("operation", id, lambda: self._journal.operation(id))

    def last_operation(self, kind: OperationKind, subject: str) -> SavedOperation | None:
        """Return the newest operation of a kind."""
        return self._read("last_operation", subject, lambda: self._journal.last_operation(kind, subject))

    def _read(self, op: str, subject: str, effect: Callable[[], T]) -> T:
        return self._call(self._operation(op, subject, is_write=False), effect)

    def _write(self, op: str, subject: str, effect: Callable[[], T]) -> T:
        return self._call(self._operation(op, subject, is_write=True), effect)
