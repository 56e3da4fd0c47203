"""The arithmetic of room, which rules, planner and journal share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import GIB, GIB_KIB, LOCAL, build_facts, build_fleet, build_host, build_vm
from tests.unit.domxml.samples import sample
from vmferry.domxml.read import parse_vm
from vmferry.model.facts import HugePages
from vmferry.model.host import FleetSnapshot, Reservation
from vmferry.model.migration import MigrationRequest
from vmferry.model.vm import DomainState
from vmferry.planning.single import plan_vm
from vmferry.rules.case import Side
from vmferry.rules.disk_room import disk_free_bytes
from vmferry.rules.room import hugepage_pool, hugepages_needed_kib
from vmferry.steps.prepare import make_plan

SMALL, LARGE = HugePages(size_kib=2048, total=1024, free=1024), HugePages(size_kib=GIB_KIB, total=8, free=3)


def side(free: dict[str, int]) -> Side:
    return Side(build_host("dest"), build_facts("dest", storage_free_bytes=free))


def promised(to: str) -> Reservation:
    return Reservation(disk_bytes={to: GIB})


@pytest.mark.parametrize("to", [LOCAL, f"{LOCAL}/", f"{LOCAL}/deep/er", "/srv/same", "/not/read"])
def test_what_open_runs_will_write_on_the_file_system_is_not_free(to: str) -> None:
    there = side({LOCAL: 3 * GIB, "/srv/same": 3 * GIB, "/srv/other": 5 * GIB})
    assert disk_free_bytes(there, promised(to), LOCAL) == 2 * GIB


@pytest.mark.parametrize("to", ["/srv/other", "/srv/other/deep", f"{LOCAL}/other"])
def test_what_open_runs_will_write_elsewhere_does_not_count(to: str) -> None:
    there = side({LOCAL: 3 * GIB, "/srv/other": 5 * GIB, f"{LOCAL}/other": 4 * GIB})
    assert disk_free_bytes(there, promised(to), LOCAL) == 3 * GIB


def test_free_space_is_never_below_nothing() -> None:
    assert disk_free_bytes(side({"/": GIB // 2}), promised("/srv"), "/") == 0


@pytest.mark.parametrize(
    ("asked", "pools", "pool"),
    [(2048, (SMALL, LARGE), SMALL), (GIB_KIB, (SMALL, LARGE), LARGE), (None, (SMALL, LARGE), LARGE),
     (GIB_KIB, (SMALL,), None), (None, (), None), (None, None, None)],
)  # fmt: skip
def test_a_guest_takes_the_pages_of_its_size_or_the_largest_pool(asked: int | None, pools: Any, pool: Any) -> None:
    vm = build_vm(hugepages=True, hugepage_kib=asked)
    assert hugepage_pool(build_facts("dest", hugepages=pools), vm) == pool


def test_huge_pages_are_counted_whole() -> None:
    vm = build_vm(hugepages=True, hugepage_kib=2048, memory_kib=GIB_KIB + 1)
    assert hugepages_needed_kib(vm, build_facts("dest", hugepages=(SMALL,))) == GIB_KIB + 2048
    assert hugepages_needed_kib(build_vm(), build_facts("dest", hugepages=(SMALL,))) == 0


def fleet(vms: list[Any], **facts: Any) -> FleetSnapshot:
    made = build_fleet(vms, dests=1)
    return made.model_copy(update={"hosts": tuple(h.model_copy(update=facts) for h in made.hosts)})


@pytest.mark.parametrize("hugepages", [False, True])
def test_a_run_reserves_what_the_rules_asked_for(hugepages: bool) -> None:
    """With room for exactly one VM, the second is refused while the first one's run is open."""
    vms = [build_vm(name, hugepages=hugepages) for name in "ab"]
    first = plan_vm(fleet(vms, hugepages=(SMALL,)), MigrationRequest(vm="a", dest="dest-1"))
    run = make_plan(first, MigrationRequest(vm="a", dest="dest-1"), fleet(vms))
    assert run.reserved_hugepages_kib == (2 * GIB_KIB if hugepages else 0)
    snapshot = fleet(vms, hugepages=(SMALL,), memory_available_kib=2 * run.reserved_kib - 1)

    def blockers(**fields: Any) -> set[str]:
        asked = MigrationRequest(vm="b", dest="dest-1")
        return {f.rule for f in plan_vm(snapshot.model_copy(update=fields), asked).report.blockers}

    assert blockers() == set()
    kept = Reservation(memory_kib=run.reserved_kib, hugepages_kib=run.reserved_hugepages_kib)
    assert blockers(reserved={"dest-1": kept}) == ({"memory", "hugepages"} if hugepages else {"memory"})


@pytest.mark.parametrize(("pages", "is_enough"), [(7, False), (8, True)])
def test_a_domain_of_libvirts_own_tests_needs_the_large_pages_that_it_names(pages: int, is_enough: bool) -> None:
    """4 GiB, up to 8 GiB by plugging in, on pages of 2 MiB and 1 GiB: judged by the larger size."""
    vm = parse_vm(sample("libvirt/hugepages-memaccess.xml"), state=DomainState.RUNNING)
    pools = (HugePages(size_kib=GIB_KIB, total=64, free=pages), HugePages(size_kib=2048, total=64, free=64))
    asked = MigrationRequest(vm=vm.name, dest="dest-1")
    found = [f for f in plan_vm(fleet([vm], hugepages=pools), asked).report.blockers if f.rule == "hugepages"]
    assert (found == []) is is_enough
