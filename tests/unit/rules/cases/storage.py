"""Cases of the rules in vmferry/rules/storage.py, volumes.py and mounts.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import GIB, IMAGES, LOCAL, build_disk, build_off_vm, build_pair, build_vm
from tests.unit.rules.cases import mounts, volumes
from tests.unit.rules.cases.making import DEST, DISK4, SOURCE, Makers, make, off, on, with_disk
from tests.unit.rules.cases.real import LOCAL_FILE, backing, block_disk, captured, file_disk, written
from vmferry.model.facts import FileFacts, Mount, Pool, SystemFacts
from vmferry.model.host import PairFacts, Storage
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import Disk, DiskKind
from vmferry.rules.case import Case

MNT = (Storage(path="/mnt/images", shared="cargo-bay"),)
LV = "LVM-06UgP52rhbw3BoMdRWeoLpytOSAa2ky6M1sjh4UkEtSPBxPSZUUXUwz8oPYVPn"
MD = "md-f7d5e1a0:0c2b4e11:9b1d3a52:7c6f8e90"
WWN = "naa.600140544a2f3b6c9e84d1fa0c7b1d22"
GROUP = Pool(name="vg", kind="logical", target="/dev/vg0")


def file_facts(path: str, **fields: Any) -> FileFacts:
    given: dict[str, Any] = {"size_bytes": 2 * GIB, "allocated_bytes": GIB, **fields}
    return FileFacts(path=path, **given)


def seen(path: str, here: dict[str, Any], there: dict[str, Any] | None, **fields: Any) -> PairFacts:
    """The pair with one file as each host shows it; None: it is not there."""
    return build_pair(
        SOURCE,
        DEST,
        source_files={path: file_facts(path, **here)},
        dest_files={} if there is None else {path: file_facts(path, **there)},
        **fields,
    )


def moved(there: dict[str, FileFacts]) -> Case:
    """The same storage, mounted somewhere else on the destination."""
    path = "/mnt/images/wanderer1.qcow2"
    pair = build_pair(SOURCE, DEST, (build_vm(),), dest_files=there)
    return make(pair=pair, dest_host={"storage": MNT}, changes=DomainChanges(disk_sources={"vda": path}))


def device(here: str, there: str | None, path: str = "/dev/vg0/vm1", **case: Any) -> Case:
    """A VM on a block device with these identities."""
    there_facts = None if there is None else {"is_block": True, "device_id": there, "size_bytes": 0}
    pair = seen(path, {"is_block": True, "device_id": here, "size_bytes": 0}, there_facts)
    return written(block_disk(path), pair=pair, **case)


def library(dest_mount: Mount | None = None, **there: Any) -> Case:
    """A VM with a medium from an ISO library that both hosts mount read-only from NFS: no marker can be made."""
    path = "/iso/rescue.iso"
    mount = Mount(path="/iso", source="nas:/iso", fstype="nfs4", options=("ro", "vers=4.2", "addr=10.0.0.9"))
    facts = {"inode": 77, "mtime_ns": 1_700_000_000_000_000_001, "size_bytes": 700 << 20}
    return written(
        file_disk(path, device="cdrom", target="sda"),
        pair=seen(path, facts, {**facts, **there}),
        source={"system": SystemFacts(mounts=(mount,))},
        dest={"system": SystemFacts(mounts=(dest_mount or mount,))},
    )


def nested(side: str) -> Case:
    """Something else is mounted below the directory that was proved to be shared."""
    path = f"{IMAGES}/fast/vm1.qcow2"
    roots = Mount(path=IMAGES, source="nas:/images", fstype="nfs4"), Mount(path=f"{IMAGES}/fast", source="/dev/sdb1",
                                                                        fstype="xfs")  # fmt: skip
    return written(file_disk(path), pair=seen(path, {}, {}), **{side: {"system": SystemFacts(mounts=roots)}})


def inodes(fstype: str) -> Case:
    """A link leads out of the shared directory: behind it each host has a file of its own."""
    path = f"{IMAGES}/vm1.qcow2"
    system = SystemFacts(mounts=(Mount(path=IMAGES, source="nas:/images", fstype=fstype),))
    return written(
        file_disk(path),
        pair=seen(path, {"inode": 5}, {"inode": 6}),
        source={"system": system},
        dest={"system": system},
    )


def off_to(path: str, **disk: Any) -> Case:
    """A VM that is shut off, whose disk gets another path."""
    vm = build_off_vm(disks=(build_disk(DISK4, **disk),))
    return make(vm, changes=DomainChanges(disk_sources={"vda": path}))


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "storage-not-shared": (
        (
            lambda: written(file_disk(LOCAL_FILE)),
            lambda: captured("disk-slices", pair=build_pair(SOURCE, DEST, same_storage=())),
            lambda: make(pair=build_pair(SOURCE, DEST, same_storage=())),
            lambda: make(pair=None, dest_host={"storage": (Storage(path=IMAGES, shared="other"),)}),
            lambda: make(changes=DomainChanges(disk_sources={"vda": "/elsewhere/wanderer1.qcow2"})),
            lambda: moved({}),
            # The share is mounted elsewhere there: the marker seen at /mnt/images says nothing about the old path.
            lambda: make(dest_host={"storage": MNT}),
            # The marker was seen, the image was not.
            lambda: make(pair=build_pair(SOURCE, DEST, (build_vm(),), dest_files={})),
            lambda: nested("source"),
            lambda: nested("dest"),
            lambda: inodes("nfs4"),
            # A link on shared storage to a device of each host.
            lambda: written(
                file_disk(), pair=seen(f"{IMAGES}/vm1.qcow2", {"is_block": True}, {"is_block": True, "device_id": LV})
            ),
        ),
        (
            lambda: written(file_disk()),
            on,
            lambda: make(pair=None),
            lambda: with_disk(kind=DiskKind.NETWORK, source="rbd://pool/a"),
            lambda: captured("disk-network-rbd"),
            lambda: moved({"/mnt/images/wanderer1.qcow2": file_facts("/mnt/images/wanderer1.qcow2")}),
            lambda: inodes("fuse.sshfs"),
        ),
    ),
    "different-file": (
        (
            lambda: written(file_disk(LOCAL_FILE), pair=seen(LOCAL_FILE, {"size_bytes": GIB}, {"size_bytes": 3 * GIB})),
            lambda: written(file_disk(inside=backing(f"{LOCAL}/base.qcow2")), pair=seen(f"{LOCAL}/base.qcow2", {}, {})),
            lambda: nested("dest"),
            lambda: inodes("nfs4"),
        ),
        (
            on,
            lambda: written(file_disk(LOCAL_FILE), pair=seen(LOCAL_FILE, {}, None)),
            # Nothing would run on it: `copy-target-exists` says so offline.
            lambda: written(file_disk(LOCAL_FILE), is_off=True, pair=seen(LOCAL_FILE, {}, {})),
        ),
    ),
    "storage-not-proved": (
        (
            lambda: make(pair=build_pair(SOURCE, DEST, same_storage=())),
            lambda: nested("dest"),
            lambda: device("", "", f"{IMAGES}/lun0"),
        ),
        (
            on,
            lambda: make(pair=None),
            lambda: with_disk(source=f"{LOCAL}/a.qcow2"),
            lambda: device(WWN, WWN, f"{IMAGES}/lun0"),
        ),
    ),
    "block-device": (
        (
            lambda: device(LV, None),
            lambda: device(LV, LV.replace("U", "V")),
            lambda: device("", ""),
            lambda: device(WWN, ""),
            # No pool of the destination makes such a device.
            lambda: device(LV, None, is_off=True),
            lambda: device(LV, None, is_off=True, dest={"pools": (GROUP.model_copy(update={"is_active": False}),)}),
            lambda: device(LV, None, is_off=True, dest={"pools": (GROUP.model_copy(update={"target": "/dev/vg1"}),)}),
            # Names that other devices bear too.
            lambda: device("t10.ATA     QEMU HARDDISK   QM00001", "t10.ATA     QEMU HARDDISK   QM00001"),
            lambda: device(MD, MD),
            lambda: device("CRYPT-PLAIN-vm1", "CRYPT-PLAIN-vm1"),
            lambda: written(block_disk(), pair=None),
            lambda: written(block_disk(), pair=build_pair(SOURCE, DEST, same_storage=("/dev",))),
            lambda: off(disks=(build_disk("/dev/vg0/a", kind=DiskKind.BLOCK),)),
            lambda: captured("disk-virtio-scsi-reservations"),
        ),
        (
            on,
            lambda: device(LV, LV),
            lambda: device(WWN, WWN, "/dev/disk/by-id/wwn-0x600140544a2f3b6c9e84d1fa0c7b1d22"),
            lambda: device(f"{WWN}-part1", f"{WWN}-part1"),
            lambda: device(LV, LV, is_off=True),
            # copied
            lambda: device(LV, None, is_off=True, dest={"pools": (GROUP,)}),
            lambda: device("", None, is_off=True, changes=DomainChanges(disk_sources={"vda": f"{LOCAL}/vm1.raw"})),
        ),
    ),
    "backing-chain": (
        (
            lambda: written(file_disk(inside=backing(f"{LOCAL}/base.qcow2"))),
            lambda: written(file_disk(inside=backing("/dev/vg0/base", "block", "dev"))),
            lambda: written(
                file_disk(inside=backing(f"{IMAGES}/base.qcow2")), pair=seen(f"{IMAGES}/base.qcow2", {}, None)
            ),
            lambda: with_disk(backing=("images/base.qcow2",)),  # a volume of a pool
            lambda: off(disks=(build_disk(DISK4, backing=("/dev/vg0/b",)),)),
            # its header may name the layer as beside itself
            lambda: off_to(f"{LOCAL}/deep/a.qcow2", backing=(f"{LOCAL}/base.qcow2",)),
            lambda: captured("backing-chains"),
        ),
        (
            on,
            lambda: written(file_disk(inside=backing(f"{IMAGES}/base.qcow2"))),
            lambda: off(disks=(build_disk(DISK4, backing=(f"{LOCAL}/base.qcow2",)),)),
            lambda: off_to(f"{LOCAL}/a.qcow2", backing=(f"{LOCAL}/base.qcow2",)),
            lambda: with_disk(backing=(f"{IMAGES}/base.qcow2", "nbd://store/base")),
        ),
    ),
    "backing-unread": (
        (lambda: off(disks=(build_disk(DISK4, is_chain_known=False),)),),
        (off, lambda: with_disk(is_chain_known=False)),
    ),
    "local-media": (
        (
            lambda: written(file_disk(f"{LOCAL}/rescue.iso", device="cdrom", target="sda")),
            lambda: with_disk(target="fda", device="floppy", source="/root/floppy.img"),
            lambda: off(disks=(build_disk(f"{LOCAL}/rescue.iso", target="sda", device="cdrom"),)),
            lambda: library(inode=78),
            lambda: library(mtime_ns=1),
            lambda: library(size_bytes=1),
            lambda: library(Mount(path="/iso", source="nas:/iso2", fstype="nfs4", options=("addr=10.0.0.9",))),
            lambda: library(Mount(path="/iso", source="nas:/iso", fstype="nfs4", options=("addr=10.0.0.8",))),
            lambda: library(Mount(path="/iso", source="/dev/sdb1", fstype="xfs", uuid="9f4b")),
            lambda: library(Mount(path="/", source="nas:/iso", fstype="nfs4", options=("addr=10.0.0.9",))),
        ),
        (
            lambda: on(disks=(Disk(target="sda", kind=DiskKind.FILE, device="cdrom"),)),
            lambda: with_disk(target="sda", device="cdrom", source=f"{IMAGES}/rescue.iso"),
            library,
        ),
    ),
    "cache-mode": (
        (
            lambda: make(build_vm(disks=(build_disk(cache="writeback"),)), source={"qemu_version": 2_012_000}),
            lambda: make(build_vm(disks=(build_disk(cache=None),)), source={"qemu_version": 3_001_000}),
            lambda: written(file_disk().replace(" cache='none'", ""), source={"qemu_version": 2_012_000}),
        ),
        (
            lambda: with_disk(cache="writeback"),
            lambda: written(file_disk(), source={"qemu_version": 2_012_000}),
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
    "disk-kind": (
        (
            *(
                (lambda kind=kind: with_disk(kind=kind))
                for kind in (DiskKind.DIR, DiskKind.NVME, DiskKind.VHOSTUSER, DiskKind.VHOSTVDPA, DiskKind.OTHER)
            ),
            lambda: captured("disk-nvme"),
            lambda: captured("disk-vhostuser", is_off=True),
        ),
        (on, lambda: with_disk(kind=DiskKind.NETWORK), lambda: captured("disk-network-rbd")),
    ),
    "transient-disk": (
        (lambda: written(file_disk(inside="<transient/>")),),
        (on, lambda: written(file_disk(LOCAL_FILE, inside="<transient/>"), is_off=True)),
    ),
    **volumes.CASES,
    **mounts.CASES,
}
