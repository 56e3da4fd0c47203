"""Fleets with VMs on every host and constraints about them, for properties of fleet plans."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.unit.builders import GIB, GIB_KIB, LOCAL, build_cordon, build_facts, build_host, build_snapshot, build_vm
from vmferry.model.constraint import Constraint, ConstraintKind, Level
from vmferry.model.host import FleetSnapshot, Host, HostFacts, Reserves
from vmferry.model.plan import PlanLimits, PlanRequest, Purpose, Reserve
from vmferry.model.vm import Vm
from vmferry.rules.room import memory_needed_kib

ROOM_KIB = 24 * GIB_KIB


def full_facts(name: str, vms: list[Vm], room_kib: int = ROOM_KIB, **fields: Any) -> HostFacts:
    """A host whose VMs have touched all of their memory."""
    used = sum(memory_needed_kib(vm) for vm in vms if vm.is_active)
    given: dict[str, Any] = {"memory_total_kib": room_kib, "memory_available_kib": max(0, room_kib - used)}
    return build_facts(name, vms, **{**given, **fields})


@st.composite
def crowds(draw: st.DrawFn, most_hosts: int = 4, **fields: Any) -> FleetSnapshot:
    """Two to four hosts in two racks, each with up to four VMs of 1 to 6 GiB."""
    hosts: list[tuple[Host, HostFacts | None]] = []
    for number in range(draw(st.integers(2, most_hosts))):
        sizes = draw(st.lists(st.integers(1, 6), max_size=4))
        vms = [
            build_vm(f"vm-{number}-{n}", memory_kib=size * GIB_KIB, vcpus=draw(st.integers(1, 4)))
            for n, size in enumerate(sizes)
        ]
        reserves = Reserves(memory_mib=0, vcpu_ratio=draw(st.sampled_from([1.0, 8.0])))
        host = build_host(f"kvm{number}", rack=f"r{number % 2}", reserves=reserves)
        room = draw(st.integers(16, 28)) * GIB_KIB
        disk = {LOCAL: draw(st.integers(0, 8)) * GIB}
        hosts.append((host, full_facts(host.name, vms, room, storage_free_bytes=disk)))
    closed = [build_cordon("kvm1")] if draw(st.integers(0, 9)) == 0 else []
    return build_snapshot(hosts, cordons=closed, **fields)


@st.composite
def constraints(draw: st.DrawFn, snapshot: FleetSnapshot) -> tuple[Constraint, ...]:
    """Up to three constraints of kinds that do not contradict each other by themselves."""
    names = [vm.name for facts in snapshot.hosts for vm in facts.vms]
    hosts = [facts.name for facts in snapshot.hosts]
    if not names:
        return ()
    made = []
    for number in range(draw(st.integers(0, 3))):
        some = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(hosts), unique=True)))
        kind = draw(st.sampled_from([ConstraintKind.SPREAD, ConstraintKind.BAN, ConstraintKind.ROOT,
                                     ConstraintKind.LONELY, ConstraintKind.PRESERVE, ConstraintKind.QUARANTINE,
                                     ConstraintKind.MAX_ONLINE]))  # fmt: skip
        fields: dict[str, Any] = {"vms": some}
        if kind is ConstraintKind.BAN:
            fields["hosts"] = (hosts[-1],)
        elif kind in (ConstraintKind.PRESERVE, ConstraintKind.QUARANTINE, ConstraintKind.MAX_ONLINE):
            fields = {"hosts": (draw(st.sampled_from(hosts)),), "memory_mib": 2048, "limit": len(hosts)}
            if kind is not ConstraintKind.PRESERVE:
                fields["memory_mib"] = 0
        elif kind is ConstraintKind.SPREAD and len(some) <= 2:
            fields["level"] = draw(st.sampled_from([Level.HOST, Level.RACK]))
        soft = draw(st.booleans())
        made.append(Constraint(kind=kind, name=f"c{number}", is_hard=not soft, **fields))
    return tuple(made)


@st.composite
def questions(draw: st.DrawFn) -> tuple[FleetSnapshot, PlanRequest]:
    """A fleet and a request of any purpose."""
    snapshot = draw(crowds())
    names = [vm.name for facts in snapshot.hosts for vm in facts.vms]
    purpose = draw(st.sampled_from(list(Purpose)))
    fields: dict[str, Any] = {}
    if purpose is Purpose.EVACUATE:
        fields["hosts"] = ("kvm0",)
    if purpose in (Purpose.RETURN, Purpose.RELOCATE) and not names:
        purpose = Purpose.BALANCE
    if purpose is Purpose.RETURN:
        fields["homes"] = {name: "kvm0" for name in draw(st.lists(st.sampled_from(names), min_size=1, unique=True))}
    elif purpose is Purpose.RELOCATE:
        fields |= {"vms": (draw(st.sampled_from(names)), "vm-0-*") if "vm-0-0" in names else names[:1]}
        fields["dests"] = ("kvm1",)
    limits = PlanLimits(
        max_moves=draw(st.sampled_from([None, None, 0, 2])),
        max_extra_moves=draw(st.sampled_from([None, 0, 1])),
        reserve=draw(st.sampled_from([Reserve.NONE, Reserve.NONE, Reserve.SOFT, Reserve.HARD])),
    )
    asked = draw(constraints(snapshot))
    return snapshot, PlanRequest(purpose=purpose, constraints=asked, limits=limits, budget=60_000, **fields)
