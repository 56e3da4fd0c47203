"""The pieces of an evacuation that touch the journal or a host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from prefect import task

from tasks._inputs import unsearched
from tasks._policy import ONCE, READ
from tasks._wiring import settings, world
from tasks.guests import ask_guest, look_after
from tasks.one_vm import move_one_vm
from tasks.placement import plan_host, with_ways
from tasks.preflight import read_fleet
from tasks.window import Bounds, Rerouted, WindowResult
from vmferry.errors import TransientError
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, EvacuationRequest, Move
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationOutcome, MigrationPlan, MigrationRequest, OutcomeKind
from vmferry.model.operation import Incoming
from vmferry.model.options import StopOptions
from vmferry.planning.causes import Avoided
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.handling import blackouts_in, objectives_in, probes_in
from vmferry.planning.single import plan_vm
from vmferry.planning.steered import other_ways
from vmferry.planning.ways_out import STAYS
from vmferry.steps.homes import leaving_home, settle_home
from vmferry.steps.host_marks import host_in_work
from vmferry.steps.incoming import settle_incoming
from vmferry.steps.prepare import make_plan
from vmferry.stopping import current_stop


@task(**ONCE, task_run_name="cordon {host}")
def cordon_host(host: str, reason: str, ticket: str = "") -> None:
    """Close the host for arrivals; the mark outlives this run."""
    world().journal.cordon(host, reason, ticket)


@task(**ONCE, task_run_name="settle what is on its way to {host}")
def end_incoming(host: str, policy: Incoming) -> bool:
    """Wait for the ends of moves to the host, abort them, or refuse; return whether there were any."""
    return settle_incoming(host, policy, world())


@contextmanager
def cordoned(host: str, reason: str, ticket: str = "", incoming: Incoming = Incoming.WAIT) -> Iterator[bool]:
    """Hold the host against other evacuations while it is emptied, and close it for arrivals: that outlives the run.

    Tells whether anything was on its way there: then it is to be read again.
    """
    with host_in_work(host, reason, world(), ticket):
        cordon_host(host, reason, ticket)
        yield end_incoming(host, incoming)


@task(**READ, task_run_name="re-read {host}")
def reread_host(host: str) -> tuple[str, ...]:
    """Return the names of all domains that the host still has, running or not: `virsh list --all`."""
    return tuple(domain.name for domain in world().tools(host).virsh_list())


def names_left(plan: EvacuationPlan, result: WindowResult) -> tuple[str, ...]:
    """Return what is left on the host; a host that does not answer still has all that was not proved to be moved."""
    try:
        return reread_host(plan.host)
    except TransientError:
        moved = {outcome.vm for outcome in result.outcomes if outcome.kind is OutcomeKind.MOVED}
        facts = plan.snapshot.facts(plan.host)
        return tuple(vm.name for vm in (facts.vms if facts else ()) if vm.name not in moved)


def bounds_of(plan: EvacuationPlan, request: EvacuationRequest) -> Bounds:
    """Return what the evacuation's moves are kept within."""
    return Bounds(
        limits=request.limits,
        blackouts=blackouts_in(plan.snapshot, plan.moves),
        objectives=objectives_in(plan.snapshot, plan.moves),
        on_the_way=OnTheWay.of(plan.snapshot),
        reroute=partial(_reroute, request),
    )


def _reroute(request: EvacuationRequest, affected: Sequence[Move], waiting: Sequence[Move], avoid: Avoided) -> Rerouted:
    """Read the fleet again, and find other destinations; what waits keeps its place as long as that strands nobody."""
    snapshot = with_ways(read_fleet(), request)
    plan = plan_host(unsearched(snapshot), unsearched(request), unsearched(waiting), unsearched(avoid))
    return other_ways(plan, affected, waiting)


def move_by_plan(move: Move, plan: EvacuationPlan, request: EvacuationRequest) -> MigrationOutcome:
    """Run one planned move; the destination was judged on the plan's snapshot and is looked at again at the start.

    A guest with probes is asked before and after it.
    """
    probes = probes_in(plan.snapshot, move)
    before = ask_guest(move.uuid, move.vm, move.source, unsearched(probes)) if probes else {}
    outcome = move_on(move, plan.snapshot, plan.lifted, request.reason, request.stop)
    if outcome.kind is OutcomeKind.MOVED and any(not wrong for wrong in before.values()):
        outcome = look_after(outcome, move, request, probes, before)
    settle_home(outcome, move.uuid, world())
    return outcome


def move_on(
    move: Move,
    snapshot: FleetSnapshot,
    lifted: tuple[str, ...],
    reason: str,
    stop: StopOptions = StopOptions(),  # noqa: B008 - frozen
) -> MigrationOutcome:
    """Run one move that was planned on a snapshot; where the VM belongs is written down first."""
    made = _made(move, snapshot, lifted, stop)
    state = "running" if move.restart else str(made.state_before)
    with leaving_home(made, state, reason, world()):
        return move_one_vm(made)


def _made(move: Move, snapshot: FleetSnapshot, lifted: tuple[str, ...], stop: StopOptions) -> MigrationPlan:
    request = MigrationRequest(
        vm=move.uuid, source=move.source, dest=move.dest, mode=move.mode, policy=move.policy, lift=lifted
    )
    decision = plan_vm(snapshot, request)
    made = make_plan(decision, request, snapshot, move_timeout_s=settings().move_timeout_s)
    told: dict[str, Any] = {"mode_reason": move.mode_reason, "forecast": move.forecast or made.forecast}
    if move.restart:  # planned as if it were shut off; from its start there it takes what it takes
        told |= {"restart": True, "stop_timeout_s": stop.timeout_s, "stop_force": stop.force}
        told |= {"reserved_kib": move.memory_kib - move.hugepages_kib, "reserved_vcpus": move.vcpus}
        told |= {"reserved_hugepages_kib": move.hugepages_kib}
    return made.model_copy(update=told)


def make_report(
    plan: EvacuationPlan, started_at: datetime, result: WindowResult | None, left: tuple[str, ...] = ()
) -> EvacuationReport:
    """Return the report of a run, or of a dry run when there is no result."""
    if result is None:
        left = tuple(vm.name for facts in plan.snapshot.hosts if facts.name == plan.host for vm in facts.vms)
    stays = [s for s in plan.stranded if any(f.rule == STAYS for found in s.reasons.values() for f in found)]
    return EvacuationReport(
        host=plan.host,
        run=f"{plan.snapshot.taken_at:%Y%m%d-%H%M%S}",
        is_dry_run=result is None,
        outcomes=result.outcomes if result else (),
        tried=result.tried if result else (),
        stranded=tuple(s for s in plan.stranded if s not in stays),
        staying=tuple(s.vm for s in stays),
        not_started=result.left() if result else (),
        left=left,
        cancelled=current_stop().why,
        approvals=plan.approvals,
        stopped=result.stopped if result else "",
        started_at=started_at,
        ended_at=world().clock.now(),
    )
