"""Times and lengths of time as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import typer

_LENGTH = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?")
_CLOCK = re.compile(r"\d{1,2}:\d\d")


def parse_length_s(text: str | None, option: str) -> float | None:
    """`4h`, `1h30m`, `90m`, `600s`, `600` → seconds; raises typer.BadParameter (exit code 2)."""
    if text is None:
        return None
    found = _LENGTH.fullmatch(text.strip())
    parts = found.groupdict() if found is not None and text.strip() else {}
    seconds = sum(float(parts[unit] or 0) * each for unit, each in (("h", 3600), ("m", 60), ("s", 1)) if parts)
    if seconds <= 0:
        raise typer.BadParameter(f"{text!r}: write a length of time: 4h, 1h30m, 90m, 600s", param_hint=option)
    return seconds


def parse_until(text: str | None, now: datetime, option: str) -> datetime | None:
    """`05:00` → when the clock of this machine shows that next; `2026-03-08T05:00+01:00` → then; else BadParameter.

    `now` carries this machine's time zone; a date without a zone is meant in it.
    """
    if text is None:
        return None
    try:
        if _CLOCK.fullmatch(text.strip()):
            hours, _, minutes = text.strip().partition(":")
            at = now.replace(hour=int(hours), minute=int(minutes), second=0, microsecond=0)
            return at if at > now else at + timedelta(days=1)
        given = datetime.fromisoformat(text.strip())
    except ValueError as error:
        message = f"{text!r}: write a time as 05:00, or a date as 2026-03-08T05:00"
        raise typer.BadParameter(message, param_hint=option) from error
    return given if given.tzinfo is not None else given.replace(tzinfo=now.tzinfo)
