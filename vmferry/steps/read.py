"""Read the fleet: each host once per phase, hosts in parallel; what a source sees of its destinations."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import VmferryError
from vmferry.model.host import FleetSnapshot, Host, HostFacts, PairFacts, Unreachable
from vmferry.model.vm import Vm
from vmferry.ports import World

_MARKER = ".vmferry-marker-"
_PARALLEL_READS = 32


def read_fleet(world: World, hosts: Iterable[str] | None = None) -> FleetSnapshot:
    """Read all hosts of the inventory, or those named, in parallel; reads only.

    A host that cannot be read is listed in `unreachable` with the reason and hides no other host.
    """
    names = tuple(hosts) if hosts is not None else world.inventory.names()
    entries = [entry for entry in world.inventory.hosts if entry.name in names]
    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="read") as pool:
        results = list(pool.map(lambda entry: _read_host(world, entry), entries))
    unsettled = world.journal.unsettled()
    reserved: dict[str, int] = {}
    for record in unsettled:
        reserved[record.plan.dest] = reserved.get(record.plan.dest, 0) + record.plan.reserved_kib
    return FleetSnapshot(
        inventory=world.inventory,
        hosts=tuple(r for r in results if isinstance(r, HostFacts)),
        unreachable=tuple(r for r in results if isinstance(r, Unreachable)),
        cordons=world.journal.cordons(),
        reserved_kib=reserved,
        open_runs={str(record.plan.uuid): record.run for record in unsettled},
        taken_at=world.clock.now(),
    )


def _read_host(world: World, entry: Host) -> HostFacts | Unreachable:
    try:
        facts = world.hypervisor(entry.name).read_host()
        tools = world.tools(entry.name)
        return facts.model_copy(
            update={
                "bridges": tools.bridges(),
                "storage_free_bytes": tools.free_bytes(_storage_paths(entry, facts)),
            }
        )
    except VmferryError as error:
        return Unreachable(host=entry.name, reason=str(error))


def _storage_paths(entry: Host, facts: HostFacts) -> list[str]:
    """Return the directories whose free space matters: those of the inventory and those with images."""
    paths = {storage.path for storage in entry.storage}
    paths |= {posixpath.dirname(path) for vm in facts.vms for path in local_paths(vm)}
    return sorted(paths)


def local_paths(vm: Vm) -> tuple[str, ...]:
    """Return the host paths that hold a VM's content: disks, backing files and NVRAM."""
    paths = [disk.source for disk in vm.disks if disk.is_local_path]
    paths += [backing for disk in vm.disks for backing in disk.backing if backing.startswith("/")]
    paths.append(vm.nvram)
    return tuple(dict.fromkeys(path for path in paths if path))


def read_pairs(
    world: World, source: str, dests: Iterable[str], vms: Iterable[Vm], moved_paths: Mapping[str, str] | None = None
) -> tuple[PairFacts, ...]:
    """Read what `source` sees of each destination, destinations in parallel.

    `moved_paths` maps a path on the source to its path on the destination where they differ. Shared storage is
    proved, never believed: a marker file made on the source must appear on the destination.
    """
    paths = tuple(dict.fromkeys(path for vm in vms for path in local_paths(vm)))
    mapping = {path: (moved_paths or {}).get(path, path) for path in paths}
    wanted = tuple(dests)
    if not wanted:
        return ()
    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="pair") as pool:
        return tuple(pool.map(lambda dest: _read_pair(world, source, dest, mapping), wanted))


def _read_pair(world: World, source: str, dest: str, mapping: Mapping[str, str]) -> PairFacts:
    entry = world.inventory.find(dest)
    assert entry is not None, dest
    tools, there = world.tools(source), world.tools(dest)
    return PairFacts(
        source=source,
        dest=dest,
        ping=tools.ping(entry.migration_address),
        libvirt=tools.reach_libvirt(entry.peer_uri),
        same_storage=_prove_same_storage(world, source, dest, mapping),
        dest_files=there.stat_files(sorted(set(mapping.values()))),
        source_files=tools.stat_files(sorted(mapping)),
    )


def _prove_same_storage(world: World, source: str, dest: str, mapping: Mapping[str, str]) -> tuple[str, ...]:
    """Return the source's directories whose content the destination sees too.

    Changes: an empty file with a unique name, for the length of one stat.
    """
    directories = {posixpath.dirname(path): posixpath.dirname(there) for path, there in mapping.items()}
    proved = []
    for directory, directory_there in sorted(directories.items()):
        name = f"{_MARKER}{uuid.uuid4().hex}"
        marker, marker_there = posixpath.join(directory, name), posixpath.join(directory_there, name)
        if not world.tools(source).make_marker(directory, name):
            continue
        try:
            if marker_there in world.tools(dest).stat_files([marker_there]):
                proved.append(directory)
        finally:
            world.tools(source).remove_file(marker)
    return tuple(proved)
