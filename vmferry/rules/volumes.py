"""Rules about disks that are named by pool and volume: a pool of the same name may hold something else elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.facts import Pool
from vmferry.model.findings import Severity
from vmferry.model.vm import Disk, DiskKind
from vmferry.rules import concerns
from vmferry.rules.case import Case, Side, volume_path
from vmferry.rules.landing import landing
from vmferry.rules.rule import Rule, always
from vmferry.rules.sharing import is_media, why_not_shared
from vmferry.rules.sources import IMAGES

# Pools whose volumes QEMU opens over the network (libvirt: virStorageTranslateDiskSourcePool).
_NETWORK_POOLS = ("rbd", "gluster", "iscsi-direct", "sheepdog")


def volume(case: Case) -> Iterator[str]:
    """A volume's pool is active on both hosts, and the volume is proved to be the same, or is copied offline."""
    for disk, arriving in _volumes(case):
        if why := _why_not_brought(case, disk, arriving):
            yield f"vm {case.vm.name}: disk {disk.target} is volume {disk.source or '?'} of a libvirt pool: {why}"


def network_volume(case: Case) -> Iterator[str]:
    """A volume on the network is the same on both hosts: their pools of one name ask the same server."""
    for disk, arriving in _volumes(case):
        pool = _pool(case.source, disk)
        if pool is not None and pool.kind in _NETWORK_POOLS and not _why_not(case, disk, arriving):
            yield (
                f"vm {case.vm.name}: disk {disk.target} is {disk.source}; vmferry cannot compare what {pool.kind} pool "
                f"{pool.name} names on {case.source.name} and {case.dest.name}: compare `virsh -c "
                f"{case.source.host.uri} pool-dumpxml {pool.name}` with `virsh -c {case.dest.host.uri} pool-dumpxml "
                f"{pool.name}`"
            )


def _volumes(case: Case) -> Iterator[tuple[Disk, Disk]]:
    """Yield each volume disk as it is, and as it shall arrive."""
    arriving = {disk.target: disk for disk in case.arriving.disks}
    for disk in case.vm.disks:
        if disk.kind is DiskKind.VOLUME:
            yield disk, arriving.get(disk.target, disk)


def _pool(side: Side, disk: Disk) -> Pool | None:
    return next((pool for pool in side.facts.pools if pool.name == disk.pool and pool.is_active), None)


def _why_not_brought(case: Case, disk: Disk, arriving: Disk) -> str:
    """Say why the volume is neither the same on both hosts nor copied; empty where it is either."""
    here, there = _pool(case.source, disk), _pool(case.dest, arriving)
    is_elsewhere = arriving.kind is not DiskKind.VOLUME or (here and there and here.kind != there.kind)
    if not case.is_offline or is_media(disk) or here is None or (there is None and not is_elsewhere):
        return _why_not(case, disk, arriving)
    if not is_elsewhere and not _why_not(case, disk, arriving):
        return ""
    lands = landing(case, disk)
    return lands if isinstance(lands, str) else ""


def _why_not(case: Case, disk: Disk, arriving: Disk) -> str:
    """Say why the volume cannot be taken for the same on both hosts, and what to do; empty where it can."""
    here, there = _pool(case.source, disk), _pool(case.dest, arriving)
    if here is None:
        return _no_pool(case.source, disk)
    if there is None:
        return _no_pool(case.dest, arriving)
    if here.kind != there.kind:
        return (
            f"pool {here.name} is of type {here.kind} on {case.source.name} and {there.kind} on {case.dest.name}; "
            f"define the same one there: `virsh -c {case.source.host.uri} pool-dumpxml {here.name}`"
        )
    if here.kind in _NETWORK_POOLS:
        return ""
    return _why_not_same_path(case, disk, arriving)


def _no_pool(side: Side, disk: Disk) -> str:
    name = disk.pool or "?"
    if any(pool.name == name for pool in side.facts.pools):
        return f"pool {name} is not active on {side.name}; run `virsh -c {side.host.uri} pool-start {name}`"
    return (
        f"{side.name} has no pool {name}; define it as on the other host (`virsh pool-dumpxml {name}`) and run "
        f"`virsh -c {side.host.uri} pool-start {name}`"
    )


def _why_not_same_path(case: Case, disk: Disk, arriving: Disk) -> str:
    path, dest_path = volume_path(case.source.facts, disk), volume_path(case.dest.facts, arriving)
    if path is None or dest_path is None:
        pool = _pool(case.source, disk)
        return (
            f"vmferry cannot tell where a pool of type {pool.kind if pool else '?'} has its volumes; name the path "
            f"that `virsh -c {case.source.host.uri} vol-path` prints in the domain XML instead"
        )
    why = why_not_shared(case, path, dest_path, is_read_only=disk.is_readonly or is_media(disk))
    if not why:
        return ""
    return (
        f"{path} is not proved to be on storage shared by {case.source.name} and {case.dest.name}: {why}; a "
        "running VM's volumes are not copied: shut it down for an offline move, or use a pool on shared storage"
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "volume-disk",
        volume,
        always(Severity.BLOCK),
        f"{IMAGES}; failure mode 18",
        is_final=True,
        after_loss=Severity.BLOCK,
        concerns=concerns.volumes,
    ),
    Rule(
        "volume-network",
        network_volume,
        always(Severity.WARN),
        "failure modes 14, 15: same name, other storage",
        after_loss=Severity.WARN,
        concerns=concerns.volumes,
    ),
)
