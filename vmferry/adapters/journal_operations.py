"""The journal's memory of operations: the freeze, homes of VMs, saved operations."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Delete, Insert, Select, Update, delete, insert, select, update
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.exc import IntegrityError

from vmferry.adapters.journal_tables import freezes, homes, operations, runs
from vmferry.errors import NotFound, UnsafeError
from vmferry.model.operation import Freeze, Home, OperationKind, SavedOperation

_FLEET = "fleet"


class SqlOperations:
    """`vmferry.ports.OperationsMemory`; the half of the journal that no move depends on."""

    @property
    def owner(self) -> str:
        """This process."""
        raise NotImplementedError

    def _ask(self, query: Select[Any], **values: object) -> Sequence[SqlRow[Any]]:
        raise NotImplementedError

    def _change(
        self, statement: Insert | Update | Delete, values: dict[str, Any] | None = None, *, may_conflict: bool = False
    ) -> int:
        raise NotImplementedError

    def freeze(self, reason: str, ticket: str = "") -> Freeze:
        """Let no move start any more; the first freeze stays."""
        values = {"scope": _FLEET, "owner": self.owner, "reason": reason, "ticket": ticket, "since": datetime.now(UTC)}
        with contextlib.suppress(IntegrityError):
            self._change(insert(freezes).values(**values), may_conflict=True)
        found = self.frozen()
        if found is None:  # somebody thawed it in between
            raise UnsafeError("the fleet was thawed while it was frozen here; look who did, then freeze again")
        return found

    def unfreeze(self) -> bool:
        """Let moves start again; False when nothing was frozen."""
        return self._change(delete(freezes).where(freezes.c.scope == _FLEET)) == 1

    def frozen(self) -> Freeze | None:
        """Return the freeze; None when moves may start."""
        found = self._ask(select(freezes).where(freezes.c.scope == _FLEET))
        if not found:
            return None
        row = found[0]
        return Freeze(owner=row.owner, reason=row.reason, ticket=row.ticket, since=_utc(row.since))

    def remember_home(self, home: Home) -> None:
        """Write down where a VM belongs, in place of what was."""
        values = home.model_dump()
        if self._change(update(homes).where(homes.c.uuid == home.uuid).values(**values)):
            return
        try:
            self._change(insert(homes).values(**values), may_conflict=True)
        except IntegrityError:
            self._change(update(homes).where(homes.c.uuid == home.uuid).values(**values))

    def homes(self, host: str | None = None) -> tuple[Home, ...]:
        """Return the homes written down, by VM."""
        query = select(homes).order_by(homes.c.vm, homes.c.uuid)
        found = self._ask(query if host is None else query.where(homes.c.home == host))
        return tuple(_home(row) for row in found)

    def find_home(self, uuid: str) -> Home | None:
        """Return where a VM belongs."""
        found = self._ask(select(homes).where(homes.c.uuid == uuid))
        return _home(found[0]) if found else None

    def forget_home(self, uuid: str) -> None:
        """Forget where a VM belongs."""
        self._change(delete(homes).where(homes.c.uuid == uuid))

    def last_run(self, uuid: str) -> str | None:
        """Return the newest run of a VM."""
        query = select(runs.c.run).where(runs.c.vm_uuid == uuid).order_by(runs.c.opened_at.desc(), runs.c.run.desc())
        found = self._ask(query.limit(1))
        return str(found[0].run) if found else None

    def save_operation(self, operation: SavedOperation) -> None:
        """Write an operation down, or what has become of it."""
        values = operation.model_dump()
        if not self._change(update(operations).where(operations.c.id == operation.id).values(**values)):
            self._change(insert(operations).values(**values))

    def operation(self, id: str) -> SavedOperation:
        """Return an operation; raises NotFound."""
        found = self._ask(select(operations).where(operations.c.id == id))
        if not found:
            raise NotFound(f"operation {id}: not in the journal; a report's plan.json tells its id")
        return _operation(found[0])

    def last_operation(self, kind: OperationKind, subject: str) -> SavedOperation | None:
        """Return the newest operation of a kind on a subject."""
        wanted = (operations.c.kind == kind, operations.c.subject == subject)
        query = select(operations).where(*wanted).order_by(operations.c.started_at.desc(), operations.c.id.desc())
        found = self._ask(query.limit(1))
        return _operation(found[0]) if found else None


def _home(row: SqlRow[Any]) -> Home:
    return Home.model_validate({**row._mapping, "since": _utc(row.since)})


def _operation(row: SqlRow[Any]) -> SavedOperation:
    times = {"started_at": _utc(row.started_at), "changed_at": _utc(row.changed_at)}
    return SavedOperation.model_validate({**row._mapping, **times})


def _utc(value: datetime) -> datetime:
    """SQLite forgets the time zone; all times are written in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)
