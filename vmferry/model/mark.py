"""Marks of work on the hosts: they tell every vmferry, whatever its journal, who has a VM or a host in hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from vmferry.model.base import Model

# How long nobody need hear of the owner: it writes the mark anew before a third of it is over.
LEASE_S = 900.0
# By so much the clocks of two management hosts may differ.
SKEW_S = 120.0


class VmMark(Model):
    """One run's mark in a domain's XML."""

    run: str
    owner: str  # user@host:pid:start of the process that works on the run
    source: str
    dest: str
    since: datetime
    until: datetime  # by the owner's clock; while a migration job runs on the VM nobody can renew it

    def is_stale(self, now: datetime) -> bool:
        """Whether its owner should have renewed it, clocks that differ allowed for."""
        return is_over(self.until, now)

    def words(self) -> str:
        """Return who, what, since when and until when: `ops@mgmt1:4711:889 has it in run …`."""
        return f"{self.owner} (user@host:pid:start) has it in run {self.run} ({self.source} → {self.dest}), {self.when}"

    @property
    def when(self) -> str:
        """The time that it is for."""
        return f"since {self.since:%Y-%m-%d %H:%M:%S} UTC until {self.until:%Y-%m-%d %H:%M:%S} UTC"


def is_over(until: datetime, now: datetime) -> bool:
    """Whether a lease has ended by every clock."""
    return now > until + timedelta(seconds=SKEW_S)


class MarkKind(StrEnum):
    """What a mark on a host is for; the value is the name of its file there."""

    HOST = "mark"  # HostMark: who empties the host, or that it is closed for arrivals
    FREEZE = "freeze"  # vmferry.model.operation.Freeze: no move starts in the whole fleet


class HostMarks(Model):
    """What stands on a host, as text: `mark` is a HostMark, `freeze` a vmferry.model.operation.Freeze."""

    mark: str = ""
    freeze: str = ""


class HostMark(Model):
    """What stands on a host that is being emptied, or was closed for arrivals."""

    owner: str  # user@host:pid:start
    reason: str
    ticket: str = ""
    since: datetime
    until: datetime | None = None  # None: closed until somebody opens it, nobody works on it

    @property
    def is_work(self) -> bool:
        """Whether a process is at work, that renews the mark as long as it lives."""
        return self.until is not None

    def is_stale(self, now: datetime) -> bool:
        """Whether a process that was at work should have renewed it, clocks that differ allowed for."""
        return self.until is not None and is_over(self.until, now)

    def words(self) -> str:
        """Return who, why, since when and until when."""
        until = f" until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until is not None else ""
        ticket = f" ({self.ticket})" if self.ticket else ""
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.owner} (user@host:pid:start), {self.reason}{ticket}, since {since}{until}"

    def text(self) -> str:
        """Return the one line that stands on the host."""
        return self.model_dump_json()


def parse_host_mark(text: str) -> HostMark | None:
    """Return the mark of a host; None where there is none, or nothing that can be understood."""
    try:
        return HostMark.model_validate_json(text) if text else None
    except ValueError:
        return None
