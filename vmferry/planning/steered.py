"""Plan a host's evacuation anew while places of an earlier plan are kept, and some are avoided. Pure.

What a running window asks when a move failed or a host is gone. As little changes as must: another VM gets another
place only where that leaves fewer behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest, Move
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import FleetSnapshot
from vmferry.planning.candidates import Candidate
from vmferry.planning.causes import NOWHERE, Avoided
from vmferry.planning.placement import destinations, judge_all, plan_judged
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge

_PLANNER = "vmferry.planning.steered"


def plan_steered(
    snapshot: FleetSnapshot, request: EvacuationRequest, keep: Iterable[Move], avoid: Avoided = NOWHERE
) -> EvacuationPlan:
    """Return a plan for what is on the host now, in which VMs go where they were to go wherever that still holds.

    All of them are judged anew. A VM whose place does not hold any more, and one that nobody had planned, gets a new
    one; the reason tells. Others keep theirs, unless fewer VMs stay behind when they do not. What is avoided is a
    blocker like any other. Raises InvalidInput as plan_evacuation does.
    """
    destinations(snapshot, request)
    fleet = Fleet(snapshot)
    candidates = [_steer(c, request.host, avoid) for c in judge_all(Judge(fleet, request.lift), request)]
    kept = {move.uuid: (move.dest, move.dest_reason) for move in sorted(keep, key=lambda move: move.order)}
    plan = plan_judged(fleet, request, candidates, kept, is_kept_only=True)
    if kept and _may_gain(plan, candidates):
        other = plan_judged(fleet, request, candidates, kept)
        plan = other if len(other.stranded) < len(plan.stranded) else plan
    return plan.model_copy(update={"moves": tuple(_explain(move, kept) for move in plan.moves)})


def _may_gain(plan: EvacuationPlan, candidates: Sequence[Candidate]) -> bool:
    """Whether somebody stays behind whom a host may hold."""
    left = {stranded.uuid for stranded in plan.stranded}
    return any(c.demands for c in candidates if c.key in left)


def _steer(candidate: Candidate, host: str, avoid: Avoided) -> Candidate:
    reports, demands = dict(candidate.reports), dict(candidate.demands)
    for dest in tuple(demands):
        if why := avoid.why_not(candidate.key, host, dest):
            found = Finding(rule="avoided", severity=Severity.BLOCK, message=why, source=_PLANNER)
            reports[dest] = reports[dest].model_copy(update={"findings": (found, *reports[dest].findings)})
            del demands[dest]
    return replace(candidate, reports=reports, demands=demands)


def _explain(move: Move, kept: Mapping[str, tuple[str, str]]) -> Move:
    before = kept.get(move.uuid)
    if before is None or before[0] == move.dest:
        return move
    was = f"instead of {before[0]}, where it does not fit any more, which is avoided, or whose room another one needs"
    return move.model_copy(update={"dest_reason": f"{was}: {move.dest_reason}"})


def other_ways(plan: EvacuationPlan, affected: Sequence[Move], waiting: Sequence[Move]) -> dict[str, Move | str]:
    """Return what a new plan says, by UUID: of affected moves their other way, or why there is none.

    Of moves that wait, only those that now go elsewhere, to make room. One for which the new plan has no place waits
    on: it is looked at again before it starts.
    """
    found: dict[str, Move | str] = {move.uuid: move for move in plan.moves}
    found |= {stranded.uuid: stranded.summary() for stranded in plan.stranded}
    ways = {move.uuid: found.get(move.uuid, f"it is not on {plan.host} any more") for move in affected}
    dests = {move.uuid: move.dest for move in waiting}
    return ways | {m.uuid: m for m in plan.moves if m.uuid in dests and m.dest != dests[m.uuid]}
