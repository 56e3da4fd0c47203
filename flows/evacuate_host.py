"""Empty a host: cordon → plan → check → sliding window of moves → re-read → report."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import _wiring
from tasks.cancelling import cancellable, cancelled
from tasks.emptying import empty_host, foresee_emptying
from tasks.events import telling
from tasks.report import label_run
from vmferry.errors import LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.evacuation import EvacuationReport, EvacuationRequest
from vmferry.model.migration import OutcomeKind
from vmferry.model.operation import Incoming, WayOut
from vmferry.model.options import (
    ApprovalOptions,
    CautionOptions,
    ProbeOptions,
    StopOptions,
    WindowOptions,
    limits_from,
)
from vmferry.reporting.words import report_headline, why_left


@flow(name="evacuate-host", flow_run_name="evacuate {host}", validate_parameters=True)
def evacuate_host(
    host: str,
    dests: list[str] | None = None,
    modes: dict[str, WayOut] | None = None,
    policy: PolicyName | None = None,
    policies: dict[str, PolicyName] | None = None,
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4,
    window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    caution: CautionOptions = CautionOptions(),  # noqa: B008 - frozen
    stop: StopOptions = StopOptions(),  # noqa: B008 - frozen
    probes: ProbeOptions = ProbeOptions(),  # noqa: B008 - frozen
    incoming: Incoming = Incoming.WAIT,
    reason: str = "evacuation",
    ticket: str = "",
    dry_run: bool = False,
    resume: bool = False,
    lift: list[str] | None = None,
    approval: ApprovalOptions = ApprovalOptions(),  # noqa: B008 - frozen
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> EvacuationReport | State[Any]:
    """Move every VM off a host, each by the right kind of migration.

    Args:
        host: Host of the inventory to be emptied.
        dests: Hosts that may receive VMs; every other host when empty.
        modes: VM → live, non-live, offline, stop-and-start or leave, where the choice is not to be left to vmferry.
        policy: What may be done to VMs whose move does not converge; the host's own in the inventory when empty.
        policies: VM → policy, where it is to differ.
        max_parallel: Moves at once; the hosts' own limits hold besides.
        window: Until when moves may start, and what becomes of those that run then.
        caution: Canaries, a cap, and what stops the run.
        stop: How VMs that leave by stop-and-start are shut down.
        probes: What is done about guests that answered before their move and do not after it.
        incoming: What becomes of moves that are on their way to the host.
        reason: Why, for the cordon and the report.
        ticket: Number of the ticket, for the cordon and the report.
        dry_run: Plan and check only; nothing is touched.
        resume: Go on with the host's last evacuation, which its window's end or a bound has stopped; its plan is
            checked anew, and what was asked for at its beginning holds, but window, caution and moves at once.
        lift: Ids of rules whose blocks only warn in this run; recorded in the report, impossible for final rules.
        approval: Who must agree to the plan, in a form of the paused run, before anything is touched.
        on_cancel: What a cancel does to moves that run: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    asked: dict[str, Any] = {"host": host, "policy": policy, "max_parallel": max_parallel, "stop": stop}
    asked |= {"dests": dests or (), "modes": modes or {}, "policies": policies or {}, "lift": lift or ()}
    asked |= {"incoming": incoming, "reason": reason, "ticket": ticket, "probes": probes}
    with _wiring.wired(inventory) as world, telling(), cancellable(on_cancel, inventory):
        label_run(f"host:{host}")
        request = EvacuationRequest(**asked, limits=limits_from(window, caution, world.clock.now()))
        if dry_run:
            return foresee_emptying(request)
        return _must_be_empty(empty_host(request, resume=resume, approval=approval))


def _must_be_empty(report: EvacuationReport) -> EvacuationReport | State[Any]:
    """A flow that returns data ends Completed: only an empty host may, with nothing held; Cancelled if it was that."""
    is_held = any(outcome.kind is OutcomeKind.HELD for outcome in report.outcomes)
    if report.is_done and not is_held:
        return report
    message = f"{report_headline(report)}: {why_left(report)}"
    state = None if is_held else cancelled(message)
    if state is None:
        raise LeftBehind(message, host=report.host)
    return state
