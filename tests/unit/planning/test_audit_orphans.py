"""Files that no domain names: a file in use is never called a leftover, and doubt is told as doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.builders import (
    GIB,
    IMAGES,
    LOCAL,
    NOW,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_vm,
)
from vmferry.model.audit import FileKind, Listing, OrphanFile
from vmferry.model.disks import FileCopy
from vmferry.model.facts import Mount, Pool, StoredFile, SystemFacts
from vmferry.model.host import FleetSnapshot, Host, HostFacts, Storage
from vmferry.model.migration import MigrationPlan
from vmferry.model.vm import Device, DiskKind, Vm
from vmferry.planning.orphans import find_orphans
from vmferry.rules.case import Fleet
from vmferry.steps.storage import aside_path, staging_path

OLD_S = int(NOW.timestamp()) - 30 * 86400
EXT4 = SystemFacts(mounts=(Mount(path="/", source="/dev/sda1", fstype="ext4"),))


def stored(*paths: str, host: str = "kvm1", modified_at_s: int = OLD_S, allocated_bytes: int = GIB) -> Listing:
    given = {"size_bytes": 2 * GIB, "allocated_bytes": allocated_bytes, "modified_at_s": modified_at_s}
    return Listing(host=host, directories=(IMAGES,), files=tuple(StoredFile(path=path, **given) for path in paths))


def fleet(vms: dict[str, Sequence[Vm]], lost: Sequence[str] = (), **given: Any) -> FleetSnapshot:
    """Hosts with VMs, their own directories on ext4; those lost were not read."""
    hosts: list[tuple[Host, HostFacts | None]] = [
        (build_host(name), build_facts(name, there, system=given.get("system", EXT4), pools=given.get("pools", ())))
        for name, there in vms.items()
    ]
    rest = {key: value for key, value in given.items() if key not in ("system", "pools")}
    return build_snapshot([*hosts, *((build_host(name), None) for name in lost)], **rest)


def find(snapshot: FleetSnapshot, *listings: Listing) -> dict[str, FileKind]:
    return {file.path: file.kind for file in orphans(snapshot, *listings)}


def orphans(snapshot: FleetSnapshot, *listings: Listing) -> tuple[OrphanFile, ...]:
    return find_orphans(Fleet(snapshot), listings)


def device(kind: str, **attributes: str) -> tuple[Device, ...]:
    return (Device(kind=kind, detail="x", attributes=attributes),)


def test_a_file_that_nobody_names_is_a_leftover() -> None:
    (found,) = orphans(fleet({"kvm1": [build_vm("a")]}), stored(f"{IMAGES}/a.qcow2", f"{IMAGES}/gone.qcow2"))
    assert (found.kind, found.host, found.path) == (FileKind.LEFTOVER, "kvm1", f"{IMAGES}/gone.qcow2")
    assert (found.group, found.size_bytes, found.allocated_bytes) == ("cargo-bay", 2 * GIB, GIB)


FILE = f"{IMAGES}/x.img"
# Every way in which a domain names a file.
NAMING: dict[str, Vm] = {
    "a disk": build_vm("a", disks=(build_disk(FILE),)),
    "a disk of a VM that is shut off": build_off_vm("a", disks=(build_disk(FILE),)),
    "a backing file": build_vm("a", disks=(build_disk(backing=(f"{IMAGES}/mid", FILE)),)),
    "media": build_vm("a", disks=(build_disk(FILE, device="cdrom", is_readonly=True),)),
    "NVRAM": build_vm("a", nvram=FILE),
    "a volume": build_vm("a", disks=(build_disk("default/x.img", kind=DiskKind.VOLUME, pool="default"),)),
    "a kernel": build_vm("a", devices=device("kernel", path=FILE)),
    "an initrd": build_vm("a", devices=device("initrd", path=FILE)),
    "a log": build_vm("a", devices=device("serial", log=FILE)),
    "the firmware": build_vm("a", firmware=FILE),
    "a directory shared with the guest": build_vm("a", devices=device("filesystem", source=IMAGES)),
    "a directory as a disk": build_vm("a", disks=(build_disk(IMAGES, kind=DiskKind.DIR),)),
    "a copy job": build_vm("a", devices=device("mirror", path=FILE)),
}


@pytest.mark.parametrize("vm", NAMING.values(), ids=NAMING)
def test_a_file_that_a_domain_names_is_in_use(vm: Vm) -> None:
    pools = (Pool(name="default", kind="dir", target=IMAGES),)
    assert find(fleet({"kvm1": [vm]}, pools=pools), stored(FILE)) == {}


def test_a_file_on_shared_storage_may_be_used_by_any_host() -> None:
    assert find(fleet({"kvm1": [], "kvm2": [build_vm("a")]}), stored(f"{IMAGES}/a.qcow2")) == {}


def test_a_shared_group_may_lie_elsewhere_on_another_host() -> None:
    elsewhere = build_host("kvm2", storage=(Storage(path="/mnt/vms", shared="cargo-bay"),))
    there = build_facts("kvm2", [build_vm("a", disks=(build_disk("/mnt/vms/a.qcow2"),))])
    snapshot = build_snapshot([(build_host("kvm1"), build_facts("kvm1")), (elsewhere, there)])
    assert find(snapshot, stored(f"{IMAGES}/a.qcow2", f"{IMAGES}/b.qcow2")) == {f"{IMAGES}/b.qcow2": FileKind.LEFTOVER}


def test_an_equal_path_on_a_local_file_system_of_another_host_is_another_file() -> None:
    vm = build_vm("a", disks=(build_disk(f"{LOCAL}/a.qcow2"),))
    (found,) = orphans(fleet({"kvm1": [], "kvm2": [vm]}), stored(f"{LOCAL}/a.qcow2"))
    assert (found.kind, found.detail) == (FileKind.LEFTOVER, "named like vm a on kvm2")


def test_a_directory_that_the_inventory_does_not_share_but_a_marker_proved_is_shared() -> None:
    vm = build_vm("a", disks=(build_disk(f"{LOCAL}/a.qcow2"),))
    pairs = [build_pair("kvm2", "kvm1", same_storage=(LOCAL,))]
    assert find(fleet({"kvm1": [], "kvm2": [vm]}, pairs=pairs), stored(f"{LOCAL}/a.qcow2")) == {}


def test_a_mount_of_one_server_is_one_place_without_any_proof() -> None:
    nfs = SystemFacts(mounts=(Mount(path=LOCAL, source="filer:/vms", fstype="nfs4"),))
    vm = build_vm("a", disks=(build_disk(f"{LOCAL}/a.qcow2"),))
    snapshot = fleet({"kvm1": [], "kvm2": [vm]}, system=nfs, pairs=[])
    assert find(snapshot, stored(f"{LOCAL}/a.qcow2")) == {}


def test_a_file_is_undecided_while_nobody_knows_what_lies_behind_an_equal_path() -> None:
    vm = build_vm("a", disks=(build_disk(f"{LOCAL}/a.qcow2"),))
    snapshot = fleet({"kvm1": [], "kvm2": [vm]}, system=SystemFacts(), pairs=[])
    (found,) = orphans(snapshot, stored(f"{LOCAL}/a.qcow2"))
    assert found.kind is FileKind.UNDECIDED
    assert found.detail == "kvm2 uses the same path, and nobody proved that it is another file"


def test_a_host_that_was_not_read_may_use_what_it_shares() -> None:
    found = orphans(fleet({"kvm1": []}, lost=["kvm4"]), stored(f"{IMAGES}/x.qcow2", f"{LOCAL}/x.qcow2"))
    assert [(f.path, f.kind, f.detail) for f in found] == [
        (f"{LOCAL}/x.qcow2", FileKind.LEFTOVER, ""),
        (f"{IMAGES}/x.qcow2", FileKind.UNDECIDED, "kvm4 was not read"),
    ]


def test_a_host_that_was_not_read_may_use_what_is_not_known_to_be_local() -> None:
    snapshot = fleet({"kvm1": []}, lost=["kvm4"], system=SystemFacts())
    assert find(snapshot, stored(f"{LOCAL}/x.qcow2")) == {f"{LOCAL}/x.qcow2": FileKind.UNDECIDED}


def test_a_domain_that_could_not_be_read_may_name_any_file_that_its_host_sees() -> None:
    snapshot = fleet({"kvm1": [], "kvm2": [build_vm("odd", problems=("no name",), disks=())]})
    found = orphans(snapshot, stored(f"{IMAGES}/x.qcow2", f"{LOCAL}/x.qcow2"))
    assert {f.path: f.kind for f in found} == {
        f"{IMAGES}/x.qcow2": FileKind.UNDECIDED,
        f"{LOCAL}/x.qcow2": FileKind.LEFTOVER,
    }
    assert found[-1].detail == "the XML of vm odd on kvm2 could not be read"


def test_an_image_whose_chain_is_unknown_may_build_on_any_file_that_its_host_sees() -> None:
    vm = build_off_vm("a", disks=(build_disk(f"{IMAGES}/a.qcow2", is_chain_known=False),))
    assert find(fleet({"kvm1": [vm]}), stored(f"{IMAGES}/base.qcow2")) == {f"{IMAGES}/base.qcow2": FileKind.UNDECIDED}


def test_a_volume_of_a_pool_without_paths_may_be_any_file_of_its_name() -> None:
    vm = build_vm("a", disks=(build_disk("gone/x.qcow2", kind=DiskKind.VOLUME, pool="gone"),))
    found = find(fleet({"kvm1": [vm]}), stored(f"{IMAGES}/x.qcow2", f"{IMAGES}/y.qcow2"))
    assert found == {f"{IMAGES}/x.qcow2": FileKind.UNDECIDED, f"{IMAGES}/y.qcow2": FileKind.LEFTOVER}


def made_by_a_run(run: str) -> tuple[str, str]:
    """Return what vmferry's own steps call a staged and a set-aside file."""
    plan = MigrationPlan.model_construct(run=run)
    copy = FileCopy(source_path=f"{LOCAL}/a.qcow2", dest_path=f"{LOCAL}/a.qcow2", size_bytes=1, allocated_bytes=1)
    return staging_path(plan, copy), aside_path(plan, copy)


def test_vmferrys_own_files_are_told_apart_with_their_run() -> None:
    staged, aside = made_by_a_run("20260301-a-x7")
    found = orphans(fleet({"kvm1": []}), stored(staged, aside))
    assert {f.path: (f.kind, f.run) for f in found} == {
        staged: (FileKind.STAGED, "20260301-a-x7"),
        aside: (FileKind.SET_ASIDE, "20260301-a-x7"),
    }


def test_files_of_a_run_that_is_not_settled_are_in_work() -> None:
    staged, aside = made_by_a_run("run-1")
    snapshot = fleet({"kvm1": []}, open_runs={str(build_vm("a").uuid): "run-1"})
    assert set(find(snapshot, stored(staged, aside)).values()) == {FileKind.IN_WORK}


def test_a_set_aside_file_that_a_domain_names_is_in_use() -> None:
    _, aside = made_by_a_run("run-1")
    assert find(fleet({"kvm1": [build_vm("a", disks=(build_disk(aside),))]}), stored(aside)) == {}


def test_media_in_no_drive_are_no_leftovers() -> None:
    assert find(fleet({"kvm1": []}), stored(f"{IMAGES}/debian.ISO")) == {f"{IMAGES}/debian.ISO": FileKind.MEDIA}


def test_a_young_file_is_told_as_young() -> None:
    (found,) = orphans(fleet({"kvm1": []}), stored(FILE, modified_at_s=int(NOW.timestamp()) - 60))
    assert "perhaps its domain is not defined yet" in found.detail


def test_a_file_that_two_hosts_list_is_told_once() -> None:
    snapshot = fleet({"kvm1": [], "kvm2": []})
    assert [f.host for f in orphans(snapshot, stored(FILE), stored(FILE, host="kvm2"))] == ["kvm1"]


def test_the_largest_comes_first_within_its_kind() -> None:
    listings = (stored(f"{IMAGES}/small", allocated_bytes=1), stored(f"{IMAGES}/z.iso"), stored(f"{IMAGES}/large"))
    assert list(find(fleet({"kvm1": []}), *listings)) == [f"{IMAGES}/large", f"{IMAGES}/small", f"{IMAGES}/z.iso"]
