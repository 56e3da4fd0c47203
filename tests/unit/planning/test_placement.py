"""Plans of an evacuation: properties on random fleets, and the cases that matter by name."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import (
    GIB,
    GIB_KIB,
    LOCAL,
    build_cordon,
    build_disk,
    build_facts,
    build_fleet,
    build_host,
    build_off_vm,
    build_snapshot,
    build_uuid,
    build_vm,
)
from tests.unit.planning.fleets import SOURCE, fleets
from vmferry.errors import InvalidInput
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest
from vmferry.model.facts import HugePages
from vmferry.model.host import FleetSnapshot, Reservation, Unreachable
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Nic, Vm
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.replay import replay
from vmferry.rules.room import memory_needed_kib

ASK = EvacuationRequest(host=SOURCE)
OVERHEAD = 1.05  # enough for every VM of these tests


def plan(snapshot: FleetSnapshot, **fields: Any) -> EvacuationPlan:
    return plan_evacuation(snapshot, EvacuationRequest(host=SOURCE, **fields))


def dests(made: EvacuationPlan) -> dict[str, str]:
    return {move.vm: move.dest for move in made.moves}


@given(fleets())
@examples(150)
def test_replay_finds_nothing_in_a_plan(snapshot: FleetSnapshot) -> None:
    assert replay(plan_evacuation(snapshot, ASK)) == ()


@given(fleets())
@examples(80)
def test_every_domain_of_the_host_is_moved_or_stranded_with_reasons(snapshot: FleetSnapshot) -> None:
    made = plan_evacuation(snapshot, ASK)
    facts = snapshot.facts(SOURCE)
    assert facts is not None
    assert sorted([m.vm for m in made.moves] + [s.vm for s in made.stranded]) == sorted(vm.name for vm in facts.vms)
    others = [name for name in snapshot.inventory.names() if name != SOURCE]
    for stranded in made.stranded:
        assert list(stranded.reasons) == (others or [SOURCE])
        assert all(stranded.reasons.values())


@given(fleets())
@examples(80)
def test_no_host_is_over_committed(snapshot: FleetSnapshot) -> None:
    made = plan_evacuation(snapshot, ASK)
    for facts in snapshot.hosts:
        moves = [move for move in made.moves if move.dest == facts.name]
        reserved = snapshot.reserved.get(facts.name, Reservation())
        ordinary = sum(m.memory_kib - m.hugepages_kib for m in moves)
        assert ordinary <= max(0, facts.memory_available_kib - reserved.memory_kib)
        # every place of a promise drawn lies on the file system of LOCAL, or may lie there
        kept = sum(reserved.disk_bytes.values())
        assert sum(m.copy_bytes for m in moves) <= max(0, facts.storage_free_bytes[LOCAL] - kept)


@given(fleets())
@examples(150)
def test_no_pool_of_huge_pages_is_over_committed(snapshot: FleetSnapshot) -> None:
    vms = {str(vm.uuid): vm for facts in snapshot.hosts for vm in facts.vms}
    made = plan_evacuation(snapshot, ASK)
    for facts in snapshot.hosts:
        pages = [move for move in made.moves if move.dest == facts.name and move.hugepages_kib]
        if facts.hugepages is None or not pages:
            continue
        kept = snapshot.reserved.get(facts.name, Reservation()).hugepages_kib
        free = {pool.size_kib: pool.free_kib - kept for pool in facts.hugepages}
        for size, room in free.items():
            named = [move for move in pages if vms[move.uuid].hugepage_kib == size]
            assert sum(move.hugepages_kib for move in named) <= max(0, room)
        # whatever pool the others take: all of them together are no more than there is
        assert sum(move.hugepages_kib for move in pages) <= sum(room for room in free.values() if room > 0)


def on_pages(name: str, **fields: Any) -> Vm:
    return build_vm(name, memory_kib=4 * GIB_KIB, hugepages=True, **fields)


def with_pools(vms: list[Vm], *pools: HugePages, **fields: Any) -> FleetSnapshot:
    """dest-1 with these pools and little memory besides."""
    facts = build_facts("dest-1", hugepages=pools, memory_available_kib=GIB_KIB)
    hosts = [(build_host(SOURCE), build_facts(SOURCE, vms)), (build_host("dest-1"), facts)]
    return build_snapshot(hosts, **fields)


def test_guests_on_huge_pages_share_a_pool_and_not_the_memory() -> None:
    """Two of 4 GiB fit into 8 GiB of pages beside 1 GiB of memory, the third is told what is short."""
    pool = HugePages(size_kib=2048, total=6144, free=4096 + 1024)
    made = plan(with_pools([on_pages(f"vm-{n}") for n in range(3)], pool))
    assert [move.hugepages_kib for move in made.moves] == [4 * GIB_KIB, 4 * GIB_KIB]
    assert "has 2048 MiB of 2048 KiB pages, needs 4096 MiB" in made.stranded[0].summary()
    assert replay(made) == ()


def test_each_page_size_is_a_pool_of_its_own() -> None:
    pools = [HugePages(size_kib=2048, total=2048, free=2048), HugePages(size_kib=GIB_KIB, total=4, free=4)]
    vms = [on_pages("small", hugepage_kib=2048), on_pages("large", hugepage_kib=GIB_KIB)]
    assert plan(with_pools(vms, *pools)).stranded == ()
    assert len(plan(with_pools([*vms, on_pages("more", hugepage_kib=2048)], *pools)).stranded) == 1


def test_the_move_of_a_guest_on_huge_pages_counts_as_long_as_its_memory() -> None:
    pool = HugePages(size_kib=2048, total=2048, free=2048)
    snapshot = with_pools([build_vm("small", memory_kib=GIB_KIB // 2), on_pages("large")], pool)
    assert [move.vm for move in plan(snapshot).moves] == ["large", "small"]


def test_bytes_that_open_runs_will_write_are_not_given_away() -> None:
    facts = build_facts("dest-1", storage_free_bytes={LOCAL: 3 * GIB})
    hosts = [(build_host(SOURCE), build_facts(SOURCE, [build_off_vm("a"), build_off_vm("b")])),
             (build_host("dest-1"), facts)]  # fmt: skip
    kept = {"dest-1": Reservation(disk_bytes={f"{LOCAL}/other": 2 * GIB})}
    assert plan(build_snapshot(hosts)).stranded == ()
    made = plan(build_snapshot(hosts, reserved=kept))
    assert len(made.moves) == 1
    assert replay(made) == ()


@given(fleets(), st.randoms(use_true_random=False))
@examples(80)
def test_the_same_input_gives_the_same_plan_whatever_the_order_of_what_was_read(
    snapshot: FleetSnapshot, shuffle: random.Random
) -> None:
    made = plan_evacuation(snapshot, ASK)
    assert plan_evacuation(snapshot, ASK) == made
    other = plan_evacuation(_shuffled(snapshot, shuffle), ASK)
    assert (other.moves, other.stranded) == (made.moves, made.stranded)


def _shuffled(snapshot: FleetSnapshot, shuffle: random.Random) -> FleetSnapshot:
    def mixed(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(shuffle.sample(values, len(values)))

    hosts = tuple(facts.model_copy(update={"vms": mixed(facts.vms)}) for facts in mixed(snapshot.hosts))
    reserved = dict(mixed(tuple(snapshot.reserved.items())))
    return snapshot.model_copy(update={"hosts": hosts, "pairs": mixed(snapshot.pairs), "reserved": reserved})


@given(fleets())
@examples(60)
def test_a_plan_survives_its_json(snapshot: FleetSnapshot) -> None:
    made = plan_evacuation(snapshot, ASK)
    loaded = EvacuationPlan.model_validate_json(made.model_dump_json())
    assert loaded == made
    assert replay(loaded) == ()


def test_running_paused_and_shut_off_vms_are_all_placed() -> None:
    made = plan(build_fleet([build_vm("a"), build_off_vm("b"), build_vm("c", is_persistent=False)]))
    assert {m.vm: m.mode for m in made.moves} == {
        "a": MigrationMode.LIVE,
        "b": MigrationMode.OFFLINE,
        "c": MigrationMode.LIVE,
    }
    assert {m.vm: (m.memory_kib > 0, m.copy_bytes) for m in made.moves}["b"] == (False, GIB)


def test_equal_vms_are_spread_over_equal_hosts() -> None:
    made = plan(build_fleet([build_vm(f"vm-{n}") for n in range(6)], dests=3))
    assert sorted(dests(made).values()) == ["dest-1", "dest-1", "dest-2", "dest-2", "dest-3", "dest-3"]


def test_the_own_site_comes_first() -> None:
    hosts = [(build_host(SOURCE), build_facts(SOURCE, [build_vm("a")]))]
    hosts += [(build_host("far", site="abroad"), build_facts("far"))]
    hosts += [(build_host("near"), build_facts("near", memory_available_kib=8 * GIB_KIB))]
    assert dests(plan(build_snapshot(hosts))) == {"a": "near"}


def test_moves_start_longest_first_and_destinations_take_turns() -> None:
    made = plan(build_fleet([build_vm(f"vm-{n}", memory_kib=n * GIB_KIB) for n in (1, 2, 3, 4)]))
    assert [move.order for move in made.moves] == [0, 1, 2, 3]
    assert {move.dest for move in made.moves[:2]} == {"dest-1", "dest-2"}
    sizes = [move.memory_kib for move in made.moves]
    assert sizes[0] == max(sizes)


def test_the_vm_with_the_fewest_hosts_is_placed_first() -> None:
    """`picky` needs br1, which only dest-1 has."""
    picky = build_vm("picky", memory_kib=6 * GIB_KIB, nics=(Nic(kind="bridge", source="br1"),))
    others = [build_vm(f"vm-{n}", memory_kib=6 * GIB_KIB) for n in range(2)]
    hosts = [
        (build_host(SOURCE), build_facts(SOURCE, [picky, *others])),
        (
            build_host("dest-1"),
            build_facts("dest-1", memory_available_kib=7 * GIB_KIB, bridges=("br0", "br1")),
        ),
        (build_host("dest-2"), build_facts("dest-2", memory_available_kib=14 * GIB_KIB)),
    ]
    assert dests(plan(build_snapshot(hosts))) == {"picky": "dest-1", "vm-0": "dest-2", "vm-1": "dest-2"}


@given(st.lists(st.integers(1, 8), min_size=2, max_size=7), st.lists(st.integers(2, 16), min_size=2, max_size=3))
@examples(200)
def test_no_vm_is_stranded_when_moving_one_or_exchanging_two_makes_room(sizes: list[int], rooms: list[int]) -> None:
    vms = [build_vm(f"vm-{n}", memory_kib=size * GIB_KIB) for n, size in enumerate(sizes)]
    hosts = [(build_host(SOURCE), build_facts(SOURCE, vms))]
    for number, room in enumerate(rooms):
        facts = build_facts(f"d{number}", memory_available_kib=int(room * GIB_KIB * OVERHEAD))
        hosts.append((build_host(f"d{number}"), facts))
    made = plan(build_snapshot(hosts))
    assert replay(made) == ()
    needs = {vm.name: memory_needed_kib(vm) for vm in vms}
    free = {facts.name: facts.memory_available_kib for _, facts in hosts[1:]}
    for stranded in made.stranded:
        assert not _one_exchange_away(stranded.vm, dests(made), needs, free)


def _one_exchange_away(stuck: str, where: dict[str, str], needs: dict[str, int], free: dict[str, int]) -> bool:
    """Try every new place for the stuck VM and any two placed ones."""
    pairs = itertools.combinations_with_replacement(where, 2) if where else [()]
    for pair in pairs:
        moved = list(dict.fromkeys((stuck, *pair)))
        for places in itertools.product(free, repeat=len(moved)):
            tried = where | dict(zip(moved, places, strict=True))
            loads = Counter({host: 0 for host in free})
            for vm, host in tried.items():
                loads[host] += needs[vm]
            if all(loads[host] <= free[host] for host in free):
                return True
    return False


def test_the_plan_says_who_made_room() -> None:
    """Largest first gives 6 + 4 and 6 + 4; the last 4 fits once the sixes and the fours are together."""
    sizes = {"a": 6, "b": 6, "c": 4, "d": 4, "e": 4}
    vms = [build_vm(name, memory_kib=size * GIB_KIB) for name, size in sizes.items()]
    made = plan(build_fleet(vms, dests=2, dest_memory_kib=int(12.5 * GIB_KIB)))
    assert made.stranded == ()
    assert any("make room for e" in move.dest_reason for move in made.moves)
    assert any("no host had room at first" in move.dest_reason for move in made.moves)


def test_a_stranded_vm_names_what_took_the_room_in_numbers() -> None:
    vms = [build_vm("big", memory_kib=8 * GIB_KIB), build_vm("small", memory_kib=4 * GIB_KIB)]
    made = plan(build_fleet(vms, dests=1, dest_memory_kib=10 * GIB_KIB))
    (stranded,) = made.stranded
    (reason,) = stranded.reasons["dest-1"]
    assert reason.rule == "no-room-left"
    assert "after placing big: has 1820 MiB of memory, needs 4242 MiB" in reason.message


def test_cordoned_and_unreachable_hosts_are_reasons() -> None:
    hosts = [(build_host(SOURCE), build_facts(SOURCE, [build_vm("a")]))]
    hosts += [(build_host("closed"), build_facts("closed")), (build_host("lost"), None)]
    snapshot = build_snapshot(
        hosts,
        unreachable=[Unreachable(host="lost", reason="timed out after 8 s")],
        cordons=[build_cordon("closed")],
    )
    (stranded,) = plan(snapshot).stranded
    assert {host: [f.rule for f in found] for host, found in stranded.reasons.items()} == {
        "closed": ["cordoned"],
        "lost": ["host-unreachable"],
    }
    assert "timed out after 8 s" in stranded.summary()


def test_a_vm_in_an_open_run_is_stranded() -> None:
    (stranded,) = plan(build_fleet([build_vm("a")], open_runs={str(build_uuid("a")): "run-9"})).stranded
    assert {f.rule for found in stranded.reasons.values() for f in found} == {"already-moving"}


def test_a_vm_that_runs_on_a_third_host_too_is_stranded_with_the_alarm() -> None:
    hosts = [(build_host(name), build_facts(name, vms)) for name, vms in
             ((SOURCE, [build_vm("a")]), ("dest-1", []), ("third", [build_vm("a")]))]  # fmt: skip
    (stranded,) = plan(build_snapshot(hosts)).stranded
    assert {f.rule for found in stranded.reasons.values() for f in found} == {"two-copies"}


def test_a_host_alone_has_nowhere_to_go() -> None:
    (stranded,) = plan(build_fleet([build_vm("a")], dests=0)).stranded
    assert stranded.reasons[SOURCE][0].rule == "no-destination"


def test_two_offline_copies_do_not_share_one_free_space() -> None:
    vms = [build_off_vm("a"), build_off_vm("b")]
    hosts = [
        (build_host(SOURCE), build_facts(SOURCE, vms)),
        (build_host("dest-1"), build_facts("dest-1", storage_free_bytes={LOCAL: GIB * 3 // 2})),
    ]
    made = plan(build_snapshot(hosts))
    assert len(made.moves) == 1
    assert "has 512 MiB in /srv/local, needs 1024 MiB" in made.stranded[0].summary()


def test_an_immovable_vm_tells_why_for_every_host_and_the_others_move() -> None:
    iso = build_disk(f"{LOCAL}/rescue.iso", target="sda", device="cdrom")
    made = plan(build_fleet([build_vm("a"), build_vm("b", disks=(iso,))]))
    assert dests(made).keys() == {"a"}
    assert list(made.stranded[0].reasons) == ["dest-1", "dest-2"]
    assert "--eject" in made.stranded[0].summary()


def test_only_the_hosts_asked_for_are_used() -> None:
    made = plan(build_fleet([build_vm(f"vm-{n}") for n in range(4)], dests=3), dests=("dest-2",))
    assert set(dests(made).values()) == {"dest-2"}


def test_a_mode_asked_for_counts_for_its_vm_by_name_or_uuid() -> None:
    asked = {"a": MigrationMode.NON_LIVE, str(build_uuid("b")): MigrationMode.NON_LIVE}
    made = plan(build_fleet([build_vm("a"), build_vm("b"), build_vm("c")]), modes=asked)
    assert {m.vm: str(m.mode) for m in made.moves} == {"a": "non-live", "b": "non-live", "c": "live"}


def test_all_wrong_names_of_a_request_are_said_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(build_fleet([build_vm("a")]), dests=("nowhere", SOURCE), modes={"ghost": MigrationMode.LIVE})
    assert len(caught.value.problems) == 3
    assert "nowhere" in str(caught.value) and "ghost" in str(caught.value)


@pytest.mark.parametrize("lost", [[], [Unreachable(host=SOURCE, reason="timed out")]])
def test_a_host_that_was_not_read_cannot_be_emptied(lost: list[Unreachable]) -> None:
    snapshot = build_snapshot([(build_host(SOURCE), None), (build_host("b"), build_facts("b"))], unreachable=lost)
    with pytest.raises(InvalidInput, match=r"was not read: (timed out|it was not asked)"):
        plan(snapshot)


def test_an_unknown_host_cannot_be_emptied() -> None:
    with pytest.raises(InvalidInput, match="no host nowhere in the inventory"):
        plan_evacuation(build_fleet([]), EvacuationRequest(host="nowhere"))


def test_an_empty_host_gives_an_empty_plan() -> None:
    made = plan(build_fleet([]))
    assert (made.moves, made.stranded) == ((), ())
