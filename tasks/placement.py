"""Plan an evacuation and check the plan independently."""

from __future__ import annotations

from prefect import task

from tasks._inputs import unsearched
from tasks._policy import READ
from tasks._wiring import settings
from tasks.preflight import read_fleet, read_ways
from tasks.report import publish_plan
from vmferry.errors import PreflightBlocked
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest
from vmferry.model.host import FleetSnapshot
from vmferry.planning.placement import destinations, plan_evacuation
from vmferry.planning.replay import replay
from vmferry.progress import PlanMade, publish
from vmferry.steps.foresee import with_forecasts


@task(**READ, task_run_name="plan {request.host}")
def plan_host(snapshot: FleetSnapshot, request: EvacuationRequest) -> EvacuationPlan:
    """Plan on the snapshot, with forecasts; any problem that the independent replay finds stops the run."""
    plan = plan_evacuation(snapshot, request)
    if problems := replay(plan):
        raise PreflightBlocked(
            f"host {request.host}: the plan fails its check, nothing was touched: {'; '.join(problems)}; "
            "this is a defect of vmferry: report it with the saved plan"
        )
    plan = with_forecasts(plan, request.max_parallel, move_timeout_s=settings().move_timeout_s)
    publish(PlanMade(plan=plan))
    return plan


def plan_on(snapshot: FleetSnapshot, request: EvacuationRequest) -> EvacuationPlan:
    """Look from the host at its destinations, plan, and show the plan."""
    plan = plan_host(unsearched(_with_pairs(snapshot, request)), request)
    publish_plan(unsearched(plan))
    return plan


def read_again(request: EvacuationRequest) -> FleetSnapshot:
    """Read the fleet, and what the host sees of its destinations, as it is now."""
    return _with_pairs(read_fleet(), request)


def _with_pairs(snapshot: FleetSnapshot, request: EvacuationRequest) -> FleetSnapshot:
    """Add what the host sees of each destination."""
    facts = snapshot.facts(request.host)
    tried = destinations(snapshot, request)
    return read_ways(unsearched(snapshot), request.host, tried, facts.vms if facts else ())
