"""Which files an offline move copies: images with all their layers, volumes, NVRAM and TPM state."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from vmferry.model.disks import CopyKind
from vmferry.model.facts import Pool
from vmferry.model.vm import Disk, DiskKind
from vmferry.rules.case import Case, Side, once_per_case, volume_path
from vmferry.rules.disk_room import Arrival, directory_of, store_of, store_of_pool
from vmferry.rules.landing import Landing, landing
from vmferry.rules.sharing import is_media, is_shared, tpm_files


@dataclass(frozen=True)
class Copy:
    """One file that an offline move copies; `allocated_bytes` None where the file was not read.

    `storage` is the directory of the destination whose free bytes count for it, None where none is known; `store`
    stands for all directories and pools that draw on the same free bytes (vmferry.rules.disk_room).
    """

    source_path: str
    dest_path: str
    size_bytes: int | None
    allocated_bytes: int | None
    storage: str | None
    store: str | None
    is_block: bool
    kind: CopyKind
    target: str = ""
    format: str | None = None
    is_kept: bool = False  # a layer that other VMs of the source build on
    is_there: bool = False  # a layer that the destination seems to have; the digest tells at the storage step
    is_device: bool = False  # the disk is a block device on the source, and known as one
    makes_volume: bool = False
    source_pool: Pool | None = None
    dest_pool: Pool | None = None


def _copy(
    case: Case, path: str, dest_path: str, kind: CopyKind, disk: Disk | None = None, found: Landing | None = None
) -> Copy:
    facts = case.pair.source_files.get(path) if case.pair is not None else None
    there = case.pair.dest_files.get(dest_path) if case.pair is not None else None
    makes_volume, is_layer = found is not None and found.makes_volume, kind is CopyKind.BACKING
    # What is free beside a device node is nobody's storage.
    storage = None if makes_volume else directory_of(case.dest, dest_path)
    dest_pool = found.dest_pool if found is not None else None
    store = None if makes_volume else store_of(case.dest, dest_path)
    if store is None and dest_pool is not None:
        store = store_of_pool(case.dest, dest_pool)
    return Copy(
        source_path=path,
        dest_path=dest_path,
        size_bytes=facts.size_bytes if facts else None,
        # A device, and a volume that is one, take all of their size.
        allocated_bytes=(facts.size_bytes if facts.is_block or makes_volume else facts.allocated_bytes)
        if facts
        else None,
        storage=storage,
        store=store,
        is_block=facts.is_block if facts else False,
        is_device=found.is_device if found else False,
        makes_volume=makes_volume,
        source_pool=found.source_pool if found else None,
        dest_pool=dest_pool,
        kind=kind,
        target=disk.target if disk is not None else "",
        format=disk.driver if disk is not None and not is_layer else None,
        is_kept=is_layer and any(name != case.vm.name for name in case.source.file_users.get(path, ())),
        is_there=is_layer
        and facts is not None
        and there is not None
        and there.size_bytes == facts.size_bytes
        and not writers(case.dest, dest_path),
    )


def writers(side: Side, path: str) -> tuple[str, ...]:
    """Return the domains of a host that may write to a file which others build on."""
    return tuple(
        vm.name
        for vm in side.facts.vms
        if any(not d.is_readonly and path in (d.source, volume_path(side.facts, d)) for d in vm.disks)
    )


_COPIED = (DiskKind.FILE, DiskKind.VOLUME, DiskKind.BLOCK)


@once_per_case
def copies(case: Case) -> tuple[Copy, ...]:
    """Return the files that an offline move copies: images with all their layers, NVRAM and TPM state; each once.

    What is proved to be shared is left out. Disks in the order of the XML, the lowest layer of each first, then the
    rest; empty for a move with memory, which copies none of them.
    """
    if not case.is_offline:
        return ()
    found: dict[tuple[str, str], Copy] = {}
    for disk in case.vm.disks:
        lands = landing(case, disk) if disk.kind in _COPIED and disk.source and not is_media(disk) else ""
        if isinstance(lands, Landing):
            for layer in copied_layers(case, disk):
                found.setdefault((layer, layer), _copy(case, layer, layer, CopyKind.BACKING, disk))
            path, dest_path = lands.path, lands.dest_path
            if not is_shared(case, path, dest_path, is_read_only=disk.is_readonly):
                found.setdefault((path, dest_path), _copy(case, path, dest_path, CopyKind.IMAGE, disk, lands))
    if case.vm.nvram:
        dest_path = case.arriving.nvram or case.vm.nvram
        if not is_shared(case, case.vm.nvram, dest_path):
            found.setdefault((case.vm.nvram, dest_path), _copy(case, case.vm.nvram, dest_path, CopyKind.NVRAM))
    for path in tpm_files(case.vm):
        if case.pair is not None and path in case.pair.source_files and not is_shared(case, path, path):
            found.setdefault((path, path), _copy(case, path, path, CopyKind.TPM))
    return tuple(found.values())


def copied_layers(case: Case, disk: Disk) -> tuple[str, ...]:
    """Return the layers below an image that an offline move copies to the same path, the lowest first.

    None where one of them is no file of the source, or where the image goes to another directory: what its header
    names might be relative to the old one. `backing-chain` blocks those.
    """
    if not case.is_offline or disk.kind not in _COPIED or not disk.source or is_media(disk):
        return ()
    lands = landing(case, disk)
    if isinstance(lands, str) or lands.makes_volume or lands.is_device:
        return ()
    if posixpath.dirname(lands.dest_path) != posixpath.dirname(lands.path):
        return ()
    if not all(path.startswith("/") and not path.startswith("/dev/") for path in disk.backing):
        return ()
    return tuple(path for path in reversed(disk.backing) if not is_shared(case, path, path, is_read_only=True))


@once_per_case
def copied_arrivals(case: Case) -> tuple[Arrival, ...]:
    """Return what the copies take on the destination; what is there already takes nothing more."""
    return tuple(
        Arrival(copy.dest_path, copy.store, copy.allocated_bytes or 0, is_layer=copy.kind is CopyKind.BACKING)
        for copy in copies(case)
        if not copy.is_there
    )
