"""Rules about disks that both hosts must see (Table 9.1: live and non-live moves need shared storage)."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.vm import DiskKind
from vmferry.rules.case import Case
from vmferry.rules.compat import version_text
from vmferry.rules.rule import Rule, Scope, always, running
from vmferry.rules.sharing import is_declared_shared, is_media, is_shared
from vmferry.rules.sources import ALLOWED, IMAGES, SAFE

_UNKNOWN_KINDS = (DiskKind.DIR, DiskKind.NVME, DiskKind.VHOSTUSER, DiskKind.VHOSTVDPA, DiskKind.OTHER)
_NO_COPY = {
    Profile.RHEL8: "live storage migration cannot be performed (reference 9.3)",
    Profile.UPSTREAM: "copying storage of a running VM is not offered yet",
}
# QEMU drops the page cache of image files at the end of a migration since 4.0
# (qapi/block-core.json, BlockdevOptionsFile: drop-cache).
_QEMU_DROPS_CACHE = 4_000_000
_SAFE_CACHE = ("none", "directsync")


def not_shared(case: Case) -> Iterator[str]:
    """Every image of a running VM lies on storage that both hosts see, as disks are not copied live."""
    for disk in case.vm.disks:
        if disk.kind is not DiskKind.FILE or not disk.source or is_media(disk):
            continue
        if not is_shared(case, disk.source, case.dest_path(disk)):
            yield (
                f"vm {case.vm.name}: disk {disk.target} ({disk.source}) is not on storage shared by "
                f"{case.source.name} and {case.dest.name}; {_NO_COPY[case.profile]}; shut the VM down for an "
                "offline move, or move the disk to storage that both hosts share"
            )


def not_proved(case: Case) -> Iterator[str]:
    """What the inventory declares as shared was proved by a marker file: a mount may be missing."""
    if case.pair is None:
        return
    for disk in case.vm.disks:
        if not disk.is_local_path or not disk.source:
            continue
        dest_path = case.dest_path(disk)
        if is_declared_shared(case, disk.source, dest_path) and not case.pair.is_same_storage(disk.source):
            storage = case.source.host.storage_of(disk.source)
            group, path = (storage.shared, storage.path) if storage else ("?", disk.source)
            yield (
                f"vm {case.vm.name}: the inventory says that {path} is shared (group {group}), but a marker "
                f"file made on {case.source.name} was not seen on {case.dest.name}; check `findmnt -T "
                f"{path}` on both"
            )


def block_device(case: Case) -> Iterator[str]:
    """A block device is proved to be the same on both hosts; libvirt never asks."""
    for disk in case.vm.disks:
        if disk.kind is not DiskKind.BLOCK or not disk.source or is_media(disk):
            continue
        dest_path = case.dest_path(disk)
        if case.pair is None or dest_path != disk.source or not case.pair.is_same_storage(disk.source):
            yield (
                f"vm {case.vm.name}: disk {disk.target} is the block device {disk.source}; vmferry cannot "
                f"prove that {case.dest.name} has the same one (compare `lsblk -o NAME,WWN {disk.source}` on "
                "both) and does not copy block devices; use network storage or an image file on shared "
                "storage"
            )


def backing_chain(case: Case) -> Iterator[str]:
    """Every backing file is seen by both hosts; chains are not copied yet."""
    for disk in case.vm.disks:
        for path in disk.backing:
            if path.startswith("/") and not is_shared(case, path, path):
                yield (
                    f"vm {case.vm.name}: disk {disk.target} builds on {path}, which {case.source.name} and "
                    f"{case.dest.name} do not share; flatten it: `virsh -c {case.source.host.uri} blockpull "
                    f"{case.vm.name} {disk.target} --wait`, or for a shut-off VM `qemu-img convert` to a "
                    "single file"
                )


def local_media(case: Case) -> Iterator[str]:
    """No drive holds media of the source only."""
    for disk in case.vm.disks:
        if not is_media(disk) or not disk.is_local_path or not disk.source:
            continue
        if not is_shared(case, disk.source, case.dest_path(disk)):
            how = "--config" if case.is_offline else "--live"
            yield (
                f"vm {case.vm.name}: {disk.device} {disk.target} holds {disk.source}, which is on "
                f"{case.source.name} only; eject it: `virsh -c {case.source.host.uri} change-media "
                f"{case.vm.name} {disk.target} --eject {how}`"
            )


def cache_mode(case: Case) -> Iterator[str]:
    """The cache mode lets libvirt call the move safe.

    As qemuMigrationSrcIsSafe: empty, read-only, network and shareable disks and cache none or directsync are
    safe; every other is safe once QEMU drops its caches itself.
    """
    if case.source.facts.qemu_version >= _QEMU_DROPS_CACHE:
        return
    for disk in case.vm.disks:
        if disk.source is None or disk.is_readonly or disk.is_shareable or disk.kind is DiskKind.NETWORK:
            continue
        if disk.cache not in _SAFE_CACHE:
            yield (
                f"vm {case.vm.name}: disk {disk.target} has cache mode {disk.cache or 'default'}; libvirt "
                f"with QEMU {version_text(case.source.facts.qemu_version)} (< 4.0) refuses to move it; set "
                f"cache='none' with `virsh edit {case.vm.name}` and restart the VM, or move it offline"
            )


def volume(case: Case) -> Iterator[str]:
    """No disk is named by pool and volume only: the pool may be something else on the destination."""
    for disk in case.vm.disks:
        if disk.kind is DiskKind.VOLUME:
            yield (
                f"vm {case.vm.name}: disk {disk.target} is volume {disk.source or '?'} of a libvirt pool; "
                f"vmferry does not resolve pools yet; use the path that `virsh -c {case.source.host.uri} "
                "vol-path` prints as a file disk"
            )


def unsupported_kind(case: Case) -> Iterator[str]:
    """No disk is of a kind that vmferry can neither prove to be shared nor copy."""
    for disk in case.vm.disks:
        if disk.kind in _UNKNOWN_KINDS:
            yield (
                f"vm {case.vm.name}: disk {disk.target} is of type {disk.kind} "
                f"({disk.source or 'no source'}), which cannot be moved; detach it with `virsh detach-disk "
                f"{case.vm.name} {disk.target}`"
            )


def transient_disk(case: Case) -> Iterator[str]:
    """No disk is marked transient: its overlay lives on the source only."""
    for disk in case.vm.disks:
        if disk.is_transient:
            yield (
                f"vm {case.vm.name}: disk {disk.target} is transient; libvirt refuses to migrate it; shut "
                "the VM down and move it offline"
            )


RULES: tuple[Rule, ...] = (
    Rule(
        "storage-not-shared",
        not_shared,
        running(Severity.BLOCK),
        f"{IMAGES}; reference 9.3: live storage migration",
        is_final=True,
    ),
    Rule("storage-not-proved", not_proved, always(Severity.BLOCK), "failure mode 14", is_final=True),
    Rule(
        "block-device",
        block_device,
        always(Severity.BLOCK),
        f"{SAFE} lets block devices through; failure mode 15",
        is_final=True,
    ),
    Rule("backing-chain", backing_chain, always(Severity.BLOCK), f"{IMAGES}; failure mode 36", is_final=True),
    Rule("local-media", local_media, always(Severity.BLOCK), "failure mode 37"),
    Rule(
        "cache-mode",
        cache_mode,
        running(Severity.BLOCK),
        f"{SAFE}, QEMU_CAPS_MIGRATION_FILE_DROP_CACHE; failure mode 16",
        scope=Scope.VM,
        is_final=True,
    ),
    Rule("volume-disk", volume, always(Severity.BLOCK), f"{IMAGES}; failure mode 18", is_final=True),
    Rule(
        "disk-kind", unsupported_kind, always(Severity.BLOCK), f"{SAFE}: NVMe; {IMAGES}", scope=Scope.VM, is_final=True
    ),
    Rule(
        "transient-disk",
        transient_disk,
        running(Severity.BLOCK),
        f"{ALLOWED}: transient disk",
        scope=Scope.VM,
        is_final=True,
    ),
)
