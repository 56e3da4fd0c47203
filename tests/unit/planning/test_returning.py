"""Who goes home next: nothing is over-committed, everybody who can gets home, and it comes to an end."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import GIB_KIB, NOW, build_facts, build_host, build_snapshot, build_vm
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.host import FleetSnapshot
from vmferry.model.operation import Home
from vmferry.model.returning import Refused, ReturnRequest
from vmferry.model.vm import Vm
from vmferry.planning.constraints.hold import broken_by
from vmferry.planning.constraints.state import state_of
from vmferry.planning.returning import Belongs, Proof, next_stage, prove
from vmferry.rules.case import Fleet

HOSTS = ("kvm1", "kvm2", "kvm3")
SIZE_GIB = 8


def fleet_of(where: dict[str, tuple[str, int]]) -> FleetSnapshot:
    """VM → host and GiB; each host has 8 GiB, of which its VMs take theirs."""
    hosts = []
    for name in HOSTS:
        vms = [build_vm(vm, memory_kib=gib * GIB_KIB) for vm, (host, gib) in where.items() if host == name]
        used = sum(int(vm.memory_kib * 1.02) + 65536 for vm in vms)
        facts: dict[str, Any] = {
            "memory_total_kib": SIZE_GIB * GIB_KIB,
            "memory_available_kib": SIZE_GIB * GIB_KIB - used,
        }
        hosts.append((build_host(name), build_facts(name, vms, **facts)))
    return build_snapshot(hosts)


def home_of(vm: Vm, home: str, away: str, **given: Any) -> Home:
    fields = {
        "uuid": str(vm.uuid),
        "vm": vm.name,
        "home": home,
        "away": away,
        "run": "r1",
        "state": "running",
        "since": NOW,
    }
    return Home.model_validate(fields | given)


def belongs(snapshot: FleetSnapshot, homes: dict[str, str]) -> list[Belongs]:
    """Return who is away from home in the snapshot."""
    return [
        Belongs(home_of(vm, homes[vm.name], facts.name), vm)
        for facts in snapshot.hosts
        for vm in facts.vms
        if vm.name in homes and homes[vm.name] != facts.name
    ]


places = st.fixed_dictionaries(
    {}, optional={f"vm{n}": st.tuples(st.sampled_from(HOSTS), st.integers(1, 5)) for n in range(6)}
)


def fits(where: dict[str, tuple[str, int]]) -> bool:
    """Whether what is on each host is no more than it has, QEMU's own part counted."""
    return all(
        sum(int(gib * GIB_KIB * 1.02) + 65536 for h, gib in where.values() if h == host) <= SIZE_GIB * GIB_KIB
        for host in HOSTS
    )


@given(places.filter(fits), st.lists(st.sampled_from(HOSTS), min_size=6, max_size=6))
@examples(120)
def test_stages_over_commit_nothing_and_come_to_an_end(where: dict[str, tuple[str, int]], wanted: list[str]) -> None:
    homes = {f"vm{n}": home for n, home in enumerate(wanted) if f"vm{n}" in where}
    done, hopped = set[str](), set[str]()
    request = ReturnRequest(host="kvm1")
    for _ in range(30):
        snapshot = fleet_of(where)
        away = belongs(snapshot, homes)
        stage = next_stage(snapshot, request, away, frozenset(done), frozenset(hopped))
        if not stage.moves:
            break
        arriving = dict(where)
        for number, move in enumerate(stage.moves):  # a source keeps its memory until the move is over
            arriving[f"arrives-{number}"] = (move.dest, where[move.vm][1])
        assert fits(arriving)
        for move in stage.moves:
            where = {**where, move.vm: (move.dest, where[move.vm][1])}
            (hopped if stage.is_hop else done).add(move.uuid)
    else:
        raise AssertionError("it does not end")
    stuck = {one.vm for one in stage.refused if one.home == "kvm1"}
    for vm, home in homes.items():
        if home == "kvm1":
            assert where[vm][0] == "kvm1" or vm in stuck
            assert (where[vm][0] == "kvm1") != (vm in stuck)


def limited(where: dict[str, tuple[str, int]], *constraints: Constraint) -> FleetSnapshot:
    snapshot = fleet_of(where)
    return snapshot.model_copy(
        update={"inventory": snapshot.inventory.model_copy(update={"constraints": constraints})},
    )


@given(
    places.filter(fits),
    st.lists(st.sampled_from(HOSTS), min_size=6, max_size=6),
    st.sampled_from((ConstraintKind.SPREAD, ConstraintKind.GATHER)),
    st.sets(st.integers(0, 5), min_size=2, max_size=3),
)
@examples(120)
def test_no_stage_breaks_a_hard_constraint_and_who_stays_away_for_it_is_told(
    where: dict[str, tuple[str, int]], wanted: list[str], kind: ConstraintKind, named: set[int]
) -> None:
    members = tuple(f"vm{n}" for n in sorted(named) if f"vm{n}" in where)
    constraints = (Constraint(kind=kind, name="c", vms=members),) if len(members) > 1 else ()
    homes = {f"vm{n}": home for n, home in enumerate(wanted) if f"vm{n}" in where}
    done, hopped = set[str](), set[str]()
    for _ in range(30):
        snapshot = limited(where, *constraints)
        away = belongs(snapshot, homes)
        stage = next_stage(snapshot, ReturnRequest(host="kvm1"), away, frozenset(done), frozenset(hopped))
        assert not list(broken_by(stage.moves, constraints, state_of(Fleet(snapshot))))
        if not stage.moves:
            break
        where = where | {move.vm: (move.dest, where[move.vm][1]) for move in stage.moves}
        (hopped if stage.is_hop else done).update(move.uuid for move in stage.moves)
    else:
        raise AssertionError("it does not end")
    for vm in {vm for vm, home in homes.items() if home == "kvm1" and where[vm][0] != "kvm1"}:
        assert next(one.why for one in stage.refused if one.vm == vm)


def test_a_vm_that_may_not_share_its_home_returns_when_the_other_one_has_left() -> None:
    apart = Constraint(kind=ConstraintKind.SPREAD, name="db", vms=("db1", "db2"))
    snapshot = limited({"db1": ("kvm2", 1), "db2": ("kvm1", 1), "big": ("kvm1", 2)}, apart)
    request = ReturnRequest(host="kvm1")
    alone = next_stage(snapshot, request, belongs(snapshot, {"db1": "kvm1"}))
    assert not alone.moves and "spread db" in alone.refused[0].why and "db2" in alone.refused[0].why
    away = belongs(snapshot, {"db1": "kvm1", "db2": "kvm2", "big": "kvm2"})
    hop = next_stage(snapshot, request, away)
    assert hop.is_hop and [(move.vm, move.dest) for move in hop.moves] == [("db2", "kvm3")]


def test_vms_that_stay_together_return_together() -> None:
    pair = Constraint(kind=ConstraintKind.GATHER, name="pair", vms=("app", "cache"))
    snapshot = limited({"app": ("kvm2", 1), "cache": ("kvm2", 1), "other": ("kvm2", 1)}, pair)
    both = next_stage(snapshot, ReturnRequest(host="kvm1"), belongs(snapshot, {"app": "kvm1", "cache": "kvm1"}))
    assert {move.vm for move in both.moves} == {"app", "cache"}
    one = next_stage(snapshot, ReturnRequest(host="kvm1"), belongs(snapshot, {"app": "kvm1", "other": "kvm1"}))
    assert [move.vm for move in one.moves] == ["other"]
    assert [refused.vm for refused in one.refused] == ["app"] and "gather pair" in one.refused[0].why


def test_a_home_counts_only_as_long_as_our_last_run_moved_the_vm_and_nobody_changed_it() -> None:
    snapshot = fleet_of({"web": ("kvm2", 1)})
    (vm,) = snapshot.hosts[1].vms
    home = home_of(vm, "kvm1", "kvm2", definition="d1")
    assert isinstance(prove(home, Proof("r1", "d1"), snapshot), Belongs)
    for proof, word in ((Proof("r2", "d1"), "run r2 has moved it"), (Proof("r1", "d2"), "definition was changed")):
        found = prove(home, proof, snapshot)
        assert isinstance(found, Refused) and word in found.why
    elsewhere = prove(home.model_copy(update={"away": "kvm3"}), Proof("r1", "d1"), snapshot)
    assert isinstance(elsewhere, Refused) and "somebody else has moved it" in elsewhere.why
    assert prove(home.model_copy(update={"home": "kvm2"}), Proof("r1", "d1"), snapshot) is None
    gone = prove(home_of(build_vm("ghost"), "kvm1", "kvm2"), Proof("r1", ""), snapshot)
    assert isinstance(gone, Refused) and "no host has it" in gone.why
