"""Consolidation and balance decided on a snapshot: usage becomes sizes, and only what pays is planned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import NOW, build_cordon, build_facts, build_host, build_snapshot, build_uuid, build_vm
from vmferry.errors import InvalidInput
from vmferry.model.host import FleetSnapshot, Optimization, Unreachable
from vmferry.model.optimization import BalanceRequest, ConsolidationRequest, Decision
from vmferry.model.plan import Reserve
from vmferry.model.usage import Demand, FleetUsage, UsageSample
from vmferry.model.worth import WorthPolicy
from vmferry.planning.fleet.plan import plan
from vmferry.planning.optimize import balance, consolidate, expected_use
from vmferry.planning.replay_fleet import replay_fleet

HOSTS = ("a", "b", "c", "d")
WORTH = WorthPolicy(min_gain_wh=1)


def build_fleet(per_host: int = 2, vcpus: int = 4, **fields: Any) -> FleetSnapshot:
    hosts = []
    for name in HOSTS:
        vms = [build_vm(f"{name}{n}", vcpus=vcpus) for n in range(per_host)]
        hosts.append((build_host(name), build_facts(name, vms)))
    return build_snapshot(hosts, **fields)


def build_usage(snapshot: FleetSnapshot, mean: float, spread: float = 0.0, **hosts: float) -> FleetUsage:
    demand = Demand(cpus=mean + 2 * spread, mean_cpus=mean, spread_cpus=spread, samples=48, basis="test")
    begin = int(NOW.timestamp()) - 3600
    samples = {
        host: (UsageSample(start_s=begin, span_s=3600, cpus=used, cpus_peak=used, memory_mib=100),)
        for host, used in hosts.items()
    }
    uuids = (str(vm.uuid) for facts in snapshot.hosts for vm in facts.vms)
    return FleetUsage(at=NOW, demands=dict.fromkeys(uuids, demand), hosts=samples)


def decide(snapshot: FleetSnapshot, usage: FleetUsage, **asked: Any) -> Decision:
    return consolidate(snapshot, usage, ConsolidationRequest(**{"worth": WORTH, **asked}), (), plan)


def test_quiet_vms_are_packed_onto_as_few_hosts_as_their_use_allows() -> None:
    snapshot = build_fleet()
    decision = decide(snapshot, build_usage(snapshot, 0.5))
    assert len(decision.emptied) == 3 and len(decision.plan.moves) == 6
    assert replay_fleet(decision.plan) == ()


@pytest.mark.parametrize(("mean", "emptied"), [(1.0, 3), (3.0, 2), (4.0, 1), (6.0, 0)])
def test_no_host_is_filled_beyond_the_share_of_its_cpus(mean: float, emptied: int) -> None:
    """Eight VMs on four hosts of 16 CPUs, 80 % of which may be used: 12.8."""
    snapshot = build_fleet()
    decision = decide(snapshot, build_usage(snapshot, mean))
    assert len(decision.emptied) == emptied
    if not emptied:
        assert decision.reason == "nothing worth doing: no host can be emptied"


def test_peaks_that_may_meet_keep_more_free() -> None:
    snapshot = build_fleet()
    calm, wild = (decide(snapshot, build_usage(snapshot, 1.5, spread)) for spread in (0.0, 2.0))
    assert len(calm.emptied) > len(wild.emptied)


def test_vms_that_nobody_observed_count_with_their_vcpus() -> None:
    snapshot = build_fleet(vcpus=6)
    assert decide(snapshot, FleetUsage(at=NOW)).plan.moves == ()
    used = expected_use(snapshot, FleetUsage(at=NOW), 100.0)
    assert used[str(build_uuid("a0"))] == (6000, 2048)


def test_a_host_that_does_not_pay_is_kept_and_all_is_planned_again_without_it() -> None:
    """One host has so many VMs that its moves cost more than half of what it saves."""
    snapshot = build_fleet()
    crowd = build_facts("d", [build_vm(f"d{n}", memory_kib=1 << 18) for n in range(40)])
    crowded = snapshot.model_copy(update={"hosts": (*snapshot.hosts[:3], crowd)})
    crowded = build_snapshot([(build_host(f.name), f) for f in crowded.hosts])
    decision = decide(crowded, build_usage(crowded, 0.1), worth=WorthPolicy(min_gain_wh=1, hours=0.5))
    assert "d" not in decision.emptied and decision.emptied
    assert {move.source for move in decision.plan.moves} == set(decision.emptied)


def test_moves_are_capped() -> None:
    snapshot = build_fleet()
    decision = decide(snapshot, build_usage(snapshot, 0.1), worth=WorthPolicy(min_gain_wh=1, max_moves=3))
    assert len(decision.emptied) == 1 and len(decision.plan.moves) == 2


def test_what_is_left_alone_is_told_with_the_reason() -> None:
    snapshot = build_fleet(cordons=(build_cordon("b"),), unreachable=())
    rules = Optimization(exclude_vms=("a*",))
    snapshot = snapshot.model_copy(update={"inventory": snapshot.inventory.model_copy(update={"optimization": rules})})
    decision = decide(snapshot, build_usage(snapshot, 0.1))
    assert not {"a", "b"} & set(decision.emptied)
    assert decision.left_alone["b"] == "cordoned: memory is replaced"
    assert decision.left_alone[str(build_uuid("a0"))] == "a0 is excluded in the inventory (a*)"
    assert not any(move.dest == "b" or move.source in "ab" for move in decision.plan.moves)


def test_a_host_that_was_not_read_is_neither_emptied_nor_filled() -> None:
    snapshot = build_fleet()
    lost = snapshot.model_copy(
        update={"hosts": snapshot.hosts[:3], "unreachable": (Unreachable(host="d", reason="no route"),)}
    )
    decision = decide(lost, build_usage(lost, 0.1))
    assert decision.left_alone["d"] == "not read: no route"
    assert all("d" not in (move.source, move.dest) for move in decision.plan.moves)


def test_unknown_hosts_are_refused_all_at_once() -> None:
    snapshot = build_fleet()
    with pytest.raises(InvalidInput) as refused:
        decide(snapshot, FleetUsage(at=NOW), hosts=("x", "a", "y"))
    assert refused.value.problems == ("host x is not in the inventory", "host y is not in the inventory")


def test_n_plus_one_counts_emptied_hosts_as_off() -> None:
    """Eight VMs of 30 GiB: four fill two hosts, and then the loss of one is not survived."""
    hosts = [(build_host(n), build_facts(n, [build_vm(f"{n}0", memory_kib=30 << 20)])) for n in HOSTS]
    snapshot = build_snapshot(
        [(host, facts.model_copy(update={"memory_available_kib": 34 << 20})) for host, facts in hosts]
    )
    usage = build_usage(snapshot, 0.1)
    without = decide(snapshot, usage)
    kept = decide(snapshot, usage, reserve=Reserve.HARD)
    assert len(without.emptied) == 2 and len(kept.emptied) < 2


@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.floats(0, 6), st.floats(0, 3)), max_size=10))
@examples(25)
def test_whatever_is_decided_holds_its_promises(vms: list[tuple[str, float, float]]) -> None:
    """The replay finds nothing, hosts hold what is expected, what is emptied is empty, same input, same decision."""
    on: dict[str, list[Any]] = {host: [] for host in HOSTS}
    demands: dict[str, Demand] = {}
    for number, (host, mean, spread) in enumerate(vms):
        vm = build_vm(f"vm{number}", vcpus=6)
        on[host].append(vm)
        demands[str(vm.uuid)] = Demand(
            cpus=mean + 2 * spread, mean_cpus=mean, spread_cpus=spread, samples=9, basis="test"
        )
    snapshot = build_snapshot([(build_host(host), build_facts(host, found)) for host, found in on.items()])
    usage = FleetUsage(at=NOW, demands=demands)
    decision = decide(snapshot, usage)
    assert decision == decide(snapshot, usage)
    assert replay_fleet(decision.plan) == ()
    where = {str(vm.uuid): host for host, found in on.items() for vm in found}
    where |= {move.uuid: move.dest for move in decision.plan.moves}
    assert not set(decision.emptied) & set(where.values())
    arrived = {move.dest for move in decision.plan.moves}
    needs = {host: sum(demands[u].mean_cpus for u, at in where.items() if at == host) for host in arrived}
    assert all(need <= 0.8 * 16 + 1e-6 for need in needs.values())
    assert decision.worth is not None and (not decision.plan.moves or decision.worth.is_worth)


def test_a_hot_host_is_relieved_and_only_its_own_vms_move() -> None:
    snapshot = build_fleet(per_host=4)
    usage = build_usage(snapshot, 2.0, a=14.0, b=1.0, c=1.0, d=1.0)
    demands = {
        key: demand
        if any(str(vm.uuid) == key for vm in snapshot.hosts[0].vms)
        else demand.model_copy(update={"mean_cpus": 0.2, "cpus": 0.2})
        for key, demand in usage.demands.items()
    }
    decision = balance(snapshot, usage.model_copy(update={"demands": demands}), BalanceRequest(), (), plan)
    assert decision.plan.moves and {move.source for move in decision.plan.moves} == {"a"}
    assert replay_fleet(decision.plan) == ()


def test_without_a_hot_host_nothing_is_planned() -> None:
    snapshot = build_fleet()
    decision = balance(snapshot, build_usage(snapshot, 1.0, a=3.0, b=2.0, c=2.0, d=1.0), BalanceRequest(), (), plan)
    assert decision.plan.moves == ()
    assert "CPU: busiest a with 19 %, mean 12 %" in decision.reason
