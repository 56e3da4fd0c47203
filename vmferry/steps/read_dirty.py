"""Read what a forecast needs: how fast VMs write, what the way carries, and what moves before it reached.

Read beside the pairs, at the same time. Nothing here stops a move: what a host does not answer stays unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

from vmferry.errors import VmferryError
from vmferry.model.effects import DomainMoved
from vmferry.model.forecast import DirtyRate, PastRate
from vmferry.model.host import FleetSnapshot, HostFacts, PairFacts
from vmferry.model.journal import Mark, RunRecord
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.dirty import FIRST_S, SECOND_S, is_busy, join_windows
from vmferry.planning.past import PastMove, past_rates
from vmferry.ports import World
from vmferry.steps.names import StepName
from vmferry.steps.read_pairs import read_pairs

logger = logging.getLogger("vmferry.steps")

_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)
_PROBE_S = 1.2
# Probes of one source go one after the other, as each fills the link; a large fleet's other ways stay unmeasured.
_MOST_PROBES = 4
# Links and ciphers change rarely; what a move reached last week still holds.
_FRESH = timedelta(days=7)
_RUNS_READ, _RUNS_PER_PAIR = 200, 5


def read_ways(
    world: World,
    snapshot: FleetSnapshot,
    source: str,
    dests: Sequence[str],
    vms: Sequence[Vm],
    arriving: Vm | None = None,
) -> FleetSnapshot:
    """Return the snapshot with the pairs of `read_pairs`, and with what forecasts of moves of `vms` need.

    Changes: as `read_pairs` does; and a second of traffic per way, where no fresh move tells its rate.
    """
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="forecast") as pool:
        rates = pool.submit(measure_rates, world, source, vms)
        past = read_past(world, snapshot, source, dests)
        links = pool.submit(_probe, world, source, [d for d in dests if d not in past], vms)
        pairs = read_pairs(world, snapshot, source, dests, vms, arriving)
        found, carried = rates.result(), links.result()

    def told(pair: PairFacts) -> PairFacts:
        return pair.model_copy(update={"past": past.get(pair.dest, ()), "mib_s": carried.get(pair.dest)})

    def measured(facts: HostFacts) -> HostFacts:
        if facts.name != source:
            return facts
        return facts.model_copy(update={"dirty": {str(uuid): rate for uuid, rate in found.items()}})

    hosts = tuple(measured(facts) for facts in snapshot.hosts)
    return snapshot.model_copy(update={"pairs": tuple(told(pair) for pair in pairs), "hosts": hosts})


def measure_rates(world: World, source: str, vms: Iterable[Vm]) -> dict[UUID, DirtyRate]:
    """Measure all running VMs in one window, and those that write much in a second, longer one."""
    uuids = [vm.uuid for vm in vms if vm.state in _RUNNING]
    if not uuids:
        return {}
    found = _measure(world, source, uuids, FIRST_S)
    longer = _measure(world, source, [uuid for uuid, rate in found.items() if is_busy(rate)], SECOND_S)
    return found | {uuid: join_windows(found[uuid], rate) for uuid, rate in longer.items()}


def _measure(world: World, source: str, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
    try:
        return world.hypervisor(source).measure_dirty_rates(uuids, seconds) if uuids else {}
    except VmferryError as error:
        logger.warning("host %s: no dirty rates: %s", source, error)
        return {uuid: DirtyRate(detail=str(error)) for uuid in uuids}


def _probe(world: World, source: str, dests: Sequence[str], vms: Sequence[Vm]) -> dict[str, float]:
    """Measure the way to the first destinations of which nothing is known, one after the other."""
    if not any(vm.is_active or vm.disks for vm in vms):
        return {}  # only definitions move
    found: dict[str, float] = {}
    for dest in dests[:_MOST_PROBES]:
        entry = world.inventory.find(dest)
        if entry is None:
            continue
        try:
            found[dest] = world.tools(source).measure_link(entry, _PROBE_S)
        except VmferryError as error:
            logger.warning("host %s: the way to %s was not measured: %s", source, dest, error)
    return found


def read_past(
    world: World, snapshot: FleetSnapshot, source: str, dests: Sequence[str]
) -> dict[str, tuple[PastRate, ...]]:
    """Return by destination what fresh moves from `source` reached, as the journal tells; newest runs first."""
    since = snapshot.taken_at - _FRESH
    told: dict[str, list[PastMove]] = {}
    for record in world.journal.recent(_RUNS_READ):
        moves = told.setdefault(record.plan.dest, [])
        is_asked = record.plan.source == source and record.plan.dest in dests and record.opened_at >= since
        if is_asked and len(moves) < _RUNS_PER_PAIR and (move := _past_move(world, record)) is not None:
            moves.append(move)
    return {dest: rates for dest, moves in told.items() if (rates := past_rates(moves))}


def _past_move(world: World, record: RunRecord) -> PastMove | None:
    """Return what a run's memory took; None unless it was moved in one go, with nothing but memory."""
    plan = record.plan
    if record.outcome is not OutcomeKind.MOVED or plan.mode is MigrationMode.OFFLINE or plan.disks:
        return None
    rows = [row for row in world.journal.rows(record.run) if row.step == StepName.MOVE]
    begun = next((row.at for row in rows if row.mark is Mark.INTENDED), None)
    done = next((row for row in rows if row.mark is Mark.DONE), None)
    if begun is None or done is None or not isinstance(done.effect, DomainMoved):
        return None
    seconds = done.effect.seconds or (done.at - begun).total_seconds()
    return PastMove(plan=plan, sent_bytes=done.effect.bytes_sent, seconds=seconds)
