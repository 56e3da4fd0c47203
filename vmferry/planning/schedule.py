"""When a plan's moves run: their order, and the end of them all, from what each is forecast to take. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from vmferry.errors import PreflightBlocked
from vmferry.model.deadline import default_deadline_s
from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.forecast import Forecast
from vmferry.model.host import Limits
from vmferry.model.timetable import Job, Pace, Site, Slot, TimedMove, TimetableRequest
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.timetable import plan_timetable
from vmferry.planning.timetable_check import check_timetable

# Between the end of one move and the first byte of the next: its steps before and after the move, and the journal.
STEPS_S = 2.0
# Where nothing tells how fast a way is: only for the order of moves, no seconds are told.
_GUESSED_MIB_S = 100.0
_FILLED = 0.9  # of a link: what is left is not worth another move beside
_MIB = 2**20
_SHARINGS = (1, 2, 3, 4, 8, 16)


@dataclass(frozen=True)
class Foreseen:
    """A move with its forecasts: by how many moves share the link, the fewest first; `link_mib_s` of all together."""

    move: Move
    forecasts: Mapping[int, Forecast]
    link_mib_s: float | None = None


def sharing(moves: Sequence[Move], limits: Mapping[str, Limits], max_parallel: int) -> int:
    """Return how many of these moves, all from one host, travel at once at most."""
    sources = {move.source for move in moves}
    room = sum((limits.get(host) or Limits()).outgoing for host in sources)
    arrivals = sum((limits.get(host) or Limits()).incoming for host in {move.dest for move in moves})
    return max(1, min(len(moves), max_parallel, room, arrivals))


def sharings(at_once: int) -> tuple[int, ...]:
    """Return for how many moves that share a link forecasts are made, where at most so many do."""
    return tuple(count for count in _SHARINGS if count <= at_once) or (1,)


def request_of(foreseen: Iterable[Foreseen], limits: Mapping[str, Limits], max_parallel: int) -> TimetableRequest:
    """Return what the timetable of these moves is made from. All fit on their hosts at once: room is no matter."""
    listed = list(foreseen)
    hosts = dict.fromkeys(host for one in listed for host in (one.move.source, one.move.dest))
    leaving, coming = (
        _capacities((one.move.source, one) for one in listed),
        _capacities((o.move.dest, o) for o in listed),
    )
    sites = tuple(
        Site(
            host=host,
            outgoing=(limits.get(host) or Limits()).outgoing,
            incoming=(limits.get(host) or Limits()).incoming,
            out_mib_s=leaving.get(host),
            in_mib_s=coming.get(host),
        )
        for host in hosts
    )
    jobs = tuple(
        Job(uuid=one.move.uuid, vm=one.move.vm, source=one.move.source, dest=one.move.dest, paces=_paces(one))
        for one in listed
    )
    return TimetableRequest(jobs=jobs, sites=sites, max_parallel=min(64, max_parallel))


def with_times(
    plan: EvacuationPlan,
    foreseen: Sequence[Foreseen],
    limits: Mapping[str, Limits],
    max_parallel: int,
    on_the_way: OnTheWay | None = None,
) -> EvacuationPlan:
    """Return the plan with its moves in the order of their timetable, each with its slot, and the end of them all.

    There are no seconds of the whole where a move's own time is not known. Raises PreflightBlocked where the
    timetable breaks a promise; `on_the_way` holds the constraints that it is to keep at every instant.
    """
    request = request_of(foreseen, limits, max_parallel)
    table, by_uuid = plan_timetable(request), {one.move.uuid: one for one in foreseen}
    if problems := check_timetable(request, table, on_the_way.broken if on_the_way is not None else None):
        raise PreflightBlocked(
            f"host {plan.host}: the timetable fails its check, nothing was touched: {'; '.join(problems)}; "
            "this is a defect of vmferry: report it with the saved plan"
        )
    sites = {site.host: site for site in request.sites}
    moves = tuple(_with_slot(by_uuid[timed.uuid], timed, sites, order) for order, timed in enumerate(table.moves))
    is_known = all(move.forecast is not None and move.forecast.all_seconds is not None for move in moves)
    return plan.model_copy(
        update={
            "moves": moves,
            "seconds": table.makespan_s if is_known else None,
            "bound_seconds": table.bound_s if is_known else None,
            "bound_by": table.bound_by if is_known else "",
        }
    )


def _capacities(ends: Iterable[tuple[str, Foreseen]]) -> dict[str, float]:
    """Return what is known of each host's link: the most that any of its ways carries."""
    found: dict[str, float] = {}
    for host, one in ends:
        if one.link_mib_s is not None:
            found[host] = max(found.get(host, 0.0), one.link_mib_s)
    return found


def _paces(one: Foreseen) -> tuple[Pace, ...]:
    """Return the move's paces, the fastest first; without a forecast, its bytes over the speed of the link.

    None shares the link with more moves of its kind than fill it: more would only take longer, each of them. One that
    would not end beside so many keeps the part of the link that it needs to itself.
    """
    counts = sorted(one.forecasts)
    ending = tuple(takewhile(lambda count: one.forecasts[count].all_seconds is not None, counts))
    paces = {count: pace for count in ending if (pace := _pace(one.forecasts[count])) is not None}
    if not paces:
        return (_guess(one),)
    used = paces[1].mib_s / one.link_mib_s if 1 in paces and one.link_mib_s else 0.0
    most = max(1, math.ceil(_FILLED / used)) if used > 0 else max(paces)
    least_mib_s = (one.link_mib_s or 0.0) / max(ending) if len(ending) < len(counts) else 0.0
    kept = [
        pace.model_copy(update={"mib_s": max(pace.mib_s, least_mib_s)})
        for count, pace in paces.items()
        if count <= most
    ]
    return tuple(sorted(dict.fromkeys(kept), key=lambda pace: pace.seconds))


def _pace(forecast: Forecast) -> Pace | None:
    if forecast.all_seconds is None:
        return None
    seconds = forecast.all_seconds + STEPS_S
    return Pace(seconds=seconds, mib_s=(forecast.sent_bytes or 0) / _MIB / seconds, downtime_ms=forecast.downtime_ms)


def _guess(one: Foreseen) -> Pace:
    """A move that is not known to end has until its deadline; of others only their size is known."""
    move, link = one.move, one.link_mib_s or _GUESSED_MIB_S
    mib = (move.memory_kib * 1024 + move.copy_bytes) / _MIB
    is_endless = any(forecast.rate_mib_s is not None for forecast in one.forecasts.values())
    seconds = (default_deadline_s(move.memory_kib) if is_endless else mib / link) + STEPS_S
    return Pace(seconds=seconds, mib_s=link if is_endless else mib / seconds)


def _with_slot(one: Foreseen, timed: TimedMove, sites: Mapping[str, Site], order: int) -> Move:
    """Return the move with its place in the order, and the forecast of the pace that the timetable chose."""
    out, arriving = sites[timed.source].out_mib_s, sites[timed.dest].in_mib_s
    slot = Slot(
        starts_s=timed.starts_s,
        seconds=timed.seconds,
        out_share=min(1.0, round(timed.mib_s / out, 4)) if out else 0.0,
        in_share=min(1.0, round(timed.mib_s / arriving, 4)) if arriving else 0.0,
    )
    forecasts = list(one.forecasts.values())
    chosen = min(forecasts, key=lambda f: abs((f.all_seconds or 0.0) + STEPS_S - timed.seconds), default=None)
    forecast = chosen or one.move.forecast
    return one.move.model_copy(update={"order": order, "slot": slot, "forecast": forecast})
