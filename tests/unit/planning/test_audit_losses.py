"""N-1: who would start elsewhere if a host went down now; nothing can be copied from it, nothing asked of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.examples import examples
from tests.unit.builders import (
    GIB_KIB,
    IMAGES,
    LOCAL,
    build_cordon,
    build_disk,
    build_facts,
    build_fleet,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_vm,
)
from tests.unit.planning.fleets import fleets
from vmferry.model.audit import HostLoss
from vmferry.model.facts import ImageFacts, Reach
from vmferry.model.findings import Severity
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import Device, DomainState, Nic, Vm
from vmferry.planning.survivors import lose_host
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge

SOURCE = "source-example"


def lose(snapshot: FleetSnapshot, host: str = SOURCE) -> HostLoss:
    return lose_host(Judge(Fleet(snapshot)), host)


def why(loss: HostLoss, host: str = "dest-1") -> list[str]:
    (stranded,) = (*loss.stranded, *loss.unstartable)
    return [finding.rule for finding in stranded.reasons[host]]


def device(kind: str, detail: str, **attributes: str) -> tuple[Device, ...]:
    return (Device(kind=kind, detail=detail, attributes=attributes),)


def test_running_vms_on_proved_shared_storage_survive() -> None:
    loss = lose(build_fleet([build_vm("a"), build_vm("b", state=DomainState.PAUSED, state_reason="user")]))
    assert {(p.vm, p.dest in ("dest-1", "dest-2")) for p in loss.survivors} == {("a", True), ("b", True)}
    assert (loss.stranded, loss.unstartable) == ((), ())


# What a dead host's VMs cannot do without, and the rule that says so.
STRANDING: dict[str, tuple[Vm, str]] = {
    "a local disk": (build_vm("a", disks=(build_disk(f"{LOCAL}/a.qcow2"),)), "storage-not-shared"),
    "a local backing file": (
        build_vm("a", disks=(build_disk(f"{IMAGES}/a.qcow2", backing=(f"{LOCAL}/base.qcow2",)),)),
        "backing-chain",
    ),
    "a local ISO": (
        build_vm("a", disks=(build_disk(f"{LOCAL}/x.iso", "sda", device="cdrom", is_readonly=True),)),
        "local-media",
    ),
    "local NVRAM": (build_vm("a", nvram="/var/lib/libvirt/qemu/nvram/a_VARS.fd"), "nvram-lost"),
    "TPM state": (build_vm("a", devices=device("tpm", "emulator", type="emulator")), "tpm-lost"),
    "a PCI device": (build_vm("a", devices=device("hostdev", "pci 0000:01:00.0", type="pci")), "passthrough"),
    "a vGPU": (build_vm("a", devices=device("hostdev", "mdev x", type="mdev")), "mediated-device"),
    "a shared directory": (build_vm("a", devices=device("filesystem", "/srv/share", driver="virtiofs")), "filesystem"),
    "NUMA pinning": (build_vm("a", numa_pinned=("numatune",)), "numa-pinning"),
    "launch security": (build_vm("a", launch_security="sev"), "launch-security"),
    "another bridge": (build_vm("a", nics=(Nic(kind="bridge", source="br9"),)), "bridge-missing"),
    "another network": (build_vm("a", nics=(Nic(kind="network", source="lab"),)), "network-missing"),
    "a machine type": (build_vm("a", machine="pc-q35-99.0"), "machine-type"),
    "an architecture": (build_vm("a", arch="aarch64"), "architecture"),
    "too much memory": (build_vm("a", memory_kib=80 * GIB_KIB), "memory"),
    "XML that nobody understands": (build_vm("a", problems=("no name",)), "xml-unreadable"),
}


@pytest.mark.parametrize(("vm", "rule"), STRANDING.values(), ids=STRANDING)
def test_a_vm_is_stranded_by_what_it_cannot_do_without(vm: Vm, rule: str) -> None:
    loss = lose(build_fleet([vm]))
    assert [stranded.vm for stranded in loss.stranded] == ["a"]
    assert why(loss) == why(loss, "dest-2") == [rule]
    assert all(f.severity is Severity.BLOCK for f in loss.stranded[0].reasons["dest-1"])


# What matters for a move only: no memory is carried over from a dead host.
HARMLESS: dict[str, Vm] = {
    "snapshots": build_vm("a", snapshots=2),
    "checkpoints": build_vm("a", checkpoints=1),
    "a job": build_vm("a", has_active_job=True),
    "an unsafe cache mode": build_vm("a", disks=(build_disk(f"{IMAGES}/a.qcow2", cache="writeback"),)),
    "the host's own CPU": build_vm("a", cpu_mode="host-passthrough"),
    "an I/O error": build_vm("a", state=DomainState.PAUSED, state_reason="I/O error"),
    "a transient disk": build_vm("a", disks=(build_disk(f"{IMAGES}/a.qcow2", is_transient=True),)),
}


@pytest.mark.parametrize("vm", HARMLESS.values(), ids=HARMLESS)
def test_what_only_a_move_needs_strands_nobody(vm: Vm) -> None:
    assert [placed.vm for placed in lose(build_fleet([vm])).survivors] == ["a"]


def test_a_dead_host_need_not_reach_anybody() -> None:
    lost = Reach(is_ok=False, detail="no route")
    snapshot = build_fleet([build_vm("a")], 1)
    pair = build_pair(SOURCE, "dest-1", snapshot.hosts[0].vms, ping=lost, libvirt=lost)
    assert lose(snapshot.model_copy(update={"pairs": (pair,)})).stranded == ()


def test_older_software_elsewhere_strands_nobody() -> None:
    hosts = [(build_host(SOURCE), build_facts(SOURCE, [build_vm("a")], qemu_version=9_000_000))]
    hosts.append((build_host("dest-1"), build_facts("dest-1")))
    assert lose(build_snapshot(hosts)).stranded == ()


def test_storage_must_be_proved_not_only_declared() -> None:
    snapshot = build_fleet([build_vm("a")], 1)
    pair = build_pair(SOURCE, "dest-1", snapshot.hosts[0].vms, same_storage=())
    assert "storage-not-shared" in why(lose(snapshot.model_copy(update={"pairs": (pair,)})))


def test_what_a_live_move_would_mirror_is_lost_with_its_host() -> None:
    path = f"{LOCAL}/a.qcow2"
    images = {path: ImageFacts(path=path, format="qcow2", virtual_bytes=1 << 30)}
    facts = build_facts(SOURCE, [build_vm("a", disks=(build_disk(path),))], images=images)
    snapshot = build_snapshot([(build_host(SOURCE), facts), (build_host("dest-1"), build_facts("dest-1"))])
    assert why(lose(snapshot)) == ["disk-lost"]


def test_what_the_inventory_only_declares_can_be_made_to_strand() -> None:
    snapshot = build_fleet([build_vm("a")], 1, pairs=[])
    assert lose(snapshot).stranded == ()
    strict = snapshot.inventory.model_copy(update={"rules": {"storage-believed": Severity.BLOCK}})
    assert why(lose(snapshot.model_copy(update={"inventory": strict}))) == ["storage-believed"]


def test_a_cordoned_host_takes_nobody() -> None:
    assert why(lose(build_fleet([build_vm("a")], 1, cordons=(build_cordon("dest-1"),)))) == ["cordoned"]


def test_all_running_vms_of_the_host_need_room_together() -> None:
    vms = [build_vm(f"a{n}", memory_kib=6 * GIB_KIB) for n in range(3)]
    loss = lose(build_fleet(vms, 1, 13 * GIB_KIB))
    assert len(loss.survivors) == 2
    assert why(loss) == ["no-room-left"]


def test_vms_that_are_shut_off_take_no_room() -> None:
    shared = (build_disk(f"{IMAGES}/off.qcow2"),)
    vms = [build_vm("on", memory_kib=6 * GIB_KIB), build_off_vm("off", memory_kib=6 * GIB_KIB, disks=shared)]
    loss = lose(build_fleet(vms, 1, 7 * GIB_KIB))
    assert [placed.vm for placed in loss.survivors] == ["on"]
    assert (loss.stranded, loss.unstartable) == ((), ())


def test_a_shut_off_vm_with_local_disks_could_not_be_started_elsewhere() -> None:
    loss = lose(build_fleet([build_off_vm("off")], 1))
    assert (loss.survivors, loss.stranded) == ((), ())
    assert [stranded.vm for stranded in loss.unstartable] == ["off"]
    assert why(loss) == ["storage-not-shared"]


@pytest.mark.parametrize(
    ("there", "rule"),
    [
        (build_vm("a"), "two-copies"),
        (build_off_vm("a", has_managed_save=True), "stale-managed-save"),
        (build_vm("other", uuid=build_vm("a").uuid, state=DomainState.SHUTOFF), "uuid-taken"),
        (build_vm("a", uuid=build_vm("b").uuid), "name-taken"),
    ],
)
def test_a_twin_elsewhere_is_in_the_way(there: Vm, rule: str) -> None:
    hosts: list[Any] = [(build_host(SOURCE), build_facts(SOURCE, [build_vm("a")]))]
    hosts.append((build_host("dest-1"), build_facts("dest-1", [there])))
    assert rule in why(lose(build_snapshot(hosts)))


def test_a_host_that_was_not_read_is_told_as_a_reason() -> None:
    snapshot = build_fleet([build_vm("a", launch_security="sev")], 1)
    entries = (*snapshot.inventory.hosts, build_host("kvm9"))
    unread = snapshot.model_copy(update={"inventory": snapshot.inventory.model_copy(update={"hosts": entries})})
    assert why(lose(unread), "kvm9") == ["host-unreachable"]


@examples(60)
@given(fleets())
def test_every_vm_is_told_once_or_needs_nothing(snapshot: FleetSnapshot) -> None:
    fleet = Fleet(snapshot)
    for host, side in fleet.sides.items():
        loss = lose(snapshot, host)
        told = [*(p.uuid for p in loss.survivors), *(s.uuid for s in loss.stranded)]
        assert sorted(told) == sorted(str(vm.uuid) for vm in side.facts.vms if vm.is_active)
        assert {s.uuid for s in loss.unstartable} <= {str(vm.uuid) for vm in side.facts.vms if not vm.is_active}
        went = {p.uuid: p.dest for p in loss.survivors}
        ordinary = [vm for vm in side.facts.vms if not vm.hugepages]  # the others draw on pools of pages
        for name in set(fleet.sides) - {host}:
            taken = sum(vm.memory_kib for vm in ordinary if went.get(str(vm.uuid)) == name)
            assert taken <= max(0, fleet.side(name).facts.memory_available_kib)


def test_the_inventorys_policy_counts_after_a_loss_too() -> None:
    snapshot = build_fleet([build_vm("a", numa_pinned=("numatune",))])
    lax = snapshot.inventory.model_copy(update={"rules": {"numa-pinning": Severity.WARN}})
    assert lose(snapshot.model_copy(update={"inventory": lax})).stranded == ()
