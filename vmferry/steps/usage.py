"""Take samples of what hosts and VMs use, and read what is expected of them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import VmferryError
from vmferry.model.host import FleetSnapshot
from vmferry.model.usage import FleetUsage, HostTaken, SubjectKind, UsageTaken
from vmferry.planning.demand import DEFAULT_DEMAND, DemandPolicy, Peers, forecast_demand, windows
from vmferry.ports import World

_PARALLEL_READS = 64


def sample_usage(world: World, keep_days: float, hosts: Iterable[str] | None = None) -> UsageTaken:
    """Read the counters of all hosts, or those named, in parallel, and keep what was used since the last time.

    May be repeated at any time. A host that does not answer hides no other; its next sample covers the gap.
    Changes nothing on hosts.
    """
    names = tuple(hosts) if hosts is not None else world.inventory.names()
    with ThreadPoolExecutor(max_workers=_PARALLEL_READS, thread_name_prefix="usage") as pool:
        taken = tuple(pool.map(lambda name: _take(world, name), names))
    world.usage.tidy(int(world.clock.now().timestamp()), keep_days=keep_days)
    return UsageTaken(hosts=taken)


def _take(world: World, host: str) -> HostTaken:
    try:
        reading = world.hypervisor(host).read_counters()
        return HostTaken(host=host, vms=len(reading.vms), samples=world.usage.take(reading))
    except VmferryError as error:
        return HostTaken(host=host, problem=str(error))


def read_usage(world: World, snapshot: FleetSnapshot, policy: DemandPolicy = DEFAULT_DEMAND) -> FleetUsage:
    """Return the demand of every running VM of the snapshot, and what the hosts used lately; reads the store only."""
    now_s = int(snapshot.taken_at.timestamp())
    spans = windows(now_s, policy)
    kept = world.usage.read(spans)
    past = {(u.subject.kind, u.subject.key): tuple(s for s in u.samples if s.start_s < now_s) for u in kept}
    running = {str(vm.uuid): vm.vcpus for facts in snapshot.hosts for vm in facts.vms if vm.is_active}
    of_vms = {uuid: past.get((SubjectKind.VM, uuid), ()) for uuid in running}
    peers = Peers.of((of_vms[uuid], vcpus) for uuid, vcpus in running.items()) if policy.learn_s else None
    demands = {uuid: forecast_demand(of_vms[uuid], vcpus, now_s, policy, peers) for uuid, vcpus in running.items()}
    begin_s, end_s = spans[0]
    recent = {
        key: tuple(s for s in samples if s.end_s > begin_s and s.start_s < end_s)
        for (kind, key), samples in past.items()
        if kind is SubjectKind.HOST
    }
    return FleetUsage(at=snapshot.taken_at, demands=demands, hosts=recent)
