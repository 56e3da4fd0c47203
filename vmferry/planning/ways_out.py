"""How each VM leaves a host that is emptied: chosen, asked for, or wished for by the VM. Pure.

Live, non-live and offline are modes of a migration. Stop-and-start is an offline move of a VM that runs: the plan is
made on a snapshot in which it is shut off already, and it takes its memory on the destination all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vmferry.model.convergence import PolicyName
from vmferry.model.evacuation import EvacuationRequest
from vmferry.model.findings import Finding, PreflightReport, Severity
from vmferry.model.host import FleetSnapshot, Inventory
from vmferry.model.migration import MigrationMode
from vmferry.model.operation import WayOut
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.candidates import Candidate, judge
from vmferry.planning.handling import handling_of
from vmferry.rules.case import Side
from vmferry.rules.judge import Judge
from vmferry.rules.room import hugepages_needed_kib, memory_needed_kib

_PLANNER = "vmferry.planning.ways_out"
_WILL_STOP = "runs; is shut down for its move"
STAYS = "asked-to-stay"


def way_of(request: EvacuationRequest, inventory: Inventory, vm: Vm) -> WayOut | None:
    """Return the way out that the request, else the VM itself, name; None: chosen by the VM's state."""
    return request.modes.get(vm.name) or request.modes.get(str(vm.uuid)) or handling_of(inventory, vm).way_out


def with_stops(snapshot: FleetSnapshot, request: EvacuationRequest) -> FleetSnapshot:
    """Return the snapshot in which running VMs that leave by stop-and-start are shut off, as they will be."""

    def stopped(vm: Vm) -> Vm:
        if not vm.is_active or way_of(request, snapshot.inventory, vm) is not WayOut.STOP_AND_START:
            return vm
        return vm.model_copy(update={"state": DomainState.SHUTOFF, "state_reason": _WILL_STOP})

    hosts = tuple(
        facts.model_copy(update={"vms": tuple(stopped(vm) for vm in facts.vms)})
        if facts.name == request.host
        else facts
        for facts in snapshot.hosts
    )
    return snapshot.model_copy(update={"hosts": hosts})


def is_restart(vm: Vm) -> bool:
    """Whether the VM of such a snapshot runs, and is to run again."""
    return vm.state_reason == _WILL_STOP


def judge_way(
    rules: Judge, vm: Vm, request: EvacuationRequest, dests: Sequence[str], policy: PolicyName | None
) -> Candidate:
    """Judge all destinations for one VM and its way out."""
    way = way_of(request, rules.fleet.snapshot.inventory, vm)
    if way is WayOut.LEAVE:
        return _stays(vm, request.host, dests)
    asked = MigrationMode.OFFLINE if way is WayOut.STOP_AND_START else MigrationMode(way) if way is not None else None
    candidate = judge(rules, vm, request.host, dests, asked, policy)
    if not is_restart(vm):
        return candidate
    demands = {
        dest: replace(
            demand,
            memory_kib=memory_needed_kib(vm),
            vcpus=vm.vcpus,
            hugepages_kib=hugepages_needed_kib(vm, rules.fleet.side(dest).facts),
        )
        for dest, demand in candidate.demands.items()
    }
    reason = "stop-and-start was asked for: it is shut down, moved offline and started there"
    roomy = {dest: demand for dest, demand in demands.items() if _may_start(vm, rules.fleet.side(dest))}
    return replace(candidate, mode_reason=reason, demands=roomy)


def _may_start(vm: Vm, side: Side) -> bool:
    """Whether the host's QEMU has the VM's kind and machine: what libvirt asks only when it starts."""
    machines = {name for machine in side.facts.machines for name in (machine.name, machine.canonical)}
    return vm.domain_type in side.facts.domain_types and (vm.machine is None or vm.machine in machines)


def _stays(vm: Vm, host: str, dests: Sequence[str]) -> Candidate:
    message = f"vm {vm.name}: stays on {host}, as was asked"
    found = Finding(rule=STAYS, severity=Severity.BLOCK, message=message, source=_PLANNER)
    reports = {
        dest: PreflightReport(vm=vm.name, source=host, dest=dest, mode=str(WayOut.LEAVE), findings=(found,))
        for dest in dests
    }
    return Candidate(vm, MigrationMode.OFFLINE, "it stays", reports, {})
