"""Who is where in a fleet, as checkers of constraints ask: read from facts alone, no planner is asked."""

from __future__ import annotations

from vmferry.model.constraint import FleetState, HostTraits, VmTraits
from vmferry.model.host import Reservation
from vmferry.planning.board import room_of
from vmferry.rules.case import Fleet
from vmferry.rules.room import memory_needed_kib


def state_of(fleet: Fleet) -> FleetState:
    """Return who is where now, as checkers of constraints ask; `free_*` is what is there without any of the VMs."""
    where: dict[str, tuple[str, ...]] = {}
    vms: dict[str, VmTraits] = {}
    hosts: dict[str, HostTraits] = {}
    for name, side in fleet.sides.items():
        room = room_of(side, fleet.snapshot.reserved.get(name, Reservation()))
        needs = {key: memory_needed_kib(vm) for key, vm in side.keyed if vm.is_active}
        hosts[name] = HostTraits(
            rack=side.host.rack,
            site=side.host.site,
            cpus=side.facts.cpus,
            free_kib=room.memory_kib + sum(needs.values()),
            free_vcpus=room.vcpus + side.active_vcpus,
        )
        for key, vm in side.keyed:
            where[key] = (*where.get(key, ()), name)
            if key not in vms or key in needs:
                vcpus = vm.vcpus if key in needs else 0
                vms[key] = VmTraits(name=vm.name, home=name, memory_kib=needs.get(key, 0), vcpus=vcpus)
    return FleetState(where=where, hosts=hosts, vms=vms)
