"""Constraints as the solver takes them: closed hosts per item, items apart, tones, less room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, Level
from vmferry.planning.constraints.check import domain_of, members_of
from vmferry.solver.packing.board import Apart, Bools, Ints

_LEVELS = {Level.HOST: 0, Level.RACK: 1, Level.SITE: 2}


@dataclass
class Arrays:
    """What a set of constraints adds to a problem of V items and H hosts; grows while constraints are applied."""

    items: int
    hosts: Sequence[str]
    state: FleetState
    item_of: dict[str, int]  # VM → item
    capacity: Ints
    closed: list[tuple[Constraint, Bools]] = field(default_factory=list)  # [V, H]: what each one closes
    apart: list[Apart] = field(default_factory=list)
    apart_by: list[Constraint] = field(default_factory=list)
    tone: Any = None
    keep: Any = None  # hosts that may not be emptied
    must_empty: Any = None
    leaving: frozenset[int] = frozenset()  # items that must leave where they are

    def __post_init__(self) -> None:
        """Start with nothing closed."""
        self.tone = np.zeros(self.items, np.int64)
        self.keep = np.zeros(len(self.hosts), np.bool_)
        self.must_empty = np.zeros(len(self.hosts), np.bool_)
        self.home = np.full(self.items, -1, np.int64)
        place = {host: n for n, host in enumerate(self.hosts)}
        for uuid, item in self.item_of.items():
            self.home[item] = place[self.state.vms[uuid].home]

    @property
    def domains(self) -> Ints:
        """Racks and sites of the hosts by number, -1 where nobody said one."""
        rows = []
        for level in (Level.RACK, Level.SITE):
            names = [domain_of(h, self.state.hosts[h], level) for h in self.hosts]
            known = {name: n for n, name in enumerate(sorted({n for n in names if n is not None}))}
            rows.append([known.get(name, -1) if name is not None else -1 for name in names])
        return np.array(rows, np.int64).reshape(2, len(self.hosts))

    def members(self, names: Iterable[str]) -> list[int]:
        """Return the items of the VMs meant, each once."""
        found = (self.item_of[u] for u in members_of(names, self.state) if u in self.item_of)
        return list(dict.fromkeys(found))

    def mask(self, names: Iterable[str]) -> Bools:
        """Return which hosts are among the names."""
        wanted = set(names)
        return np.array([host in wanted for host in self.hosts], np.bool_)

    def close(self, constraint: Constraint, items: Sequence[int], hosts: Bools) -> None:
        """Close hosts for items; where an item is it may stay, unless it must leave."""
        made = np.zeros((self.items, len(self.hosts)), np.bool_)
        made[np.asarray(items, np.int64)] = hosts
        for item in items:
            if self.home[item] >= 0:
                made[item, self.home[item]] = False
        self.closed.append((constraint, made))


def apply_constraints(constraints: Iterable[Constraint], arrays: Arrays) -> Arrays:
    """Add every constraint to the arrays; what does not hold now is not repaired, only kept from getting worse."""
    for constraint in constraints:
        _APPLIERS[constraint.kind](constraint, arrays)
    return arrays


def _spread(c: Constraint, a: Arrays) -> None:
    items = a.members(c.vms)
    if len(items) > 1:
        a.apart.append(Apart(tuple(items), _LEVELS[c.level]))
        a.apart_by.append(c)


def _split(c: Constraint, a: Arrays) -> None:
    pairs = {item: number for number, group in enumerate(c.groups) for item in a.members(group)}
    if len(set(pairs.values())) > 1:
        a.apart.append(Apart(tuple(pairs), 0, tuple(pairs.values())))
        a.apart_by.append(c)


def _fence(c: Constraint, a: Arrays) -> None:
    a.close(c, a.members(c.vms), ~a.mask(c.hosts))


def _ban(c: Constraint, a: Arrays) -> None:
    a.close(c, a.members(c.vms), a.mask(c.hosts))


def _root(c: Constraint, a: Arrays) -> None:
    a.close(c, a.members(c.vms), np.ones(len(a.hosts), np.bool_))


def _quarantine(c: Constraint, a: Arrays) -> None:
    hosts = a.mask(c.hosts)
    a.close(c, list(range(a.items)), hosts)
    inside = [i for i in range(a.items) if a.home[i] >= 0 and hosts[a.home[i]]]
    if inside:
        a.close(c, inside, np.ones(len(a.hosts), np.bool_))


def _offline(c: Constraint, a: Arrays) -> None:
    a.close(c, list(range(a.items)), a.mask(c.hosts))
    a.must_empty |= a.mask(c.hosts)


def _online(c: Constraint, a: Arrays) -> None:
    a.keep |= a.mask(c.hosts)


def _lonely(c: Constraint, a: Arrays) -> None:
    items = a.members(c.vms)
    if items:
        a.tone[items] = int(a.tone.max(initial=0)) + 1


def _gather(c: Constraint, a: Arrays) -> None:
    """Those on one host are one item already; of a group that is scattered, those that must leave follow the rest."""
    items = a.members(c.vms)
    if len(items) < 2:
        return
    staying = [i for i in items if i not in a.leaving] or items
    counts = np.bincount(a.home[staying], minlength=len(a.hosts))
    hosts = np.ones(len(a.hosts), np.bool_)
    hosts[int(np.argmax(counts))] = False
    a.close(c, items, hosts)


def _among(c: Constraint, a: Arrays) -> None:
    """Keep the group where most of it is; if all of it leaves, the group of hosts with most free memory.

    A continuous one holds on the way too, where a VM is on both of its hosts: the group of hosts does not change.
    """
    items = a.members(c.vms)
    if not items:
        return
    staying = [i for i in items if i not in a.leaving]
    now = {host for uuid in members_of(c.vms, a.state) for host in a.state.where[uuid]}
    around = [group for group in c.groups if now <= set(group)] if c.is_continuous else []
    parts = [a.mask(group) for group in around or c.groups]
    if staying:
        best = max(parts, key=lambda part: int(part[a.home[staying]].sum()))
    else:
        free = np.maximum(a.capacity[:, 0], 0)
        best = max(parts, key=lambda part: int(free[part].sum()))
    a.close(c, items, ~best)


def _max_online(c: Constraint, a: Arrays) -> None:
    """Close hosts without VMs beyond the limit; hosts beyond it that have some are to be emptied."""
    inside = np.flatnonzero(a.mask(c.hosts))
    held = np.bincount(a.home[a.home >= 0], minlength=len(a.hosts))
    used = [h for h in inside if held[h]]
    more = max(0, (c.limit or 0) - len(used))
    empty = sorted((h for h in inside if not held[h]), key=lambda h: (-int(a.capacity[h, 0]), h))
    shut = np.zeros(len(a.hosts), np.bool_)
    shut[empty[more:]] = True
    if len(used) > (c.limit or 0):
        surplus = sorted(used, key=lambda h: (int(held[h]), h))[: len(used) - (c.limit or 0)]
        a.must_empty[surplus] = True
        shut[surplus] = True
    a.close(c, list(range(a.items)), shut)


def _preserve(c: Constraint, a: Arrays) -> None:
    hosts = a.mask(c.hosts)
    a.capacity[hosts, 0] -= c.memory_mib * 1024
    a.capacity[hosts, 1] -= c.vcpus * 1000


def _overbook(c: Constraint, a: Arrays) -> None:
    for number in map(int, np.flatnonzero(a.mask(c.hosts))):
        most = int(a.state.hosts[a.hosts[number]].cpus * (c.ratio or 0.0) * 1000)
        a.capacity[number, 1] = min(int(a.capacity[number, 1]), most)


_APPLIERS: dict[ConstraintKind, Callable[[Constraint, Arrays], None]] = {
    ConstraintKind.SPREAD: _spread,
    ConstraintKind.GATHER: _gather,
    ConstraintKind.AMONG: _among,
    ConstraintKind.SPLIT: _split,
    ConstraintKind.FENCE: _fence,
    ConstraintKind.BAN: _ban,
    ConstraintKind.ROOT: _root,
    ConstraintKind.LONELY: _lonely,
    ConstraintKind.QUARANTINE: _quarantine,
    ConstraintKind.OFFLINE: _offline,
    ConstraintKind.ONLINE: _online,
    ConstraintKind.MAX_ONLINE: _max_online,
    ConstraintKind.PRESERVE: _preserve,
    ConstraintKind.OVERBOOK: _overbook,
}
