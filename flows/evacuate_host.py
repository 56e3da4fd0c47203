"""Empty a host: cordon → plan → check → sliding window of moves → re-read → report."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import _wiring
from tasks._inputs import unsearched
from tasks.approval import permitted
from tasks.cancelling import cancellable, cancelled
from tasks.evacuation import make_report, move_by_plan, names_left
from tasks.events import telling
from tasks.live import progress_artifacts
from tasks.placement import plan_on
from tasks.preflight import read_fleet
from tasks.report import label_run, publish_report
from tasks.window import run_window
from vmferry.errors import LeftBehind
from vmferry.model.approval import ApprovalRule
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.evacuation import EvacuationReport, EvacuationRequest
from vmferry.model.migration import MigrationMode, OutcomeKind
from vmferry.planning.placement import destinations
from vmferry.progress import EvacuationEnded, EvacuationStarted, publish
from vmferry.reporting.words import report_headline, why_left


@flow(name="evacuate-host", flow_run_name="evacuate {host}", validate_parameters=True)
def evacuate_host(
    host: str,
    dests: list[str] | None = None,
    modes: dict[str, MigrationMode] | None = None,
    policy: PolicyName | None = None,
    policies: dict[str, PolicyName] | None = None,
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4,
    reason: str = "evacuation",
    dry_run: bool = False,
    lift: list[str] | None = None,
    approval: ApprovalRule = ApprovalRule.NONE,
    approval_minutes: Annotated[float, Field(gt=0, le=10080)] = 60,
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> EvacuationReport | State[Any]:
    """Move every VM off a host, each by the right kind of migration.

    Args:
        host: Host of the inventory to be emptied.
        dests: Hosts that may receive VMs; every other host when empty.
        modes: VM → live, non-live or offline, where the choice is not to be left to vmferry.
        policy: What may be done to VMs whose move does not converge; the host's own in the inventory when empty.
        policies: VM → policy, where it is to differ.
        max_parallel: Moves at once; the hosts' own limits hold besides.
        reason: Why, for the cordon and the report.
        dry_run: Plan and check only; nothing is touched.
        lift: Ids of rules whose blocks only warn in this run; recorded in the report, impossible for final rules.
        approval: Who must agree to the plan, in a form of the paused run, before anything is touched.
        approval_minutes: Minutes that the form waits; without an answer nothing moves.
        on_cancel: What a cancel does to moves that run: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    request = EvacuationRequest(
        host=host,
        dests=tuple(dests or ()),
        modes=modes or {},
        policy=policy,
        policies=policies or {},
        max_parallel=max_parallel,
        reason=reason,
        lift=tuple(lift or ()),
    )
    with _wiring.wired(inventory) as world, telling(), cancellable(on_cancel, inventory):
        label_run(f"host:{host}")
        started_at = world.clock.now()
        snapshot = read_fleet()
        destinations(snapshot, request)  # names are checked before the host is closed
        if dry_run:
            return make_report(plan_on(snapshot, request), started_at, None)
        agreed = permitted(snapshot, request, approval, approval_minutes)
        with agreed as plan, progress_artifacts(f"evacuate {host}"):
            publish(EvacuationStarted(plan=plan))
            result = run_window(plan.moves, max_parallel, lambda move: move_by_plan(move, plan))
        report = make_report(plan, started_at, result, names_left(plan, result))
        publish(EvacuationEnded(report=report))
        publish_report(report, unsearched(plan))
        return _must_be_empty(report)


def _must_be_empty(report: EvacuationReport) -> EvacuationReport | State[Any]:
    """A flow that returns data ends Completed: only an empty host may, with nothing held; Cancelled if it was that."""
    is_held = any(outcome.kind is OutcomeKind.HELD for outcome in report.outcomes)
    if report.is_empty and not is_held:
        return report
    message = f"{report_headline(report)}: {why_left(report)}"
    state = None if is_held else cancelled(message)
    if state is None:
        raise LeftBehind(message, host=report.host)
    return state
