"""A plan that is made anew in the middle of an evacuation changes only what it must."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import GIB_KIB, build_facts, build_host, build_snapshot, build_vm
from tests.unit.planning.fleets import SOURCE, fleets
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest, Move
from vmferry.model.host import FleetSnapshot
from vmferry.planning.causes import Avoided
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.replay import replay
from vmferry.planning.steered import other_ways, plan_steered

ASK = EvacuationRequest(host=SOURCE)


def failed_at(move: Move) -> Avoided:
    return Avoided({}, {}, {(move.uuid, move.dest): "it failed there"})


def dests(made: EvacuationPlan) -> dict[str, str]:
    return {move.uuid: move.dest for move in made.moves}


def build(sizes: list[int], rooms: list[int], **fields: Any) -> FleetSnapshot:
    vms = [build_vm(f"vm-{n}", memory_kib=size * GIB_KIB) for n, size in enumerate(sizes)]
    hosts = [(build_host(SOURCE), build_facts(SOURCE, vms))]
    hosts += [(build_host(f"d{n}"), build_facts(f"d{n}", memory_available_kib=int(room * GIB_KIB * 1.05)))
              for n, room in enumerate(rooms)]  # fmt: skip
    return build_snapshot(hosts, **fields)


@given(fleets(), st.data())
@examples(150)
def test_after_one_failure_only_that_vm_goes_elsewhere_where_any_host_has_room_for_it(
    snapshot: FleetSnapshot, data: st.DataObject
) -> None:
    made = plan_evacuation(snapshot, ASK)
    if not made.moves:
        return
    failed = data.draw(st.sampled_from(made.moves))
    keep = [move for move in made.moves if move is not failed]
    again = plan_steered(snapshot, ASK, keep, failed_at(failed))
    assert replay(again) == ()
    assert (failed.uuid, failed.dest) not in dests(again).items()
    changed = {move.uuid for move in keep if dests(again).get(move.uuid) != move.dest}
    if not changed:
        return
    # Others went elsewhere: then the independent check finds no place for it beside them.
    for host in snapshot.inventory.names():
        if host not in (failed.dest, SOURCE):
            moved = failed.model_copy(update={"dest": host})
            moves = tuple(moved if move is failed else move for move in made.moves)
            assert replay(made.model_copy(update={"moves": moves}))
    pinned = len(made.stranded) + 1
    assert len(again.stranded) < pinned, "others move only where fewer are left behind"


@given(fleets(), st.data())
@examples(60)
def test_after_a_host_is_lost_all_others_keep_their_places_or_more_would_be_left(
    snapshot: FleetSnapshot, data: st.DataObject
) -> None:
    made = plan_evacuation(snapshot, ASK)
    if not made.moves:
        return
    lost = data.draw(st.sampled_from(sorted({move.dest for move in made.moves})))
    again = plan_steered(snapshot, ASK, made.moves, Avoided({lost: "it does not answer"}, {}, {}))
    assert replay(again) == ()
    assert lost not in dests(again).values()
    kept = {move.uuid: move.dest for move in made.moves if move.dest != lost}
    changed = {uuid for uuid, dest in kept.items() if dests(again).get(uuid) != dest}
    assert not changed or len(again.stranded) < len(made.stranded) + len(made.moves) - len(kept)


def test_another_vm_gives_way_where_the_failed_one_has_no_other_host() -> None:
    """8 GiB fit beside nobody on d0; when d1 is closed to it, the small one must leave d0."""
    snapshot = build([8, 2], [9, 8, 2])
    made = plan_evacuation(snapshot, ASK)
    by_vm = {move.vm: move for move in made.moves}
    big, small = by_vm["vm-0"], by_vm["vm-1"].model_copy(update={"dest": "d0" if by_vm["vm-0"].dest == "d1" else "d1"})
    again = plan_steered(snapshot, ASK, [small], failed_at(big))
    assert again.stranded == ()
    assert dests(again)[big.uuid] == small.dest
    assert "whose room another one needs" in next(m.dest_reason for m in again.moves if m.vm == "vm-1")
    ways = other_ways(again, [big], [small])
    assert {uuid: way.dest for uuid, way in ways.items() if isinstance(way, Move)} == dests(again)


def test_under_constraints_too_only_the_failed_vm_goes_elsewhere() -> None:
    snapshot = build([2, 2, 2], [8, 8, 8, 8])
    apart = Constraint(kind=ConstraintKind.SPREAD, name="apart", vms=("vm-*",))
    snapshot = snapshot.model_copy(
        update={"inventory": snapshot.inventory.model_copy(update={"constraints": (apart,)})}
    )
    made = plan_evacuation(snapshot, ASK)
    failed = made.moves[0]
    again = plan_steered(snapshot, ASK, made.moves[1:], failed_at(failed))
    (free,) = {"d0", "d1", "d2", "d3"} - set(dests(made).values())
    assert dests(again) == {**dests(made), failed.uuid: free}


def test_of_those_that_wait_only_changes_are_told_and_one_without_a_place_waits_on() -> None:
    snapshot = build([2, 2, 2], [8, 8])
    made = plan_evacuation(snapshot, ASK)
    failed, *waiting = made.moves
    again = plan_steered(snapshot, ASK, waiting, failed_at(failed))
    assert set(other_ways(again, [failed], waiting)) == {failed.uuid}
    gone = again.model_copy(update={"moves": again.moves[:0]})
    assert other_ways(gone, [failed], waiting) == {failed.uuid: f"it is not on {SOURCE} any more"}
