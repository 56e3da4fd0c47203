"""The journal on SQLAlchemy: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter
from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from vmferry.errors import AlreadyMoving, NotFound, PermanentError, UnsafeError
from vmferry.model.effects import Effect
from vmferry.model.host import Cordon
from vmferry.model.journal import Mark, Row, RunRecord, RunState
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind

_metadata = MetaData()
_runs = Table(
    "runs",
    _metadata,
    Column("run", String(64), primary_key=True),
    Column("vm_uuid", String(36), nullable=False),
    Column("plan", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", Text),
    Column("reason", Text, nullable=False, default=""),
    Column("owner", String(255), nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
)
_OPEN = text("state <> 'closed'")
# One unsettled run per VM, enforced by the database: the only lock that survives every crash of ours.
Index("one_open_run_per_vm", _runs.c.vm_uuid, unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN)
_rows = Table(
    "rows",
    _metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("runs.run"), nullable=False, index=True),
    Column("step", String(64), nullable=False),
    Column("mark", String(16), nullable=False),
    Column("effect", Text),
    Column("note", Text, nullable=False, default=""),
    Column("at", DateTime(timezone=True), nullable=False),
)
_cordons = Table(
    "cordons",
    _metadata,
    Column("host", String(255), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
)
_EFFECT: TypeAdapter[Effect] = TypeAdapter(Effect)


def _start_ticks(pid: int) -> str | None:
    """Return the start time of a process from /proc, so that a reused pid is not taken for its old owner."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def this_owner() -> str:
    """Name this process: `hostname:pid:start ticks`."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_ticks(os.getpid())}"


def is_owner_alive(owner: str) -> bool:
    """Whether the process still exists; an owner on another machine counts as alive."""
    hostname, pid, ticks = owner.rsplit(":", 2)
    if hostname != socket.gethostname():
        return True
    return _start_ticks(int(pid)) == ticks


class SqlJournal:
    """`vmferry.ports.Journal` on one database; safe to use from many threads and processes."""

    def __init__(self, url: str, *, owner: str | None = None, is_alive: Callable[[str], bool] = is_owner_alive) -> None:
        self._owner = owner or this_owner()
        self._is_alive = is_alive
        self._engine = _open_engine(url)
        _create_tables(self._engine)

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
            with self._engine.begin() as connection:
                connection.execute(insert(_runs).values(**values))
        except IntegrityError as error:
            raise self._already_moving(plan) from error
        except SQLAlchemyError as error:
            raise _cannot_write(error) from error

    def _already_moving(self, plan: MigrationPlan) -> AlreadyMoving:
        """Say who holds the VM, and what to do."""
        holder = next((r for r in self.unsettled() if r.plan.uuid == plan.uuid), None)
        if holder is None:
            return AlreadyMoving(f"vm {plan.vm}: another run has just ended; try again", vm=plan.vm)
        return AlreadyMoving(
            f"vm {plan.vm}: run {holder.run} ({holder.plan.source} → {holder.plan.dest}, {holder.state}, "
            f"owner {holder.owner}) holds it; wait for it, or settle it with `vmferry recover`",
            vm=plan.vm,
        )

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        """Append a row; when this raises, the caller must not touch the world."""
        values = {
            "run": run,
            "step": step,
            "mark": mark,
            "effect": effect.model_dump_json() if effect is not None else None,
            "note": note,
            "at": datetime.now(UTC),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_rows).values(**values))
        except SQLAlchemyError as error:
            raise _cannot_write(error) from error

    def rows(self, run: str) -> tuple[Row, ...]:
        """Return the rows of a run in the order of writing."""
        with self._engine.connect() as connection:
            found = connection.execute(select(_rows).where(_rows.c.run == run).order_by(_rows.c.seq)).all()
        return tuple(_row(r) for r in found)

    def find(self, run: str) -> RunRecord:
        """Return a run; raises NotFound."""
        with self._engine.connect() as connection:
            found = connection.execute(select(_runs).where(_runs.c.run == run)).first()
        if found is None:
            raise NotFound(f"run {run}: not in the journal; `vmferry runs` lists the runs")
        return _record(found)

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return open and held runs, oldest first."""
        query = select(_runs).where(_runs.c.state != RunState.CLOSED).order_by(_runs.c.opened_at, _runs.c.run)
        with self._engine.connect() as connection:
            return tuple(_record(r) for r in connection.execute(query).all())

    def recent(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs, newest first."""
        query = select(_runs).order_by(_runs.c.opened_at.desc(), _runs.c.run).limit(limit)
        with self._engine.connect() as connection:
            return tuple(_record(r) for r in connection.execute(query).all())

    def take_over(self, run: str) -> bool:
        """Become the owner of an unsettled run whose owner is dead; of two takers one wins."""
        record = self.find(run)
        if record.state is RunState.CLOSED:
            return False
        if record.owner != self._owner and self._is_alive(record.owner):
            return False
        claim = (
            update(_runs)
            .where(_runs.c.run == run, _runs.c.owner == record.owner, _runs.c.state != RunState.CLOSED)
            .values(owner=self._owner)
        )
        with self._engine.begin() as connection:
            return connection.execute(claim).rowcount == 1

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
        try:
            with self._engine.begin() as connection:
                connection.execute(update(_runs).where(_runs.c.run == run).values(**values))
        except SQLAlchemyError as error:
            raise _cannot_write(error) from error

    def cordon(self, host: str, reason: str) -> None:
        """Close a host for arrivals; the first cordon of a host stays."""
        values = {"host": host, "owner": self._owner, "reason": reason, "since": datetime.now(UTC)}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_cordons).values(**values))
        except IntegrityError:
            return
        except SQLAlchemyError as error:
            raise _cannot_write(error) from error

    def uncordon(self, host: str) -> bool:
        """Open a host again; False when it was not cordoned."""
        with self._engine.begin() as connection:
            return connection.execute(_cordons.delete().where(_cordons.c.host == host)).rowcount == 1

    def cordons(self) -> tuple[Cordon, ...]:
        """Return the cordoned hosts, by name."""
        with self._engine.connect() as connection:
            found = connection.execute(select(_cordons).order_by(_cordons.c.host)).all()
        return tuple(Cordon(host=r.host, owner=r.owner, reason=r.reason, since=_utc(r.since)) for r in found)

    def close(self) -> None:
        """Close the database connections."""
        self._engine.dispose()


def _open_engine(url: str) -> Engine:
    """Open the database; a SQLite file gets its directory, WAL and full synchronisation."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")  # the driver that is installed
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database in (None, "", ":memory:"):
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _durable(connection, _record) -> None:  # type: ignore[no-untyped-def]
        # FULL: a row is on the platter when the call returns; the default of WAL loses the last ones.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _create_tables(engine: Engine, tries: int = 5) -> None:
    """Create missing tables; two processes may start on a new database at once."""
    for attempt in range(tries):
        try:
            _metadata.create_all(engine)
            return
        except OperationalError as error:
            if attempt == tries - 1:
                raise PermanentError(f"journal {engine.url!r}: cannot be opened: {error.orig}") from error
            time.sleep(0.2)


def _cannot_write(error: SQLAlchemyError) -> UnsafeError:
    cause = getattr(error, "orig", None) or error
    return UnsafeError(
        f"journal: cannot be written ({cause}); nothing further is done without a record. "
        "Free space or repair the database, then run `vmferry recover`"
    )


def _utc(value: datetime) -> datetime:
    """SQLite forgets the time zone; all times are written in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _row(found: SqlRow[tuple[object, ...]]) -> Row:
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


def _record(found: SqlRow[tuple[object, ...]]) -> RunRecord:
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
