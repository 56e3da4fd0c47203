"""What a move will cost: seconds, downtime, whether it converges under its policy. Pure.

Memory that is really there, the measured dirty rate and the rate of the way are played through the engine that will
steer the move (vmferry.planning.rehearsal). docs/decisions/0019-forecast.md tells where the numbers come from.
"""

from __future__ import annotations

from vmferry.model.base import Model
from vmferry.model.convergence import LiftCap, Order, Throttled
from vmferry.model.forecast import DirtyRate, Ending, Forecast
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.model.transport import Encryption
from vmferry.planning.overhead import DEFINITION_S, around_s, pause_ms
from vmferry.planning.rehearsal import Load, rehearse
from vmferry.rules.case import Case
from vmferry.rules.pace import memory_in_use_mib, nominal_mib_s

_MIB = 2**20
# Memory in libvirt's RPC goes through two daemons and an ssh that copy each packet: no link makes it faster. Two
# moves over an uncapped link carried 134 and 145 MiB/s, where ssh alone carried 430 (docs/decisions/0019).
_MOST_TUNNELLED_MIB_S = 140.0


class Way(Model):
    """How fast memory travels, MiB/s, and how that is known."""

    mib_s: float  # of one stream
    words: str
    link_mib_s: float | None = None  # of all streams together, where that is known to be more


def forecast_move(case: Case, plan: MigrationPlan, *, sharing: int = 1) -> Forecast:
    """Return what the plan is expected to cost while `sharing` moves use the way at once.

    What was not measured is said in `basis`; where nothing tells the speed of the way there are no seconds.
    """
    way = _way(case, plan)
    if way is None:
        is_small = plan.mode is MigrationMode.OFFLINE and not plan.files
        ending, seconds = (Ending.CONVERGES, DEFINITION_S) if is_small else (Ending.UNKNOWN, None)
        return Forecast(ending=ending, seconds=seconds, basis="the speed of the way is not known")
    all_mib_s = _capacity(case, way)
    link = min(way.mib_s, all_mib_s / max(1, sharing))
    shared = f", shared by {sharing} moves" if link < min(way.mib_s, all_mib_s) else ""
    copied = sum(copy.allocated_bytes for copy in plan.files)
    copy_s = copied / _MIB / link
    if plan.mode is MigrationMode.OFFLINE:
        basis = f"{way.words}{shared}"
        return Forecast(
            ending=Ending.CONVERGES, seconds=DEFINITION_S, copy_seconds=copy_s, sent_bytes=copied, basis=basis
        )
    found = _of_memory(case, plan, link, f"{way.words}{shared}")
    sent = None if found.sent_bytes is None else found.sent_bytes + copied
    return found.model_copy(update={"copy_seconds": copy_s, "sent_bytes": sent})


def link_mib_s(case: Case, plan: MigrationPlan) -> float | None:
    """Return what all moves of the way carry together, MiB/s; None where nothing tells it."""
    way = _way(case, plan)
    return _capacity(case, way) if way is not None else None


def _capacity(case: Case, way: Way) -> float:
    totals = [side.host.limits.total_mib_s for side in (case.source, case.dest)]
    return min([way.link_mib_s or way.mib_s, *(total for total in totals if total is not None)])


def _of_memory(case: Case, plan: MigrationPlan, link: float, words: str) -> Forecast:
    """Return what memory, and the disks that QEMU mirrors before it, cost."""
    dirty = case.source.facts.dirty.get(str(plan.uuid), DirtyRate(detail="it was not measured"))
    rate = min(link, plan.bandwidth_mib_s or link)
    memory_bytes = memory_in_use_mib(case, dirty) * _MIB
    disk_bytes = sum(disk.allocated_bytes for disk in plan.disks)
    disk_s = disk_bytes / _MIB / rate
    besides_s = around_s(plan) + disk_s
    moves = plan.mode is MigrationMode.LIVE and plan.must_run_after
    basis = _basis(dirty, memory_bytes, rate, words) if moves else f"{memory_bytes / _MIB:.0f} MiB, {words}"
    if not moves:  # it stands still: one pass
        seconds = besides_s + memory_bytes / _MIB / rate
        still_ms = round(seconds * 1000) if plan.must_run_after else None
        still = {"downtime_ms": still_ms, "rate_mib_s": rate, "sent_bytes": round(memory_bytes) + disk_bytes}
        return Forecast(ending=Ending.CONVERGES, seconds=seconds, basis=basis, **still)
    load = Load(
        memory_bytes=memory_bytes,
        all_bytes=max(memory_bytes, plan.memory_kib * 1024),
        rate_bytes_s=rate * _MIB,
        link_bytes_s=link * _MIB,
        dirty_bytes_s=(dirty.mib_s or 0.0) * _MIB,
        working_set_bytes=min(memory_bytes, (dirty.working_set_mib or memory_bytes / _MIB) * _MIB),
    )
    course = rehearse(plan, load)
    if not course.is_over:
        return Forecast(ending=Ending.NEVER, rate_mib_s=rate, basis=basis)
    helps = _helps(course.orders)
    ending = Ending.WITH_HELP if helps else Ending.CONVERGES
    return Forecast(
        ending=Ending.UNKNOWN if dirty.mib_s is None else ending,
        seconds=besides_s + course.seconds,
        downtime_ms=pause_ms(plan) + round(course.rest_s * 1000),
        rate_mib_s=rate,
        sent_bytes=round(course.sent_bytes) + disk_bytes,
        help=helps,
        basis=basis,
    )


def _way(case: Case, plan: MigrationPlan) -> Way | None:
    """Return how fast memory travels: as moves before did, else as a probe shows, else as the devices say."""
    pair = case.pair
    asked = (plan.encryption, plan.transport.connections, plan.transport.compression)
    for past in pair.past if pair is not None else ():
        if (past.encryption, past.connections, past.compression) == asked:
            earlier = "the last move" if past.moves == 1 else f"{past.moves} moves before"
            return Way(mib_s=past.mib_s, words=f"{past.mib_s:.0f} MiB/s as {earlier}")
    if pair is not None and pair.mib_s:
        return _through_libvirt(plan, Way(mib_s=pair.mib_s, words=f"{pair.mib_s:.0f} MiB/s as measured"))
    rate = nominal_mib_s(case)
    if rate is not None:
        return _through_libvirt(plan, Way(mib_s=rate, words=f"{rate:.0f} MiB/s as the network devices say"))
    if plan.bandwidth_mib_s is not None:
        return Way(mib_s=plan.bandwidth_mib_s, words=f"a cap of {plan.bandwidth_mib_s} MiB/s")
    return None


def _through_libvirt(plan: MigrationPlan, way: Way) -> Way:
    """Return the way as a tunnelled stream uses it; every other stream fills it."""
    if plan.encryption is not Encryption.TUNNELLED or way.mib_s <= _MOST_TUNNELLED_MIB_S:
        return way
    words = f"{way.words}, {_MOST_TUNNELLED_MIB_S:.0f} MiB/s through libvirt"
    return Way(mib_s=_MOST_TUNNELLED_MIB_S, words=words, link_mib_s=way.mib_s)


def _basis(dirty: DirtyRate, memory_bytes: float, rate: float, words: str) -> str:
    if dirty.mib_s is None:
        writes = f"unknown dirty rate ({dirty.detail})"
    elif dirty.working_set_mib is not None:
        writes = f"at least {dirty.mib_s:.0f} MiB/s written to {dirty.working_set_mib:.0f} MiB"
    else:
        writes = f"{dirty.mib_s:.0f} MiB/s written"
    return f"{memory_bytes / _MIB:.0f} MiB in use, {writes}, {words}, sent at {rate:.0f} MiB/s"


def _helps(orders: tuple[Order, ...]) -> str:
    """Name the last step of the ladder, QEMU's throttling included; empty when none was needed."""
    acts = [order for order in orders if not isinstance(order.action, LiftCap)]
    if not acts:
        return ""
    throttles = [order for order in acts if isinstance(order.action, Throttled)]
    others = [order for order in acts if not isinstance(order.action, Throttled)]
    return " and ".join(last.action.words() for last in (*throttles[-1:], *others[-1:]))
