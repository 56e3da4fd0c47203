"""When moves start and end: what a timetable is made from, and what it says. Seconds count from its beginning."""

from __future__ import annotations

from pydantic import Field

from vmferry.model.base import Model


class Pace(Model):
    """One way to make a move: how long it takes, and what it uses of each link meanwhile, on average."""

    seconds: float = Field(gt=0)
    mib_s: float = Field(default=0.0, ge=0)
    downtime_ms: int | None = None


class Job(Model):
    """One move to be scheduled. Room is taken at the destination from the start, and freed at the source at the end."""

    uuid: str
    vm: str
    source: str
    dest: str
    paces: tuple[Pace, ...] = Field(min_length=1)  # fastest first
    takes: dict[str, int] = Field(default_factory=dict, description="kind of room → what it takes at the destination")
    gives: dict[str, int] = Field(default_factory=dict, description="kind of room → what it frees at the source")
    opens_s: float = Field(default=0.0, ge=0)  # not before
    closes_s: float | None = None  # ended by then; None: whenever
    after: tuple[str, ...] = ()  # uuids of jobs that must have ended
    alone_in: str | None = None  # jobs of one such group run one at a time
    is_running: bool = False  # it started before; `paces` hold what is left of it
    hops: tuple[str, ...] = ()  # hosts on which it may stay for a while, where nothing else lets it through


class Site(Model):
    """A host as a timetable sees it."""

    host: str
    room: dict[str, int] = Field(default_factory=dict, description="kind of room → free now; not named: any amount")
    outgoing: int = Field(default=64, ge=1)
    incoming: int = Field(default=64, ge=1)
    out_mib_s: float | None = Field(default=None, gt=0)  # of its link, per direction; None: not known
    in_mib_s: float | None = Field(default=None, gt=0)


class Trunk(Model):
    """A link that several hosts share, in one direction, as the uplink of a rack."""

    name: str
    mib_s: float = Field(gt=0)
    sources: tuple[str, ...]  # moves from one of these …
    dests: tuple[str, ...]  # … to one of these


class TimetableRequest(Model):
    """Everything that a timetable is made from."""

    jobs: tuple[Job, ...]
    sites: tuple[Site, ...]
    trunks: tuple[Trunk, ...] = ()
    max_parallel: int = Field(default=64, ge=1)
    reserved_share: float = Field(default=0.0, ge=0, lt=1)  # of each link, left to others
    opens_s: float = Field(default=0.0, ge=0)  # the window of them all
    closes_s: float | None = None
    tries: int | None = Field(default=None, ge=0)  # of the search; None: as many as suit the size
    seed: int = Field(default=1, ge=0)
    polish: bool = False  # let an exact solver better what is left, where there are few moves


class Slot(Model):
    """The time that a plan has for a move, and what part of its two links it uses meanwhile, on average."""

    starts_s: float  # from the beginning of the plan
    seconds: float
    out_share: float = Field(default=0.0, ge=0, le=1)  # of the link out of the source; 0: not known
    in_share: float = Field(default=0.0, ge=0, le=1)

    @property
    def ends_s(self) -> float:
        """When it is expected to have ended."""
        return self.starts_s + self.seconds


class TimedMove(Model):
    """One move with its time; a move by a third host has two of them."""

    uuid: str
    vm: str
    source: str
    dest: str
    starts_s: float
    seconds: float
    mib_s: float = 0.0
    downtime_ms: int | None = None
    is_hop: bool = False  # `dest` is not where the VM is to stay

    @property
    def ends_s(self) -> float:
        """When it has ended."""
        return self.starts_s + self.seconds


class Untimed(Model):
    """A move that has no place in the timetable, and why."""

    uuid: str
    vm: str
    source: str
    dest: str
    reason: str


class Timetable(Model):
    """Moves in the order of starting. `bound_s`: nothing is over sooner, for the reason in `bound_by`."""

    moves: tuple[TimedMove, ...] = ()
    untimed: tuple[Untimed, ...] = ()
    makespan_s: float = 0.0
    bound_s: float = 0.0
    bound_by: str = ""

    @property
    def gap(self) -> float:
        """Share by which the makespan is above the bound."""
        return self.makespan_s / self.bound_s - 1 if self.bound_s > 0 else 0.0

    def of(self, uuid: str) -> TimedMove | None:
        """Return the last leg of a VM's move."""
        return next((move for move in reversed(self.moves) if move.uuid == uuid), None)
