"""Times in which a VM must not be touched, and the next time that is free. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from vmferry.model.operation import Blackout, Days, Span

# How far ahead a free time is looked for: longer than any week that comes again.
_HORIZON = timedelta(days=15)


def free_from(blackouts: Sequence[Blackout], at: datetime, seconds: float) -> tuple[datetime | None, str]:
    """Return the first time from `at` on at which so many seconds touch no blackout, and which one stood in the way.

    None when there is no such time within 15 days; an empty reason when `at` itself is free.
    """
    need, reason, last = timedelta(seconds=seconds), "", at + _HORIZON
    while at <= last:
        hit = _first_hit(blackouts, at, at + need)
        if hit is None:
            return at, reason
        at, reason = max(at, hit.ends_at), f"blackout {hit.text}"
    return None, reason


def _first_hit(blackouts: Sequence[Blackout], begin: datetime, end: datetime) -> Span | None:
    """Return the span that touches [begin, end) and ends last."""
    hits = [span for blackout in blackouts for span in _spans(blackout, begin, end)]
    return max(hits, key=lambda span: (span.ends_at, span.text), default=None)


def _spans(blackout: Blackout, begin: datetime, end: datetime) -> Iterator[Span]:
    """Yield what the blackout is within [begin, end); one that ends at `begin` or begins at `end` is none."""
    if isinstance(blackout, Span):
        if blackout.begins_at < end and blackout.ends_at > begin:
            yield blackout
        return
    zone = ZoneInfo(blackout.time_zone)
    day = begin.astimezone(zone).date() - timedelta(days=1)  # one that began yesterday may go on
    while day <= end.astimezone(zone).date():
        if day.weekday() in blackout.days:
            span = _on(blackout, day, zone)
            if span.begins_at < end and span.ends_at > begin:
                yield span
        day += timedelta(days=1)


def _on(hours: Days, day: date, zone: ZoneInfo) -> Span:
    last = day if hours.to_minute > hours.from_minute else day + timedelta(days=1)
    return Span(
        begins_at=_local(day, hours.from_minute, zone), ends_at=_local(last, hours.to_minute, zone), text=hours.text
    )


def _local(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """Return the moment when clocks there show that time; in the hour that a clock change skips, the one before it."""
    naive = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    return naive.replace(tzinfo=zone).astimezone(UTC)
