"""Consolidation and balance: read, decide, move, look again, show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State

from tasks._inputs import unsearched
from tasks._policy import ONCE, READ
from tasks._wiring import settings, world
from tasks.audit import read_whole_fleet
from tasks.cancelling import cancelled
from tasks.evacuation import cordon_host
from tasks.one_vm import move_one_vm
from tasks.usage import read_demands
from tasks.window import Bounds, WindowResult, run_window
from vmferry.errors import AlreadyMoving, LeftBehind, PreflightBlocked, TransientError
from vmferry.model.evacuation import Move
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationOutcome, MigrationRequest, OutcomeKind
from vmferry.model.operation import RunLimits
from vmferry.model.optimization import BalanceRequest, ConsolidationRequest, Decision, OptimizationReport
from vmferry.model.plan import FleetPlan, PlanRequest, Purpose
from vmferry.model.usage import FleetUsage
from vmferry.planning import optimize
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.fleet.plan import plan as plan_fleet
from vmferry.planning.handling import blackouts_in, objectives_in
from vmferry.planning.replay_fleet import replay_fleet
from vmferry.planning.single import plan_vm
from vmferry.planning.worth import hosts_to_switch_off
from vmferry.reporting.optimization import (
    decision_headline,
    markdown_decision,
    markdown_optimization,
    report_headline,
    why_not_done,
    write_optimization,
)
from vmferry.steps.foresee_fleet import foresee_fleet, read_ways_of
from vmferry.steps.homes import leaving_home, settle_home
from vmferry.steps.host_marks import host_in_work, open_host
from vmferry.steps.prepare import make_plan
from vmferry.stopping import current_stop

Request = ConsolidationRequest | BalanceRequest
_RUNS_READ = 5000  # of the journal, newest first: what moved within a cool-down


def decide(request: Request, max_parallel: int) -> Decision:
    """Read fleet and usage, and decide; then read the ways of what would move, and decide again with forecasts."""
    snapshot = read_whole_fleet()
    usage = read_demands(unsearched(snapshot))
    first = decide_on(unsearched(snapshot), unsearched(usage), request, max_parallel)
    if not first.plan.moves:
        return first
    return decide_on(unsearched(read_ways(unsearched(first.plan))), unsearched(usage), request, max_parallel)


@task(**READ, task_run_name="read ways")
def read_ways(plan: FleetPlan) -> FleetSnapshot:
    """Look from each source of the plan at its destinations, and at how its VMs write."""
    return read_ways_of(world(), plan)


@task(**READ, task_run_name="decide")
def decide_on(snapshot: FleetSnapshot, usage: FleetUsage, request: Request, max_parallel: int) -> Decision:
    """Decide what is worth doing; any problem that the independent replay finds stops the run."""
    runs = world().journal.recent(_RUNS_READ)
    foresee = lambda plan: foresee_fleet(plan, max_parallel, move_timeout_s=settings().move_timeout_s)  # noqa: E731
    if isinstance(request, ConsolidationRequest):
        return optimize.consolidate(snapshot, usage, request, runs, _checked_plan, foresee)
    return optimize.balance(snapshot, usage, request, runs, _checked_plan, foresee)


def _checked_plan(snapshot: FleetSnapshot, request: PlanRequest) -> FleetPlan:
    plan = plan_fleet(snapshot, request)
    if problems := replay_fleet(plan):
        raise PreflightBlocked(
            f"{request.purpose}: the plan fails its check, nothing was touched: {'; '.join(problems)}; this is a "
            "defect of vmferry: report it with the saved plan"
        )
    return plan


@task(**ONCE, task_run_name="publish decision")
def publish_decision(decision: Decision) -> None:
    """Show what would move, what it brings and costs, and what is left alone."""
    create_markdown_artifact(
        markdown_decision(decision), key=f"plan-{decision.purpose}", description=decision_headline(decision)
    )


@contextmanager
def closed_for_arrivals(hosts: Sequence[str], reason: str) -> Iterator[None]:
    """Close the hosts that are to be emptied, against arrivals and against other evacuations.

    Where somebody else has just begun to empty one of them, none stays closed by this run.
    """
    closed: list[str] = []
    try:
        with ExitStack() as stack:
            for host in hosts:
                stack.enter_context(host_in_work(host, reason, world()))
                cordon_host(host, reason)
                closed.append(host)
            yield
    except AlreadyMoving:
        open_hosts(closed)
        raise


def move_in_fleet(move: Move, plan: FleetPlan, reason: str) -> MigrationOutcome:
    """Run one planned move; the destination was judged on the plan's snapshot and is looked at again at the start.

    A consolidation is for the night: where the VM belongs is written down first, so that return-vms brings it back.
    """
    request = MigrationRequest(
        vm=move.uuid, source=move.source, dest=move.dest, mode=move.mode, policy=move.policy, lift=plan.request.lift
    )
    made = make_plan(plan_vm(plan.snapshot, request), request, plan.snapshot, move_timeout_s=settings().move_timeout_s)
    told = {"mode_reason": move.mode_reason, "forecast": move.forecast or made.forecast}
    made = made.model_copy(update=told)
    if plan.request.purpose is not Purpose.CONSOLIDATE:
        return move_one_vm(made)
    with leaving_home(made, str(made.state_before), reason, world()):
        outcome = move_one_vm(made)
    settle_home(outcome, move.uuid, world())
    return outcome


def run_decision(decision: Decision, max_parallel: int, limits: RunLimits, reason: str = "") -> WindowResult:
    """Make the moves of a decision, within the run's bounds and what their VMs wish, while the fleet is not frozen.

    A VM whose move fails is tried nowhere else: another place may not be worth it.
    """
    moves, snapshot = optimize.moves_of(decision), decision.plan.snapshot
    bounds = Bounds(
        limits=limits.model_copy(update={"retries": 0}),
        blackouts=blackouts_in(snapshot, moves),
        objectives=objectives_in(snapshot, moves),
        on_the_way=OnTheWay.of(snapshot, decision.plan.request.constraints),
    )
    return run_window(moves, max_parallel, lambda move: move_in_fleet(move, decision.plan, reason), bounds)


@task(**READ, task_run_name="re-read emptied hosts")
def really_empty(hosts: Sequence[str]) -> tuple[str, ...]:
    """Return those hosts on which `virsh list --all` shows no domain; one that does not answer is not empty."""

    def is_empty(host: str) -> bool:
        try:
            return not world().tools(host).virsh_list()
        except TransientError:
            return False

    return tuple(host for host in hosts if is_empty(host))


@task(**ONCE, task_run_name="open {hosts}")
def open_hosts(hosts: Sequence[str]) -> None:
    """Open hosts for arrivals that this run has closed."""
    for host in hosts:
        world().journal.uncordon(host)
        open_host(host, world())


SwitchOff = Callable[[Sequence[str]], str]


def leave_on(_hosts: Sequence[str]) -> str:
    """What is done with hosts to be switched off where no power driver is configured: nothing, and that is said."""
    return "They stay on: vmferry has no way to switch them off here."


def settle_emptied(report: OptimizationReport, *, keep_closed: bool, power: SwitchOff = leave_on) -> OptimizationReport:
    """Look which hosts are empty, open what is not, and give to `power` what the reserve does not need.

    Hosts that are switched off stay closed whatever `keep_closed` says: nothing could arrive there.
    """
    asked = report.decision.emptied
    emptied = really_empty(asked)
    rules = world().inventory.optimization
    online = len(report.decision.plan.snapshot.hosts)
    off, reserve = hosts_to_switch_off(emptied, online, min_online=rules.min_online, spare_hosts=rules.spare_hosts)
    told = power(off) if off else ""
    is_off = power is not leave_on
    closed = tuple(h for h in emptied if keep_closed or (is_off and h in off))
    if opened := tuple(h for h in asked if h not in closed):
        open_hosts(opened)
    update = {"emptied": emptied, "switch_off": off, "reserve": reserve, "cordoned": closed, "power": told}
    return report.model_copy(update=update)


def make_optimization_report(
    decision: Decision, started_at: datetime, result: WindowResult | None, *, is_dry_run: bool = False
) -> OptimizationReport:
    """Return the report of a run, of a dry run, or of a night on which nothing was worth doing."""
    return OptimizationReport(
        purpose=decision.purpose,
        run=f"{decision.plan.snapshot.taken_at:%Y%m%d-%H%M%S}",
        is_dry_run=is_dry_run,
        reason=decision.reason,
        decision=decision,
        outcomes=result.outcomes if result else (),
        not_started=result.left() if result else (),
        cancelled=current_stop().why,
        started_at=started_at,
        ended_at=world().clock.now(),
    )


@task(**ONCE, task_run_name="publish report")
def publish_optimization(report: OptimizationReport) -> Path:
    """Show and save the report; return the path of its markdown file."""
    create_markdown_artifact(
        markdown_optimization(report), key=f"report-{report.purpose}", description=report_headline(report)
    )
    return write_optimization(settings().report_dir, report)


def must_be_done(report: OptimizationReport) -> OptimizationReport | State[Any]:
    """A flow that returns data ends Completed: only one whose moves all ended well may; Cancelled if it was that."""
    why = why_not_done(report)
    if not why:
        return report
    message = f"{report_headline(report)}: {why}"
    is_held = any(outcome.kind is OutcomeKind.HELD for outcome in report.outcomes)
    state = None if is_held else cancelled(message)
    if state is None:
        raise LeftBehind(message)
    return state
