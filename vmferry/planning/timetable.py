"""Give each move its time: order, parallelism and pace, under links, limits, room and windows. Pure, deterministic.

The solver knows arrays only (vmferry.solver.timetable); here VMs and hosts become jobs, links, slots and sites, and
come back. `check_timetable` (vmferry.planning.timetable_check) replays the result without knowing any of this.
"""

from __future__ import annotations

from vmferry.errors import InvalidInput
from vmferry.model.timetable import Job, TimedMove, Timetable, TimetableRequest, Untimed
from vmferry.planning.timetable_arrays import TICK_S, Arrays, arrays_of
from vmferry.planning.timetable_hops import choose_hop
from vmferry.planning.timetable_input import problems_of_request
from vmferry.solver.timetable.decode import LATE
from vmferry.solver.timetable.polish import polish
from vmferry.solver.timetable.solve import Solution, solve


def plan_timetable(request: TimetableRequest) -> Timetable:
    """Return when each move starts and ends, what the whole takes, and what it takes at least.

    Moves that cannot have a place are told with the reason. Moves that wait for one another's room get by with as few
    hops by a third host as are found. Raises InvalidInput with every problem of the request at once.
    """
    if problems := problems_of_request(request):
        raise InvalidInput("timetable: " + "; ".join(problems), problems=problems)
    arrays, solution = _with_hops(request)
    if request.polish:
        solution = polish(arrays.problem, solution)
    return _table(request, arrays, solution)


def _with_hops(request: TimetableRequest) -> tuple[Arrays, Solution]:
    """Return the solution with as many hops as are needed; without any where even they do not help."""
    arrays = arrays_of(request)
    found = solve(arrays.problem, tries=request.tries, seed=request.seed)
    if not found.missing:
        return arrays, found
    hops: dict[int, str] = {}
    quick = solve(arrays.problem, tries=0, seed=request.seed)
    best, by_hops = (quick, arrays), arrays
    while quick.missing and (hop := choose_hop(request, by_hops, quick, hops)) is not None:
        hops[hop[0]] = hop[1]
        by_hops = arrays_of(request, hops)
        quick = solve(by_hops.problem, tries=0, seed=request.seed)
        if quick.missing < best[0].missing and _is_whole(by_hops, quick):
            best = (quick, by_hops)
    quick, by_hops = best
    if quick.missing >= found.missing:
        return arrays, found
    searched = solve(by_hops.problem, tries=request.tries, seed=request.seed)
    return by_hops, searched if _is_whole(by_hops, searched) else quick


def _is_whole(arrays: Arrays, solution: Solution) -> bool:
    """Whether no VM gets to its third host and not on from there: others may have been let in by that."""
    timed = solution.times.starts >= 0
    return all(leg.follows < 0 or timed[number] or not timed[leg.follows] for number, leg in enumerate(arrays.legs))


def _table(request: TimetableRequest, arrays: Arrays, solution: Solution) -> Timetable:
    legs, times = arrays.legs, solution.times
    missing = {legs[number].job: number for number in reversed(range(len(legs))) if times.starts[number] < 0}
    moves = tuple(
        _timed(request, arrays, solution, int(number)) for number in solution.order if legs[number].job not in missing
    )
    untimed = tuple(
        Untimed(uuid=job.uuid, vm=job.vm, source=job.source, dest=job.dest, reason=reason)
        for job, reason in (
            (request.jobs[job], _reason(request, job, int(times.why[leg]), arrays))
            for job, leg in sorted(missing.items())
        )
    )
    return Timetable(
        moves=moves,
        untimed=untimed,
        makespan_s=max((move.ends_s for move in moves), default=0.0),
        bound_s=0.0 if untimed else round(solution.bound.ticks * TICK_S, 3),
        bound_by="" if untimed else arrays.name_bound(solution.bound, request.jobs),
    )


def _timed(request: TimetableRequest, arrays: Arrays, solution: Solution, number: int) -> TimedMove:
    leg, used = arrays.legs[number], int(solution.times.used[number])
    job = request.jobs[leg.job]
    return TimedMove(
        uuid=job.uuid,
        vm=job.vm,
        source=leg.source,
        dest=leg.dest,
        starts_s=round(int(solution.times.starts[number]) * TICK_S, 3),
        seconds=round(int(arrays.problem.ticks[number, used]) * TICK_S, 3),
        mib_s=job.paces[used].mib_s,
        downtime_ms=job.paces[used].downtime_ms,
        is_hop=leg.is_hop,
    )


def _reason(request: TimetableRequest, number: int, why: int, arrays: Arrays) -> str:
    job = request.jobs[number]
    if why == LATE:
        ends = [end for end in (job.closes_s, request.closes_s) if end is not None]
        least = min(pace.seconds for pace in job.paces)
        return f"takes {least:g} s and would end after its window, which closes at {min(ends):g} s"
    if why >= 0:
        return f"{arrays.name_resource(why)} never becomes free: {_others(request, job)}"
    return "waits for a move that has no place in the timetable"


def _others(request: TimetableRequest, job: Job) -> str:
    leaving = [other.vm for other in request.jobs if other.source == job.dest]
    if not leaving:
        return "no VM leaves it"
    helps = "no third host can hold one of them for a while" if not job.hops else "no hop by a third host helps"
    return f"{', '.join(leaving[:5])}{' and others' if len(leaving) > 5 else ''} wait for room elsewhere, {helps}"
