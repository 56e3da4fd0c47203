"""A solution in words and models: moves with reasons, stranded VMs with explanations, score and bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vmferry.model.evacuation import Move, Stranded
from vmferry.model.findings import Finding, Severity
from vmferry.model.plan import Purpose
from vmferry.planning.candidates import Candidate
from vmferry.planning.fleet.explain import explain
from vmferry.planning.fleet.problem import FleetProblem
from vmferry.planning.fleet.purposes import Solution
from vmferry.planning.fleet.resources import MEMORY
from vmferry.planning.fleet.states import against, board_at
from vmferry.solver.packing.backend import interpreted
from vmferry.solver.packing.board import Board

_SOURCE = "vmferry.planning.fleet"


def moved_items(problem: FleetProblem, solution: Solution) -> list[int]:
    """Return the items that move, in the order of starting: the longest first of those that have room by now.

    An item whose place is still taken waits for the one that leaves it; of a ring that all wait, the longest goes first
    and the schedule finds the way.
    """
    waiting = [int(i) for i in np.flatnonzero(solution.where != problem.board.home)]
    waiting.sort(key=lambda i: (-_length(problem, i, int(solution.where[i])), problem.items[i].name, i))
    board, kernels = problem.board.copy(), interpreted()
    ordered: list[int] = []
    while waiting:
        ready = [i for i in waiting if kernels.has_room(board, i, int(solution.where[i]))] or waiting[:1]
        for item in ready:
            if item is not ready[0] and not kernels.has_room(board, item, int(solution.where[item])):
                continue
            kernels.take(board, item)
            kernels.put(board, item, int(solution.where[item]))
            ordered.append(item)
            waiting.remove(item)
    return ordered


def _length(problem: FleetProblem, item: int, dest: int) -> int:
    name = problem.hosts[dest]
    wanted = [c.demands[name] for c in problem.items[item].candidates if name in c.demands]
    return sum(demand.all_memory_kib * 1024 + demand.copy_bytes for demand in wanted)


def make_moves(problem: FleetProblem, solution: Solution, purpose: Purpose) -> tuple[Move, ...]:
    """Return a move for every VM of every item that is not at home."""
    board = board_at(problem, solution.where)
    moves: list[Move] = []
    for item in moved_items(problem, solution):
        why = why_there(problem, board, item, purpose)
        dest = problem.hosts[int(solution.where[item])]
        for candidate in problem.items[item].candidates:
            moves.append(_move(candidate, problem.items[item].home, dest, why, len(moves)))
    return tuple(moves)


def _move(candidate: Candidate, source: str, dest: str, why: str, order: int) -> Move:
    demand = candidate.demands[dest]
    return Move(
        vm=candidate.vm.name,
        uuid=candidate.key,
        source=source,
        dest=dest,
        mode=candidate.mode,
        mode_reason=candidate.mode_reason,
        dest_reason=why,
        order=order,
        memory_kib=demand.all_memory_kib,
        hugepages_kib=demand.hugepages_kib,
        vcpus=demand.vcpus,
        copy_bytes=demand.copy_bytes,
        warnings=candidate.reports[dest].warnings,
    )


def _share(board: Board, host: int) -> float:
    most = int(board.capacity[host, MEMORY])
    return 100 * int(board.load[host, MEMORY]) / most if most > 0 else 0.0


def why_there(problem: FleetProblem, board: Board, item: int, purpose: Purpose) -> str:
    """Say why an item is where the board has it, with the share of memory that is taken afterwards."""
    dest, home = int(board.where[item]), int(problem.board.home[item])
    choices = int((board.allowed[board.row[item]] & problem.is_open).sum())
    filled = f"{problem.hosts[dest]} has {_share(board, dest):.0f} % of its memory taken afterwards"
    if purpose is Purpose.BALANCE:
        before, after = _share(problem.board, home), _share(board, home)
        return f"{problem.hosts[home]} had {before:.0f} % of its memory taken, {after:.0f} % after; {filled}"
    if purpose is Purpose.CONSOLIDATE:
        if not board.held[home]:
            return f"{problem.hosts[home]} is emptied; {filled}"
        return f"makes room on {problem.hosts[home]} for VMs of hosts that are emptied; {filled}"
    if item not in problem.leaving:
        return f"makes room on {problem.hosts[home]} for others; {filled}"
    if purpose is Purpose.RETURN:
        return "it came from there"
    if choices == 1:
        return "the only host that can take it"
    return f"of {choices} hosts that are open to it; {filled}"


def make_stranded(
    problem: FleetProblem, solution: Solution, tried: Sequence[str], held_by: str = ""
) -> tuple[Stranded, ...]:
    """Return every VM of the items that should have moved, with a reason per host and an explanation."""
    board = board_at(problem, solution.where)
    found = []
    for item in solution.stuck:
        off = board.copy()
        if off.where[item] >= 0:
            interpreted().take(off, item)
        explanation = explain(problem, off, item, held_by)
        reasons = {
            host: _reasons(problem, off, item, host, held_by) for host in tried if host != problem.items[item].home
        }
        if not reasons:
            text = f"vm {problem.items[item].name}: there is no other host than {problem.items[item].home}; add one"
            reasons = {problem.items[item].home: (_finding("no-destination", text),)}
        for vm in problem.items[item].vms:
            found.append(Stranded(vm=vm.name, uuid=str(vm.uuid), reasons=reasons, explanation=explanation))
    return tuple(sorted(found, key=lambda one: (one.vm, one.uuid)))


def _reasons(problem: FleetProblem, board: Board, item: int, host: str, held_by: str) -> tuple[Finding, ...]:
    if host not in problem.fleet.sides:
        lost = {u.host: u.reason for u in problem.fleet.snapshot.unreachable}
        text = f"{host} cannot be used: {lost.get(host, 'it was not read')}; see `vmferry hosts`"
        return (_finding("host-unreachable", text),)
    blockers = problem.items[item].blockers(host)
    if blockers:
        return blockers
    place, name = problem.place[host], problem.items[item].name
    if not problem.is_open[place]:
        return (_finding("closed", f"vm {name}: {host} is to be emptied or was not named as a destination"),)
    reasons = [
        _finding("no-room-left" if reason in problem.resources.names else "constraint", f"vm {name}: {reason}: {text}")
        for reason, text in against(problem, board, item, place)
    ]
    return tuple(reasons) or (_finding("limit", f"vm {name}: {host} has room, but {held_by or 'others go first'}"),)


def _finding(rule: str, message: str) -> Finding:
    return Finding(rule=rule, severity=Severity.BLOCK, message=message, source=_SOURCE)
