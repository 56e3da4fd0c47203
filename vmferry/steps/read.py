"""Read the fleet: each host once per phase, hosts in parallel. What hosts see of each other: `read_pairs`."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import VmferryError
from vmferry.model.facts import ImageFile
from vmferry.model.host import Cordon, FleetSnapshot, Host, HostFacts, Reservation, Unreachable
from vmferry.model.mark import parse_host_mark
from vmferry.model.migration import MigrationPlan
from vmferry.model.vm import Disk, Vm
from vmferry.ports import HostTools, World
from vmferry.rules.case import vm_paths, volume_path
from vmferry.steps.read_images import with_images
from vmferry.steps.read_pairs import read_all_pairs, read_pairs

__all__ = ["read_all_pairs", "read_fleet", "read_pairs"]

_COW_FORMATS = ("qcow2", "qcow", "qed", "vmdk")
_PARALLEL_READS = 64
# Linux bridges, and the ports of Open vSwitch that stand for a switch.
_BRIDGES = ("bridge", "openvswitch")


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
        cordons=_cordons(world, [r for r in results if isinstance(r, HostFacts)]),
        reserved=_reserved([record.plan for record in unsettled]),
        open_runs={str(record.plan.uuid): record.run for record in unsettled},
        taken_at=world.clock.now(),
    )


def _cordons(world: World, hosts: Iterable[HostFacts]) -> tuple[Cordon, ...]:
    """Return our own cordons, and those that other vmferrys have marked on the hosts."""
    ours = {cordon.host: cordon for cordon in world.journal.cordons()}
    for facts in hosts:
        mark = parse_host_mark(facts.system.mark)
        if mark is not None and facts.name not in ours and not mark.is_stale(facts.read_at):
            found = Cordon(host=facts.name, owner=mark.owner, reason=mark.reason, ticket=mark.ticket, since=mark.since)
            ours[facts.name] = found
    return tuple(ours[host] for host in sorted(ours))


def _reserved(plans: Iterable[MigrationPlan]) -> dict[str, Reservation]:
    """Return what open runs will take, by destination."""
    found: dict[str, Reservation] = {}
    for plan in plans:
        before = found.get(plan.dest, Reservation())
        disk = Counter(before.disk_bytes)
        for copy in plan.files:
            disk[posixpath.dirname(copy.dest_path)] += copy.allocated_bytes
        for image in plan.disks:
            disk[posixpath.dirname(image.dest_path)] += image.allocated_bytes
        found[plan.dest] = Reservation(
            memory_kib=before.memory_kib + plan.reserved_kib,
            vcpus=before.vcpus + plan.reserved_vcpus,
            hugepages_kib=before.hugepages_kib + plan.reserved_hugepages_kib,
            disk_bytes=dict(disk),
        )
    return found


def _read_host(world: World, entry: Host) -> HostFacts | Unreachable:
    """Read a host's libvirt and its system at the same time, then the space below its images."""
    try:
        tools = world.tools(entry.name)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="system") as pool:
            reading = pool.submit(tools.read_system)
            facts = world.hypervisor(entry.name).read_host()
            system = reading.result()
        facts = facts.model_copy(update={"vms": _with_chains(tools, facts)})
        facts = with_images(tools, entry, facts)
        free = tools.free_bytes(_storage_paths(entry, facts))
    except VmferryError as error:
        return Unreachable(host=entry.name, reason=str(error))
    bridges = tuple(sorted(link.name for link in system.links if link.kind in _BRIDGES))
    return facts.model_copy(update={"system": system, "bridges": bridges, "storage_free_bytes": free})


def _with_chains(tools: HostTools, facts: HostFacts) -> tuple[Vm, ...]:
    """Return the host's VMs with the backing files of those that are shut off: only live XML tells them."""
    images = {image.path: image for vm in facts.vms for disk in vm.disks if (image := _unknown_image(vm, disk, facts))}
    if not images:
        return facts.vms
    chains = tools.backing_chains(tuple(images.values()))

    def told(vm: Vm, disk: Disk) -> Disk:
        image = _unknown_image(vm, disk, facts)
        if image is None:
            return disk
        return disk.model_copy(update={"backing": chains.get(image.path, ()), "is_chain_known": image.path in chains})

    return tuple(vm.model_copy(update={"disks": tuple(told(vm, disk) for disk in vm.disks)}) for vm in facts.vms)


def _unknown_image(vm: Vm, disk: Disk, facts: HostFacts) -> ImageFile | None:
    """Return the image of a disk that may have backing files which the XML does not name."""
    if vm.is_active or disk.backing or disk.driver not in _COW_FORMATS:
        return None
    path = disk.source if disk.is_local_path else volume_path(facts, disk)
    return ImageFile(path=path, format=disk.driver) if path else None


def _storage_paths(entry: Host, facts: HostFacts) -> list[str]:
    """Return the directories whose free space matters: those of the inventory and those with images."""
    paths = {storage.path for storage in entry.storage}
    paths |= {posixpath.dirname(path) for vm in facts.vms for path in vm_paths(vm)}
    volumes = (volume_path(facts, disk) for vm in facts.vms for disk in vm.disks)
    return sorted(paths | {posixpath.dirname(path) for path in volumes if path})
