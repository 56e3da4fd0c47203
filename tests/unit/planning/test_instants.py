"""Constraints hold at every instant, while VMs are on both of their hosts: in timetables, and in the running window."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import NOW
from tests.unit.planning.crowds import crowds, questions
from tests.unit.planning.test_constraint_check import one, state
from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, Level
from vmferry.model.evacuation import EvacuationRequest, Move
from vmferry.model.forecast import Ending, Forecast
from vmferry.model.host import FleetSnapshot, Limits
from vmferry.model.migration import MigrationMode
from vmferry.model.operation import RunLimits
from vmferry.model.plan import PlanRequest
from vmferry.model.timetable import Job, Pace, Site, TimedMove, Timetable, TimetableRequest
from vmferry.planning.constraints.check import check_constraints
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.fleet.plan import plan
from vmferry.planning.gate import Ended, Gate, Say
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.schedule import Foreseen, request_of
from vmferry.planning.timetable import plan_timetable
from vmferry.planning.timetable_check import check_timetable
from vmferry.planning.window import Window

K = ConstraintKind
SPREAD = one(K.SPREAD, vms=("a", "b"))
START = state(a="k1", b="k1", c="k2")

ON_THE_WAY = {
    "spread": (SPREAD, state(a="k1", b="k2"), {"a": "k1 k2"}, {"a": "k1 k3"}),
    "spread, fewer than before": (one(K.SPREAD, vms=("a", "b", "c")), state(a="k1", b="k1", c="k1"),
                                  {"a": "k1 k2", "b": "k1 k2"}, {"a": "k2"}),
    "spread, racks": (one(K.SPREAD, vms=("a", "b"), level=Level.RACK), state(a="k1", b="k3"),
                      {"a": "k1 k3"}, {"a": "k1 k2"}),
    "gather": (one(K.GATHER, vms=("a", "b")), START, {"a": "k1 k2", "b": "k1 k3"}, {"a": "k2", "b": "k1 k2"}),
    "gather, scattered before": (one(K.GATHER, vms=("a", "c")), START, None, {"a": "k1 k3"}),
    "among": (one(K.AMONG, vms=("a", "b"), groups=(("k1", "k2"), ("k3",))), START, {"a": "k1 k3"}, {"a": "k1 k2"}),
    "among, in no group before": (one(K.AMONG, vms=("a", "c"), groups=(("k1",), ("k2",))), START, None,
                                  {"a": "k1 k3"}),
    "split": (one(K.SPLIT, groups=(("a", "b"), ("c",))), START, {"a": "k1 k2"}, {"a": "k1 k3"}),
    "split, fewer than before": (one(K.SPLIT, groups=(("a", "b"), ("c",))), state(a="k1", b="k1", c="k1"),
                                 {"b": "k1 k2", "c": "k1 k2"}, {"a": "k2"}),
    "fence": (one(K.FENCE, vms=("a",), hosts=("k1", "k2")), START, {"a": "k1 k3"}, {"a": "k1 k2"}),
    "ban": (one(K.BAN, vms=("a",), hosts=("k3",)), START, {"a": "k1 k3"}, {"a": "k1 k2"}),
    "root": (one(K.ROOT, vms=("a",)), START, {"a": "k1 k3"}, {"b": "k1 k3"}),
    "lonely": (one(K.LONELY, vms=("a", "b")), START, {"a": "k1 k2"}, {"a": "k1 k3"}),
    "quarantine": (one(K.QUARANTINE, hosts=("k3",)), START, {"a": "k1 k3"}, {"a": "k1 k2"}),
    "offline": (one(K.OFFLINE, hosts=("k1", "k3")), START, {"a": "k1 k3"}, {"a": "k1 k2"}),
    "maxOnline": (one(K.MAX_ONLINE, hosts=("k1", "k2", "k3"), limit=2), START, {"a": "k1 k3"}, {"a": "k1 k2"}),
    "maxOnline, more before": (one(K.MAX_ONLINE, hosts=("k1", "k2", "k3"), limit=1), START, {"a": "k1 k3"},
                               {"a": "k1 k2"}),
    "preserve": (one(K.PRESERVE, hosts=("k2",), memory_mib=5120), START, {"a": "k1 k2", "b": "k1 k2"}, {"a": "k1 k2"}),
    "overbook": (one(K.OVERBOOK, hosts=("k2",), ratio=1.0), START, {"a": "k1 k2", "b": "k1 k2"}, {"a": "k1 k2"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_what_is_new_on_the_way_is_told_and_what_was_broken_before_is_not(name: str) -> None:
    constraint, start, broken, kept = ON_THE_WAY[name]
    keeps = OnTheWay((constraint,), start)
    assert list(keeps.broken({})) == []
    assert list(keeps.broken(places(kept))) == []
    assert broken is None or len(list(keeps.broken(places(broken)))) >= 1


def places(told: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {vm: tuple(hosts.split()) for vm, hosts in told.items()}


def test_every_kind_that_a_way_can_break_has_a_case() -> None:
    assert {case[0].kind for case in ON_THE_WAY.values()} == set(K) - {K.ONLINE}


def test_soft_and_discrete_constraints_bind_no_instant() -> None:
    snapshot_free = [one(K.SPREAD, vms=("a", "b"), is_hard=False), one(K.SPREAD, vms=("a", "b"), is_continuous=False)]
    now = state(a="k1", b="k2").moved({"a": ("k1", "k2")}, is_end=False)
    assert check_constraints(snapshot_free[1:], now) == ()
    firm = tuple(c for c in snapshot_free if c.is_hard and c.is_continuous)
    assert list(OnTheWay(firm, state(a="k1", b="k2")).broken({"a": ("k1", "k2")})) == []


# timetables


def test_a_timetable_in_which_two_meet_that_must_not_is_found_wrong() -> None:
    """a goes to where b still is: at the end they are apart, on the way they are not."""
    start = state(a="k1", b="k2")
    jobs = tuple(Job(uuid=vm, vm=vm, source=source, dest=dest, paces=(Pace(seconds=10),))
                 for vm, source, dest in (("a", "k1", "k2"), ("b", "k2", "k3")))  # fmt: skip
    request = TimetableRequest(jobs=jobs, sites=tuple(Site(host=host) for host in ("k1", "k2", "k3")))
    keeps = OnTheWay((SPREAD,), start)
    at_once = plan_timetable(request)
    assert check_timetable(request, at_once, keeps.broken) == ("spread c: a, b share host k2",)
    last = TimedMove(uuid="a", vm="a", source="k1", dest="k2", starts_s=10, seconds=10)
    after = Timetable(moves=(at_once.of("b"), last), makespan_s=20, bound_s=10)  # type: ignore[arg-type]
    assert check_timetable(request, after, keeps.broken) == ()


@st.composite
def bound_crowds(draw: st.DrawFn) -> FleetSnapshot:
    """A fleet whose inventory has constraints of every kind that asks for something on the way."""
    snapshot = draw(crowds())
    names, hosts = [vm.name for facts in snapshot.hosts for vm in facts.vms], list(snapshot.inventory.names())
    made = [_drawn(draw, f"c{n}", names, hosts) for n in range(draw(st.integers(1, 3)))] if names else []
    return snapshot.model_copy(update={"inventory": snapshot.inventory.model_copy(update={"constraints": tuple(made)})})


def _drawn(draw: st.DrawFn, name: str, names: Sequence[str], hosts: Sequence[str]) -> Constraint:
    kind = draw(st.sampled_from([k for k in K if k is not K.ONLINE]))
    some = tuple(draw(st.lists(st.sampled_from(list(names)), min_size=1, max_size=3, unique=True)))
    few = tuple(draw(st.lists(st.sampled_from(list(hosts)), min_size=1, unique=True)))
    fields: dict[str, Any] = {"vms": some}
    if kind in (K.FENCE, K.BAN):
        fields["hosts"] = few
    elif kind is K.AMONG:
        fields["groups"] = (few, tuple(host for host in hosts if host not in few) or few)
    elif kind is K.SPLIT:
        fields = {"groups": (some, tuple(vm for vm in names if vm not in some)[:3] or some)}
    elif kind in (K.QUARANTINE, K.OFFLINE, K.MAX_ONLINE, K.PRESERVE, K.OVERBOOK):
        fields = {"hosts": few}
        fields |= {"limit": draw(st.integers(1, len(few)))} if kind is K.MAX_ONLINE else {}
        fields |= {"memory_mib": 2048} if kind is K.PRESERVE else {}
        fields |= {"ratio": 1.0} if kind is K.OVERBOOK else {}
    return Constraint(kind=kind, name=name, is_hard=draw(st.sampled_from([True, True, False])), **fields)


@given(bound_crowds(), st.randoms(use_true_random=False))
@examples(200)
def test_an_evacuation_keeps_its_constraints_at_every_instant_of_its_timetable(
    snapshot: FleetSnapshot, draw: random.Random
) -> None:
    try:
        made = plan_evacuation(snapshot, EvacuationRequest(host="kvm0"))
    except InvalidInput:  # they contradict one another
        return
    foreseen = [Foreseen(move, {1: Forecast(ending=Ending.CONVERGES, seconds=draw.uniform(1, 60))})
                for move in made.moves]  # fmt: skip
    limits = {host: Limits(outgoing=draw.randint(1, 4), incoming=draw.randint(1, 4))
              for host in snapshot.inventory.names()}  # fmt: skip
    request = request_of(foreseen, limits, draw.randint(1, 6)).model_copy(update={"tries": 20})
    assert check_timetable(request, plan_timetable(request), OnTheWay.of(snapshot).broken) == ()


# the running window


@given(questions(), st.randoms(use_true_random=False))
@examples(150)
def test_a_window_never_lets_vms_meet_that_must_not(
    question: tuple[FleetSnapshot, PlanRequest], draw: random.Random
) -> None:
    """Moves of many hosts at once, ended in any order, some of them rolled back."""
    snapshot, request = question
    try:
        made = plan(snapshot, request)
    except InvalidInput:
        return
    keeps = OnTheWay.of(snapshot, request.constraints)
    for where, left, gate, window in played(made.moves, keeps, draw):
        assert list(keeps.broken(where)) == []
        if not window.running and left:
            assert all(gate.permit(move, NOW).say is Say.WAIT for move in left), "who waits has a reason"


def played(
    moves: Sequence[Move], keeps: OnTheWay, draw: random.Random
) -> Iterator[tuple[dict[str, tuple[str, ...]], tuple[Move, ...], Gate, Window]]:
    """Run a window as tasks.window does; yield where VMs are after each change, and who waits."""
    wide = {host: Limits(outgoing=9, incoming=9) for move in moves for host in (move.source, move.dest)}
    window, gate, where = Window.open(moves, wide, 9), Gate(RunLimits(), on_the_way=keeps), dict[str, tuple[str, ...]]()
    while True:
        while True:
            allowed = gate
            ready, window = window.take_one(lambda move, g=allowed: g.permit(move, NOW).say is Say.START)  # type: ignore[misc]
            if ready is None:
                break
            gate = gate.start(ready)
            where[ready.uuid] = (ready.source, ready.dest)
            yield where, window.waiting, gate, window
        if not window.running:
            yield where, window.waiting, gate, window
            return
        over = draw.choice(window.running)
        is_there = draw.random() < 0.8
        where[over.uuid] = (over.dest if is_there else over.source,)
        window = window.done(over.uuid)
        gate = gate.end(Ended(vm=over.vm, uuid=over.uuid, source=over.source, dest=over.dest, started_at=NOW,
                              ended_at=NOW + timedelta(seconds=1), is_there=is_there))  # fmt: skip


def test_a_move_waits_until_the_vm_it_must_not_meet_has_left() -> None:
    start: FleetState = state(a="k1", b="k2")
    keeps = OnTheWay((SPREAD,), start)
    moves = [build_move("a", "k1", "k2", 0), build_move("b", "k2", "k3", 1)]
    gate = Gate(RunLimits(), on_the_way=keeps)
    assert "a, b share host k2" in gate.permit(moves[0], NOW).reason
    gate = gate.start(moves[1])
    assert gate.permit(moves[0], NOW).say is Say.WAIT
    ended = Ended(vm="b", uuid="b", source="k2", dest="k3", started_at=NOW, ended_at=NOW, is_there=True)
    assert gate.end(ended).permit(moves[0], NOW).say is Say.START
    assert gate.end(ended.model_copy(update={"is_there": False})).permit(moves[0], NOW).say is Say.WAIT


def build_move(vm: str, source: str, dest: str, order: int) -> Move:
    return Move(vm=vm, uuid=vm, source=source, dest=dest, mode=MigrationMode.LIVE, mode_reason="", dest_reason="",
                order=order, memory_kib=1, vcpus=1)  # fmt: skip
