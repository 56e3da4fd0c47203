"""A fleet as one packing problem: items, resources and constraints on a board."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vmferry.model.constraint import Constraint, FleetState
from vmferry.planning.constraints.arrays import Arrays, apply_constraints
from vmferry.planning.fleet.items import Item, make_items
from vmferry.planning.fleet.resources import Resources, read_resources
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge
from vmferry.solver.packing.board import Board, Bools, Problem, make_board


@dataclass(frozen=True)
class FleetProblem:
    """Items and hosts by number, the board that the solver gets, and what it was made from."""

    fleet: Fleet
    hosts: tuple[str, ...]
    items: tuple[Item, ...]
    resources: Resources
    arrays: Arrays
    ruled: Bools  # [V, H]: rules allow it, and the item is judged
    is_open: Bools  # [H]: may receive
    board: Board
    constraints: tuple[Constraint, ...]
    state: FleetState
    leaving: frozenset[int]

    @property
    def place(self) -> dict[str, int]:
        """Host → number."""
        return {host: number for number, host in enumerate(self.hosts)}

    def without(self, dropped: Constraint) -> FleetProblem:
        """Return the problem without one constraint."""
        rest = tuple(c for c in self.constraints if c != dropped)
        return assemble(self.fleet, self.items, self.resources, rest, self.state, self.is_open, self.leaving)


@dataclass(frozen=True)
class Scope:
    """Which VMs are judged and may move, which must leave, and which hosts may receive."""

    movers: frozenset[str]
    leaving: frozenset[str]
    dests: tuple[str, ...]


def build(
    rules: Judge, scope: Scope, constraints: Sequence[Constraint], state: FleetState, known: Collection[Item] = ()
) -> FleetProblem:
    """Judge what the scope names and return the problem; items that are known are not judged again."""
    items = tuple(known) or make_items(rules, scope.movers, scope.dests, constraints, state)
    hosts = tuple(rules.fleet.sides)
    resources = read_resources(rules.fleet, hosts, items)
    is_open = np.array([host in scope.dests for host in hosts], np.bool_)
    leaving = frozenset(n for n, item in enumerate(items) if scope.leaving & set(item.keys))
    return assemble(rules.fleet, items, resources, tuple(constraints), state, is_open, leaving)


def assemble(
    fleet: Fleet,
    items: tuple[Item, ...],
    resources: Resources,
    constraints: tuple[Constraint, ...],
    state: FleetState,
    is_open: Bools,
    leaving: frozenset[int],
) -> FleetProblem:
    """Return the problem with these constraints; nothing is judged."""
    hosts = tuple(fleet.sides)
    arrays = Arrays(
        items=len(items),
        hosts=hosts,
        state=state,
        item_of={key: n for n, item in enumerate(items) for key in item.keys if state.vms[key].home == item.home},
        capacity=resources.capacity.copy(),
        leaving=leaving,
    )
    apply_constraints(constraints, arrays)
    ruled = _ruled(items, hosts)
    allowed = np.logical_and.reduce([ruled, *(~closed for _, closed in arrays.closed)])
    place = {host: number for number, host in enumerate(hosts)}
    home = np.array([place[item.home] for item in items], np.int64)
    gone = sorted(leaving)
    allowed[gone, home[gone]] = False
    board = make_board(
        Problem(
            demand=resources.demand,
            capacity=arrays.capacity,
            home=home,
            allowed=allowed,
            movable=np.array([bool(item.candidates) for item in items], np.bool_),
            apart=arrays.apart,
            domains=arrays.domains,
            tone=arrays.tone,
            host_class=np.arange(len(hosts)),
            at_home=resources.at_home,
        )
    )
    return FleetProblem(fleet, hosts, items, resources, arrays, ruled, is_open, board, constraints, state, leaving)


def _ruled(items: Sequence[Item], hosts: Sequence[str]) -> Bools:
    ruled = np.zeros((len(items), len(hosts)), np.bool_)
    place = {host: number for number, host in enumerate(hosts)}
    for number, item in enumerate(items):
        ruled[number, place[item.home]] = True
        for host in item.candidates[0].demands if item.candidates else ():
            ruled[number, place[host]] = all(host in candidate.demands for candidate in item.candidates)
    return ruled


def with_board(problem: FleetProblem, board: Board) -> FleetProblem:
    """Return the problem with another board: one more host, other room."""
    return replace(problem, board=board)
