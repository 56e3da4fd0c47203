"""What a fleet's plan depends on beyond its placement: the ways of its moves, and their forecasts."""

from __future__ import annotations

from collections.abc import Mapping

from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.host import FleetSnapshot
from vmferry.model.plan import FleetPlan
from vmferry.model.vm import Vm
from vmferry.ports import World
from vmferry.steps.foresee import with_forecasts
from vmferry.steps.read_dirty import read_ways


def read_ways_of(world: World, plan: FleetPlan) -> FleetSnapshot:
    """Return the plan's snapshot with what each source sees of its destinations, and how the VMs to be moved write.

    Other pairs stay as they were read. Changes: as `read_ways` does, for the pairs of the plan only.
    """
    snapshot = plan.snapshot
    for source, moves in _by_source(plan.moves).items():
        dests = tuple(dict.fromkeys(move.dest for move in moves))
        seen = read_ways(world, snapshot, source, dests, _vms(snapshot, source, moves))
        fresh = {(pair.source, pair.dest): pair for pair in seen.pairs}
        kept = (pair for pair in snapshot.pairs if (pair.source, pair.dest) not in fresh)
        snapshot = seen.model_copy(update={"pairs": (*kept, *fresh.values())})
    return snapshot


def foresee_fleet(plan: FleetPlan, max_parallel: int, *, move_timeout_s: float | None = None) -> FleetPlan:
    """Return the plan with a forecast per move, as if the moves of each source shared its ways."""
    told: dict[str, Move] = {}
    for source, moves in _by_source(plan.moves).items():
        one = EvacuationPlan(host=source, moves=tuple(moves), stranded=(), snapshot=plan.snapshot)
        foreseen = with_forecasts(one, max_parallel, move_timeout_s=move_timeout_s)
        told |= {move.uuid: move for move in foreseen.moves}
    return plan.model_copy(update={"moves": tuple(told[move.uuid] for move in plan.moves)})


def _by_source(moves: tuple[Move, ...]) -> Mapping[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.source, []).append(move)
    return found


def _vms(snapshot: FleetSnapshot, source: str, moves: list[Move]) -> tuple[Vm, ...]:
    facts, wanted = snapshot.facts(source), {move.uuid for move in moves}
    return tuple(vm for vm in (facts.vms if facts else ()) if str(vm.uuid) in wanted)
