"""Replay a timetable without knowing how it was made: at every instant nothing is over-committed.

Neither the planner nor the solver is imported. As BtrPlace's checkers: one function per promise, problems as text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping

from vmferry.model.timetable import Job, TimedMove, Timetable, TimetableRequest

# What may be wrong with where VMs are: vm uuid → hosts that it takes room of at one instant, two while it moves, the
# one that it leaves first (vmferry.planning.constraints.instants).
ConstraintCheck = Callable[[Mapping[str, tuple[str, ...]]], Iterator[str]]
_SLACK_S = 0.0015  # times are told in milliseconds
_SLACK_MIB_S = 0.01


def check_timetable(
    request: TimetableRequest, table: Timetable, constraints: ConstraintCheck | None = None
) -> tuple[str, ...]:
    """Return every promise that the timetable breaks, as text; empty for a good one.

    `constraints` is asked at every instant at which something changes, with the places of all VMs of the request.
    """
    jobs = {job.uuid: job for job in request.jobs}
    strangers = [f"vm {move.vm} is not to be moved" for move in table.moves if move.uuid not in jobs]
    if strangers:
        return tuple(strangers)
    checks = (_complete, _legs, _paces, _windows, _waits, _links, _limits, _room)
    problems = [problem for check in checks for problem in check(request, table)]
    if constraints is not None:
        for places in _instants(request, table):
            problems += constraints(places)
    return tuple(dict.fromkeys(problems))


def _complete(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    """Each move has a time or a reason, and not both."""
    timed, told = {move.uuid for move in table.moves}, Counter(gap.uuid for gap in table.untimed)
    for job in request.jobs:
        if (job.uuid in timed) + told[job.uuid] != 1:
            yield f"vm {job.vm} has {int(job.uuid in timed)} times and {told[job.uuid]} reasons for having none"
    ends = max((move.ends_s for move in table.moves), default=0.0)
    if abs(ends - table.makespan_s) > _SLACK_S:
        yield f"the last move ends at {ends:g} s, the timetable says {table.makespan_s:g} s"
    if table.makespan_s < table.bound_s - _SLACK_S:
        yield f"the makespan {table.makespan_s:g} s is below its bound {table.bound_s:g} s"


def _of_job(table: Timetable) -> dict[str, list[TimedMove]]:
    found: dict[str, list[TimedMove]] = defaultdict(list)
    for move in sorted(table.moves, key=lambda move: (move.starts_s, not move.is_hop)):
        found[move.uuid].append(move)
    return found


def _legs(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    """The legs of a move lead from its source to its destination, one after the other, by hosts that may hold it."""
    by_job = _of_job(table)
    for job in request.jobs:
        legs = by_job.get(job.uuid, [])
        at, ends = job.source, 0.0
        for leg in legs:
            if leg.source != at or leg.starts_s < ends - _SLACK_S:
                yield f"vm {job.vm} starts from {leg.source} at {leg.starts_s:g} s, where it is not"
            if leg.is_hop and leg.dest not in job.hops:
                yield f"vm {job.vm} stays on {leg.dest} for a while, which may not hold it"
            at, ends = leg.dest, leg.ends_s
        if legs and (at != job.dest or legs[-1].is_hop):
            yield f"vm {job.vm} ends on {at}, not on {job.dest}"
        if job.is_running and legs and legs[0].starts_s > 0:
            yield f"vm {job.vm} moves already, the timetable starts it at {legs[0].starts_s:g} s"


def _paces(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    jobs = {job.uuid: job for job in request.jobs}
    for move in table.moves:
        paces = [(pace.seconds, pace.mib_s) for pace in jobs[move.uuid].paces]
        if not any(abs(move.seconds - s) <= _SLACK_S and abs(move.mib_s - m) <= _SLACK_MIB_S for s, m in paces):
            yield f"vm {move.vm} takes {move.seconds:g} s at {move.mib_s:g} MiB/s, which is none of its paces"


def _windows(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    jobs = {job.uuid: job for job in request.jobs}
    for move in table.moves:
        job = jobs[move.uuid]
        opens = 0.0 if job.is_running else max(job.opens_s, request.opens_s)
        closes = min((end for end in (job.closes_s, request.closes_s) if end is not None), default=float("inf"))
        if not job.is_running and (move.starts_s < opens - _SLACK_S or move.ends_s > closes + _SLACK_S):
            yield f"vm {move.vm} moves from {move.starts_s:g} s to {move.ends_s:g} s, outside its window"


def _waits(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    legs = _of_job(table)
    for job in request.jobs:
        for uuid in job.after:
            if job.uuid in legs and (uuid not in legs or legs[job.uuid][0].starts_s < legs[uuid][-1].ends_s - _SLACK_S):
                yield f"vm {job.vm} starts before {uuid} has ended"


def _peaks(moves: list[TimedMove], weight: Callable[[TimedMove], float]) -> float:
    """Return the greatest sum of weights at one instant; a move that ends makes room for one that starts then."""
    changes = [(round(move.starts_s, 3), 1, weight(move)) for move in moves]
    changes += [(round(move.ends_s, 3), 0, -weight(move)) for move in moves]
    peak = now = 0.0
    for _, _, change in sorted(changes, key=lambda change: change[:2]):
        now += change
        peak = max(peak, now)
    return peak


def _links(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    """No link carries more than it can, less what is reserved; one move alone may want more than a link has."""
    everywhere = frozenset(site.host for site in request.sites)
    named = [(f"the link out of {s.host}", s.out_mib_s, frozenset({s.host}), everywhere) for s in request.sites]
    named += [(f"the link into {s.host}", s.in_mib_s, everywhere, frozenset({s.host})) for s in request.sites]
    named += [(trunk.name, trunk.mib_s, frozenset(trunk.sources), frozenset(trunk.dests)) for trunk in request.trunks]
    running = {job.uuid for job in request.jobs if job.is_running}
    for name, mib_s, sources, dests in named:
        if mib_s is None:
            continue
        moves = [m for m in table.moves if m.source in sources and m.dest in dests and m.uuid not in running]
        cap = mib_s * (1 - request.reserved_share)
        peak = _peaks(moves, lambda move, most=cap: min(move.mib_s, most))  # type: ignore[misc]
        if peak > cap + _SLACK_MIB_S * max(1, len(moves)):
            yield f"{name} carries {peak:g} MiB/s, it may carry {cap:g}"


def _limits(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    jobs = {job.uuid: job for job in request.jobs}
    moves = [m for m in table.moves if not jobs[m.uuid].is_running]
    if _peaks(list(moves), lambda _: 1) > request.max_parallel:
        yield f"more than {request.max_parallel} moves run at once"
    for site in request.sites:
        if _peaks([m for m in moves if m.source == site.host], lambda _: 1) > site.outgoing:
            yield f"more than {site.outgoing} moves leave {site.host} at once"
        if _peaks([m for m in moves if m.dest == site.host], lambda _: 1) > site.incoming:
            yield f"more than {site.incoming} moves arrive at {site.host} at once"
    groups = {job.alone_in for job in request.jobs if job.alone_in is not None}
    for group in sorted(groups):
        if _peaks([m for m in moves if jobs[m.uuid].alone_in == group], lambda _: 1) > 1:
            yield f"more than one move of group {group} runs at once"


def _room(request: TimetableRequest, table: Timetable) -> Iterator[str]:
    """No host ever holds more than it has room for; one that is over-committed already takes no more."""
    changes: list[tuple[float, int, str, TimedMove, bool]] = []
    for move in table.moves:
        changes.append((move.starts_s, 1, move.dest, move, True))
        changes.append((move.ends_s, 0, move.source, move, False))
    room, jobs = {site.host: dict(site.room) for site in request.sites}, {job.uuid: job for job in request.jobs}
    for at, _, host, move, arrives in sorted(changes, key=lambda change: (round(change[0], 3), change[1])):
        job = jobs[move.uuid]
        for kind, amount in (job.takes if arrives else _frees(job, move)).items():
            if kind not in room[host] or not amount:
                continue
            room[host][kind] += -amount if arrives else amount
            if arrives and room[host][kind] < 0 and not job.is_running:
                yield f"{host} is over-committed at {at:g} s: {-room[host][kind]} too much of {kind}"


def _frees(job: Job, move: TimedMove) -> dict[str, int]:
    return job.gives if move.source == job.source else job.takes


def _instants(request: TimetableRequest, table: Timetable) -> Iterator[Mapping[str, tuple[str, ...]]]:
    """Yield where every VM takes room, at the beginning and after each change."""
    places: dict[str, tuple[str, ...]] = {job.uuid: (job.source,) for job in request.jobs}
    changes = [(round(m.ends_s, 3), 0, m) for m in table.moves] + [(round(m.starts_s, 3), 1, m) for m in table.moves]
    yield places
    for _, starts, move in sorted(changes, key=lambda change: change[:2]):
        places = {**places, move.uuid: (move.source, move.dest) if starts else (move.dest,)}
        yield places
