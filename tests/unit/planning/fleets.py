"""Fleets for property tests: small, tight and with everything that may go wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.unit.builders import (
    GIB,
    GIB_KIB,
    IMAGES,
    LOCAL,
    build_cordon,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_uuid,
    build_vm,
)
from vmferry.model.facts import HugePages
from vmferry.model.host import FleetSnapshot, Host, HostFacts, Reservation, Reserves, Unreachable
from vmferry.model.vm import DomainState, Nic, Vm

SOURCE = "source-example"
PAGE_SIZES = (2048, 1 << 20)  # KiB


@st.composite
def source_vms(draw: st.DrawFn, most: int = 10) -> tuple[Vm, ...]:
    """Running, paused, shut-off, transient and immovable VMs of different sizes."""
    vms = []
    for number in range(draw(st.integers(0, most))):
        name = f"vm-{number}"
        size = draw(st.integers(1, 12)) * GIB_KIB // 2
        nics = (Nic(kind="bridge", source=draw(st.sampled_from(["br0", "br0", "br1"]))),)
        fields: dict[str, Any] = {"memory_kib": size, "vcpus": draw(st.integers(1, 6)), "nics": nics}
        if draw(st.integers(0, 2)) == 0:
            fields |= {"hugepages": True, "hugepage_kib": draw(st.sampled_from([None, *PAGE_SIZES]))}
        match draw(st.sampled_from(["running", "running", "paused", "off", "off-shared", "transient", "local"])):
            case "paused":
                vms.append(build_vm(name, state=DomainState.PAUSED, state_reason="user", **fields))
            case "off":
                vms.append(build_off_vm(name, **fields))
            case "off-shared":
                vms.append(build_off_vm(name, disks=(build_disk(f"{IMAGES}/{name}.qcow2"),), **fields))
            case "transient":
                vms.append(build_vm(name, is_persistent=False, **fields))
            case "local":
                vms.append(build_vm(name, disks=(build_disk(f"{LOCAL}/{name}.qcow2"),), **fields))
            case _:
                vms.append(build_vm(name, **fields))
    return tuple(vms)


@st.composite
def fleets(draw: st.DrawFn) -> FleetSnapshot:
    """A source with VMs and up to four destinations with little room."""
    vms = draw(source_vms())
    hosts: list[tuple[Host, HostFacts | None]] = [(build_host(SOURCE), build_facts(SOURCE, vms))]
    for number in range(draw(st.integers(0, 4))):
        hosts.append(draw(_destination(f"dest-{number}")))
    names = [host.name for host, facts in hosts[1:] if facts is not None]
    sizes = draw(st.integers(1, 8)) * GIB // 2
    pairs = [build_pair(SOURCE, name, source_files=_files(vms, sizes)) for name in names if draw(st.integers(0, 9))]
    lost = [Unreachable(host=h.name, reason="no route") for h, facts in hosts if facts is None]
    closed = [build_cordon(name) for name in names if draw(st.integers(0, 5)) == 0]
    runs = {str(vm.uuid): "run-1" for vm in vms if draw(st.integers(0, 9)) == 0}
    reserved = {name: draw(_reservation()) for name in names}
    return build_snapshot(hosts, pairs=pairs, unreachable=lost, cordons=closed, open_runs=runs, reserved=reserved)


@st.composite
def _reservation(draw: st.DrawFn) -> Reservation:
    """What open runs will take; copies go to a directory, one below it, or one that was not read."""
    places = st.sampled_from([LOCAL, f"{LOCAL}/deep/er", "/var/lib/libvirt/qemu/nvram"])
    return Reservation(
        memory_kib=draw(st.integers(0, 4)) * GIB_KIB,
        vcpus=draw(st.integers(0, 4)),
        hugepages_kib=draw(st.sampled_from([0, 0, GIB_KIB, 3 * 1024])),
        disk_bytes=draw(st.dictionaries(places, st.integers(0, 2 * GIB), max_size=2)),
    )


@st.composite
def _pools(draw: st.DrawFn) -> tuple[HugePages, ...] | None:
    """Not read, none, or some pages of one or two sizes."""
    sizes = draw(st.sampled_from([None, (), PAGE_SIZES[:1], PAGE_SIZES[1:], PAGE_SIZES]))
    if sizes is None:
        return None
    free = [draw(st.integers(0, 16)) * GIB_KIB // size for size in sizes]
    return tuple(HugePages(size_kib=s, total=16 * GIB_KIB // s, free=f) for s, f in zip(sizes, free, strict=True))


def _files(vms: tuple[Vm, ...], size: int) -> dict[str, Any]:
    return build_pair(SOURCE, "x", vms).source_files | {
        path: facts.model_copy(update={"allocated_bytes": size})
        for path, facts in build_pair(SOURCE, "x", vms).source_files.items()
    }


@st.composite
def _destination(draw: st.DrawFn, name: str) -> tuple[Host, HostFacts | None]:
    reserves = Reserves(memory_mib=draw(st.sampled_from([0, 512])), vcpu_ratio=draw(st.sampled_from([0.5, 1.0, 8.0])))
    host = build_host(name, reserves=reserves, site=draw(st.sampled_from(["default", "default", "far"])))
    if draw(st.integers(0, 9)) == 0:
        return host, None
    there = [build_vm(f"{name}-{n}", vcpus=draw(st.integers(1, 4))) for n in range(draw(st.integers(0, 2)))]
    if draw(st.integers(0, 9)) == 0:
        there.append(build_vm("vm-0", uuid=build_uuid("foreign")))
    facts = build_facts(
        name,
        there,
        memory_available_kib=draw(st.integers(0, 24)) * GIB_KIB,
        hugepages=draw(_pools()),
        bridges=draw(st.sampled_from([("br0",), ("br0", "br1")])),
        storage_free_bytes={IMAGES: 100 * GIB, LOCAL: draw(st.integers(0, 10)) * GIB},
    )
    return host, facts
