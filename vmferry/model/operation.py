"""How a run that moves many VMs is kept within bounds: its time, its brakes, and what VMs wish for themselves."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.cancelling import OnCancel


class Days(Model):
    """Hours that come again every week: from a minute of the day to another; not later than it begins: the next day's.

    Minutes are counted from midnight in the time zone, so that a clock change moves nothing: 08:00 stays 08:00.
    """

    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)  # on which it begins; 0 is Monday
    from_minute: int = Field(ge=0, lt=1440)
    to_minute: int = Field(ge=0, le=1440)
    time_zone: str = "UTC"
    text: str = ""  # as the operator wrote it


class Span(Model):
    """One stretch of time, without its end."""

    begins_at: datetime
    ends_at: datetime
    text: str = ""


Blackout = Days | Span


class RunLimits(Model):
    """The bounds of one run; what is None bounds nothing."""

    closes_at: datetime | None = None  # a move starts only if its forecast end lies before
    at_end: OnCancel = OnCancel.FINISH  # what becomes of moves that run when the time is over
    canaries: int = Field(default=0, ge=0, description="so many must have moved well before the rest may start")
    canary_vms: tuple[str, ...] = ()  # these first, whatever their order; name or UUID
    max_moves: int | None = Field(default=None, ge=1)
    max_failures: int | None = Field(default=None, ge=1)
    max_same_cause: int | None = Field(default=None, ge=1)
    max_downtime_ms: int | None = Field(default=None, ge=1)
    retries: int = Field(default=0, ge=0, description="further destinations tried for a VM that could not move")
    backoff_s: float = Field(default=30.0, ge=0, description="before the first of them; doubled for each further one")


class Place(StrEnum):
    """Where the cause of a failed move lies: what need not be tried again in the same run."""

    VM = "vm"
    DEST = "dest"
    LINK = "link"
    SOURCE = "source"
    ASKED = "asked"  # somebody ended it: no failure at all
    UNKNOWN = "unknown"


class Cause(Model):
    """Why a move failed, without the names and numbers that differ from VM to VM: equal causes are one cause."""

    place: Place
    text: str
