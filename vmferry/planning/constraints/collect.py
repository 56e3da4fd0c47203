"""Constraints of the inventory, of the domains and of one run, put together and checked against one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, Level, PlacementWish
from vmferry.model.constraint_shape import shape_problems
from vmferry.model.host import FleetSnapshot
from vmferry.planning.constraints.check import domain_of, members_of

_GROUPED = (ConstraintKind.SPREAD, ConstraintKind.GATHER, ConstraintKind.LONELY)


def collect_constraints(
    snapshot: FleetSnapshot, of_run: Sequence[Constraint], state: FleetState
) -> tuple[tuple[Constraint, ...], tuple[str, ...]]:
    """Return all constraints, and notes about VMs that the inventory names and nobody has.

    Raises InvalidInput with every problem at once: unknown names, wrong numbers, constraints that contradict another.
    """
    hosts = snapshot.inventory.names()
    everything = (*snapshot.inventory.constraints, *domain_constraints(snapshot), *of_run)
    problems = [f"{c.words()}: {text}" for c in everything for text in shape_problems(c, hosts)]
    notes: list[str] = []
    for constraint in everything:
        missing = [n for n in _named_vms(constraint) if not members_of((n,), state)]
        text = f"{constraint.words()}: no VM {', '.join(missing)}"
        if missing and constraint in of_run:
            problems.append(f"{text} on the hosts that were read; see `virsh list --all`")
        elif missing:
            notes.append(text)
    if not problems:
        problems += list(contradictions(everything, state))
    if problems:
        raise InvalidInput("constraints: " + "; ".join(problems), problems=tuple(problems))
    return everything, tuple(notes)


def _named_vms(constraint: Constraint) -> tuple[str, ...]:
    groups = constraint.groups if constraint.kind is ConstraintKind.SPLIT else ()
    return (*constraint.vms, *(name for group in groups for name in group))


def domain_constraints(snapshot: FleetSnapshot) -> tuple[Constraint, ...]:
    """Return what the domains say of themselves; a group is all VMs that give it the same name."""
    groups: dict[tuple[ConstraintKind, str, Level], list[tuple[str, str, PlacementWish]]] = {}
    alone: list[Constraint] = []
    vms = sorted(
        {
            (vm.name, str(vm.uuid), vm.placement_wishes)
            for facts in snapshot.hosts
            for vm in facts.vms
            if vm.placement_wishes
        },
        key=lambda found: found[:2],
    )
    for name, uuid, wishes in vms:
        for wish in wishes:
            if wish.kind in _GROUPED:
                groups.setdefault((wish.kind, wish.name or name, wish.level), []).append((name, uuid, wish))
            else:
                alone.append(_of_one(name, uuid, wish))
    return (*alone, *(_of_group(key, found) for key, found in sorted(groups.items())))


def _of_one(name: str, uuid: str, wish: PlacementWish) -> Constraint:
    return Constraint(
        kind=wish.kind,
        name=wish.name or name,
        vms=(uuid,),
        hosts=wish.hosts,
        is_hard=wish.is_hard,
        is_continuous=wish.is_continuous,
        origin=f"domain {name}",
    )


def _of_group(key: tuple[ConstraintKind, str, Level], found: list[tuple[str, str, PlacementWish]]) -> Constraint:
    kind, name, level = key
    return Constraint(
        kind=kind,
        name=name,
        vms=tuple(uuid for _, uuid, _ in found),
        level=level,
        is_hard=any(wish.is_hard for _, _, wish in found),
        is_continuous=any(wish.is_continuous for _, _, wish in found),
        origin=f"domain {found[0][0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else ""),
    )


def contradictions(constraints: Iterable[Constraint], state: FleetState) -> Iterator[str]:
    """Say which hard constraints no placement at all can keep."""
    hard = [c for c in constraints if c.is_hard]
    yield from _closed_out(hard, state)
    yield from _together_and_apart(hard, state)
    yield from _too_many(hard, state)
    for on, off in combinations([c for c in hard if c.kind in (ConstraintKind.ONLINE, ConstraintKind.OFFLINE)], 2):
        shared = sorted(set(on.hosts) & set(off.hosts))
        if on.kind is not off.kind and shared:
            yield f"{on.words()} and {off.words()} contradict each other about {', '.join(shared)}"


def _open_hosts(c: Constraint, state: FleetState) -> set[str]:
    match c.kind:
        case ConstraintKind.FENCE:
            return set(c.hosts)
        case ConstraintKind.AMONG:
            return {host for group in c.groups for host in group}
        case ConstraintKind.BAN | ConstraintKind.OFFLINE:
            return set(state.hosts) - set(c.hosts)
    return set(state.hosts)


def _closed_out(hard: list[Constraint], state: FleetState) -> Iterator[str]:
    """A VM for which constraints together leave no host."""
    kinds = (ConstraintKind.FENCE, ConstraintKind.BAN, ConstraintKind.AMONG, ConstraintKind.OFFLINE)
    bound: dict[str, list[Constraint]] = {}
    for c in hard:
        if c.kind in kinds:
            for uuid in state.vms if c.kind is ConstraintKind.OFFLINE else members_of(c.vms, state):
                bound.setdefault(uuid, []).append(c)
    for uuid, cs in bound.items():
        left = set(state.hosts)
        for c in cs:
            left &= _open_hosts(c, state)
        if not left and all(_open_hosts(c, state) & set(state.hosts) for c in cs):
            yield f"{' and '.join(c.words() for c in cs)} leave no host for vm {state.vms[uuid].name}"


def _together_and_apart(hard: list[Constraint], state: FleetState) -> Iterator[str]:
    members = {c: set(members_of(c.vms, state)) for c in hard}
    for gather in (c for c in hard if c.kind is ConstraintKind.GATHER):
        for spread in (c for c in hard if c.kind is ConstraintKind.SPREAD):
            both = sorted(state.vms[uuid].name for uuid in members[gather] & members[spread])
            if len(both) > 1:
                yield f"{gather.words()} and {spread.words()} contradict each other about vm {', '.join(both)}"


def _too_many(hard: list[Constraint], state: FleetState) -> Iterator[str]:
    """More VMs to be spread than there are hosts, racks or sites."""
    for c in (c for c in hard if c.kind is ConstraintKind.SPREAD):
        domains = {domain_of(host, traits, c.level) for host, traits in state.hosts.items()}
        count = len(members_of(c.vms, state))
        if None not in domains and count > len(domains):
            yield f"{c.words()}: {count} VMs, {len(domains)} {c.level}s that were read"
