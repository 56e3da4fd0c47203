"""Empty one host: the runbook that evacuate-host and roll-hosts share."""

from __future__ import annotations

from functools import partial

from tasks._inputs import unsearched
from tasks._wiring import world
from tasks.approval import permitted
from tasks.evacuation import bounds_of, make_report, move_by_plan, names_left
from tasks.live import progress_artifacts
from tasks.placement import plan_on
from tasks.preflight import read_fleet
from tasks.report import publish_report
from tasks.window import run_window
from vmferry.errors import Frozen
from vmferry.model.evacuation import EvacuationReport, EvacuationRequest, Move
from vmferry.model.options import ApprovalOptions
from vmferry.planning.placement import destinations
from vmferry.progress import EvacuationEnded, EvacuationStarted, publish
from vmferry.steps.freeze import why_frozen
from vmferry.steps.operations import continued, end_evacuation, find_evacuation, save_evacuation


def foresee_emptying(request: EvacuationRequest) -> EvacuationReport:
    """Read, plan, check, show: nothing is touched."""
    started_at = world().clock.now()
    return make_report(plan_on(read_fleet(), request), started_at, None)


def empty_host(
    request: EvacuationRequest,
    *,
    resume: bool = False,
    approval: ApprovalOptions = ApprovalOptions(),  # noqa: B008 - frozen
) -> EvacuationReport:
    """Move every VM off a host: cordon → plan → check → sliding window of moves → re-read → report.

    With an approval people are asked between plan and cordon. With `resume` the host's last evacuation goes on: its
    request, and its plan wherever that still holds.
    """
    started_at, saved, keep = world().clock.now(), None, tuple[Move, ...]()
    if resume:
        saved, before = find_evacuation(request.host, world())
        request, keep = continued(request, before), before.moves
    snapshot = read_fleet()
    destinations(snapshot, request)  # names are checked before the host is closed
    if why := why_frozen(world()):
        raise Frozen(f"host {request.host}: not emptied: {why}", host=request.host)
    with permitted(snapshot, request, keep, approval) as plan:
        saved = save_evacuation(plan, request, world(), saved)
        with progress_artifacts(f"evacuate {request.host}"):
            publish(EvacuationStarted(plan=plan))
            move = partial(move_by_plan, plan=plan, request=request)
            result = run_window(plan.moves, request.max_parallel, move, bounds_of(plan, request))
    report = make_report(plan, started_at, result, names_left(plan, result))
    end_evacuation(saved, report, world())
    publish(EvacuationEnded(report=report))
    publish_report(report, unsearched(plan))
    return report
