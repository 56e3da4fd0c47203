"""Who sleeps, in the same database as the journal of moves."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, String, Table, Text, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from vmferry.adapters.journal_tables import create_tables, metadata, open_engine
from vmferry.errors import UnsafeError
from vmferry.model.power import SleepRecord

_sleepers = Table(
    "sleepers",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("record", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)


class SqlSleepJournal:
    """`vmferry.ports.power.SleepJournal` on one database."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        create_tables(self._engine)

    def sleepers(self) -> tuple[SleepRecord, ...]:
        """Return every host that was ever switched, by name."""
        try:
            with self._engine.connect() as connection:
                found = connection.execute(select(_sleepers.c.record).order_by(_sleepers.c.host)).all()
        except SQLAlchemyError as error:
            raise _failed("read", error) from error
        return tuple(SleepRecord.model_validate_json(row.record) for row in found)

    def write(self, record: SleepRecord) -> None:
        """Replace what is known of a host, in one transaction."""
        values = {"host": record.host, "record": record.model_dump_json(), "at": record.since}
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(_sleepers).where(_sleepers.c.host == record.host))
                connection.execute(insert(_sleepers).values(**values))
        except SQLAlchemyError as error:
            raise _failed("written", error) from error

    def close(self) -> None:
        """Close the database connections."""
        self._engine.dispose()


def _failed(what: str, error: SQLAlchemyError) -> UnsafeError:
    cause = getattr(error, "orig", None) or error
    return UnsafeError(f"journal of power: cannot be {what} ({cause}); no host is switched without a record")
