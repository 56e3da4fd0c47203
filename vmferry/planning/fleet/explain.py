"""Why an item has no host: the fewest reasons that close every host, the nearest host, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from vmferry.model.explanation import Explanation, Relaxation
from vmferry.planning.fleet.problem import FleetProblem
from vmferry.planning.fleet.resources import MEMORY, MILLI, VCPUS
from vmferry.planning.fleet.states import against
from vmferry.solver.packing.backend import interpreted
from vmferry.solver.packing.board import Board, Ints
from vmferry.solver.packing.bounds import short_sums
from vmferry.solver.packing.kernels import TIGHTEST

_NAMES = 5
_MOVE_TRIES = 20_000


def explain(problem: FleetProblem, board: Board, item: int, held_by: str = "") -> Explanation:
    """Explain an item that has no place on a board where all others are; every relaxation was tried on that board.

    `held_by` is a limit of the whole plan, for items that a host has room for.
    """
    if board.where[item] >= 0:
        board = board.copy()
        interpreted().take(board, item)
    hosts = [int(h) for h in np.flatnonzero(problem.is_open) if problem.hosts[h] != problem.items[item].home]
    found = {host: list(against(problem, board, item, host)) for host in hosts}
    closes: dict[str, set[int]] = {}
    for host, reasons in found.items():
        for reason, _ in reasons:
            closes.setdefault(reason, set()).add(host)
    if held_by and not all(found.values()):
        limit = Relaxation(kind="limit", text=f"the limit is lifted: {held_by}")
        return Explanation(conflict=(held_by,), relaxations=(limit,))
    nearest = _nearest(problem, board, item, found)
    return Explanation(
        conflict=smallest_cover(closes, set(hosts)),
        blocked={reason: len(closed) for reason, closed in sorted(closes.items())},
        nearest=problem.hosts[nearest] if nearest is not None else "",
        shortfall="; ".join(text for _, text in found[nearest]) if nearest is not None else "",
        group=_group(problem, item),
        relaxations=tuple(_relaxations(problem, board, item, found)),
    )


def smallest_cover(closes: dict[str, set[int]], hosts: set[int]) -> tuple[str, ...]:
    """Return the fewest reasons that together close all hosts: of none can be done without. Ties by name."""
    names = sorted(closes, key=lambda reason: (-len(closes[reason]), reason))
    for size in range(1, min(3, len(names)) + 1):
        for chosen in combinations(names, size):
            if set().union(*(closes[n] for n in chosen)) >= hosts:
                return chosen
    chosen_names = list(names)
    for name in reversed(names):
        rest = [n for n in chosen_names if n != name]
        if rest and set().union(*(closes[n] for n in rest)) >= hosts:
            chosen_names = rest
    return tuple(chosen_names)


def _nearest(problem: FleetProblem, board: Board, item: int, found: dict[int, list[tuple[str, str]]]) -> int | None:
    """Return the host that lacks least: no rule before fewest reasons, then the smallest share of what is asked."""

    def distance(host: int) -> tuple[int, int, float, int]:
        wanted, free = board.demand[item, host], board.capacity[host] - board.load[host]
        short = np.where(wanted > 0, np.maximum(wanted - free, 0) / np.maximum(wanted, 1), 0.0)
        rules = sum(reason.startswith("rule ") for reason, _ in found[host])
        return rules, len(found[host]), float(short.max(initial=0.0)), host

    return min(found, key=distance, default=None)


def _group(problem: FleetProblem, item: int) -> str:
    """Say which VMs together ask for more than all the hosts have where they may be (Hall's condition)."""
    allowed = problem.board.allowed[problem.board.row] & problem.is_open
    inside = allowed[item]
    group = np.array([i for i in sorted(problem.leaving) if not (allowed[i] & ~inside).any()], np.int64)
    hosts = np.flatnonzero(inside)
    if len(group) < 2 or not len(hosts):
        return ""
    stays = ~problem.board.movable | ~(allowed & ~inside).any(axis=1)
    there = problem.board._replace(where=np.where(stays, problem.board.where, -1))
    short = short_sums(there, group, hosts)
    if not short:
        return ""
    resource, (asked, free) = next(iter(sorted(short.items())))
    names = [problem.items[int(i)].name for i in group]
    shown = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
    where = ", ".join(problem.hosts[int(h)] for h in hosts[:_NAMES]) + (" …" if len(hosts) > _NAMES else "")
    return f"{len(names)} VMs ({shown}) need {_amount(problem, resource, asked)} of {where}, free are " + _amount(
        problem, resource, free
    )


def _amount(problem: FleetProblem, resource: int, amount: int) -> str:
    name = problem.resources.names[resource]
    if resource == VCPUS:
        return f"{amount / MILLI:g} vCPUs"
    size = amount // 1024 if resource == MEMORY or "pages" in name else amount >> 20
    return f"{size} MiB of {name}"


def _relaxations(
    problem: FleetProblem, board: Board, item: int, found: dict[int, list[tuple[str, str]]]
) -> Iterator[Relaxation]:
    yield from _drop(problem, board, item, found)
    if (moved := _by_moves(problem, board, item)) is not None:
        yield moved
    if (more := _one_more_host(problem, item)) is not None:
        yield more


def _drop(
    problem: FleetProblem, board: Board, item: int, found: dict[int, list[tuple[str, str]]]
) -> Iterator[Relaxation]:
    """One constraint that, dropped, opens a host that nothing else closes."""
    for constraint in problem.constraints:
        alone = [h for h, reasons in found.items() if {reason for reason, _ in reasons} == {constraint.words()}]
        if not alone:
            continue
        without = problem.without(constraint)
        there = _moved(without, board.where)
        host = next((h for h in alone if interpreted().fits(there, item, h)), None)
        if host is not None:
            name = problem.hosts[host]
            text = f"{constraint.words()} is dropped: then on {name}"
            yield Relaxation(kind="drop", text=text, constraint=constraint.name, dest=name)


def _moved(problem: FleetProblem, where: Ints) -> Board:
    board, kernels = problem.board.copy(), interpreted()
    for item in np.flatnonzero(where != board.where):
        kernels.take(board, int(item))
        if where[item] >= 0:
            kernels.put(board, int(item), int(where[item]))
    return board


def _by_moves(problem: FleetProblem, board: Board, item: int) -> Relaxation | None:
    """One or two others that, moved, make room; only those whose moves were judged."""
    state = board.copy()
    budget = np.array([_MOVE_TRIES], np.int64)
    rank = np.zeros(len(problem.hosts), np.int64)
    order = np.array([item], np.int64)
    if interpreted().make_room(state, order, problem.is_open, rank, TIGHTEST, 2, budget):
        return None
    moved = [int(i) for i in np.flatnonzero(state.where != board.where) if i != item]
    moves = ", ".join(f"{problem.items[i].name} moves to {problem.hosts[int(state.where[i])]}" for i in moved)
    dest = problem.hosts[int(state.where[item])]
    return Relaxation(kind="moves", text=f"{moves or 'it is placed again'}: then on {dest}", dest=dest)


def _one_more_host(problem: FleetProblem, item: int) -> Relaxation | None:
    """A host like one that rules and constraints allow, empty."""
    allowed = problem.board.allowed[problem.board.row[item]] & problem.is_open
    for host in (int(h) for h in np.flatnonzero(allowed)):
        facts, entry = problem.fleet.side(problem.hosts[host]).facts, problem.fleet.side(problem.hosts[host]).host
        wanted = problem.board.demand[item, host]
        memory = facts.memory_total_kib - entry.reserves.memory_mib * 1024
        vcpus = int(facts.cpus * entry.reserves.vcpu_ratio * MILLI)
        rest = problem.board.capacity[host, 2:]
        if wanted[MEMORY] <= memory and wanted[VCPUS] <= vcpus and bool((wanted[2:] <= rest).all()):
            return Relaxation(kind="host", text=f"there were one more host like {problem.hosts[host]}, empty")
    return None
