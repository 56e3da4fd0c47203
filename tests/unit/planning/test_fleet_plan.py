"""Plans of a whole fleet: properties on random fleets with constraints, and the cases that matter by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import GIB_KIB, build_cordon, build_host, build_snapshot, build_uuid, build_vm
from tests.unit.planning.crowds import crowds, full_facts, questions
from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.evacuation import EvacuationRequest
from vmferry.model.host import FleetSnapshot, Host, HostFacts, Unreachable
from vmferry.model.plan import FleetPlan, PlanLimits, PlanRequest, Purpose, Reserve
from vmferry.planning.fleet.plan import plan
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.plan_file import diff_plans, parse_plan, write_plan
from vmferry.planning.replay import replay
from vmferry.planning.replay_fleet import replay_fleet

ROOT = Path(__file__).resolve().parents[3]


def fleet(*sizes: tuple[int, ...], room_gib: float = 24, **fields: Any) -> FleetSnapshot:
    """Hosts kvm0 … with VMs of so many GiB, named a0, a1 … on the first, b0 … on the second."""
    hosts: list[tuple[Host, HostFacts | None]] = []
    for number, there in enumerate(sizes):
        letter = "abcdefgh"[number]
        vms = [build_vm(f"{letter}{n}", memory_kib=int(size * GIB_KIB)) for n, size in enumerate(there)]
        host = build_host(f"kvm{number}", rack=f"r{number // 2}")
        hosts.append((host, full_facts(host.name, vms, int(room_gib * GIB_KIB))))
    return build_snapshot(hosts, **fields)


def evacuate(snapshot: FleetSnapshot, *constraints: Constraint, **limits: Any) -> FleetPlan:
    request = PlanRequest(
        purpose=Purpose.EVACUATE, hosts=("kvm0",), constraints=constraints, limits=PlanLimits(**limits)
    )
    made = plan(snapshot, request)
    assert replay_fleet(made) == ()
    return made


def dests(made: FleetPlan) -> dict[str, str]:
    return {move.vm: move.dest for move in made.moves}


def spread(*vms: str, **fields: Any) -> Constraint:
    return Constraint(kind=ConstraintKind.SPREAD, name="apart", vms=vms, **fields)


@given(questions())
@examples(150)
def test_replay_finds_nothing_in_a_plan(question: tuple[FleetSnapshot, PlanRequest]) -> None:
    """Never over-committed, moves ∪ stranded = those asked for, hard constraints hold at the end."""
    try:
        made = plan(*question)
    except InvalidInput as refused:
        assert all("contradict" in p or "leave no host" in p or "that were read" in p for p in refused.problems)
        return
    assert replay_fleet(made) == ()
    assert parse_plan(write_plan(made), "file") == made


@given(crowds(most_hosts=3), st.integers(8, 28))
@examples(60)
def test_one_more_host_never_strands_more(snapshot: FleetSnapshot, room_gib: int) -> None:
    request = PlanRequest(purpose=Purpose.EVACUATE, hosts=("kvm0",))
    entries = [(h, snapshot.facts(h.name)) for h in snapshot.inventory.hosts]
    more = build_snapshot([*entries, (build_host("kvm9"), full_facts("kvm9", [], room_gib * GIB_KIB))],
                          cordons=snapshot.cordons)  # fmt: skip
    assert len(plan(more, request).stranded) <= len(plan(snapshot, request).stranded)


@given(crowds(most_hosts=3))
@examples(40)
def test_what_would_help_a_stranded_vm_helps(snapshot: FleetSnapshot) -> None:
    """Each relaxation is done, and the plan made again strands fewer."""
    names = [vm.name for facts in snapshot.hosts for vm in facts.vms]
    if len(names) < 2:
        return
    asked = Constraint(kind=ConstraintKind.BAN, name="far", vms=tuple(names), hosts=(snapshot.hosts[-1].name,))
    request = PlanRequest(purpose=Purpose.EVACUATE, hosts=("kvm0",), constraints=(asked,))
    made = plan(snapshot, request)
    for stranded in made.stranded:
        assert stranded.explanation is not None
        for relaxation in stranded.explanation.relaxations:
            if relaxation.kind == "drop":
                relaxed = plan(snapshot, request.model_copy(update={"constraints": ()}))
                assert len(relaxed.stranded) < len(made.stranded)
            elif relaxation.kind == "host":
                entries = [(h, snapshot.facts(h.name)) for h in snapshot.inventory.hosts]
                room = max(facts.memory_total_kib for facts in snapshot.hosts)
                more = build_snapshot([*entries, (build_host("kvm9"), full_facts("kvm9", [], room, cpus=64))],
                                      cordons=snapshot.cordons)  # fmt: skip
                assert len(plan(more, request).stranded) < len(made.stranded)


def namesakes(room_on_last_gib: int) -> FleetSnapshot:
    """VMs a0 and a1 on kvm0; kvm1 to kvm6 have other VMs called a0, kvm7 has none and so much room."""
    there = {f"kvm{n}": [build_vm("a0", uuid=build_uuid(f"other{n}"), memory_kib=GIB_KIB)] for n in range(1, 7)}
    there |= {"kvm0": [build_vm(name, memory_kib=4 * GIB_KIB) for name in ("a0", "a1")], "kvm7": []}
    rooms = {name: 24 if name != "kvm7" else room_on_last_gib for name in there}
    return build_snapshot(
        [(build_host(name), full_facts(name, there[name], rooms[name] * GIB_KIB)) for name in sorted(there)]
    )


def test_who_is_forbidden_the_host_that_was_chosen_goes_to_one_that_all_rules_allow() -> None:
    """Only chosen moves are judged at first: the one host that allows a0 is found all the same, on a full host even."""
    for room_gib in (24, 6):
        made = evacuate(namesakes(room_gib))
        assert dests(made)["a0"] == "kvm7" and made.stranded == (), room_gib


def test_who_is_forbidden_every_host_has_the_reasons_of_all_of_them() -> None:
    (stranded,) = evacuate(namesakes(2)).stranded
    assert stranded.vm == "a0" and set(stranded.reasons) == {f"kvm{n}" for n in range(1, 8)}
    assert all(stranded.reasons[f"kvm{n}"][0].rule == "name-taken" for n in range(1, 7))
    assert stranded.explanation is not None and "rule name-taken" in stranded.explanation.blocked


def test_others_move_to_make_room_where_nothing_else_helps() -> None:
    """8 GiB fit nowhere until 4 GiB leave for the host that has 4 free."""
    made = evacuate(fleet((8,), (16,), (4, 12), room_gib=23))
    assert made.stranded == ()
    assert made.score.extra_moves == 1
    assert any("makes room" in move.dest_reason for move in made.moves)
    assert [move.source for move in made.moves].index("kvm0") > 0, "who leaves goes before who comes"
    assert len(evacuate(fleet((8,), (16,), (4, 12), room_gib=23), max_extra_moves=0).stranded) == 1


def test_a_hard_spread_strands_and_a_soft_one_gives_way_and_is_told() -> None:
    snapshot = fleet((4,), (4,), (4,))
    (stranded,) = evacuate(snapshot, spread("a0", "b0", "c0")).stranded
    assert stranded.explanation is not None
    assert stranded.explanation.conflict == ("spread apart",)
    assert "spread apart is dropped" in stranded.explanation.words()
    made = evacuate(snapshot, spread("a0", "b0", "c0", is_hard=False))
    assert (made.stranded, made.score.broken_soft) == ((), 1)
    assert "share host" in made.notes[0]


def test_the_fewest_reasons_that_close_every_host_are_told_with_the_nearest_host() -> None:
    snapshot = fleet((8,), (4,), (18,))
    ban = Constraint(kind=ConstraintKind.BAN, name="no-b", vms=("a0",), hosts=("kvm1",))
    (stranded,) = evacuate(snapshot, ban, max_extra_moves=0).stranded
    why = stranded.explanation
    assert why is not None
    assert set(why.conflict) == {"ban no-b", "memory"}
    assert {r.kind for r in why.relaxations} >= {"drop", "host"}


def test_many_vms_that_ask_for_more_than_there_is_are_told_as_a_sum() -> None:
    made = evacuate(fleet((8, 8, 8), (20,), room_gib=25))
    why = made.stranded[0].explanation
    assert why is not None
    assert "3 VMs (a0, a1, a2) need" in why.group


def test_vms_that_are_to_stay_together_go_together() -> None:
    gather = Constraint(kind=ConstraintKind.GATHER, name="pair", vms=("a0", "a1"))
    made = evacuate(fleet((6, 6), (14,), (8,)), gather)
    assert dests(made) == {"a0": "kvm2", "a1": "kvm2"}


@pytest.mark.parametrize(
    ("constraint", "wanted"),
    [
        (Constraint(kind=ConstraintKind.FENCE, name="f", vms=("a0",), hosts=("kvm0", "kvm2")), "kvm2"),
        (Constraint(kind=ConstraintKind.BAN, name="b", vms=("a*",), hosts=("kvm1",)), "kvm2"),
        (Constraint(kind=ConstraintKind.AMONG, name="a", vms=("a0", "c0"), groups=(("kvm1",), ("kvm2",))), "kvm2"),
        (Constraint(kind=ConstraintKind.SPLIT, name="s", groups=(("a0",), ("b0",))), "kvm2"),
        (Constraint(kind=ConstraintKind.LONELY, name="l", vms=("a0", "c0")), "kvm2"),
        (Constraint(kind=ConstraintKind.QUARANTINE, name="q", hosts=("kvm1",)), "kvm2"),
        (Constraint(kind=ConstraintKind.OFFLINE, name="o", hosts=("kvm1",)), "kvm2"),
        (Constraint(kind=ConstraintKind.PRESERVE, name="p", hosts=("kvm1",), memory_mib=20 * 1024), "kvm2"),
        (Constraint(kind=ConstraintKind.OVERBOOK, name="v", hosts=("kvm1",), ratio=0.125), "kvm2"),
        (Constraint(kind=ConstraintKind.ROOT, name="r", vms=("a0",)), None),
        (Constraint(kind=ConstraintKind.ONLINE, name="n", hosts=("kvm1",)), "kvm1"),
        (Constraint(kind=ConstraintKind.MAX_ONLINE, name="m", hosts=("kvm1", "kvm2"), limit=2), "kvm1"),
    ],
    ids=lambda value: str(value.kind) if isinstance(value, Constraint) else "",
)  # fmt: skip
def test_each_constraint_decides_where_a_vm_may_go(constraint: Constraint, wanted: str | None) -> None:
    """Without one it goes to kvm1, which has most room."""
    assert dests(evacuate(fleet((4,), (2,), (6,)))) == {"a0": "kvm1"}
    assert dests(evacuate(fleet((4,), (2,), (6,)), constraint)).get("a0") == wanted


def test_no_host_without_vms_is_started_beyond_max_online() -> None:
    most = Constraint(kind=ConstraintKind.MAX_ONLINE, name="two", hosts=("kvm1", "kvm2"), limit=1)
    assert dests(evacuate(fleet((4,), (2,), ()), most)) == {"a0": "kvm1"}


def test_consolidation_empties_the_dearest_hosts_and_keeps_those_that_stay_on() -> None:
    snapshot = fleet((4,), (4,), (4,), (4,))
    request = PlanRequest(purpose=Purpose.CONSOLIDATE, costs={"kvm1": 5.0, "kvm0": 0.5})
    made = plan(snapshot, request)
    assert replay_fleet(made) == ()
    assert (made.freed, made.score.hosts_used, made.bounds.hosts_used) == (("kvm1", "kvm2", "kvm3"), 1, 1)
    stays = Constraint(kind=ConstraintKind.ONLINE, name="on", hosts=("kvm1",))
    made = plan(snapshot, request.model_copy(update={"constraints": (stays,)}))
    assert "kvm1" not in made.freed
    capped = plan(snapshot, request.model_copy(update={"limits": PlanLimits(max_moves=1)}))
    assert (capped.freed, len(capped.moves)) == (("kvm1",), 1)


def test_consolidation_may_have_nothing_worth_doing() -> None:
    made = plan(fleet((16,), (16,)), PlanRequest(purpose=Purpose.CONSOLIDATE))
    assert (made.moves, made.notes) == ((), ("nothing worth doing",))


def test_balance_moves_from_the_fullest_to_the_emptiest_and_stops_at_the_limit() -> None:
    snapshot = fleet((4, 4, 4, 4), (), (8,))
    made = plan(snapshot, PlanRequest(purpose=Purpose.BALANCE))
    assert replay_fleet(made) == ()
    assert set(dests(made).values()) == {"kvm1"}
    assert made.score.peak_share < 0.5
    assert len(plan(snapshot, PlanRequest(purpose=Purpose.BALANCE, limits=PlanLimits(max_moves=1))).moves) == 1


def test_balance_follows_what_vms_are_expected_to_use() -> None:
    """Equal in memory: only the two that are busy are parted."""
    snapshot = fleet((4, 4), (4, 4))
    busy = {str(build_uuid(name)): (8000, 4096) for name in ("a0", "a1")}
    idle = {str(build_uuid(name)): (100, 4096) for name in ("b0", "b1")}
    request = PlanRequest(purpose=Purpose.BALANCE, expected=busy | idle)
    made = plan(snapshot, request)
    assert {move.vm for move in made.moves} & {"a0", "a1"}
    assert plan(snapshot, PlanRequest(purpose=Purpose.BALANCE)).moves == ()


def with_constraints(snapshot: FleetSnapshot, *asked: Constraint) -> FleetSnapshot:
    inventory = snapshot.inventory.model_copy(update={"constraints": asked})
    return snapshot.model_copy(update={"inventory": inventory})


def test_an_evacuation_keeps_the_inventorys_constraints_and_its_replay_checks_them() -> None:
    snapshot = fleet((4, 4), (4,), ())
    free = plan_evacuation(snapshot, EvacuationRequest(host="kvm0"))
    bound = with_constraints(snapshot, spread("a*", "b0", is_hard=False), Constraint(
        kind=ConstraintKind.GATHER, name="pair", vms=("a0", "a1")))  # fmt: skip
    with pytest.raises(InvalidInput):
        plan_evacuation(with_constraints(snapshot, spread("a*"), bound.inventory.constraints[1]),
                        EvacuationRequest(host="kvm0"))  # fmt: skip
    kept = plan_evacuation(bound, EvacuationRequest(host="kvm0"))
    assert len({move.dest for move in kept.moves}) == 1 and len(kept.moves) == 2
    assert replay(kept) == ()
    apart = with_constraints(snapshot, Constraint(kind=ConstraintKind.BAN, name="no", vms=("a*",), hosts=("kvm2",)))
    assert any("ban no" in problem for problem in replay(free.model_copy(update={"snapshot": apart})))
    assert {move.dest for move in plan_evacuation(apart, EvacuationRequest(host="kvm0")).moves} == {"kvm1"}
    full = with_constraints(fleet((4,), (4,), (4,)), spread("a0", "b0", "c0"))
    (stranded,) = plan_evacuation(full, EvacuationRequest(host="kvm0")).stranded
    assert stranded.explanation is not None and stranded.explanation.conflict == ("spread apart",)


def test_vms_return_where_they_came_from_or_tell_why_not() -> None:
    snapshot = fleet((), (4, 4), (8,))
    made = plan(snapshot, PlanRequest(purpose=Purpose.RETURN, homes={"b0": "kvm0", "b1": "kvm0", "c0": "kvm2"}))
    assert dests(made) == {"b0": "kvm0", "b1": "kvm0"}
    closed = fleet((), (4,), cordons=[build_cordon("kvm0")])
    made = plan(closed, PlanRequest(purpose=Purpose.RETURN, homes={"b0": "kvm0"}))
    assert made.stranded[0].reasons["kvm0"][0].rule == "cordoned"


def test_the_reserve_keeps_room_for_the_loss_of_any_host() -> None:
    """All on two hosts would be 20 of 24 GiB each: none could be lost."""
    snapshot = fleet((5, 5), (5, 5), (5, 5), (5, 5))
    without = plan(snapshot, PlanRequest(purpose=Purpose.CONSOLIDATE))
    hard = plan(snapshot, PlanRequest(purpose=Purpose.CONSOLIDATE, limits=PlanLimits(reserve=Reserve.HARD)))
    assert (without.score.hosts_used, hard.score.hosts_used) == (2, 3)
    assert hard.score.not_survivable == ()
    assert replay_fleet(hard) == ()


def test_a_hard_reserve_that_cannot_be_kept_moves_nobody_and_says_so() -> None:
    made = evacuate(fleet((8, 8), (12,), (8,)), reserve=Reserve.HARD)
    assert made.moves == ()
    assert "reserve hard: after all moves the loss of" in made.notes[0]
    assert made.stranded[0].explanation is not None
    assert "reserve hard" in made.stranded[0].explanation.words()
    soft = evacuate(fleet((8, 8), (12,), (8,)), reserve=Reserve.SOFT)
    assert (soft.stranded, bool(soft.score.not_survivable)) == ((), True)


def test_constraints_that_contradict_each_other_are_refused_all_at_once() -> None:
    bad = (
        Constraint(kind=ConstraintKind.FENCE, name="f", vms=("a0",), hosts=("kvm1",)),
        Constraint(kind=ConstraintKind.BAN, name="b", vms=("a0",), hosts=("kvm1",)),
        Constraint(kind=ConstraintKind.GATHER, name="g", vms=("a0", "b0")),
        spread("a0", "b0"),
        Constraint(kind=ConstraintKind.ONLINE, name="on", hosts=("kvm2",)),
        Constraint(kind=ConstraintKind.OFFLINE, name="off", hosts=("kvm2",)),
        Constraint(kind=ConstraintKind.SPREAD, name="many", vms=("a*", "b*", "c*"), level="rack"),
    )
    with pytest.raises(InvalidInput) as caught:
        evacuate(fleet((4, 4), (4,), (4,)), *bad)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5, "the gathering contradicts both spreads"
    assert "leave no host for vm a0" in told and "about vm a0, b0" in told and "about kvm2" in told
    assert "4 VMs, 2 racks" in told


def test_everything_that_is_wrong_with_a_request_is_told_at_once() -> None:
    bad = (
        Constraint(kind=ConstraintKind.PRESERVE, name="p", hosts=("nowhere",), memory_mib=-1),
        Constraint(kind=ConstraintKind.OVERBOOK, name="o", hosts=("kvm1",), ratio=0),
        Constraint(kind=ConstraintKind.FENCE, name="f", vms=("ghost",), hosts=("kvm1",)),
    )
    with pytest.raises(InvalidInput) as caught:
        evacuate(fleet((4,), (4,)), *bad)
    told = "\n".join(caught.value.problems)
    for text in ("unknown hosts nowhere", "below 0", "ratio above 0", "no VM ghost"):
        assert text in told
    request = PlanRequest(purpose=Purpose.EVACUATE, hosts=("nowhere",), dests=("gone",), lift=("no-rule",),
                          costs={"kvm1": -1.0}, expected={"x": (-1, 0)})  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        plan(fleet((4,), (4,)), request)
    assert len(caught.value.problems) == 5


def test_a_fleet_of_which_no_host_was_read_is_refused() -> None:
    lost = [Unreachable(host="kvm0", reason="timed out")]
    snapshot = build_snapshot([(build_host("kvm0"), None)], unreachable=lost)
    with pytest.raises(InvalidInput, match=r"no host was read.*kvm0 was not read: timed out"):
        plan(snapshot, PlanRequest(purpose=Purpose.EVACUATE, hosts=("kvm0",)))


def hard_case() -> tuple[FleetSnapshot, PlanRequest]:
    """A fleet that needs every stage: greedy, pushing, exact, and an explanation."""
    snapshot = fleet((7, 6, 5, 5), (8, 5), (9, 4), (3, 10), room_gib=21)
    request = PlanRequest(purpose=Purpose.EVACUATE, hosts=("kvm0",), budget=20_000,
                          constraints=(spread("a0", "b0", "c0", "d0"),))  # fmt: skip
    return snapshot, request


def test_the_same_input_gives_the_same_bytes_a_hundred_times_and_in_other_processes() -> None:
    snapshot, request = hard_case()
    text = write_plan(plan(snapshot, request))
    assert {write_plan(plan(snapshot, request)) for _ in range(100)} == {text}
    script = ("from tests.unit.planning.test_fleet_plan import *;"
              "print(write_plan(plan(*hard_case())), end='')")  # fmt: skip
    for seed in ("0", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=True)
        assert done.stdout == text


def test_a_plan_is_a_file_that_can_be_checked_and_compared() -> None:
    old = evacuate(fleet((4, 4), (4,), (8,)))
    new = evacuate(fleet((4, 4), (4,), (8,)), spread("a0", "a1"))
    assert diff_plans(old, old) == ()
    told = "\n".join(diff_plans(old, new))
    assert "constraint: new spread apart" in told
    broken = json.loads(write_plan(old))
    broken["plan"]["moves"][0]["dest"] = "kvm0"
    assert any("kvm0" in problem for problem in replay_fleet(parse_plan(json.dumps(broken), "file")))
    for text in ("no json", "{}", json.dumps({**broken, "plan": {"moves": 1}})):
        with pytest.raises(InvalidInput):
            parse_plan(text, "file")


DEFECTS: dict[str, tuple[Any, str]] = {
    "a VM is lost": (lambda p: {"moves": p.moves[1:]}, "neither moved nor stranded"),
    "a VM moves twice": (lambda p: {"moves": (*p.moves, p.moves[0])}, "appears 2 times"),
    "to a full host": (
        lambda p: {"moves": tuple(m.model_copy(update={"dest": "kvm1"}) for m in p.moves)}, "MiB are free"
    ),
    "to the emptied host": (
        lambda p: {"moves": tuple(m.model_copy(update={"dest": "kvm0"}) for m in p.moves)}, "to be emptied"
    ),
    "understated": (
        lambda p: {"moves": tuple(m.model_copy(update={"memory_kib": 1}) for m in p.moves)}, "the plan says 1"
    ),
    "freed by name only": (lambda p: {"freed": ("kvm1",)}, "it says kvm1"),
    "a constraint is dropped": (lambda p: {"constraints": ()}, "list of constraints"),
    "a constraint is broken": (
        lambda p: {"moves": tuple(m.model_copy(update={"dest": "kvm2"}) for m in p.moves)}, "share host kvm2"
    ),
    "scored better": (lambda p: {"score": p.score.model_copy(update={"moves": 0})}, "the score says"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_replay_finds_every_seeded_defect(name: str) -> None:
    made = evacuate(fleet((4, 4), (12,), (2,), (), room_gib=20), spread("a0", "a1"))
    assert len(made.moves) == 2
    change, told = DEFECTS[name]
    assert any(told in problem for problem in replay_fleet(made.model_copy(update=change(made))))
