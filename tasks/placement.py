"""Plan an evacuation and check the plan independently."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from tasks._inputs import unsearched
from tasks._policy import READ
from tasks._wiring import settings
from tasks.preflight import read_ways
from tasks.report import publish_plan
from vmferry.errors import PreflightBlocked
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest, Move
from vmferry.model.host import FleetSnapshot
from vmferry.planning.causes import NOWHERE, Avoided
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.handling import with_priorities
from vmferry.planning.placement import destinations
from vmferry.planning.replay import replay
from vmferry.planning.steered import plan_steered
from vmferry.planning.ways_out import with_stops
from vmferry.progress import PlanMade, publish
from vmferry.steps.foresee import with_forecasts


@task(**READ, task_run_name="plan {request.host}")
def plan_host(
    snapshot: FleetSnapshot, request: EvacuationRequest, keep: Sequence[Move] = (), avoid: Avoided = NOWHERE
) -> EvacuationPlan:
    """Plan on the snapshot, with forecasts; any problem that the independent replay finds stops the run.

    `keep` holds the moves of an earlier plan, `avoid` where this run sends nothing any more.
    """
    plan = plan_steered(with_stops(snapshot, request), request, keep, avoid)
    if problems := replay(plan):
        raise PreflightBlocked(
            f"host {request.host}: the plan fails its check, nothing was touched: {'; '.join(problems)}; "
            "this is a defect of vmferry: report it with the saved plan"
        )
    plan = with_priorities(plan, request.limits)
    keeps = OnTheWay.of(plan.snapshot)
    return with_forecasts(plan, request.max_parallel, move_timeout_s=settings().move_timeout_s, on_the_way=keeps)


def plan_on(snapshot: FleetSnapshot, request: EvacuationRequest, keep: Sequence[Move] = ()) -> EvacuationPlan:
    """Look from the host at its destinations, plan, and show the plan."""
    plan = plan_host(unsearched(with_ways(snapshot, request)), unsearched(request), unsearched(keep))
    publish(PlanMade(plan=plan))
    publish_plan(unsearched(plan))
    return plan


def with_ways(snapshot: FleetSnapshot, request: EvacuationRequest) -> FleetSnapshot:
    """Add what the host sees of each destination."""
    facts = snapshot.facts(request.host)
    tried = destinations(snapshot, request)
    return read_ways(unsearched(snapshot), request.host, tried, facts.vms if facts else ())
