"""In which order an evacuation's moves start, and when they are expected to be over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.forecast import Ending, Forecast
from vmferry.model.host import FleetSnapshot, Inventory, Limits
from vmferry.model.migration import MigrationMode
from vmferry.planning.schedule import STEPS_S, Foreseen, sharing, sharings, with_times

ONE = {host: Limits(outgoing=1, incoming=1) for host in ("s", "d0", "d1")}
TWO = {**ONE, "s": Limits(outgoing=2, incoming=2)}
FOUR = {host: Limits(outgoing=4, incoming=4) for host in ("s", "d0", "d1")}
MIB = 2**20


def build_move(number: int, dest: str = "d0") -> Move:
    return Move(
        vm=f"vm-{number}",
        uuid=f"uuid-{number}",
        source="s",
        dest=dest,
        mode=MigrationMode.LIVE,
        mode_reason="",
        dest_reason="",
        order=number,
        memory_kib=1024 * 1024,
        vcpus=1,
    )


def foresee(number: int, seconds: float | None, dest: str = "d0", copy_s: float = 0.0) -> Foreseen:
    forecast = Forecast(ending=Ending.CONVERGES, seconds=seconds, copy_seconds=copy_s)
    return Foreseen(build_move(number, dest), {1: forecast})


def share(number: int, mib: int, link: float, at_once: int = 4, dest: str = "d0") -> Foreseen:
    """A move that does nothing but send, over a link that carries all moves together."""
    forecasts = {
        count: Forecast(ending=Ending.CONVERGES, seconds=mib * count / link, sent_bytes=mib * MIB)
        for count in sharings(at_once)
    }
    return Foreseen(build_move(number, dest), forecasts, link)


def build_plan(foreseen: list[Foreseen], limits: dict[str, Limits], max_parallel: int = 4) -> EvacuationPlan:
    snapshot = FleetSnapshot(inventory=Inventory(hosts=()), hosts=(), taken_at=datetime(2026, 1, 1, tzinfo=UTC))
    moves = tuple(one.move for one in foreseen)
    plan = EvacuationPlan(host="s", moves=moves, stranded=(), snapshot=snapshot)
    return with_times(plan, foreseen, limits, max_parallel)


def test_one_after_the_other_their_seconds_and_steps_add_up() -> None:
    plan = build_plan([foresee(0, 10), foresee(1, 20, copy_s=5)], ONE)
    assert plan.seconds == pytest.approx(35 + 2 * STEPS_S)


def test_at_once_the_longest_one_counts() -> None:
    assert build_plan([foresee(0, 10), foresee(1, 20, "d1")], TWO).seconds == pytest.approx(20 + STEPS_S)


def test_a_slot_is_used_again_as_soon_as_its_move_is_over() -> None:
    plan = build_plan([foresee(0, 30), foresee(1, 5, "d1"), foresee(2, 6, "d1"), foresee(3, 7, "d1")], TWO, 2)
    assert plan.seconds == pytest.approx(max(30 + STEPS_S, 18 + 3 * STEPS_S))


def test_nothing_takes_no_time() -> None:
    assert build_plan([], ONE, 1).seconds == 0


def test_a_move_without_seconds_leaves_the_end_unknown_and_is_ordered_all_the_same() -> None:
    plan = build_plan([foresee(0, 10), foresee(1, None), Foreseen(build_move(2), {})], ONE, 1)
    assert plan.seconds is None
    assert {move.uuid for move in plan.moves} == {"uuid-0", "uuid-1", "uuid-2"}
    assert all(move.slot is not None for move in plan.moves)


def test_the_order_is_that_of_the_list_and_the_longest_move_is_not_the_last() -> None:
    plan = build_plan([foresee(0, 1), foresee(1, 2), foresee(2, 30, "d1")], TWO, 2)
    assert [move.order for move in plan.moves] == [0, 1, 2]
    assert plan.moves[0].vm == "vm-2"
    starts = [move.slot.starts_s for move in plan.moves if move.slot is not None]
    assert starts == sorted(starts)


def test_large_moves_fill_a_link_one_at_a_time() -> None:
    plan = build_plan([share(n, mib=6000, link=100) for n in range(4)], FOUR)
    starts = [move.slot.starts_s for move in plan.moves if move.slot is not None]
    assert len(set(starts)) == 4
    assert all(move.slot is not None and move.slot.out_share > 0.9 for move in plan.moves)


def test_moves_that_are_mostly_handshakes_run_beside_one_another() -> None:
    plan = build_plan([share(n, mib=20, link=100) for n in range(4)], FOUR)
    assert [move.slot.starts_s for move in plan.moves if move.slot is not None] == [0, 0, 0, 0]


def test_a_vm_that_would_not_end_beside_others_has_the_link_to_itself() -> None:
    """It writes too much for half of the link: its end is known all the same, and nothing is planned beside it."""
    alone = Forecast(ending=Ending.CONVERGES, seconds=14, sent_bytes=150 * MIB, rate_mib_s=16)
    never = Forecast(ending=Ending.NEVER, rate_mib_s=8)
    busy = Foreseen(build_move(9), {1: alone, 2: never, 4: never}, 16)
    plan = build_plan([busy, *(share(n, mib=20, link=16) for n in range(3))], FOUR)
    slots = {move.vm: move.slot for move in plan.moves if move.slot is not None}
    assert plan.seconds is not None and plan.seconds < 60
    mine = slots["vm-9"]
    assert mine.out_share == pytest.approx(1) and mine.seconds == pytest.approx(14 + STEPS_S)
    others = [slot for vm, slot in slots.items() if vm != "vm-9"]
    assert all(s.starts_s >= mine.starts_s + mine.seconds or s.starts_s + s.seconds <= mine.starts_s for s in others)


def test_a_bound_is_told_and_never_above_the_whole() -> None:
    plan = build_plan([share(n, mib=500 * (n + 1), link=100) for n in range(5)], FOUR)
    assert plan.seconds is not None
    assert plan.bound_seconds is not None
    assert plan.bound_seconds <= plan.seconds <= 1.2 * plan.bound_seconds
    assert "link out of s" in plan.bound_by


@pytest.mark.parametrize(
    ("limits", "max_parallel", "expected"),
    [
        pytest.param(ONE, 4, 1, id="one-leaves-at-a-time"),
        pytest.param(TWO, 4, 2, id="two-leave-at-a-time"),
        pytest.param(TWO, 1, 1, id="the-window"),
        pytest.param({**TWO, "s": Limits(outgoing=9, incoming=1)}, 9, 2, id="two-places-to-arrive"),
        pytest.param({host: Limits(outgoing=9, incoming=9) for host in TWO}, 9, 3, id="no-more-than-there-are"),
    ],
)
def test_how_many_share_the_way(limits: dict[str, Limits], max_parallel: int, expected: int) -> None:
    assert sharing([build_move(0), build_move(1, dest="d1"), build_move(2)], limits, max_parallel) == expected


def test_of_no_moves_one_has_the_way_to_itself() -> None:
    assert sharing([], ONE, max_parallel=4) == 1
    assert sharings(1) == (1,)
