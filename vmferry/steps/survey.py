"""What an audit reads besides the fleet: a second look at VMs that seem to be an alarm, and the stored files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from vmferry.errors import VmferryError
from vmferry.model.audit import Listing
from vmferry.model.host import FleetSnapshot, HostFacts
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.doubles import suspicious
from vmferry.ports import World
from vmferry.rules.case import Fleet

_PARALLEL_READS = 64


def look_again(world: World, snapshot: FleetSnapshot) -> FleetSnapshot:
    """Return the snapshot with VMs that were seen active on several hosts, or waiting, as they are now; reads only.

    Hosts are not read at the same moment: a VM that moves meanwhile is seen on both, or between them. A host that does
    not answer this time keeps what it showed before: nothing proves that its copy is gone.
    """
    suspects = [(host, uuid) for uuid, twins in suspicious(Fleet(snapshot)).items() for host in twins]
    if not suspects:
        return snapshot
    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="look") as pool:
        looks = pool.map(lambda suspect: world.hypervisor(suspect[0]).look(suspect[1]), suspects)
        seen = dict(zip(suspects, looks, strict=True))
    return snapshot.model_copy(update={"hosts": tuple(_as_seen(facts, seen) for facts in snapshot.hosts)})


def _as_seen(facts: HostFacts, seen: dict[tuple[str, UUID], Sighting]) -> HostFacts:
    vms: list[Vm] = []
    for vm in facts.vms:
        sighting = seen.get((facts.name, vm.uuid))
        if sighting is None or not sighting.is_reachable:
            vms.append(vm)
        elif sighting.state is not DomainState.ABSENT:
            now = {"state": sighting.state, "state_reason": sighting.reason, "has_active_job": sighting.has_job}
            vms.append(vm.model_copy(update=now))
    return facts.model_copy(update={"vms": tuple(vms)})


def list_stored(world: World, snapshot: FleetSnapshot) -> tuple[Listing, ...]:
    """List the files below the inventory's storage directories, hosts in parallel; reads only.

    A shared group is listed once, by the host whose view of it was proved to most others; the next one stands in for
    a host that cannot. What nobody could list is told, never taken for empty.
    """
    jobs = [*_own_directories(snapshot), *_groups(snapshot)]
    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="list") as pool:
        return tuple(pool.map(lambda tries: _first_listing(world, tries), jobs))


Try = tuple[str, tuple[str, ...]]  # host, directories


def _own_directories(snapshot: FleetSnapshot) -> Iterator[list[Try]]:
    """Yield per host that was read its directories without a group."""
    for name in (facts.name for facts in snapshot.hosts):
        entry = snapshot.inventory.find(name)
        paths = tuple(s.path for s in entry.storage if s.shared is None) if entry is not None else ()
        if paths:
            yield [(name, paths)]


def _groups(snapshot: FleetSnapshot) -> Iterator[list[Try]]:
    """Yield per group the hosts that may list it, best first."""
    read = {facts.name for facts in snapshot.hosts}
    groups: dict[str, list[Try]] = {}
    for entry in snapshot.inventory.hosts:
        for storage in entry.storage:
            if storage.shared is not None and entry.name in read:
                groups.setdefault(storage.shared, []).append((entry.name, (storage.path,)))
    for tries in groups.values():
        yield sorted(tries, key=_fewest_proofs(snapshot))


def _fewest_proofs(snapshot: FleetSnapshot) -> Callable[[Try], int]:
    """Return a sort key: hosts whose directory was proved to be that of most others come first."""
    proofs: dict[tuple[str, str], int] = {}
    for pair in snapshot.pairs:
        for directory in pair.same_storage:
            proofs[pair.source, directory] = proofs.get((pair.source, directory), 0) + 1
    return lambda wanted: -sum(proofs.get((wanted[0], directory.rstrip("/")), 0) for directory in wanted[1])


def _first_listing(world: World, tries: Sequence[Try]) -> Listing:
    problems = []
    for host, directories in tries:
        try:
            return Listing(host=host, directories=directories, files=world.tools(host).list_files(directories))
        except VmferryError as error:
            problems.append(str(error))
    host, directories = tries[0]
    return Listing(host=host, directories=directories, problem=f"{', '.join(directories)}: {'; '.join(problems)}")
