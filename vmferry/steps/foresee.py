"""Forecasts of an evacuation's moves, made as each move's own plan will be made."""

from __future__ import annotations

from uuid import UUID

from vmferry.errors import VmferryError
from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.findings import PreflightReport
from vmferry.model.forecast import Forecast
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationMode, MigrationRequest
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.forecast import forecast_move, link_mib_s
from vmferry.planning.schedule import Foreseen, sharing, sharings, with_times
from vmferry.planning.single import VmDecision
from vmferry.planning.window import limits_of
from vmferry.rules.case import Fleet
from vmferry.steps.prepare import make_plan


def with_forecasts(
    plan: EvacuationPlan,
    max_parallel: int,
    *,
    move_timeout_s: float | None = None,
    on_the_way: OnTheWay | None = None,
) -> EvacuationPlan:
    """Return the plan with a forecast per move, in the order of its timetable, and with the end of them all.

    The moves were judged already; nothing is judged again but that the timetable keeps the constraints `on_the_way`.
    """
    limits, fleet = limits_of(plan.snapshot.inventory), Fleet(plan.snapshot)
    at_once = sharing([move for move in plan.moves if move.memory_kib or move.copy_bytes], limits, max_parallel)
    foreseen = [_foreseen(move, fleet, plan.snapshot, at_once, move_timeout_s) for move in plan.moves]
    return with_times(plan, foreseen, limits, max_parallel, on_the_way)


def _foreseen(
    move: Move, fleet: Fleet, snapshot: FleetSnapshot, at_once: int, move_timeout_s: float | None
) -> Foreseen:
    """Return the move with what only its own plan tells: forecasts, by how many moves share its link."""
    case = fleet.case(fleet.side(move.source).by_uuid[UUID(move.uuid)], move.source, move.dest, move.mode)
    request = MigrationRequest(vm=move.uuid, source=move.source, dest=move.dest, mode=move.mode, policy=move.policy)
    report = PreflightReport(vm=move.vm, source=move.source, dest=move.dest, mode=move.mode, findings=move.warnings)
    decision = VmDecision(case, move.mode, move.mode_reason, report)
    try:
        made = make_plan(decision, request, snapshot, move_timeout_s=move_timeout_s)
    except VmferryError as error:  # the run itself will say so, before it touches anything
        return Foreseen(move, {1: Forecast(basis=str(error))})
    told: dict[str, object] = {}
    if made.mode is not MigrationMode.OFFLINE:
        told = {"transport": made.transport.words(), "switch": made.switch}
    forecasts = {count: forecast_move(case, made, sharing=count) for count in sharings(at_once)}
    return Foreseen(move.model_copy(update=told), forecasts, link_mib_s(case, made))
