"""How a simulated move begins."""

from __future__ import annotations

from vmferry.adapters.simulated.checks import check_move, find_dest
from vmferry.adapters.simulated.endings import Beat
from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.mirror import fill_half, mirror_s
from vmferry.adapters.simulated.moves import Flight, pause_for_move
from vmferry.adapters.simulated.precopy import MIB, Precopy
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.convergence import POLICIES
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.model.vm import DomainState

STREAM_MIB_S = 256  # memory of a move, where the plan gives no bandwidth


def check_departure(ground: Ground, plan: MigrationPlan, source: SimHost) -> SimHost:
    """Find the destination and check the move.

    libvirt's error codes do not tell a refusal from a failure, so the real adapter calls both OutcomeUnknown:
    the caller looks at both hosts and finds them as they were.
    """
    try:
        dest = find_dest(ground, plan)
        check_move(ground, plan, source, dest)
        return dest
    except VmferryError as error:
        raise OutcomeUnknown(str(error), vm=plan.vm, host=source.name) from error


def depart(plan: MigrationPlan, source: SimHost, dest: SimHost, now: float) -> Flight:
    """Start a move whose checks have passed."""
    guest = source.domains[plan.uuid]
    rate = plan.bandwidth_mib_s or STREAM_MIB_S
    memory_s, disk_s = max(2.0, plan.memory_kib / 1024 / rate), mirror_s(plan, rate)
    precopy = None
    if guest.dirty_mib_s > 0 and guest.is_on_cpu and plan.mode is MigrationMode.LIVE:
        precopy = Precopy(
            now_s=now + disk_s,
            left_bytes=plan.memory_kib * 1024,
            rate_bytes_s=rate * MIB,
            link_bytes_s=max(rate, STREAM_MIB_S) * MIB,
            dirty_bytes_s=guest.dirty_mib_s * MIB,
            working_set_bytes=guest.working_set_mib * MIB,
            throttle=POLICIES[plan.policy].throttle,
        )
        memory_s = precopy.pass_ends_s() - now - disk_s
    return _take_off(plan, source, dest, now, memory_s, precopy, disk_s)


def _beats_of(now: float, memory_s: float, precopy: Precopy | None) -> list[tuple[float, Beat]]:
    end = now + memory_s
    half = (now + memory_s / 2, Beat.MEMORY)
    if precopy is not None:
        return [half, (end, Beat.PASS)]
    return [half, (end, Beat.SWITCH), (end + 0.1, Beat.ARRIVE), (end + 0.2, Beat.LEAVE)]


def _take_off(
    plan: MigrationPlan,
    source: SimHost,
    dest: SimHost,
    now: float,
    memory_s: float,
    precopy: Precopy | None,
    disk_s: float,
) -> Flight:
    """The incoming domain appears, the source gets its job."""
    guest = source.domains[plan.uuid]
    was_on_cpu, replaced = guest.is_on_cpu, dest.domains.get(guest.uuid)
    incoming = dest.domains[guest.uuid] = _incoming(plan, guest, dest)
    guest.job = "migration out"
    fill_half(plan, source, dest)
    if plan.mode is MigrationMode.NON_LIVE:
        pause_for_move(guest)
    return Flight(
        plan=plan,
        source=source,
        dest=dest,
        guest=guest,
        incoming=incoming,
        replaced=replaced,
        was_on_cpu=was_on_cpu,
        started_s=now,
        memory_s=memory_s,
        beats=_beats_of(now + disk_s, memory_s, precopy),
        disk_s=disk_s,
        precopy=precopy,
    )


def _incoming(plan: MigrationPlan, guest: SimDomain, dest: SimHost) -> SimDomain:
    return SimDomain(
        name=guest.name,
        uuid=guest.uuid,
        live_xml=plan.dest_xml or guest.live_xml,
        state=DomainState.PAUSED,
        reason="migrating",
        job="migration in",
        memory_kib=guest.memory_kib,
        dirty_mib_s=guest.dirty_mib_s,
        working_set_mib=guest.working_set_mib,
        load_cpus=guest.load_cpus,
        id=dest.give_id(),
    )
