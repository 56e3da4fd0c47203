"""The journal of shares, in the same database as the journal of moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, String, Table, Text, insert, select, text, update
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from vmferry.adapters.journal_tables import create_tables, metadata, open_engine
from vmferry.adapters.owner import is_owner_alive, this_owner
from vmferry.errors import AlreadyMoving, NotFound, UnsafeError
from vmferry.model.sharing import SharePlan, ShareRecord, ShareState

_shares = Table(
    "shares",
    metadata,
    Column("share", String(64), primary_key=True),
    Column("key", String(512), nullable=False),
    Column("plan", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("owner", String(255), nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)
_THERE = text("state <> 'undone'")
# One share of a directory, whatever its state: enforced by the database.
Index("one_share_per_directory", _shares.c.key, unique=True, sqlite_where=_THERE, postgresql_where=_THERE)
_rows = Table(
    "share_rows",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("share", ForeignKey("shares.share"), nullable=False, index=True),
    Column("step", Integer, nullable=False),
    Column("mark", String(16), nullable=False),
    Column("note", Text, nullable=False, default=""),
    Column("at", DateTime(timezone=True), nullable=False),
)
_BEGUN, _UNDONE, _NOTE = "begun", "undone", "note"


class SqlShareJournal:
    """`vmferry.ports.sharing.ShareJournal` on one database."""

    def __init__(self, url: str, *, owner: str | None = None, is_alive: Callable[[str], bool] = is_owner_alive) -> None:
        self._owner = owner or this_owner()
        self._is_alive = is_alive
        self._engine = open_engine(url)
        create_tables(self._engine)

    def open_share(self, plan: SharePlan) -> None:
        """Open a share; the unique index lets one per directory win."""
        values = {
            "share": plan.share,
            "key": plan.key,
            "plan": plan.model_dump_json(),
            "state": ShareState.OPEN,
            "owner": self._owner,
            "opened_at": datetime.now(UTC),
        }
        try:
            self._change(insert(_shares).values(**values))
        except IntegrityError as error:
            holder = next((record for record in self.shares() if record.plan.key == plan.key), None)
            who = f"share {holder.plan.share} ({holder.state}) of {holder.owner}" if holder else "another share"
            raise AlreadyMoving(
                f"{plan.key}: {who} has it; `vmferry unshare {plan.request.server}:{plan.request.directory}` takes it "
                "back",
                host=plan.request.server,
            ) from error

    def find(self, share: str) -> ShareRecord:
        """Return a share; raises NotFound."""
        found = self._ask(select(_shares).where(_shares.c.share == share))
        if not found:
            raise NotFound(f"share {share}: not in the journal; `vmferry shares` lists them")
        return self._record(found[0])

    def shares(self) -> tuple[ShareRecord, ...]:
        """Return every share that is not undone, oldest first."""
        query = select(_shares).where(_shares.c.state != ShareState.UNDONE).order_by(_shares.c.opened_at)
        return tuple(self._record(row) for row in self._ask(query))

    def extend(self, share: str, plan: SharePlan) -> None:
        """Replace the plan."""
        self._update(share, plan=plan.model_dump_json())

    def begin(self, share: str, step: int) -> None:
        """Write down that a step may have left something; once is enough."""
        self._write(share, step, _BEGUN)

    def note(self, share: str, step: int, text: str) -> None:
        """Write down what the undo of a step needs."""
        self._write(share, step, _NOTE, text)

    def notes(self, share: str, step: int) -> tuple[str, ...]:
        """Return the notes of a step, oldest first."""
        query = select(_rows).where(_rows.c.share == share, _rows.c.step == step, _rows.c.mark == _NOTE)
        return tuple(row.note for row in self._ask(query.order_by(_rows.c.seq)))

    def undone(self, share: str, step: int) -> None:
        """Write down that nothing of a step is left."""
        self._write(share, step, _UNDONE)

    def turn(self, share: str, state: ShareState, reason: str = "") -> None:
        """Change the state of a share."""
        self._update(share, state=state, reason=reason)

    def take_over(self, share: str) -> bool:
        """Become the owner; of two takers one wins. Nobody is at work on a share that stands or is held."""
        record = self.find(share)
        is_at_work = record.state in (ShareState.OPEN, ShareState.UNDOING) and self._is_alive(record.owner)
        if record.owner != self._owner and is_at_work:
            return False
        claim = update(_shares).where(_shares.c.share == share, _shares.c.owner == record.owner)
        return self._change(claim.values(owner=self._owner)) == 1

    def close(self) -> None:
        """Close the database connections."""
        self._engine.dispose()

    def _record(self, row: SqlRow[Any]) -> ShareRecord:
        steps: dict[int, str] = {}
        for one in self._ask(select(_rows).where(_rows.c.share == row.share).order_by(_rows.c.seq)):
            if one.mark == _NOTE:
                continue
            steps.pop(one.step, None)  # a step that was done again stands where it began last
            steps[one.step] = one.mark
        return ShareRecord(
            plan=SharePlan.model_validate_json(row.plan),
            state=ShareState(row.state),
            reason=row.reason,
            owner=row.owner,
            opened_at=row.opened_at if row.opened_at.tzinfo else row.opened_at.replace(tzinfo=UTC),
            begun=tuple(step for step, mark in steps.items() if mark == _BEGUN),
            undone=tuple(step for step, mark in steps.items() if mark == _UNDONE),
        )

    def _write(self, share: str, step: int, mark: str, note: str = "") -> None:
        self._must_own(share)
        values = {"share": share, "step": step, "mark": mark, "note": note, "at": datetime.now(UTC)}
        self._change(insert(_rows).values(**values))

    def _update(self, share: str, **values: object) -> None:
        self._must_own(share)
        self._change(update(_shares).where(_shares.c.share == share).values(**values))

    def _must_own(self, share: str) -> None:
        found = self._ask(select(_shares.c.owner).where(_shares.c.share == share))
        if not found or found[0].owner != self._owner:
            raise UnsafeError(f"share {share}: another process has taken it over; this one must not touch it any more")

    def _ask(self, query: Any) -> Any:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except SQLAlchemyError as error:
            raise _failed("read", error) from error

    def _change(self, statement: Any) -> int:
        try:
            with self._engine.begin() as connection:
                return int(connection.execute(statement).rowcount)
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _failed("written", error) from error


def _failed(what: str, error: SQLAlchemyError) -> UnsafeError:
    cause = getattr(error, "orig", None) or error
    return UnsafeError(f"journal of shares: cannot be {what} ({cause}); nothing further is done without a record")
