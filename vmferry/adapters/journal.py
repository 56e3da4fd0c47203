"""The journal on SQLAlchemy: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Delete, Engine, Insert, Select, Update, bindparam, delete, insert, select, update
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from vmferry.adapters.journal_operations import SqlOperations
from vmferry.adapters.journal_tables import cordons, create_tables, open_engine, rows, runs
from vmferry.adapters.owner import is_owner_alive, is_owner_here, this_owner
from vmferry.errors import AlreadyMoving, NotFound, UnsafeError
from vmferry.model.effects import Effect
from vmferry.model.host import Cordon
from vmferry.model.journal import Mark, Row, RunRecord, RunState
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind

_EFFECT: TypeAdapter[Effect] = TypeAdapter(Effect)

# Built once: making the object and its cache key takes SQLAlchemy as long as SQLite takes to answer.
_OPEN = insert(runs)
# A row of a run that the writer owns, else none.
_ROW = [column for column in rows.c if column is not rows.c.seq]
_WRITE = insert(rows).from_select(
    [column.name for column in _ROW],
    select(*(bindparam(f"row_{column.name}", type_=column.type) for column in _ROW))
    .select_from(runs)
    .where(runs.c.run == bindparam("row_run"), runs.c.owner == bindparam("writer")),
)
_ROWS_OF = select(rows).where(rows.c.run == bindparam("run")).order_by(rows.c.seq)
_RUN = select(runs).where(runs.c.run == bindparam("run"))
_UNSETTLED = select(runs).where(runs.c.state != RunState.CLOSED).order_by(runs.c.opened_at, runs.c.run)


class SqlJournal(SqlOperations):
    """`vmferry.ports.Journal` on one database; safe to use from many threads and processes."""

    def __init__(self, url: str, *, owner: str | None = None, is_alive: Callable[[str], bool] = is_owner_alive) -> None:
        self._owner = owner or this_owner()
        self._is_alive = is_alive
        self._engine = open_engine(url)
        create_tables(self._engine)

    @property
    def owner(self) -> str:
        """This process, as `user@host:pid:start`."""
        return self._owner

    def is_dead(self, owner: str) -> bool:
        """Whether an owner was a process of this machine and has ended."""
        return is_owner_here(owner) and not self._is_alive(owner)

    def open_run(self, plan: MigrationPlan) -> None:
        """Open a run; the unique index lets one run per VM win."""
        values = {
            "run": plan.run,
            "vm_uuid": str(plan.uuid),
            "plan": plan.model_dump_json(),
            "state": RunState.OPEN,
            "owner": self._owner,
            "opened_at": datetime.now(UTC),
        }
        try:
            self._change(_OPEN, values, may_conflict=True)
        except IntegrityError as error:
            raise self._already_moving(plan) from error

    def _already_moving(self, plan: MigrationPlan) -> AlreadyMoving:
        """Say who holds the VM, and what to do."""
        holder = next((r for r in self.unsettled() if r.plan.uuid == plan.uuid), None)
        if holder is None:
            return AlreadyMoving(f"vm {plan.vm}: another run has just ended; try again", vm=plan.vm)
        return AlreadyMoving(
            f"vm {plan.vm}: run {holder.run} ({holder.plan.source} → {holder.plan.dest}, {holder.state}) of "
            f"{holder.owner} (user@host:pid:start) holds it since {holder.opened_at:%Y-%m-%d %H:%M:%S} UTC; "
            "wait for it, or settle it with `vmferry recover`",
            vm=plan.vm,
        )

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        """Append a row; when this raises, the caller must not touch the world.

        A run that another process has taken over takes no row of ours: whoever comes late is stopped before its act.
        """
        values = {
            "row_run": run,
            "row_step": step,
            "row_mark": mark,
            "row_effect": effect.model_dump_json() if effect is not None else None,
            "row_note": note,
            "row_at": datetime.now(UTC),
            "writer": self._owner,
        }
        if self._change(_WRITE, values) != 1:
            raise self._lost_run(run)

    def _lost_run(self, run: str) -> UnsafeError:
        record = self.find(run)
        return UnsafeError(
            f"run {run} of vm {record.plan.vm}: {record.owner} (user@host:pid:start) has taken it over, this process "
            "must not touch it any more; `vmferry runs` shows how it ends",
            vm=record.plan.vm,
        )

    def rows(self, run: str) -> tuple[Row, ...]:
        """Return the rows of a run in the order of writing."""
        return tuple(_row(r) for r in self._ask(_ROWS_OF, run=run))

    def find(self, run: str) -> RunRecord:
        """Return a run; raises NotFound."""
        found = self._ask(_RUN, run=run)
        if not found:
            raise NotFound(f"run {run}: not in the journal; `vmferry runs` lists the runs")
        return _record(found[0])

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return open and held runs, oldest first."""
        return tuple(_record(r) for r in self._ask(_UNSETTLED))

    def recent(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs, newest first."""
        query = select(runs).order_by(runs.c.opened_at.desc(), runs.c.run).limit(limit)
        return tuple(_record(r) for r in self._ask(query))

    def take_over(self, run: str, *, lost_owner: str = "") -> bool:
        """Become the owner of an unsettled run whose owner is dead; of two takers one wins."""
        record = self.find(run)
        if record.state is RunState.CLOSED:
            return False
        is_lost = record.owner == lost_owner and not is_owner_here(lost_owner)
        if record.owner != self._owner and not is_lost and self._is_alive(record.owner):
            return False
        claim = (
            update(runs)
            .where(runs.c.run == run, runs.c.owner == record.owner, runs.c.state != RunState.CLOSED)
            .values(owner=self._owner)
        )
        return self._change(claim) == 1

    def hold(self, run: str, reason: str) -> None:
        """Mark a run as waiting for a human."""
        self._update(run, state=RunState.HELD, reason=reason)

    def close_run(self, run: str, outcome: MigrationOutcome) -> None:
        """Close a run with its outcome."""
        self._update(
            run,
            state=RunState.CLOSED,
            outcome=outcome.model_dump_json(),
            reason=outcome.reason,
            closed_at=datetime.now(UTC),
        )

    def _update(self, run: str, **values: object) -> None:
        """Change a run of ours that is not closed; a closed one stays as it is."""
        ours = (runs.c.run == run, runs.c.owner == self._owner)
        changed = self._change(update(runs).where(*ours, runs.c.state != RunState.CLOSED).values(**values))
        if changed == 0 and self.find(run).owner != self._owner:
            raise self._lost_run(run)

    def _ask(self, query: Select[Any], **values: object) -> Sequence[SqlRow[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query, values).all()
        except SQLAlchemyError as error:
            raise _failed("read", error) from error

    def _change(
        self, statement: Insert | Update | Delete, values: dict[str, Any] | None = None, *, may_conflict: bool = False
    ) -> int:
        """Execute in a transaction of its own; return the number of rows. A conflict is the caller's if it may be."""
        try:
            with self._engine.begin() as connection:
                # Without the option the number of inserted rows is unknown on PostgreSQL.
                return connection.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount
        except SQLAlchemyError as error:
            if may_conflict and isinstance(error, IntegrityError):
                raise
            raise _failed("written", error) from error

    def cordon(self, host: str, reason: str, ticket: str = "") -> None:
        """Close a host for arrivals; the first cordon of a host stays."""
        values = {"host": host, "owner": self._owner, "reason": reason, "ticket": ticket, "since": datetime.now(UTC)}
        with contextlib.suppress(IntegrityError):
            self._change(insert(cordons).values(**values), may_conflict=True)

    def uncordon(self, host: str) -> bool:
        """Open a host again; False when it was not cordoned."""
        return self._change(delete(cordons).where(cordons.c.host == host)) == 1

    def cordons(self) -> tuple[Cordon, ...]:
        """Return the cordoned hosts, by name."""
        found = self._ask(select(cordons).order_by(cordons.c.host))
        return tuple(_cordon(row) for row in found)

    @property
    def engine(self) -> Engine:
        """The database, for what is kept beside the journal."""
        return self._engine

    def close(self) -> None:
        """Close the database connections."""
        self._engine.dispose()


def _failed(what: str, error: SQLAlchemyError) -> UnsafeError:
    cause = getattr(error, "orig", None) or error
    return UnsafeError(
        f"journal: cannot be {what} ({cause}); nothing further is done without a record. "
        "Free space or repair the database, then run `vmferry recover`"
    )


def _utc(value: datetime) -> datetime:
    """SQLite forgets the time zone; all times are written in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _cordon(found: SqlRow[Any]) -> Cordon:
    since = _utc(found.since)
    return Cordon(host=found.host, owner=found.owner, reason=found.reason, ticket=found.ticket, since=since)


def _row(found: SqlRow[Any]) -> Row:
    effect = _EFFECT.validate_json(found.effect) if found.effect else None
    return Row(
        seq=found.seq,
        run=found.run,
        step=found.step,
        mark=Mark(found.mark),
        effect=effect,
        note=found.note,
        at=_utc(found.at),
    )


def _record(found: SqlRow[Any]) -> RunRecord:
    outcome = MigrationOutcome.model_validate_json(found.outcome) if found.outcome else None
    return RunRecord(
        run=found.run,
        plan=MigrationPlan.model_validate_json(found.plan),
        state=RunState(found.state),
        outcome=OutcomeKind(outcome.kind) if outcome else None,
        reason=found.reason,
        owner=found.owner,
        opened_at=_utc(found.opened_at),
        closed_at=_utc(found.closed_at) if found.closed_at else None,
    )
