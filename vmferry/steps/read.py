"""Read the fleet: each host once per phase, hosts in parallel; what a source sees of its destinations."""

from __future__ import annotations

import logging
import posixpath
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vmferry.errors import NotFound, VmferryError
from vmferry.model.facts import Reach
from vmferry.model.host import FleetSnapshot, Host, HostFacts, PairFacts, Reservation, Unreachable
from vmferry.model.migration import MigrationPlan
from vmferry.model.vm import DiskKind, Vm
from vmferry.ports import HostTools, World
from vmferry.rules.case import vm_paths
from vmferry.rules.sharing import files_to_stat

logger = logging.getLogger("vmferry.steps")

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
    return FleetSnapshot(
        inventory=world.inventory,
        hosts=tuple(r for r in results if isinstance(r, HostFacts)),
        unreachable=tuple(r for r in results if isinstance(r, Unreachable)),
        cordons=world.journal.cordons(),
        reserved=_reserved([record.plan for record in unsettled]),
        open_runs={str(record.plan.uuid): record.run for record in unsettled},
        taken_at=world.clock.now(),
    )


def _reserved(plans: Iterable[MigrationPlan]) -> dict[str, Reservation]:
    """Return what open runs will take, by destination."""
    found: dict[str, Reservation] = {}
    for plan in plans:
        before = found.get(plan.dest, Reservation())
        disk = Counter(before.disk_bytes)
        for copy in plan.files:
            disk[posixpath.dirname(copy.dest_path)] += copy.allocated_bytes
        found[plan.dest] = Reservation(
            memory_kib=before.memory_kib + plan.reserved_kib,
            vcpus=before.vcpus + plan.reserved_vcpus,
            hugepages_kib=before.hugepages_kib + plan.reserved_hugepages_kib,
            disk_bytes=dict(disk),
        )
    return found


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
    paths |= {posixpath.dirname(path) for vm in facts.vms for path in vm_paths(vm)}
    return sorted(paths)


def read_all_pairs(world: World, snapshot: FleetSnapshot) -> FleetSnapshot:
    """Return the snapshot with what every host that was read sees of every other; sources in parallel."""
    names = tuple(facts.name for facts in snapshot.hosts)

    def read(source: str) -> tuple[PairFacts, ...]:
        return read_pairs(world, source, (name for name in names if name != source), ())

    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="pairs") as pool:
        return snapshot.model_copy(update={"pairs": tuple(pair for pairs in pool.map(read, names) for pair in pairs)})


def read_pairs(
    world: World, source: str, dests: Iterable[str], vms: Iterable[Vm], moved_paths: Mapping[str, str] | None = None
) -> tuple[PairFacts, ...]:
    """Read what `source` sees of each destination, destinations in parallel; the order of `dests` is kept.

    `moved_paths` maps a path on the source to its path on the destination where they differ. Shared storage is
    proved, never believed: a marker file made on the source must appear on the destination, in every directory that
    holds images of `vms` and in every one that the inventory calls shared.
    """
    wanted, guests, moved = tuple(dests), tuple(vms), dict(moved_paths or {})
    if not wanted:
        return ()
    entry = _entry(world, source)
    question = _Question(
        paths=tuple(dict.fromkeys(path for vm in guests for path in files_to_stat(vm))),
        directories=tuple(dict.fromkeys(d for vm in guests for d in _image_directories(entry, vm, moved))),
        moved=moved,
    )
    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="pair") as pool:
        return tuple(pool.map(lambda dest: _read_pair(world, source, dest, question), wanted))


@dataclass(frozen=True)
class _Question:
    """What is asked of a pair: paths on the source, (directory there, directory on the destination), remaps."""

    paths: tuple[str, ...]
    directories: tuple[tuple[str, str], ...]
    moved: Mapping[str, str]


def _image_directories(source: Host, vm: Vm, moved: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the directories of a VM's image files that may be shared, with their place on the destination.

    No marker is written where only read-only media, firmware or device nodes lie, unless the inventory calls the
    directory storage: `/usr/share` is not ours, and an equal `/dev` proves nothing about a device.
    """
    for disk in vm.disks:
        if disk.kind is not DiskKind.FILE or disk.source is None:
            continue
        if disk.is_readonly and source.storage_of(disk.source) is None:
            continue
        for path in (disk.source, *(b for b in disk.backing if b.startswith("/"))):
            yield posixpath.dirname(path), posixpath.dirname(moved.get(path, path))
    if vm.nvram:
        yield posixpath.dirname(vm.nvram), posixpath.dirname(moved.get(vm.nvram, vm.nvram))


def _declared(source: Host, dest: Host) -> Iterator[tuple[str, str]]:
    """Yield the directories that the inventory calls one shared group on both hosts."""
    there = {storage.shared: storage.path for storage in dest.storage if storage.shared is not None}
    for storage in source.storage:
        if storage.shared in there:
            yield storage.path.rstrip("/"), there[storage.shared].rstrip("/")


def _entry(world: World, name: str) -> Host:
    entry = world.inventory.find(name)
    if entry is None:
        raise NotFound(f"host {name}: not in the inventory ({', '.join(world.inventory.names())})", host=name)
    return entry


def _read_pair(world: World, source: str, dest: str, question: _Question) -> PairFacts:
    """Read one pair; a host that is lost meanwhile makes this pair unusable and no other."""
    try:
        return _ask_pair(world, source, dest, question)
    except VmferryError as error:
        lost = Reach(is_ok=False, detail=str(error))
        return PairFacts(source=source, dest=dest, ping=lost, libvirt=lost)


def _ask_pair(world: World, source: str, dest: str, question: _Question) -> PairFacts:
    entry = _entry(world, dest)
    here, there = world.tools(source), world.tools(dest)
    directories = dict.fromkeys((*_declared(_entry(world, source), entry), *question.directories))
    with ThreadPoolExecutor(max_workers=5, thread_name_prefix="probe") as pool:
        ping = pool.submit(here.ping, entry.migration_address)
        libvirt = pool.submit(here.reach_libvirt, entry.peer_uri)
        shared = pool.submit(_prove_same_storage, here, there, tuple(directories))
        on_source = pool.submit(here.stat_files, sorted(question.paths))
        on_dest = pool.submit(there.stat_files, sorted({question.moved.get(p, p) for p in question.paths}))
        return PairFacts(
            source=source,
            dest=dest,
            ping=ping.result(),
            libvirt=libvirt.result(),
            same_storage=shared.result(),
            source_files=on_source.result(),
            dest_files=on_dest.result(),
        )


def _prove_same_storage(here: HostTools, there: HostTools, directories: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the source's directories whose content the destination sees too.

    Changes: an empty file with a unique name per directory, for the length of one look.
    """
    name = f"{_MARKER}{uuid.uuid4().hex}"
    made = [(d, there_) for d, there_ in directories if here.make_marker(d, name)]
    try:
        seen = there.stat_files([posixpath.join(there_, name) for _, there_ in made])
    finally:
        for directory, _ in made:
            try:
                here.remove_file(posixpath.join(directory, name))
            except VmferryError as error:
                logger.warning(
                    "an empty marker file is left behind: %s/%s on %s: %s", directory, name, here.host, error
                )
    return tuple(sorted({d for d, there_ in made if posixpath.join(there_, name) in seen}))
