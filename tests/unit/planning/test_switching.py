"""Who lets a VM run at the destination: libvirt only where a second copy is stopped by the locks of every disk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import IMAGES, LOCAL, build_disk, build_facts, build_host, build_pair, build_snapshot, build_vm
from vmferry.model.convergence import DEFAULT_POLICY, POLICIES, PolicyName
from vmferry.model.facts import FileFacts
from vmferry.model.host import PairFacts, Storage
from vmferry.model.migration import MigrationMode
from vmferry.model.transport import Switch
from vmferry.model.vm import Device, DiskKind, DomainState, Vm
from vmferry.planning.switching import choose_switch
from vmferry.rules.case import Case, Fleet

LOCKS = (Storage(path=IMAGES, shared="nfs", locks=True), Storage(path=LOCAL))


def case_of(
    vm: Vm, *, mode: MigrationMode = MigrationMode.LIVE, storage: tuple[Storage, ...] = LOCKS, **pair: Any
) -> Case:
    hosts = [(build_host(name, storage=storage), build_facts(name, [vm] if name == "a" else [])) for name in "ab"]
    proved = build_pair("a", "b", [vm], **{"locked_storage": (IMAGES,), **pair})
    return Fleet(build_snapshot(hosts, pairs=[proved])).case(vm, "a", "b", mode)


def choose(case: Case, policy: PolicyName = DEFAULT_POLICY) -> tuple[Switch, str]:
    return choose_switch(case, POLICIES[policy])


@pytest.mark.parametrize("mode", [MigrationMode.LIVE, MigrationMode.NON_LIVE])
def test_libvirt_switches_over_where_the_locks_of_all_disks_are_proved(mode: MigrationMode) -> None:
    vm = build_vm("web", disks=(build_disk(f"{IMAGES}/a.qcow2"), build_disk(f"{IMAGES}/b.qcow2", "vdb")))
    assert choose(case_of(vm, mode=mode)) == (Switch.LIBVIRT, "b was seen to respect the image locks of a")


def test_locks_that_are_declared_only_do_not_count() -> None:
    switch, why = choose(case_of(build_vm("web"), locked_storage=()))
    assert (switch, why) == (Switch.GUARDED, f"image locks between a and b were not seen to work in {IMAGES}")


def test_storage_that_was_not_asked_because_the_inventory_does_not_say_so_is_named() -> None:
    storage = (Storage(path=IMAGES, shared="nfs"), Storage(path=LOCAL))
    switch, why = choose(case_of(build_vm("web"), storage=storage, locked_storage=()))
    assert (switch, why) == (Switch.GUARDED, f"the inventory does not say `locks: true` of {IMAGES}")


def test_before_the_pair_is_read_nothing_is_believed() -> None:
    vm = build_vm("web")
    hosts = [(build_host(name, storage=LOCKS), build_facts(name, [vm] if name == "a" else [])) for name in "ab"]
    assert choose(Fleet(build_snapshot(hosts, pairs=[])).case(vm, "a", "b", MigrationMode.LIVE))[0] is Switch.GUARDED


DISKS: dict[str, tuple[dict[str, Any], str]] = {
    "shareable": ({"is_shareable": True}, "disk vdb is shareable: QEMU does not lock it"),
    "transient": ({"is_transient": True}, "disk vdb is transient"),
    "of the network": ({"kind": DiskKind.NETWORK, "source": "rbd://ceph/web"}, "disk vdb is no image file"),
    "on local storage": ({"source": f"{LOCAL}/b.qcow2"}, "the inventory does not say `locks: true`"),
    "elsewhere": ({"source": "/mnt/other/b.qcow2"}, "the inventory does not say `locks: true` of /mnt/other"),
}


@pytest.mark.parametrize(("fields", "because"), DISKS.values(), ids=DISKS)
def test_one_disk_without_a_lock_is_enough_for_the_guard(fields: dict[str, Any], because: str) -> None:
    other = build_disk(target="vdb", **{"source": f"{IMAGES}/b.qcow2", **fields})
    switch, why = choose(case_of(build_vm("web", disks=(build_disk(f"{IMAGES}/a.qcow2"), other))))
    assert switch is Switch.GUARDED and because in why


def test_a_device_has_no_lock_between_hosts_even_below_a_marker() -> None:
    vm = build_vm("web")
    path = vm.disks[0].source or ""
    device = {path: FileFacts(path=path, size_bytes=1, allocated_bytes=0, is_block=True)}
    switch, why = choose(case_of(vm, source_files=device))
    assert switch is Switch.GUARDED and "image locks end at the host" in why


@pytest.mark.parametrize(
    "disks",
    [
        (),
        (build_disk(f"{IMAGES}/a.iso", device="cdrom", is_readonly=True),),
        (build_disk(f"{IMAGES}/a.img", "fda", device="floppy"),),
        (build_disk(f"{IMAGES}/a.qcow2", is_readonly=True),),
    ],
)
def test_a_vm_that_writes_to_no_disk_is_always_guarded(disks: tuple[Any, ...]) -> None:
    switch, why = choose(case_of(build_vm("web", disks=disks)))
    assert (switch, why) == (Switch.GUARDED, "it has no disk whose image lock could stop a second copy")


def test_read_only_disks_need_no_lock() -> None:
    disks = (build_disk(f"{IMAGES}/a.qcow2"), build_disk("/iso/a.iso", "sda", device="cdrom", is_readonly=True))
    assert choose(case_of(build_vm("web", disks=disks)))[0] is Switch.LIBVIRT


def test_a_mount_below_the_proved_directory_is_another_one() -> None:
    vm = build_vm("web", disks=(build_disk(f"{IMAGES}/deep/a.qcow2"),))
    pair: dict[str, Any] = {"same_storage": (IMAGES, f"{IMAGES}/deep"), "locked_storage": (IMAGES,)}
    assert choose(case_of(vm, **pair))[0] is Switch.GUARDED
    assert choose(case_of(vm, **{**pair, "locked_storage": (f"{IMAGES}/deep",)}))[0] is Switch.LIBVIRT


def test_a_disk_that_gets_another_place_needs_the_lock_there() -> None:
    vm = build_vm("web")
    case = case_of(vm)
    moved = vm.model_copy(update={"disks": (build_disk(f"{LOCAL}/web.qcow2"),)})
    assert choose(case)[0] is Switch.LIBVIRT
    hosts = Fleet(build_snapshot([(side.host, side.facts) for side in (case.source, case.dest)], pairs=[_pair(case)]))
    assert choose(hosts.case(vm, "a", "b", MigrationMode.LIVE, moved))[0] is Switch.GUARDED


def _pair(case: Case) -> PairFacts:
    assert case.pair is not None
    return case.pair


@pytest.mark.parametrize("kind", ["qemu:commandline", "qemu:override"])
def test_arguments_of_its_own_for_qemu_may_change_the_locks(kind: str) -> None:
    """A property `share-rw` is enough."""
    switch, why = choose(case_of(build_vm("web", devices=(Device(kind=kind, detail="-set"),))))
    assert switch is Switch.GUARDED and kind in why


def test_paused_and_shut_off_vms_are_never_let_run_by_libvirt() -> None:
    paused = case_of(build_vm("web", state=DomainState.PAUSED), mode=MigrationMode.NON_LIVE)
    assert choose(paused) == (Switch.GUARDED, "the VM is paused and arrives so")
    off = case_of(build_vm("web", state=DomainState.SHUTOFF), mode=MigrationMode.OFFLINE)
    assert choose(off)[0] is Switch.GUARDED


def test_post_copy_is_libvirts_own_for_live_moves_only() -> None:
    vm = build_vm("web", disks=())
    assert choose(case_of(vm), PolicyName.POST_COPY)[0] is Switch.POSTCOPY
    assert choose(case_of(vm, mode=MigrationMode.NON_LIVE), PolicyName.POST_COPY)[0] is Switch.GUARDED
    paused = build_vm("web", disks=(), state=DomainState.PAUSED)
    assert choose(case_of(paused), PolicyName.POST_COPY)[0] is Switch.GUARDED
