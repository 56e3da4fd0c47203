"""Cases of the rules in vmferry/rules/storage.py."""

from __future__ import annotations

from tests.unit.builders import (
    IMAGES,
    LOCAL,
    build_disk,
    build_pair,
    build_vm,
)
from tests.unit.rules.cases.making import DEST, DISK4, SOURCE, Makers, make, off, on, with_disk
from vmferry.model.host import Storage
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import Disk, DiskKind

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "storage-not-shared": (
        (
            lambda: with_disk(source=f"{LOCAL}/a.qcow2"),
            lambda: make(pair=build_pair(SOURCE, DEST, same_storage=())),
            lambda: make(pair=None, dest_host={"storage": (Storage(path=IMAGES, shared="other"),)}),
            lambda: make(changes=DomainChanges(disk_sources={"vda": "/elsewhere/wanderer1.qcow2"})),
        ),
        (
            on,
            lambda: make(pair=None),
            lambda: with_disk(kind=DiskKind.NETWORK, source="rbd://pool/a"),
            lambda: make(
                dest_host={"storage": (Storage(path="/mnt/images", shared="cargo-bay"),)},
                changes=DomainChanges(disk_sources={"vda": "/mnt/images/wanderer1.qcow2"}),
            ),
        ),
    ),
    "storage-not-proved": (
        (lambda: make(pair=build_pair(SOURCE, DEST, same_storage=())),),
        (on, lambda: make(pair=None), lambda: with_disk(source=f"{LOCAL}/a.qcow2")),
    ),
    "block-device": (
        (
            lambda: with_disk(kind=DiskKind.BLOCK, source="/dev/vg0/a"),
            lambda: off(disks=(build_disk("/dev/vg0/a", kind=DiskKind.BLOCK),)),
        ),
        (
            on,
            lambda: make(
                build_vm(disks=(build_disk("/dev/disk/by-id/wwn-1", kind=DiskKind.BLOCK),)),
                pair=build_pair(SOURCE, DEST, same_storage=("/dev/disk/by-id/wwn-1",)),
            ),
        ),
    ),
    "backing-chain": (
        (
            lambda: with_disk(backing=(f"{LOCAL}/base.qcow2",)),
            lambda: off(disks=(build_disk(DISK4, backing=("/b",)),)),
        ),
        (on, lambda: with_disk(backing=(f"{IMAGES}/base.qcow2", "nbd://store/base"))),
    ),
    "local-media": (
        (
            lambda: with_disk(target="sda", device="cdrom", source=f"{LOCAL}/rescue.iso"),
            lambda: with_disk(target="fda", device="floppy", source="/root/floppy.img"),
            lambda: off(disks=(build_disk(f"{LOCAL}/rescue.iso", target="sda", device="cdrom"),)),
        ),
        (
            lambda: on(disks=(Disk(target="sda", kind=DiskKind.FILE, device="cdrom"),)),
            lambda: with_disk(target="sda", device="cdrom", source=f"{IMAGES}/rescue.iso"),
        ),
    ),
    "cache-mode": (
        (
            lambda: make(build_vm(disks=(build_disk(cache="writeback"),)), source={"qemu_version": 2_012_000}),
            lambda: make(build_vm(disks=(build_disk(cache=None),)), source={"qemu_version": 3_001_000}),
        ),
        (
            lambda: with_disk(cache="writeback"),
            lambda: make(build_vm(disks=(build_disk(cache="directsync"),)), source={"qemu_version": 2_012_000}),
            lambda: make(
                build_vm(disks=(build_disk(cache="writeback", is_readonly=True),)),
                source={"qemu_version": 2_012_000},
            ),
            lambda: make(
                build_vm(disks=(build_disk(cache="writeback", is_shareable=True),)),
                source={"qemu_version": 2_012_000},
            ),
        ),
    ),
    "volume-disk": ((lambda: with_disk(kind=DiskKind.VOLUME, source="pool/vol"),), (on,)),
    "disk-kind": (
        tuple(
            (lambda kind=kind: with_disk(kind=kind))
            for kind in (DiskKind.DIR, DiskKind.NVME, DiskKind.VHOSTUSER, DiskKind.VHOSTVDPA, DiskKind.OTHER)
        ),
        (on, lambda: with_disk(kind=DiskKind.NETWORK)),
    ),
    "transient-disk": (
        (lambda: with_disk(is_transient=True),),
        (on, lambda: off(disks=(build_disk(is_transient=True),))),
    ),
}
