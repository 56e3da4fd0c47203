"""Where an offline move takes the content of a disk: a file, a volume of a pool, a device that a pool makes. Pure.

A device of the destination is written to only where libvirt makes it for this move: any other may be somebody's.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from vmferry.model.facts import Pool
from vmferry.model.vm import Disk, DiskKind
from vmferry.rules.case import Case, Side, once_per_case, volume_path

# Pools whose volumes are files below the target, and the one that makes devices there (libvirt: storage drivers).
_FILES = ("dir", "fs", "netfs")
_DEVICES = "logical"


@dataclass(frozen=True)
class Landing:
    """Where a disk lies on both hosts; the pools are those of which it is a volume, or becomes one."""

    path: str
    dest_path: str
    is_device: bool = False  # on the source
    source_pool: Pool | None = None
    dest_pool: Pool | None = None

    @property
    def makes_volume(self) -> bool:
        """Whether the destination's pool has to make a device."""
        return self.dest_pool is not None and self.dest_pool.kind == _DEVICES


@once_per_case
def landing(case: Case, disk: Disk) -> Landing | str:
    """Return where a disk goes when an offline move copies it, or why it cannot be copied."""
    there = next((d for d in reversed(case.arriving.disks) if d.target == disk.target), disk)
    path, here_pool = _place(case.source, disk)
    if not path:
        return _pathless(case.source, here_pool)
    is_device = disk.kind is DiskKind.BLOCK or (here_pool is not None and here_pool.kind == _DEVICES)
    dest_path, pool = _place(case.dest, there)
    if not dest_path:
        return _pathless(case.dest, pool)
    if there.kind is DiskKind.BLOCK and pool is None:
        return _no_pool_of(case, disk, dest_path)
    found = Landing(path, dest_path, is_device, here_pool, pool)
    if found.makes_volume and not is_device and disk.driver != "raw":
        return (
            f"a {disk.driver or 'cow'} image in a volume of fixed size cannot grow; map it to a file: `--disk "
            f"{disk.target}=/PATH/{posixpath.basename(path)}`, or `qemu-img convert -O raw` it first"
        )
    return found


def pool_of(side: Side, path: str) -> Pool | None:
    """Return the host's active logical pool that a device belongs to by its directory."""
    directory = posixpath.dirname(path)
    pools = (p for p in side.facts.pools if p.is_active and p.kind == _DEVICES and p.target)
    return next((p for p in pools if (p.target or "").rstrip("/") == directory), None)


def _place(side: Side, disk: Disk) -> tuple[str | None, Pool | None]:
    """Return a disk's path on a host, and the pool that it is a volume of."""
    if disk.kind is DiskKind.VOLUME:
        pool = next((p for p in side.facts.pools if p.name == disk.pool and p.is_active), None)
        return volume_path(side.facts, disk), pool
    if disk.kind is DiskKind.BLOCK and disk.source:
        return disk.source, pool_of(side, disk.source)
    return (disk.source if disk.kind is DiskKind.FILE else None), None


def _pathless(side: Side, pool: Pool | None) -> str:
    if pool is None:
        return f"it has no path on {side.name}"
    return (
        f"volumes of a pool of type {pool.kind} ({pool.name} on {side.name}) are not copied, only those of types "
        f"{', '.join((*_FILES, _DEVICES))}"
    )


def _no_pool_of(case: Case, disk: Disk, dest_path: str) -> str:
    directory = posixpath.dirname(dest_path)
    group, uri = posixpath.basename(directory), case.dest.host.uri
    define = (
        f"`virsh -c {uri} pool-define-as {group} logical --source-name {group} --target {directory}` and `virsh -c "
        f"{uri} pool-start {group}` for a volume group"
        if directory != "/dev"
        else f"name a volume of a group there, `--disk {disk.target}=/dev/GROUP/VOLUME`"
    )
    return (
        f"no active logical pool of {case.dest.name} has {directory} as its target, so that libvirt cannot make the "
        f"device there: {define}; or map the disk to a file: `--disk {disk.target}=/PATH/"
        f"{posixpath.basename(dest_path)}.raw`"
    )
