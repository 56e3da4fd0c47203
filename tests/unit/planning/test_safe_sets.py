"""Sets of hosts that may be empty together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import GIB_KIB, build_facts, build_host, build_snapshot, build_vm
from vmferry.model.host import FleetSnapshot
from vmferry.planning.safe_sets import safe_sets

SIZE_GIB = 16


def fleet_of(sizes: list[int]) -> FleetSnapshot:
    """Host n has one VM of so many GiB, and 16 GiB in all."""
    hosts = []
    for number, gib in enumerate(sizes):
        vm = build_vm(f"vm{number}", memory_kib=gib * GIB_KIB)
        free = SIZE_GIB * GIB_KIB - int(vm.memory_kib * 1.02) - 65536
        facts = build_facts(f"h{number}", [vm], memory_total_kib=SIZE_GIB * GIB_KIB, memory_available_kib=free)
        hosts.append((build_host(f"h{number}"), facts))
    return build_snapshot(hosts)


def test_hosts_whose_vms_have_room_elsewhere_go_together() -> None:
    assert safe_sets(fleet_of([4, 4, 4]), ["h0", "h1", "h2"], 2) == (("h0", "h1"), ("h2",))


def test_hosts_whose_vms_have_no_room_together_go_one_by_one() -> None:
    assert safe_sets(fleet_of([7, 7, 7]), ["h0", "h1", "h2"], 3) == (("h0",), ("h1",), ("h2",))


def test_a_host_that_nobody_can_take_in_is_a_set_of_its_own() -> None:
    assert safe_sets(fleet_of([12, 1, 9]), ["h0", "h1", "h2"], 2)[0] == ("h0",)


@given(st.lists(st.integers(1, 14), min_size=2, max_size=6), st.integers(1, 4))
@examples(60)
def test_every_host_is_in_one_set_and_each_set_leaves_room_for_its_vms(sizes: list[int], at_once: int) -> None:
    names = [f"h{number}" for number in range(len(sizes))]
    sets = safe_sets(fleet_of(sizes), names, at_once)
    assert sorted(name for hosts in sets for name in hosts) == names
    assert all(0 < len(hosts) <= at_once for hosts in sets)
    for hosts in sets:
        leaving = sum(sizes[names.index(host)] for host in hosts)
        free = sum(SIZE_GIB - sizes[n] for n, name in enumerate(names) if name not in hosts)
        assert len(hosts) == 1 or leaving <= free
