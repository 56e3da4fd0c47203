"""How a run that moves many VMs is kept within bounds: its time, its brakes, and what VMs wish for themselves."""

from __future__ import annotations

from datetime import UTC, datetime
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


class WayOut(StrEnum):
    """How a VM leaves a host that is emptied."""

    LIVE = "live"
    NON_LIVE = "non-live"
    OFFLINE = "offline"
    STOP_AND_START = "stop-and-start"  # shut down, moved offline, started there; never chosen, only asked for
    LEAVE = "leave"  # it stays, and the host does not become empty


class Incoming(StrEnum):
    """What becomes of moves to a host that is to be emptied."""

    WAIT = "wait"  # their ends are awaited
    CANCEL = "cancel"  # they are aborted, their VMs stay where they run
    REFUSE = "refuse"  # the host is not emptied while there are any


class VmHandling(Model):
    """What holds for one VM in every operation: from the inventory's `vms:` and from its own metadata."""

    priority: int | None = None  # higher ones start first; None: 0
    blackouts: tuple[str, ...] = ()  # vmferry.model.blackouts reads them
    way_out: WayOut | None = None  # None: chosen
    probes: tuple[str, ...] = ()  # vmferry.model.probes reads them
    max_downtime_ms: int | None = Field(default=None, ge=1)  # its downtime objective; None: the run's, if it has one


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


class Freeze(Model):
    """The fleet is frozen: no vmferry starts a move until somebody thaws it. Runs that are open are still settled."""

    owner: str  # user@host:pid:start
    reason: str
    ticket: str = ""
    since: datetime

    def words(self) -> str:
        """Return who, why, since when, and what ends it."""
        ticket = f" ({self.ticket})" if self.ticket else ""
        return (
            f"the fleet is frozen: {self.reason}{ticket}, by {self.owner} (user@host:pid:start) since "
            f"{self.since:%Y-%m-%d %H:%M:%S} UTC; `vmferry unfreeze` ends it"
        )


def parse_freeze(text: str) -> Freeze | None:
    """Return what stands on a host; None where nothing does. What cannot be understood freezes all the same."""
    if not text.strip():
        return None
    try:
        return Freeze.model_validate_json(text)
    except ValueError:
        return Freeze(owner="unknown", reason="a freeze that cannot be read", since=datetime.fromtimestamp(0, UTC))


class Home(Model):
    """Where a VM was before an evacuation moved it, and what proves that nobody else has moved it since."""

    uuid: str
    vm: str
    home: str
    away: str  # where our last run took it
    run: str  # our last run of it
    state: str  # virsh's word before the evacuation
    is_autostart: bool = False
    # Of its persistent definition after it had arrived (domxml.digest); empty: not read, or it has none.
    definition: str = ""
    reason: str = ""
    since: datetime


class OperationKind(StrEnum):
    """Operations that can be continued by another process."""

    EVACUATION = "evacuation"
    ROLL = "roll"


class SavedOperation(Model):
    """An operation as the journal keeps it, so that the next window, on any machine, goes on with it."""

    id: str
    kind: OperationKind
    subject: str  # the host, or the hosts of a roll
    content: str  # JSON: its request, plan, progress; never domain XML
    is_over: bool = False
    owner: str
    started_at: datetime
    changed_at: datetime
