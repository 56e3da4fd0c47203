"""The pieces of an evacuation that touch the journal or a host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from prefect import task

from tasks._policy import ONCE, READ
from tasks._wiring import settings, world
from tasks.one_vm import move_one_vm
from tasks.window import WindowResult
from vmferry.errors import TransientError
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, Move
from vmferry.model.migration import MigrationOutcome, MigrationRequest, OutcomeKind
from vmferry.planning.single import plan_vm
from vmferry.steps.host_marks import host_in_work
from vmferry.steps.prepare import make_plan
from vmferry.stopping import current_stop


@task(**ONCE, task_run_name="cordon {host}")
def cordon_host(host: str, reason: str) -> None:
    """Close the host for arrivals; the mark outlives this run."""
    world().journal.cordon(host, reason)


@contextmanager
def cordoned(host: str, reason: str) -> Iterator[None]:
    """Hold the host against other evacuations while it is emptied, and close it for arrivals: that outlives the run."""
    with host_in_work(host, reason, world()):
        cordon_host(host, reason)
        yield


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


def move_by_plan(move: Move, plan: EvacuationPlan) -> MigrationOutcome:
    """Run one planned move; the destination was judged on the plan's snapshot and is looked at again at the start."""
    request = MigrationRequest(
        vm=move.uuid, source=move.source, dest=move.dest, mode=move.mode, policy=move.policy, lift=plan.lifted
    )
    decision = plan_vm(plan.snapshot, request)
    made = make_plan(decision, request, plan.snapshot, move_timeout_s=settings().move_timeout_s)
    told = {"mode_reason": move.mode_reason, "forecast": move.forecast or made.forecast}
    return move_one_vm(made.model_copy(update=told))


def make_report(
    plan: EvacuationPlan, started_at: datetime, result: WindowResult | None, left: tuple[str, ...] = ()
) -> EvacuationReport:
    """Return the report of a run, or of a dry run when there is no result."""
    if result is None:
        left = tuple(vm.name for facts in plan.snapshot.hosts if facts.name == plan.host for vm in facts.vms)
    failed = tuple(f"{vm} ({why})" for vm, why in (result.failures.items() if result else ()))
    return EvacuationReport(
        host=plan.host,
        run=f"{plan.snapshot.taken_at:%Y%m%d-%H%M%S}",
        is_dry_run=result is None,
        outcomes=result.outcomes if result else (),
        stranded=plan.stranded,
        not_started=(*(result.not_started if result else ()), *failed),
        left=left,
        cancelled=current_stop().why,
        approvals=plan.approvals,
        started_at=started_at,
        ended_at=world().clock.now(),
    )
