"""One more host never strands more, with constraints and without, wherever the inventory names it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import GIB, GIB_KIB, IMAGES, LOCAL, build_facts, build_host, build_pair, build_snapshot
from tests.unit.planning.fleets import SOURCE, fleets
from tests.unit.planning.test_fleet_plan import fleet, with_constraints
from tests.unit.planning.test_instants import bound_crowds
from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest
from vmferry.model.host import FleetSnapshot
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.replay import replay


def with_one_more(snapshot: FleetSnapshot, source: str, room_gib: int, at: int) -> FleetSnapshot:
    """The same fleet with an empty host among its others; the source sees it as it sees any."""
    host = build_host("one-more")
    facts = build_facts("one-more", memory_available_kib=room_gib * GIB_KIB,
                        storage_free_bytes={IMAGES: 100 * GIB, LOCAL: room_gib * GIB})  # fmt: skip
    entries = [(entry, snapshot.facts(entry.name)) for entry in snapshot.inventory.hosts]
    entries.insert(at % (len(entries) + 1), (host, facts))
    made = build_snapshot(entries, unreachable=snapshot.unreachable, cordons=snapshot.cordons)
    known = next((pair.source_files for pair in snapshot.pairs if pair.source == source), None)
    files = {} if known is None else {"source_files": known}
    there = snapshot.facts(source)
    pair = build_pair(source, "one-more", there.vms if there is not None else (), **files)
    inventory = made.inventory.model_copy(update={"constraints": snapshot.inventory.constraints})
    update = {"inventory": inventory, "pairs": (*snapshot.pairs, pair)}
    return made.model_copy(update=update | {"open_runs": snapshot.open_runs, "reserved": snapshot.reserved})


def evacuated(snapshot: FleetSnapshot, source: str) -> EvacuationPlan:
    made = plan_evacuation(snapshot, EvacuationRequest(host=source))
    assert replay(made) == ()
    return made


@given(fleets(), st.integers(0, 24), st.integers(0, 5))
@examples(60)
def test_one_more_host_never_strands_more(snapshot: FleetSnapshot, room_gib: int, at: int) -> None:
    more = with_one_more(snapshot, SOURCE, room_gib, at)
    assert len(evacuated(more, SOURCE).stranded) <= len(evacuated(snapshot, SOURCE).stranded)


@given(bound_crowds(), st.integers(0, 24), st.integers(0, 5))
@examples(60)
def test_one_more_host_never_strands_more_under_constraints(snapshot: FleetSnapshot, room_gib: int, at: int) -> None:
    more = with_one_more(snapshot, "kvm0", room_gib, at)
    try:
        before, after = evacuated(snapshot, "kvm0"), evacuated(more, "kvm0")
    except InvalidInput:
        return
    assert len(after.stranded) <= len(before.stranded)


def test_a_hundred_plans_are_the_same_bytes() -> None:
    apart = Constraint(kind=ConstraintKind.SPREAD, name="apart", vms=("a0", "a1", "b0"))
    few = Constraint(kind=ConstraintKind.MAX_ONLINE, name="few", hosts=("kvm1", "kvm2", "kvm3"), limit=2)
    snapshot = with_constraints(fleet((4, 6, 3), (2,), (8, 8), ()), apart, few)
    first = evacuated(snapshot, "kvm0").model_dump_json()
    assert len(evacuated(snapshot, "kvm0").moves) >= 2
    assert all(evacuated(snapshot, "kvm0").model_dump_json() == first for _ in range(100))
