"""A timetable's request as the solver's arrays: hosts become links, slots and sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vmferry.model.timetable import Job, Pace, Site, TimetableRequest, Trunk
from vmferry.solver.timetable.bounds import Bound
from vmferry.solver.timetable.problem import NEVER, Ints, Problem, ints, rows

TICK_S = 0.001
_KIB = 1024  # rates in KiB/s
_Between = tuple[Trunk, frozenset[str], frozenset[str]]
_ENDLESS = 2**50  # room of a kind that a host does not name


@dataclass(frozen=True)
class Leg:
    """One job of the solver: a move, or one of the two of a move by a third host."""

    job: int
    source: str
    dest: str
    is_hop: bool = False  # it ends on the third host
    follows: int = -1  # the leg that it continues


@dataclass
class Arrays:
    """The problem, and what its numbers stand for."""

    problem: Problem
    legs: tuple[Leg, ...]
    hosts: tuple[str, ...]
    links: tuple[str, ...]
    slots: tuple[str, ...]

    def name_resource(self, number: int) -> str:
        """Name what a job waits for."""
        names = (*self.links, *self.slots, *(f"room on {host}" for host in self.hosts))
        return names[number]

    def name_bound(self, bound: Bound, jobs: Sequence[Job]) -> str:
        """Say what keeps the whole from being shorter."""
        if bound.number < 0:
            return ""
        if bound.kind == "link":
            return f"all that must pass {self.links[bound.number]}"
        if bound.kind == "slot":
            return f"all that must pass {self.slots[bound.number]}"
        if bound.kind == "room":
            return f"all that must come to {self.hosts[bound.number]} after others have left it"
        vm = jobs[self.legs[bound.number].job].vm
        return f"the move of {vm}" if bound.kind == "job" else f"the moves up to that of {vm}, each after the other"


@dataclass
class _Names:
    """Things that are numbered in the order of their first use."""

    values: list[int] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def of(self, name: str, value: int) -> int:
        if name not in self.numbers:
            self.numbers[name] = len(self.values)
            self.values.append(value)
        return self.numbers[name]


def legs_of(request: TimetableRequest, hops: Mapping[int, str]) -> tuple[Leg, ...]:
    """Return the legs of all jobs; `hops` names the third host of a job."""
    legs: list[Leg] = []
    for number, job in enumerate(request.jobs):
        via = hops.get(number)
        if via is None:
            legs.append(Leg(number, job.source, job.dest))
        else:
            legs.append(Leg(number, job.source, via, is_hop=True))
            legs.append(Leg(number, via, job.dest, follows=len(legs) - 1))
    return tuple(legs)


def arrays_of(request: TimetableRequest, hops: Mapping[int, str] | None = None) -> Arrays:
    """Return the request as arrays; it is one that was found to have no problems."""
    legs = legs_of(request, hops or {})
    jobs = [request.jobs[leg.job] for leg in legs]
    links, slots = _Names(), _Names()
    sites = {site.host: site for site in request.sites}
    between = [(trunk, frozenset(trunk.sources), frozenset(trunk.dests)) for trunk in request.trunks]
    paths = [_path(leg, request, sites, between, links) for leg in legs]
    places = [_places(leg, request, sites, slots) for leg in legs]
    number = {host: i for i, host in enumerate(sites)}
    last = {leg.job: i for i, leg in enumerate(legs)}
    of_uuid = {job.uuid: last[i] for i, job in enumerate(request.jobs)}
    ticks, rate = _paces(jobs, [[links.values[link] for link in path] for path in paths])
    take, give, free = _rooms(request, legs, jobs)
    link_at, link = rows(paths)
    slot_at, slot = rows(places)
    after_at, after = rows(_successors(legs, jobs, of_uuid))
    opens = [0 if job.is_running else ticks_up(max(job.opens_s, request.opens_s)) for job in jobs]
    problem = Problem(
        *(ticks, rate, link_at, link, ints(links.values), slot_at, slot, ints(slots.values)),
        source=ints([number[leg.source] for leg in legs]),
        dest=ints([number[leg.dest] for leg in legs]),
        take=take,
        give=give,
        free=free,
        opens=ints(opens),
        closes=ints([_closes(job, request) for job in jobs]),
        pinned=ints([job.is_running for job in jobs]),
        after_at=after_at,
        after=after,
        behind=np.full(len(legs), -1, dtype=np.int64),
    )
    return Arrays(problem, legs, tuple(sites), tuple(links.numbers), tuple(slots.numbers))


def _paces(jobs: list[Job], caps: list[list[int]]) -> tuple[Ints, Ints]:
    """Return durations and rates, [jobs, paces]."""
    shape = len(jobs), max([1, *(len(job.paces) for job in jobs)])
    ticks, rate = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for j, job in enumerate(jobs):
        for k, pace in enumerate(job.paces):
            ticks[j, k], rate[j, k] = max(1, ticks_up(pace.seconds)), _rate(pace, caps[j])
    return ticks, rate


def _rooms(request: TimetableRequest, legs: tuple[Leg, ...], jobs: list[Job]) -> tuple[Ints, Ints, Ints]:
    """Return what each leg takes and gives of each kind of room, and what is free per host."""
    kinds = sorted({kind for site in request.sites for kind in site.room})
    n, width = len(legs), len(kinds)
    take = [[job.takes.get(kind, 0) for kind in kinds] for job in jobs]
    give = [_gives(leg, job, kinds) for leg, job in zip(legs, jobs, strict=True)]
    free = [[site.room.get(kind, _ENDLESS) for kind in kinds] for site in request.sites]
    return ints(take).reshape(n, width), ints(give).reshape(n, width), ints(free).reshape(len(request.sites), width)


def ticks_up(seconds: float) -> int:
    """Return seconds as ticks, rounded up."""
    return math.ceil(seconds / TICK_S - 1e-6)


def _rate(pace: Pace, caps: list[int]) -> int:
    """Return what a pace uses of its links; alone it always fits."""
    return min([math.ceil(pace.mib_s * _KIB - 1e-6), *caps])


def _gives(leg: Leg, job: Job, kinds: list[str]) -> list[int]:
    """A third host gets back what it gave."""
    given = job.takes if leg.follows >= 0 else job.gives
    return [given.get(kind, 0) for kind in kinds]


def _closes(job: Job, request: TimetableRequest) -> int:
    ends = [end for end in (job.closes_s, request.closes_s) if end is not None]
    return min([NEVER, *(math.floor(end / TICK_S + 1e-6) for end in ends)])


def _path(
    leg: Leg, request: TimetableRequest, sites: Mapping[str, Site], between: Sequence[_Between], links: _Names
) -> list[int]:
    """Return the links of a leg whose capacity is known."""
    named = [(f"the link out of {leg.source}", sites[leg.source].out_mib_s)]
    named.append((f"the link into {leg.dest}", sites[leg.dest].in_mib_s))
    named += [(t.name, t.mib_s) for t, sources, dests in between if leg.source in sources and leg.dest in dests]
    usable = 1 - request.reserved_share
    return [links.of(name, max(1, math.floor(mib_s * usable * _KIB + 1e-6))) for name, mib_s in named if mib_s]


def _places(leg: Leg, request: TimetableRequest, sites: Mapping[str, Site], slots: _Names) -> list[int]:
    group = request.jobs[leg.job].alone_in
    found = [
        slots.of(f"the moves out of {leg.source}, {sites[leg.source].outgoing} at once", sites[leg.source].outgoing),
        slots.of(f"the moves into {leg.dest}, {sites[leg.dest].incoming} at once", sites[leg.dest].incoming),
        slots.of(f"all moves, {request.max_parallel} at once", request.max_parallel),
    ]
    return found if group is None else [*found, slots.of(f"group {group}, one at a time", 1)]


def _successors(legs: tuple[Leg, ...], jobs: list[Job], last: Mapping[str, int]) -> list[list[int]]:
    """Return what each leg lets start."""
    found: list[list[int]] = [[] for _ in legs]
    for number, (leg, job) in enumerate(zip(legs, jobs, strict=True)):
        if leg.follows >= 0:
            found[leg.follows].append(number)
            continue
        for uuid in job.after:
            found[last[uuid]].append(number)
    return found
