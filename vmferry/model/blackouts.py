"""Blackouts as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vmferry.model.operation import Blackout, Days, Span

_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKLY = re.compile(r"(?:(?P<days>[A-Za-z,-]+) +)?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)(?: +(?P<zone>[\w/+-]+))?")
EXAMPLE = "Mon-Fri 08:00-18:00 Europe/Berlin, or 2026-12-24T18:00Z/2026-12-27T06:00Z"


def parse_blackout(text: str) -> Blackout:
    """`Mon-Fri 08:00-18:00 Europe/Berlin`, `22:00-02:00`, or `2026-12-24T18:00Z/2026-12-27T06:00Z`; raises ValueError.

    Without days: every day; without a zone: UTC. Hours that end before they begin end on the next day; 00:00-00:00,
    and any other two that are the same, are the whole day.
    """
    text = " ".join(text.split())
    if "/" in text and "T" in text.partition("/")[0]:
        return _span(text)
    found = _WEEKLY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no blackout; write for example {EXAMPLE}")
    zone = found["zone"] or "UTC"
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{text!r}: no time zone {zone}; write for example Europe/Berlin") from error
    return Days(
        days=_days(found["days"], text),
        from_minute=_minute(found["start"], text),
        to_minute=_minute(found["end"], text),
        time_zone=zone,
        text=text,
    )


def _span(text: str) -> Span:
    begin, _, end = text.partition("/")
    try:
        begins_at, ends_at = (datetime.fromisoformat(part.strip()) for part in (begin, end))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write for example {EXAMPLE}") from error
    if begins_at.tzinfo is None or ends_at.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; append Z, or +01:00, to both times")
    if ends_at <= begins_at:
        raise ValueError(f"{text!r} ends before it begins")
    return Span(begins_at=begins_at.astimezone(UTC), ends_at=ends_at.astimezone(UTC), text=text)


def _days(words: str | None, text: str) -> tuple[int, ...]:
    if words is None:
        return tuple(range(7))
    days: set[int] = set()
    for part in words.lower().split(","):
        first, _, last = part.partition("-")
        try:
            one, other = _NAMES.index(first[:3]), _NAMES.index((last or first)[:3])
        except ValueError:
            raise ValueError(f"{text!r}: {part!r} is no day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun") from None
        days |= {(one + n) % 7 for n in range((other - one) % 7 + 1)}
    return tuple(sorted(days))


def _minute(word: str, text: str) -> int:
    hours, minutes = int(word[:2]), int(word[3:])
    if minutes > 59 or hours * 60 + minutes > 1440:
        raise ValueError(f"{text!r}: {word} is no time of the day")
    return (hours * 60 + minutes) % 1440
