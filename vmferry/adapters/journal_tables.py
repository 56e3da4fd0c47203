"""The journal's tables, and how its database is opened."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from vmferry.errors import PermanentError

metadata = MetaData()
runs = Table(
    "runs",
    metadata,
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
Index("one_open_run_per_vm", runs.c.vm_uuid, unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN)
rows = Table(
    "rows",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("runs.run"), nullable=False, index=True),
    Column("step", String(64), nullable=False),
    Column("mark", String(16), nullable=False),
    Column("effect", Text),
    Column("note", Text, nullable=False, default=""),
    Column("at", DateTime(timezone=True), nullable=False),
)
cordons = Table(
    "cordons",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("ticket", String(255), nullable=False, server_default=""),
)
freezes = Table(
    "freezes",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("ticket", String(255), nullable=False, server_default=""),
    Column("since", DateTime(timezone=True), nullable=False),
)
homes = Table(
    "homes",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("vm", String(255), nullable=False),
    Column("home", String(255), nullable=False, index=True),
    Column("away", String(255), nullable=False),
    Column("run", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("is_autostart", Boolean, nullable=False),
    Column("definition", String(64), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("since", DateTime(timezone=True), nullable=False),
)
operations = Table(
    "operations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("subject", String(255), nullable=False, index=True),
    Column("content", Text, nullable=False),
    Column("is_over", Boolean, nullable=False),
    Column("owner", String(255), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

# Usage: the counters that were read last of each host, and samples of hosts and VMs. Numbers only: a fleet of 1,000 VMs
# has some 900,000 of them.
usage_readings = Table(
    "usage_readings",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("reading", Text, nullable=False),
)
usage_subjects = Table(
    "usage_subjects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(8), nullable=False),
    Column("key", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("memory_mib", BigInteger, nullable=False),
    Column("seen_s", BigInteger, nullable=False),
    UniqueConstraint("kind", "key", name="one_usage_subject"),
)
usage_samples = Table(
    "usage_samples",
    metadata,
    # As measured (0), or of a whole hour (1).
    Column("grain", Integer, primary_key=True, autoincrement=False),
    Column("start_s", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", ForeignKey("usage_subjects.id"), primary_key=True),
    Column("span_s", Integer, nullable=False),
    Column("cpu_milli", Integer, nullable=False),
    Column("peak_milli", Integer, nullable=False),
    Column("memory_mib", BigInteger, nullable=False),
    Column("disk_kib_s", BigInteger, nullable=False),
    Column("net_kib_s", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def open_engine(url: str) -> Engine:
    """Open the database; a SQLite file gets its directory, WAL and full synchronisation."""
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")  # the driver that is installed
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database in (None, "", ":memory:"):
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        try:
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise cannot_open(parsed, error) from error
        engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _durable(connection, _record) -> None:  # type: ignore[no-untyped-def]
        # FULL: a row is on the platter when the call returns; the default of WAL loses the last ones.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def create_tables(engine: Engine, tries: int = 5) -> None:
    """Create missing tables; two processes may start on a new database at once. Raises PermanentError."""
    for attempt in range(tries):
        try:
            metadata.create_all(engine)
            _add_ticket(engine)
            return
        except OperationalError as error:
            if attempt == tries - 1:
                raise cannot_open(engine.url, error) from error
            time.sleep(0.2)
        except SQLAlchemyError as error:
            raise cannot_open(engine.url, error) from error


def _add_ticket(engine: Engine) -> None:
    """Give the cordons of an older journal the column that they lack; raises what SQLAlchemy raises."""
    if "ticket" not in {column["name"] for column in inspect(engine).get_columns("cordons")}:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE cordons ADD COLUMN ticket VARCHAR(255) NOT NULL DEFAULT ''"))


def cannot_open(url: URL, error: Exception) -> PermanentError:
    """Return the error for a database that cannot be opened; the URL's password is not told."""
    cause = getattr(error, "orig", None) or error
    return PermanentError(f"journal {url!r}: cannot be opened: {cause}; set VMFERRY_JOURNAL_URL to another place")
