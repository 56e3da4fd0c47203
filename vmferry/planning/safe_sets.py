"""Which hosts may be empty at the same time: their VMs, all together, have room on the others. Pure.

As Ganeti's hroller: hosts of a set share no VM that must not lose both of its places, and the rest of the fleet takes
them all.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.model.host import FleetSnapshot
from vmferry.planning.board import Board
from vmferry.planning.candidates import judge
from vmferry.planning.placement import place_together
from vmferry.planning.repair import BUDGET
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge

_TRIES = BUDGET // 10


def safe_sets(
    snapshot: FleetSnapshot, hosts: Sequence[str], at_once: int, lift: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
    """Return the hosts in sets of at most `at_once`, in their order; a set holds whom the others have room for.

    A host whose VMs the rest of the fleet cannot take is a set of its own: its evacuation tells why.
    """
    rules, sets, left = Judge(Fleet(snapshot), lift), list[tuple[str, ...]](), list(hosts)
    while left:
        chosen = [left.pop(0)]
        for host in tuple(left):
            if len(chosen) < at_once and may_be_empty_together(rules, [*chosen, host]):
                chosen.append(host)
                left.remove(host)
        sets.append(tuple(chosen))
    return tuple(sets)


def may_be_empty_together(rules: Judge, hosts: Sequence[str]) -> bool:
    """Whether all VMs of these hosts have room on the others, all at once."""
    fleet = rules.fleet
    dests = tuple(name for name in fleet.sides if name not in hosts)
    board = Board(fleet, dests)
    for host in hosts:
        if host not in fleet.sides:
            return False
        candidates = [judge(rules, vm, host, dests, None) for vm in fleet.side(host).facts.vms]
        place_together(fleet, board, candidates, host, _TRIES)
        if any(candidate.key not in board.dest_of for candidate in candidates):
            return False
    return True
