"""Checkers of constraints on states: each kind broken and kept, discrete and continuous, VMs on their way."""

from __future__ import annotations

import pytest

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, HostTraits, Level, VmTraits
from vmferry.planning.constraints.check import check_constraints

GIB_KIB = 1 << 20


def state(is_end: bool = True, **where: str) -> FleetState:
    """VMs on hosts k1, k2 (rack r1) and k3 (rack r2): `a="k1"`, on its way `a="k1 k2"`; at home where they are."""
    hosts = {name: HostTraits(rack=rack, cpus=4, free_kib=16 * GIB_KIB, free_vcpus=8.0)
             for name, rack in (("k1", "r1"), ("k2", "r1"), ("k3", "r2"))}  # fmt: skip
    vms = {
        vm: VmTraits(name=vm, home=places.split()[0], memory_kib=4 * GIB_KIB, vcpus=2) for vm, places in where.items()
    }
    return FleetState({vm: tuple(places.split()) for vm, places in where.items()}, hosts, vms, is_end)


def one(kind: ConstraintKind, **fields: object) -> Constraint:
    return Constraint.model_validate({"kind": kind, "name": "c", **fields})


K = ConstraintKind
CASES = {
    "spread": (one(K.SPREAD, vms=("a", "b")), state(a="k1", b="k1"), state(a="k1", b="k2")),
    "spread, racks": (one(K.SPREAD, vms=("a", "b"), level=Level.RACK), state(a="k1", b="k2"), state(a="k1", b="k3")),
    "spread, on the way": (
        one(K.SPREAD, vms=("a", "b")), state(False, a="k1 k2", b="k2"), state(False, a="k1 k3", b="k2"),
    ),
    "gather": (one(K.GATHER, vms=("a", "b")), state(a="k1", b="k2"), state(a="k1", b="k1")),
    "among": (
        one(K.AMONG, vms=("a", "b"), groups=(("k1", "k2"), ("k3",))), state(a="k1", b="k3"), state(a="k1", b="k2"),
    ),
    "split": (one(K.SPLIT, groups=(("a",), ("b",))), state(a="k1", b="k1"), state(a="k1", b="k2")),
    "fence": (one(K.FENCE, vms=("a",), hosts=("k1",)), state(a="k2"), state(a="k1")),
    "ban": (one(K.BAN, vms=("a",), hosts=("k1",)), state(a="k1"), state(a="k2")),
    "lonely": (one(K.LONELY, vms=("a", "b")), state(a="k1", b="k1", c="k1"), state(a="k1", b="k1", c="k2")),
    "root": (one(K.ROOT, vms=("a",)), state(a="k1").moved({"a": ("k2",)}), state(a="k1")),
    "quarantine, out": (one(K.QUARANTINE, hosts=("k1",)), state(a="k1").moved({"a": ("k2",)}), state(a="k1")),
    "quarantine, in": (one(K.QUARANTINE, hosts=("k2",)), state(a="k1").moved({"a": ("k2",)}), state(a="k2")),
    "offline": (one(K.OFFLINE, hosts=("k1",)), state(a="k1"), state(a="k2")),
    "maxOnline": (one(K.MAX_ONLINE, hosts=("k1", "k2"), limit=1), state(a="k1", b="k2"), state(a="k1", b="k3")),
    "preserve": (one(K.PRESERVE, hosts=("k1",), memory_mib=10240), state(a="k1", b="k1"), state(a="k1", b="k2")),
    "preserve, vCPUs": (one(K.PRESERVE, hosts=("k1",), vcpus=5), state(a="k1", b="k1"), state(a="k1", b="k2")),
    "overbook": (one(K.OVERBOOK, hosts=("k1",), ratio=0.5), state(a="k1", b="k1"), state(a="k1", b="k2")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_checker_finds_what_is_broken_and_lets_pass_what_holds(name: str) -> None:
    constraint, broken, kept = CASES[name]
    (violation,) = check_constraints([constraint], broken)
    assert violation.words().startswith(f"{constraint.kind} c: ")
    assert check_constraints([constraint], kept) == ()


def test_every_kind_that_a_state_can_break_has_a_case() -> None:
    assert {case[0].kind for case in CASES.values()} == set(K) - {K.ONLINE}
    assert check_constraints([one(K.ONLINE, hosts=("k1",))], state(a="k1")) == ()


def test_a_discrete_constraint_holds_at_the_end_only() -> None:
    constraint = one(K.SPREAD, vms=("a", "b"), is_continuous=False)
    assert check_constraints([constraint], state(False, a="k1 k2", b="k2")) == ()
    assert check_constraints([constraint], state(True, a="k2", b="k2")) != ()


def test_what_was_broken_before_is_no_fault_of_an_instant() -> None:
    constraint = one(K.SPREAD, vms=("a", "b"))
    start = state(a="k1", b="k1", c="k1")
    assert check_constraints([constraint], start.moved({"c": ("k1", "k2")}, is_end=False)) == ()
    assert check_constraints([constraint], start.moved({"c": ("k2",)})) != ()


def test_patterns_and_uuids_name_vms() -> None:
    assert check_constraints([one(K.BAN, vms=("web-*",), hosts=("k1",))], state(**{"web-1": "k1", "db": "k1"})) != ()
    assert check_constraints([one(K.BAN, vms=("web-?",), hosts=("k1",))], state(**{"web-12": "k1"})) == ()
