"""The order in which planned moves start."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.planning.candidates import Candidate

Placed = tuple[Candidate, str]


def expected_bytes(candidate: Candidate, dest: str) -> int:
    """Return what the move sends, in bytes: the stand-in for its duration until moves are forecast."""
    demand = candidate.demands[dest]
    return demand.all_memory_kib * 1024 + demand.copy_bytes


def order_moves(placed: Sequence[Placed]) -> tuple[Placed, ...]:
    """Return the moves longest first per destination, destinations taking turns.

    In each turn the destination with the longest head goes first; equal lengths go by name. A long move that
    starts late would prolong the whole (longest processing time first, Graham 1969).
    """
    queues: dict[str, list[Placed]] = {}
    for item in sorted(placed, key=_rank):
        queues.setdefault(item[1], []).append(item)
    turns = max((len(queue) for queue in queues.values()), default=0)
    ordered: list[Placed] = []
    for turn in range(turns):
        heads = [queue[turn] for queue in queues.values() if turn < len(queue)]
        ordered.extend(sorted(heads, key=_rank))
    return tuple(ordered)


def _rank(item: Placed) -> tuple[int, str, str]:
    candidate, dest = item
    return (-expected_bytes(candidate, dest), candidate.vm.name, candidate.key)
