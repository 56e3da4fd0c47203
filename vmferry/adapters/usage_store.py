"""Usage samples in the journal's database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from vmferry.adapters.journal_tables import (
    create_tables,
    open_engine,
    usage_readings,
    usage_samples,
    usage_subjects,
)
from vmferry.errors import PermanentError
from vmferry.model.usage import HostCounters, Subject, SubjectKind, SubjectSample, Usage, UsageSample
from vmferry.planning.usage import MAX_SPAN_S, is_too_soon, samples_between

_HOUR_S = 3600
_AS_MEASURED_S = 48 * _HOUR_S  # later, an hour is one sample
_RAW, _HOURS = 0, 1
_LONGEST_S = MAX_SPAN_S + _HOUR_S  # of an hour whose last sample began at its end


class SqlUsage:
    """`vmferry.ports.UsageStore` on one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def in_memory(cls) -> SqlUsage:
        """Return a store that is gone with the process."""
        engine = open_engine("sqlite://")
        create_tables(engine)
        return cls(engine)

    def take(self, reading: HostCounters) -> int:
        """Keep what was used since the host's reading before; return how many samples were written."""
        try:
            with self._engine.begin() as connection:
                before = self._before(connection, reading.host)
                if is_too_soon(before, reading):
                    return 0
                samples = samples_between(before, reading)
                self._put_reading(connection, reading, is_first=before is None)
                return self._put_samples(connection, samples) if samples else 0
        except IntegrityError:
            return 0  # another process has kept the same span
        except SQLAlchemyError as error:
            raise _failed("kept", error) from error

    def _before(self, connection: Connection, host: str) -> HostCounters | None:
        text = connection.scalar(select(usage_readings.c.reading).where(usage_readings.c.host == host))
        return HostCounters.model_validate_json(text) if text is not None else None

    def _put_reading(self, connection: Connection, reading: HostCounters, *, is_first: bool) -> None:
        text = reading.model_dump_json()
        if is_first:
            connection.execute(insert(usage_readings).values(host=reading.host, reading=text))
        else:
            connection.execute(update(usage_readings).where(usage_readings.c.host == reading.host).values(reading=text))

    def _put_samples(self, connection: Connection, samples: Sequence[SubjectSample]) -> int:
        ids = _put_subjects(connection, [item.subject for item in samples])
        rows = [_row(ids[item.subject.kind, item.subject.key], item.sample) for item in samples]
        connection.execute(insert(usage_samples), rows)
        return len(rows)

    def read(self, spans: Sequence[tuple[int, int]], keys: Sequence[str] | None = None) -> tuple[Usage, ...]:
        """Return subjects with their samples that touch one of the spans, sorted."""
        if not spans:
            return ()
        table = usage_samples
        # The index knows where samples begin, not where they end.
        near = [and_(table.c.start_s > begin - _LONGEST_S, table.c.start_s < end) for begin, end in spans]
        wanted = [
            and_(near_one, table.c.start_s + table.c.span_s > begin)
            for near_one, (begin, _) in zip(near, spans, strict=True)
        ]
        query = (
            select(table, usage_subjects)
            .join_from(table, usage_subjects, table.c.subject == usage_subjects.c.id)
            .where(table.c.grain.in_((_RAW, _HOURS)), or_(*wanted))
            .order_by(usage_subjects.c.kind, usage_subjects.c.name, usage_subjects.c.key, table.c.start_s)
        )
        if keys is not None:
            query = query.where(usage_subjects.c.key.in_(tuple(keys)))
        try:
            with self._engine.connect() as connection:
                return tuple(_grouped(connection.execute(query).mappings()))
        except SQLAlchemyError as error:
            raise _failed("read", error) from error

    def tidy(self, now_s: int, *, keep_days: float) -> int:
        """Join old samples to hours, and remove what is too old; return how many were joined or removed."""
        table = usage_samples
        joined_before_s = (now_s - _AS_MEASURED_S) // _HOUR_S * _HOUR_S
        gone_before_s = int(now_s - keep_days * 86400)
        old = and_(table.c.grain == _RAW, table.c.start_s < joined_before_s)
        try:
            with self._engine.begin() as connection:
                gone = connection.execute(delete(table).where(table.c.start_s < gone_before_s)).rowcount
                connection.execute(insert(table).from_select(_COLUMNS, _hours().where(old)))
                joined = connection.execute(delete(table).where(old)).rowcount
                self._forget_subjects(connection)
                return gone + joined
        except IntegrityError:
            return 0  # another process does it just now
        except SQLAlchemyError as error:
            raise _failed("tidied", error) from error

    def _forget_subjects(self, connection: Connection) -> None:
        """Remove the subjects that have no sample left."""
        known = select(usage_samples.c.subject).distinct()
        connection.execute(delete(usage_subjects).where(usage_subjects.c.id.not_in(known)))


_COLUMNS = [column.name for column in usage_samples.c]


def _hours() -> Any:
    """Select old samples joined by subject and hour: means by time, and the busiest sample as the peak."""
    c = usage_samples.c
    hour = c.start_s - c.start_s % _HOUR_S

    def mean(column: Any) -> Any:
        return cast(func.sum(column * c.span_s) / func.sum(c.span_s), Integer)

    return select(
        literal(_HOURS),
        hour,
        c.subject,
        func.sum(c.span_s),
        mean(c.cpu_milli),
        func.max(c.peak_milli),
        func.max(c.memory_mib),
        mean(c.disk_kib_s),
        mean(c.net_kib_s),
    ).group_by(c.subject, hour)


def _put_subjects(connection: Connection, subjects: Sequence[Subject]) -> dict[tuple[str, str], int]:
    """Write the subjects, or what is new of them; return their ids by kind and key."""
    table = usage_subjects
    known = _ids(connection, subjects)
    rows = [_subject_row(s) for s in subjects]
    fresh = [row for row in rows if (row["kind"], row["key"]) not in known]
    seen = [{f"new_{k}": v for k, v in row.items()} for row in rows if (row["kind"], row["key"]) in known]
    if seen:
        told: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("name", "host", "cpus", "memory_mib", "seen_s")
        }
        mine = (table.c.kind == bindparam("new_kind"), table.c.key == bindparam("new_key"))
        connection.execute(update(table).where(*mine).values(**told), seen)
    if fresh:
        connection.execute(insert(table), fresh)
        known = _ids(connection, subjects)
    return known


def _ids(connection: Connection, subjects: Sequence[Subject]) -> dict[tuple[str, str], int]:
    table = usage_subjects
    query = select(table.c.id, table.c.kind, table.c.key).where(table.c.key.in_([s.key for s in subjects]))
    return {(row.kind, row.key): row.id for row in connection.execute(query)}


def _subject_row(subject: Subject) -> dict[str, Any]:
    return {
        "kind": str(subject.kind),
        "key": subject.key,
        "name": subject.name,
        "host": subject.host,
        "cpus": subject.cpus,
        "memory_mib": subject.memory_mib,
        "seen_s": int(subject.seen_at.timestamp()),
    }


def _row(subject: int, sample: UsageSample) -> dict[str, int]:
    return {
        "grain": _RAW,
        "start_s": sample.start_s,
        "subject": subject,
        "span_s": sample.span_s,
        "cpu_milli": round(sample.cpus * 1000),
        "peak_milli": round(sample.cpus_peak * 1000),
        "memory_mib": sample.memory_mib,
        "disk_kib_s": sample.disk_kib_s,
        "net_kib_s": sample.net_kib_s,
    }


def _grouped(rows: Any) -> Iterator[Usage]:
    """Yield one Usage per run of rows of the same subject."""
    current: int | None = None
    subject: Subject | None = None
    samples: list[UsageSample] = []
    for row in rows:
        if row["subject"] != current:
            if subject is not None:
                yield Usage(subject=subject, samples=tuple(samples))
            current, subject, samples = row["subject"], _subject(row), []
        samples.append(_sample(row))
    if subject is not None:
        yield Usage(subject=subject, samples=tuple(samples))


def _subject(row: Mapping[str, Any]) -> Subject:
    return Subject(
        kind=SubjectKind(row["kind"]),
        key=row["key"],
        name=row["name"],
        host=row["host"],
        cpus=row["cpus"],
        memory_mib=row["memory_mib_1"],
        seen_at=datetime.fromtimestamp(row["seen_s"], UTC),
    )


def _sample(row: Mapping[str, Any]) -> UsageSample:
    return UsageSample(
        start_s=row["start_s"],
        span_s=row["span_s"],
        cpus=row["cpu_milli"] / 1000,
        cpus_peak=row["peak_milli"] / 1000,
        memory_mib=row["memory_mib"],
        disk_kib_s=row["disk_kib_s"],
        net_kib_s=row["net_kib_s"],
    )


def _failed(what: str, error: SQLAlchemyError) -> PermanentError:
    cause = getattr(error, "orig", None) or error
    return PermanentError(f"usage: cannot be {what} ({cause}); repair the database at VMFERRY_JOURNAL_URL")
