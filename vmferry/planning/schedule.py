"""When a window of moves will be over, if each takes what its forecast says: list scheduling, pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from vmferry.model.evacuation import Move
from vmferry.model.host import Limits
from vmferry.planning.window import Window

# Between the end of one move and the first byte of the next: its steps before and after the move, and the journal.
STEPS_S = 2.0


def sharing(moves: Sequence[Move], limits: Mapping[str, Limits], max_parallel: int) -> int:
    """Return how many of these moves, all from one host, travel at once at most."""
    sources = {move.source for move in moves}
    room = sum((limits.get(host) or Limits()).outgoing for host in sources)
    arrivals = sum((limits.get(host) or Limits()).incoming for host in {move.dest for move in moves})
    return max(1, min(len(moves), max_parallel, room, arrivals))


def schedule(moves: Sequence[Move], limits: Mapping[str, Limits], max_parallel: int) -> float | None:
    """Return the seconds until the last move has ended; None where a move's own time is not known."""
    if any(move.forecast is None or move.forecast.all_seconds is None for move in moves):
        return None
    window = Window.open(moves, limits, max_parallel)
    ends: list[tuple[float, str]] = []
    now_s = 0.0
    while not window.is_finished:
        started, window = window.take()
        for move in started:
            seconds = move.forecast.all_seconds if move.forecast is not None else None
            heapq.heappush(ends, (now_s + (seconds or 0.0) + STEPS_S, move.uuid))
        now_s, uuid = heapq.heappop(ends)
        window = window.done(uuid)
    return now_s
