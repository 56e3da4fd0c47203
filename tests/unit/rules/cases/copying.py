"""Cases of the rules in vmferry/rules/copying.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import (
    GIB,
    LOCAL,
    build_disk,
    build_files,
    build_off_vm,
    build_pair,
    build_vm,
)
from tests.unit.rules.cases.making import DEST, DISK4, SOURCE, THERE, Makers, make, off, off_pair
from tests.unit.rules.cases.real import block_disk, captured, file_disk, volume_disk, written, xml_vm
from vmferry.model.facts import FileFacts, Pool
from vmferry.model.host import Reservation
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import Device
from vmferry.rules.case import Case

BASE = f"{LOCAL}/base.qcow2"


def layered(there: int | None = None, **case: Any) -> Case:
    """A VM that is shut off, on an image that builds on another of 2 bytes; `there`: the destination's has so many."""
    seen = {path: FileFacts(path=path, size_bytes=2, allocated_bytes=2) for path in (DISK4, BASE)}
    dest_files = {} if there is None else {BASE: FileFacts(path=BASE, size_bytes=there, allocated_bytes=2)}
    pair = off_pair(source_files=seen, dest_files=dest_files)
    return make(build_off_vm(disks=(build_disk(DISK4, backing=(BASE,)),)), pair=pair, **case)


def on_device(available: int | None = None, *, is_there: bool = False, **case: Any) -> Case:
    """A VM that is shut off, on a logical volume of 1 GiB, of which `stat` tells no blocks."""
    path = "/dev/vg0/vm1"
    seen = {path: FileFacts(path=path, size_bytes=GIB, allocated_bytes=0, is_block=True, device_id="here")}
    pool = Pool(name="vg", kind="logical", target="/dev/vg0", available_bytes=available)
    pair = build_pair(SOURCE, DEST, source_files=seen, dest_files=seen if is_there else {})
    if is_there:
        pair = pair.model_copy(update={"dest_files": {path: seen[path].model_copy(update={"device_id": "there"})}})
    return written(block_disk(path), is_off=True, pair=pair, dest={"pools": (pool,)}, **case)


def unseen_tpm() -> Case:
    """The directory of the TPM's state is there, and nothing is seen in it."""
    vm = build_off_vm(devices=(Device(kind="tpm", detail="emulator", attributes={"type": "emulator"}),))
    path = f"/var/lib/libvirt/swtpm/{vm.uuid}"
    files = {path: FileFacts(path=path, size_bytes=0, allocated_bytes=0)}
    seen = {**build_files((vm,)), **files}
    return make(vm, pair=build_pair(SOURCE, DEST, (vm,), source_files=seen))


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "copy-target-exists": (
        (
            lambda: make(build_off_vm(), pair=off_pair(dest_files={DISK4: THERE})),
            lambda: written(file_disk(DISK4), is_off=True, pair=build_pair(SOURCE, DEST, dest_files={DISK4: THERE})),
            # a layer of another size; one of the same size that a VM there writes to
            lambda: layered(there=3),
            lambda: layered(there=2, dest={"vms": (build_vm("writer", disks=(build_disk(BASE),)),)}),
            lambda: on_device(is_there=True),
        ),
        (
            off,
            lambda: make(build_off_vm(), pair=None),
            lambda: layered(there=2),
            lambda: on_device(),
            # shared: the file seen there is the VM's own
            lambda: make(build_off_vm(), pair=off_pair(same_storage=(LOCAL,), dest_files={DISK4: THERE})),
        ),
    ),
    "copy-directory": (
        (
            lambda: off(disks=(build_disk("/elsewhere/a.qcow2"),)),
            lambda: make(build_off_vm(), dest={"storage_free_bytes": {}}),
            lambda: off(nvram="/elsewhere/vars.fd"),
            lambda: captured("firmware-manual-efi-nvram-file", is_off=True, dest={"storage_free_bytes": {}}),
        ),
        (off, lambda: off(nvram="/var/lib/libvirt/qemu/nvram/wanderer4_VARS.fd"), lambda: off(disks=())),
    ),
    "copy-source-missing": (
        (lambda: make(build_off_vm(), pair=off_pair(source_files={})), lambda: unseen_tpm()),
        (off, lambda: make(build_off_vm(), pair=None)),
    ),
    "copy-block-device": (
        (
            lambda: make(
                build_off_vm(),
                pair=off_pair(
                    source_files={DISK4: FileFacts(path=DISK4, size_bytes=1, allocated_bytes=1, is_block=True)}
                ),
            ),
            # a file that is to become a device which no pool makes
            lambda: make(build_off_vm(), changes=DomainChanges(disk_sources={"vda": "/dev/vg0/vm1"})),
        ),
        (off, lambda: on_device()),
    ),
    "copy-space": (
        (
            lambda: on_device(available=GIB - 1),
            lambda: on_device(available=2 * GIB, reserved={DEST: Reservation(disk_bytes={"/dev/vg0": GIB + 1})}),
            lambda: make(build_off_vm(), dest={"storage_free_bytes": {LOCAL: GIB - 1}}),
            # 2 GiB are free, of which open runs will take one byte too much
            lambda: make(
                build_off_vm(),
                dest={"storage_free_bytes": {LOCAL: 2 * GIB}},
                reserved={DEST: Reservation(disk_bytes={f"{LOCAL}/deep": GIB + 1})},
            ),
            lambda: make(
                build_off_vm(disks=(build_disk(DISK4), build_disk(f"{LOCAL}/b.qcow2", "vdb"))),
                dest={"storage_free_bytes": {LOCAL: 2 * GIB - 1}},
            ),
            # two directories of one file system
            lambda: make(
                build_off_vm(disks=(build_disk(DISK4), build_disk("/srv/b/b.qcow2", "vdb"))),
                dest={"storage_free_bytes": {LOCAL: GIB, "/srv/b": GIB}},
            ),
        ),
        (
            off,
            lambda: on_device(available=GIB),
            lambda: on_device(available=2 * GIB, reserved={DEST: Reservation(disk_bytes={"/dev/vg0": GIB})}),
            # what open runs put into a volume group takes no room in directories
            lambda: make(
                build_off_vm(),
                dest={
                    "storage_free_bytes": {LOCAL: GIB},
                    "pools": (Pool(name="vg", kind="logical", target="/dev/vg0"),),
                },
                reserved={DEST: Reservation(disk_bytes={"/dev/vg0": GIB})},
            ),
            lambda: make(build_off_vm(), dest={"storage_free_bytes": {LOCAL: GIB}}),
            lambda: make(
                build_off_vm(),
                dest={"storage_free_bytes": {LOCAL: 2 * GIB}},
                reserved={DEST: Reservation(disk_bytes={LOCAL: GIB}), SOURCE: Reservation(disk_bytes={LOCAL: GIB})},
            ),
            lambda: make(
                build_off_vm(disks=(build_disk(DISK4), build_disk("/srv/b/b.qcow2", "vdb"))),
                dest={"storage_free_bytes": {LOCAL: GIB, "/srv/b": GIB + 1}},
            ),
        ),
    ),
    "copy-file-in-use": (
        (
            lambda: make(build_off_vm(), others=(build_off_vm("clone", disks=(build_disk(DISK4),)),)),
            lambda: make(build_off_vm(), others=(build_vm("clone", disks=(build_disk(backing=(DISK4,)),)),)),
            # a common layer that another VM may write to
            lambda: layered(others=(build_vm("writer", disks=(build_disk(BASE),)),)),
            # as a volume of a pool
            lambda: make(
                build_off_vm(),
                others=(xml_vm(volume_disk("local", "wanderer4.qcow2")),),
                source={"pools": (Pool(name="local", kind="dir", target=LOCAL),)},
            ),
        ),
        (
            off,
            lambda: make(build_off_vm(), others=(build_off_vm("wanderer5"),)),
            # a common layer stays in its place
            lambda: layered(others=(build_off_vm("wanderer5", disks=(build_disk(f"{LOCAL}/5", backing=(BASE,)),)),)),
        ),
    ),
    "copy-unread": ((lambda: make(build_off_vm(), pair=None),), (off,)),
}
