"""Blackouts: what operators write, and the next time that is free."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.model.blackouts import parse_blackout
from vmferry.model.operation import Blackout, Days, Span
from vmferry.planning.blackouts import free_from

SATURDAY = datetime(2026, 1, 10, 22, 0, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment", "free"),
    [
        ("Mon-Fri 08:00-18:00", "2026-01-12T09:00", "2026-01-12T18:00"),
        ("Mon-Fri 08:00-18:00", "2026-01-10T09:00", "2026-01-10T09:00"),  # a Saturday
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-01-12T07:30", "2026-01-12T17:00"),  # winter: UTC+1
        ("Mon-Fri 08:00-18:00 Europe/Berlin", "2026-07-13T07:30", "2026-07-13T16:00"),  # summer: UTC+2
        ("22:00-02:00", "2026-01-10T23:00", "2026-01-11T02:00"),
        ("22:00-02:00", "2026-01-11T01:00", "2026-01-11T02:00"),  # began yesterday
        ("Sat 22:00-02:00", "2026-01-12T01:00", "2026-01-12T01:00"),
        ("Fri-Mon 00:00-00:00", "2026-01-10T05:00", "2026-01-13T00:00"),
        ("Sat,Sun 08:00-24:00", "2026-01-11T20:00", "2026-01-12T00:00"),
        ("2026-01-10T18:00Z/2026-01-12T06:00+01:00", "2026-01-11T00:00", "2026-01-12T05:00"),
    ],
)
def test_the_end_of_a_blackout_is_the_first_free_time(text: str, moment: str, free: str) -> None:
    assert free_from([parse_blackout(text)], at(moment), 60)[0] == at(free)


@pytest.mark.parametrize(
    "text",
    [
        "never",
        "25:00-26:00",
        "08:61-09:00",
        "Mon-Fry 08:00-18:00",
        "08:00-18:00 Europe/Nowhere",
        "2026-01-10T18:00/2026-01-12T06:00",
        "2026-01-12T18:00Z/2026-01-10T06:00Z",
        "2026-13-12T18:00Z/2026-01-10T06:00Z",
        "",
    ],
)
def test_what_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_blackout(text)


def test_a_vm_that_is_always_in_a_blackout_has_no_free_time() -> None:
    free, reason = free_from([parse_blackout("00:00-00:00")], SATURDAY, 1)
    assert free is None and reason == "blackout 00:00-00:00"


def test_two_blackouts_that_leave_too_little_time_between_them_are_one() -> None:
    dark = [parse_blackout("20:00-23:00"), parse_blackout("23:05-23:30")]
    assert free_from(dark, SATURDAY, 299)[0] == at("2026-01-10T23:00")
    assert free_from(dark, SATURDAY, 301)[0] == at("2026-01-10T23:30")


weekly = st.builds(
    Days,
    days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
    from_minute=st.integers(0, 1439),
    to_minute=st.integers(0, 1440),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)
moments = st.integers(0, 525_600).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))
once = st.tuples(moments, st.integers(1, 5000)).map(
    lambda p: Span(begins_at=p[0], ends_at=p[0] + timedelta(minutes=p[1]))
)


def is_dark(blackout: Blackout, moment: datetime) -> bool:
    """Say it minute by minute from the wall clock there, as a person reads the line."""
    if isinstance(blackout, Span):
        return blackout.begins_at <= moment < blackout.ends_at
    from zoneinfo import ZoneInfo

    local = moment.astimezone(ZoneInfo(blackout.time_zone))
    minute, day, yesterday = local.hour * 60 + local.minute, local.weekday(), (local.weekday() - 1) % 7
    if blackout.to_minute > blackout.from_minute:
        return day in blackout.days and blackout.from_minute <= minute < blackout.to_minute
    return (day in blackout.days and minute >= blackout.from_minute) or (
        yesterday in blackout.days and minute < blackout.to_minute
    )


@given(st.lists(weekly | once, max_size=3), moments, st.integers(1, 120))
@examples(150)
def test_a_free_time_touches_no_blackout_and_there_is_none_before_it(
    dark: list[Blackout], moment: datetime, minutes: int
) -> None:
    free, _ = free_from(dark, moment, minutes * 60)
    if free is None:
        return
    touched = [free + timedelta(minutes=n) for n in range(minutes)]
    assert not any(is_dark(blackout, one) for blackout in dark for one in touched if not near_clock_change(one))
    if free > moment:
        before = free - timedelta(minutes=1)
        assert near_clock_change(before) or any(is_dark(b, before) for b in dark)


def near_clock_change(moment: datetime) -> bool:
    """A clock change makes an hour that is not there, or there twice: what is then dark, nobody can say."""
    from zoneinfo import ZoneInfo

    zones = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York")]
    around = timedelta(hours=26)
    return any(
        (moment - around).astimezone(z).utcoffset() != (moment + around).astimezone(z).utcoffset() for z in zones
    )
