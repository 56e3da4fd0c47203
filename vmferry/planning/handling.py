"""What holds for a VM in an operation: the inventory's word, then the VM's own metadata. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime

from vmferry.model.blackouts import parse_blackout
from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.host import FleetSnapshot, Inventory
from vmferry.model.operation import Blackout, RunLimits, Span, VmHandling
from vmferry.model.probes import Probe, parse_probe
from vmferry.model.vm import Vm
from vmferry.planning.gate import in_turn

_ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def handling_of(inventory: Inventory, vm: Vm) -> VmHandling:
    """Return the VM itself: single ones of the inventory go first, blackouts and probes of both hold."""
    said, own = inventory.vms.get(str(vm.uuid)) or inventory.vms.get(vm.name) or VmHandling(), vm.handling
    return VmHandling(
        priority=said.priority if said.priority is not None else own.priority,
        way_out=said.way_out or own.way_out,
        blackouts=tuple(dict.fromkeys((*said.blackouts, *own.blackouts))),
        probes=tuple(dict.fromkeys((*said.probes, *own.probes))),
        max_downtime_ms=said.max_downtime_ms or own.max_downtime_ms,
    )


def blackouts_of(texts: Iterable[str]) -> tuple[Blackout, ...]:
    """Return the blackouts; one that cannot be read lasts for ever and says what is wrong."""
    return tuple(_blackout(text) for text in texts)


def _blackout(text: str) -> Blackout:
    try:
        return parse_blackout(text)
    except ValueError as error:
        return Span(begins_at=_ALWAYS[0], ends_at=_ALWAYS[1], text=f"that cannot be read: {error}")


def blackouts_in(snapshot: FleetSnapshot, moves: Iterable[Move]) -> dict[str, tuple[Blackout, ...]]:
    """Return the blackouts of the VMs that are to move, by UUID."""
    wishes = _handlings(snapshot, moves)
    return {uuid: blackouts_of(wish.blackouts) for uuid, wish in wishes.items() if wish.blackouts}


def objectives_in(snapshot: FleetSnapshot, moves: Iterable[Move]) -> dict[str, int]:
    """Return the downtime objectives, in ms, of the VMs that are to move and have one, by UUID."""
    wishes = _handlings(snapshot, moves)
    return {uuid: wish.max_downtime_ms for uuid, wish in wishes.items() if wish.max_downtime_ms is not None}


def _handlings(snapshot: FleetSnapshot, moves: Iterable[Move]) -> dict[str, VmHandling]:
    found = {}
    for move in moves:
        facts = snapshot.facts(move.source)
        vm = facts.find_vm(move.uuid) if facts is not None else None
        if vm is not None:
            found[move.uuid] = handling_of(snapshot.inventory, vm)
    return found


def probes_in(snapshot: FleetSnapshot, move: Move) -> tuple[Probe, ...]:
    """Return the probes of a VM that runs; one that cannot be read asks nothing, the inventory's check tells of it."""
    facts = snapshot.facts(move.source)
    vm = facts.find_vm(move.uuid) if facts is not None else None
    if vm is None or not (vm.is_active or move.restart):
        return ()
    found: list[Probe] = []
    for text in handling_of(snapshot.inventory, vm).probes:
        with contextlib.suppress(ValueError):
            found.append(parse_probe(text))
    return tuple(found)


def with_priorities(plan: EvacuationPlan, limits: RunLimits) -> EvacuationPlan:
    """Return the plan with the VMs' priorities, its moves in the order in which they then start."""
    facts = plan.snapshot.facts(plan.host)
    moves = []
    for move in plan.moves:
        vm = facts.find_vm(move.uuid) if facts is not None else None
        priority = (handling_of(plan.snapshot.inventory, vm).priority or 0) if vm is not None else 0
        moves.append(move.model_copy(update={"priority": priority}))
    return plan.model_copy(update={"moves": in_turn(moves, limits)})
