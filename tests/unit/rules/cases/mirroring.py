"""Cases of the rules in vmferry/rules/mirroring.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import GIB, LOCAL, build_disk, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, RHEL8, SOURCE, Makers, make
from vmferry.model.facts import FileFacts, ImageFacts
from vmferry.model.host import Reservation
from vmferry.model.migration import DomainChanges
from vmferry.model.transport import Encryption
from vmferry.model.vm import Disk, Vm
from vmferry.rules.case import Case

DISK = f"{LOCAL}/wanderer1.qcow2"
BASE = f"{LOCAL}/golden.qcow2"
PRIVATE: dict[str, Any] = {
    "encryption": Encryption.NONE,
    "plain_networks": ("10.20.0.0/24",),
    "migration_address": "10.20.0.1",
}


def image(path: str = DISK, **fields: Any) -> ImageFacts:
    """A qcow2 image of 10 GiB that builds on nothing."""
    return ImageFacts(**{"path": path, "format": "qcow2", "virtual_bytes": 10 * GIB, **fields})


def overlay() -> tuple[Disk, ImageFacts]:
    """A disk on a base of its own host."""
    return build_disk(DISK, backing=(BASE,)), image(backing=BASE, backing_format="qcow2")


def mirror(
    disks: tuple[Disk, ...] | None = None,
    images: tuple[ImageFacts, ...] | None = None,
    *,
    dest_files: dict[str, FileFacts] | None = None,
    host: dict[str, Any] | None = None,
    others: tuple[Vm, ...] = (),
    **options: Any,
) -> Case:
    """A running VM on images of its own host, between hosts with a private network."""
    vm = build_vm(disks=disks or (build_disk(DISK),))
    given = images if images is not None else tuple(image(disk.source or "") for disk in vm.disks)
    paths = {path for disk in vm.disks for path in (disk.source or "", *disk.backing)}
    facts = {path: FileFacts(path=path, size_bytes=2 * GIB, allocated_bytes=GIB) for path in paths}
    pair = build_pair(SOURCE, DEST, (vm,), source_files=facts, dest_files=dest_files or {})
    entry = PRIVATE | (host or {})
    source = {"images": {one.path: one for one in given}}
    return make(vm, source=source, pair=pair, source_host=entry, dest_host=entry, others=others, **options)


def file_at(path: str, size_bytes: int = 2 * GIB) -> dict[str, FileFacts]:
    return {path: FileFacts(path=path, size_bytes=size_bytes, allocated_bytes=GIB)}


def with_overlay(**options: Any) -> Case:
    disk, facts = overlay()
    return mirror((disk,), (facts,), **options)


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "mirror-target-exists": (
        (
            lambda: mirror(dest_files=file_at(DISK)),
            lambda: mirror(
                dest_files=file_at(f"{LOCAL}/b.qcow2"), changes=DomainChanges(disk_sources={"vda": f"{LOCAL}/b.qcow2"})
            ),
        ),
        (
            mirror,
            lambda: mirror(dest_files=file_at(DISK), changes=DomainChanges(disk_sources={"vda": f"{LOCAL}/b.qcow2"})),
            lambda: mirror(dest_files=file_at(DISK), host=RHEL8),  # nothing is mirrored: storage-not-shared
            lambda: make(pair=None),
        ),
    ),
    "mirror-same-target": (
        (
            lambda: mirror(
                (build_disk(DISK), build_disk(f"{LOCAL}/b.qcow2", "vdb")),
                changes=DomainChanges(disk_sources={"vdb": DISK}),
            ),
            lambda: mirror(
                (overlay()[0], build_disk(f"{LOCAL}/b.qcow2", "vdb")),
                (overlay()[1], image(f"{LOCAL}/b.qcow2")),
                changes=DomainChanges(disk_sources={"vdb": BASE}),
            ),
        ),
        (mirror, lambda: mirror((build_disk(DISK), build_disk(f"{LOCAL}/b.qcow2", "vdb")))),
    ),
    "mirror-directory": (
        (
            lambda: mirror(changes=DomainChanges(disk_sources={"vda": "/elsewhere/a.qcow2"})),
            lambda: mirror(dest={"storage_free_bytes": {}}),
        ),
        (mirror, with_overlay),
    ),
    "mirror-space": (
        (
            lambda: mirror(dest={"storage_free_bytes": {LOCAL: GIB - 1}}),
            lambda: with_overlay(dest={"storage_free_bytes": {LOCAL: 2 * GIB - 1}}),
            lambda: mirror(
                dest={"storage_free_bytes": {LOCAL: 2 * GIB}},
                reserved={DEST: Reservation(disk_bytes={LOCAL: GIB + 1})},
            ),
        ),
        (
            lambda: mirror(dest={"storage_free_bytes": {LOCAL: GIB}}),
            lambda: with_overlay(dest={"storage_free_bytes": {LOCAL: 2 * GIB}}),
        ),
    ),
    "mirror-in-use": (
        (lambda: mirror(others=(build_vm("clone", disks=(build_disk(DISK),)),)),),
        # a base that others use stays where it is
        (mirror, lambda: with_overlay(others=(build_vm("clone", disks=(build_disk("/x", backing=(BASE,)),)),))),
    ),
    "mirror-encryption": (
        (
            lambda: mirror(host={"encryption": Encryption.TUNNELLED}),
            lambda: mirror(host={"encryption": Encryption.AUTO}),  # no certificates
            lambda: mirror(host={"plain_networks": ()}),
        ),
        (mirror, lambda: make(source_host={"encryption": Encryption.TUNNELLED})),
    ),
}
