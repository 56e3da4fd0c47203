"""Rules about disks that both hosts must see (Table 9.1: live and non-live moves need shared storage)."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.facts import FileFacts
from vmferry.model.findings import Severity
from vmferry.model.vm import DiskKind
from vmferry.rules import concerns, mounts, volumes
from vmferry.rules.case import Case
from vmferry.rules.compat import version_text
from vmferry.rules.copies import copied_layers
from vmferry.rules.landing import landing
from vmferry.rules.mirroring import is_mirrored, mirrored_paths, why_not_mirrored
from vmferry.rules.proofs import is_declared_shared
from vmferry.rules.rule import Rule, Scope, always, offline_only, running
from vmferry.rules.sharing import is_media, is_shared, places, why_not_same_device, why_not_shared
from vmferry.rules.sources import ALLOWED, IMAGES, SAFE

_UNKNOWN_KINDS = (DiskKind.DIR, DiskKind.NVME, DiskKind.VHOSTUSER, DiskKind.VHOSTVDPA, DiskKind.OTHER)
# QEMU drops the page cache of image files at the end of a migration since 4.0
# (qapi/block-core.json, BlockdevOptionsFile: drop-cache).
_QEMU_DROPS_CACHE = 4_000_000
_SAFE_CACHE = ("none", "directsync")


def not_shared(case: Case) -> Iterator[str]:
    """Every image of a running VM lies on storage that both hosts see, or can be mirrored there (upstream)."""
    for place in places(case):
        if place.disk.kind is not DiskKind.FILE or is_media(place.disk) or is_mirrored(case, place):
            continue
        if why := why_not_shared(case, place.path, place.dest_path, is_read_only=place.is_read_only):
            yield (
                f"vm {case.vm.name}: disk {place.disk.target} ({place.path}) is not on storage shared by "
                f"{case.source.name} and {case.dest.name}: {why}; {why_not_mirrored(case, place)}; shut the "
                "VM down for an offline move, or move the disk to storage that both hosts share"
            )


def not_proved(case: Case) -> Iterator[str]:
    """What the inventory declares as shared was proved to be: a mount may be missing, or be another one."""
    if case.pair is None:
        return
    for place in places(case):
        if not is_declared_shared(case, place.path, place.dest_path):
            continue
        why = why_not_shared(case, place.path, place.dest_path, is_read_only=place.is_read_only)
        storage = case.source.host.storage_of(place.path)
        if why and storage is not None:
            yield (
                f"vm {case.vm.name}: the inventory says that {storage.path} is shared (group {storage.shared}), which "
                f"could not be proved for disk {place.disk.target} ({place.path}): {why}; compare `findmnt -T "
                f"{place.path}` on {case.source.name} with `findmnt -T {place.dest_path}` on {case.dest.name}"
            )


def different_file(case: Case) -> Iterator[str]:
    """No other file lies on the destination where a running VM's image or backing file is looked for."""
    layers = [(d.target, path, path, True) for d in case.vm.disks for path in d.backing]
    images = [(p.disk.target, p.path, p.dest_path, p.is_read_only) for p in places(case) if not is_media(p.disk)]
    for target, path, dest_path, is_read_only in (*images, *layers):
        here, there = _both_files(case, path, dest_path)
        if there is None or there.is_block or is_shared(case, path, dest_path, is_read_only=is_read_only):
            continue
        if path in mirrored_paths(case) and (not is_read_only or (here and here.size_bytes == there.size_bytes)):
            continue  # mirror-target-exists; an equal base may lie there, which is compared before it is used
        size = f"{here.size_bytes} bytes" if here is not None else "of unknown size"
        yield (
            f"vm {case.vm.name}: disk {target}: a different file lies behind {dest_path} on {case.dest.name} "
            f"({there.size_bytes} bytes) than behind {path} on {case.source.name} ({size}); the VM would run on it; "
            f"look whose it is: `qemu-img info {dest_path}` on {case.dest.name}, then mount the same storage there or "
            "move that file away"
        )


def _both_files(case: Case, path: str, dest_path: str) -> tuple[FileFacts | None, FileFacts | None]:
    if case.pair is None:
        return None, None
    return case.pair.source_files.get(path), case.pair.dest_files.get(dest_path)


def block_device(case: Case) -> Iterator[str]:
    """A block device is proved to be the same on both hosts by its identity, or is copied offline."""
    for place in places(case):
        if place.disk.kind is not DiskKind.BLOCK or is_media(place.disk):
            continue
        if why := why_not_same_device(case, place.path, place.dest_path):
            lands = (
                landing(case, place.disk)
                if case.is_offline
                else ("a running VM's block devices are not copied, shut it down for an offline move")
            )
            if isinstance(lands, str):
                yield (
                    f"vm {case.vm.name}: disk {place.disk.target} is the block device {place.path}, which is not "
                    f"proved to be the same on {case.dest.name}: {why} (compare `lsblk -o NAME,WWN,UUID {place.path}` "
                    f"on both); {lands}"
                )


def backing_chain(case: Case) -> Iterator[str]:
    """Every backing file is the same on both hosts, or is a file that is copied with its image."""
    for disk in case.vm.disks:
        for path in disk.backing:
            if "://" in path:  # both hosts ask the same server
                continue
            if path in mirrored_paths(case) or path in copied_layers(case, disk):  # copied before
                continue
            if path.startswith("/"):
                why = why_not_shared(case, path, path, is_read_only=True)
            else:
                why = "it names no path, so that it cannot be looked for"
            if why:
                yield (
                    f"vm {case.vm.name}: disk {disk.target} builds on {path}, which is not proved to be the same on "
                    f"{case.source.name} and {case.dest.name}: {why}; flatten it: `virsh -c {case.source.host.uri} "
                    f"blockpull {case.vm.name} {disk.target} --wait`, or for a shut-off VM `qemu-img convert` to a "
                    "single file"
                )


def backing_unread(case: Case) -> Iterator[str]:
    """What the images of a shut-off VM build on was read: a copy without its base is no disk."""
    for disk in case.vm.disks:
        if not disk.is_chain_known:
            yield (
                f"vm {case.vm.name}: disk {disk.target} ({disk.source}) may build on other files, and "
                f"{case.source.name} could not tell: look with `qemu-img info --backing-chain {disk.source}` there; "
                "where qemu-img is missing install it (package qemu-img or qemu-utils)"
            )


def local_media(case: Case) -> Iterator[str]:
    """No drive holds media of the source only."""
    for place in places(case):
        disk = place.disk
        if disk.kind is DiskKind.VOLUME or not is_media(disk):
            continue
        why = why_not_shared(case, place.path, place.dest_path, is_read_only=True)
        if why:
            _, there = _both_files(case, place.path, place.dest_path)
            other = f"; the file there has {there.size_bytes} bytes" if there is not None else ""
            how = "--config" if case.is_offline else "--live"
            yield (
                f"vm {case.vm.name}: {disk.device} {disk.target} holds {place.path}, which is not proved to be the "
                f"same on {case.dest.name}: {why}{other}; eject it: `virsh -c {case.source.host.uri} change-media "
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
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "different-file",
        different_file,
        running(Severity.BLOCK),
        "failure modes 14, 17",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "storage-not-proved",
        not_proved,
        always(Severity.BLOCK),
        "failure mode 14",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "block-device",
        block_device,
        always(Severity.BLOCK),
        f"{SAFE} lets block devices through; failure mode 15",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "backing-chain",
        backing_chain,
        always(Severity.BLOCK),
        f"{IMAGES}; failure mode 36",
        is_final=True,
        after_loss=Severity.BLOCK,
        concerns=concerns.backing_files,
    ),
    Rule("backing-unread", backing_unread, offline_only(Severity.BLOCK), "failure mode 36", scope=Scope.VM),
    Rule(
        "local-media",
        local_media,
        always(Severity.BLOCK),
        "failure mode 37",
        after_loss=Severity.BLOCK,
        concerns=concerns.filled_drives,
    ),
    Rule(
        "cache-mode",
        cache_mode,
        running(Severity.BLOCK),
        f"{SAFE}, QEMU_CAPS_MIGRATION_FILE_DROP_CACHE; failure mode 16",
        scope=Scope.VM,
        is_final=True,
    ),
    *volumes.RULES,
    *mounts.RULES,
    Rule(
        "disk-kind",
        unsupported_kind,
        always(Severity.BLOCK),
        f"{SAFE}: NVMe; {IMAGES}",
        scope=Scope.VM,
        is_final=True,
        after_loss=Severity.BLOCK,
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
