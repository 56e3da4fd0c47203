"""Whether a path shows the same content on both hosts, and which files an offline move must copy."""

from __future__ import annotations

from dataclasses import dataclass

from vmferry.model.host import Host, HostFacts
from vmferry.model.vm import Disk, DiskKind, Vm
from vmferry.rules.case import Case, vm_paths

_MEDIA = ("cdrom", "floppy")
_BOOT_KINDS = ("kernel", "initrd", "dtb", "shim", "table", "bootloader")


def host_files(vm: Vm) -> tuple[str, ...]:
    """Return what the VM needs of a host's own installation: emulator, firmware, kernel."""
    boot = tuple(d.attributes.get("path", "") for d in vm.devices if d.kind in _BOOT_KINDS)
    return tuple(p for p in (vm.emulator, vm.firmware, *boot) if p and p.startswith("/"))


def files_to_stat(vm: Vm, facts: HostFacts) -> tuple[str, ...]:
    """Return the paths that the reader of a pair should look for on both hosts; each once.

    Disks, backing files, NVRAM (judged by the copy rules) and `host_files`. Remapped paths of the destination
    are the caller's to add. `facts` of the VM's host tell where the volumes of its pools lie.
    """
    volumes = (path for disk in vm.disks if (path := volume_path(facts, disk)))
    return tuple(dict.fromkeys((*vm_paths(vm), *volumes, *host_files(vm))))


# Pools whose volumes are files or device nodes below the pool's target (libvirt storage drivers).
_POOLS_WITH_PATHS = ("dir", "fs", "netfs", "logical")


def volume_path(facts: HostFacts, disk: Disk) -> str | None:
    """Return the path that a volume disk has on a host; None for other disks and where the pool has no paths there."""
    if disk.kind is not DiskKind.VOLUME or not disk.pool or not disk.source:
        return None
    pool = next((p for p in facts.pools if p.name == disk.pool and p.is_active), None)
    if pool is None or pool.kind not in _POOLS_WITH_PATHS or not pool.target:
        return None
    return f"{pool.target.rstrip('/')}/{disk.source.removeprefix(disk.pool + '/')}"


def is_media(disk: Disk) -> bool:
    """Whether the disk is a drive with removable media."""
    return disk.device in _MEDIA


def _place(host: Host, path: str) -> tuple[str, str] | None:
    """Return (shared group, path inside it); None when the inventory declares nothing for the path."""
    storage = host.storage_of(path)
    if storage is None or storage.shared is None:
        return None
    return storage.shared, path.removeprefix(storage.path.rstrip("/"))


def is_declared_shared(case: Case, path: str, dest_path: str) -> bool:
    """Whether the inventory declares both paths to be one file of one shared group."""
    place = _place(case.source.host, path)
    return place is not None and place == _place(case.dest.host, dest_path)


def is_shared(case: Case, path: str, dest_path: str) -> bool:
    """Whether both paths are one file: proved where the pair was read, else as the inventory declares.

    A marker proves one directory under one path. Under two different paths the inventory must say besides
    that they are the same group; the pair's reader then lists the source's directory after finding the marker
    in the other.
    """
    if case.pair is None:
        return is_declared_shared(case, path, dest_path)
    return case.pair.is_same_storage(path) and (path == dest_path or is_declared_shared(case, path, dest_path))


@dataclass(frozen=True)
class Copy:
    """One file that an offline move copies; `allocated_bytes` None where the file was not read.

    `storage` is the directory of the destination whose free bytes count for it, None where none is known;
    `filesystem` stands for all directories that draw on the same free bytes.
    """

    source_path: str
    dest_path: str
    size_bytes: int | None
    allocated_bytes: int | None
    storage: str | None
    filesystem: str | None
    is_nvram: bool
    is_block: bool


def _storage(case: Case, path: str) -> str | None:
    holding = [d for d in case.dest.facts.storage_free_bytes if path.startswith(d.rstrip("/") + "/")]
    return max(holding, key=len, default=None)


def _filesystem(case: Case, storage: str | None) -> str | None:
    """Return one directory for all with the same free bytes: read at once, to the byte, they are one file system.

    Two file systems with equal free bytes by chance are taken for one: that refuses, it never over-commits.
    """
    free = case.dest.facts.storage_free_bytes
    return None if storage is None else min(d for d in free if free[d] == free[storage])


def _copy(case: Case, path: str, dest_path: str, *, is_nvram: bool) -> Copy:
    facts = case.pair.source_files.get(path) if case.pair is not None else None
    storage = _storage(case, dest_path)
    return Copy(
        source_path=path,
        dest_path=dest_path,
        size_bytes=facts.size_bytes if facts else None,
        allocated_bytes=facts.allocated_bytes if facts else None,
        storage=storage,
        filesystem=_filesystem(case, storage),
        is_nvram=is_nvram,
        is_block=facts.is_block if facts else False,
    )


def copies(case: Case) -> tuple[Copy, ...]:
    """Return the files that an offline move copies: disk images and NVRAM that are not shared; each once.

    Disks in the order of the XML, then NVRAM; empty for a move with memory, which copies no file.
    """
    if not case.is_offline:
        return ()
    found: dict[tuple[str, str], Copy] = {}
    for disk in case.vm.disks:
        if disk.kind is DiskKind.FILE and disk.source and not is_media(disk):
            dest_path = case.dest_path(disk)
            if not is_shared(case, disk.source, dest_path):
                found.setdefault((disk.source, dest_path), _copy(case, disk.source, dest_path, is_nvram=False))
    if case.vm.nvram:
        dest_path = case.arriving.nvram or case.vm.nvram
        if not is_shared(case, case.vm.nvram, dest_path):
            found.setdefault((case.vm.nvram, dest_path), _copy(case, case.vm.nvram, dest_path, is_nvram=True))
    return tuple(found.values())
