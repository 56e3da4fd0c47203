"""When a whole evacuation is expected to be over."""

from __future__ import annotations

import pytest

from vmferry.model.evacuation import Move
from vmferry.model.forecast import Ending, Forecast
from vmferry.model.host import Limits
from vmferry.model.migration import MigrationMode
from vmferry.planning.schedule import STEPS_S, schedule, sharing

ONE = {host: Limits(outgoing=1, incoming=1) for host in ("s", "d0", "d1")}
TWO = {**ONE, "s": Limits(outgoing=2, incoming=2)}


def build_move(number: int, seconds: float | None, dest: str = "d0", copy_s: float = 0.0) -> Move:
    return Move(
        vm=f"vm-{number}",
        uuid=f"uuid-{number}",
        source="s",
        dest=dest,
        mode=MigrationMode.LIVE,
        mode_reason="",
        dest_reason="",
        order=number,
        memory_kib=1,
        vcpus=1,
        forecast=Forecast(ending=Ending.CONVERGES, seconds=seconds, copy_seconds=copy_s),
    )


def test_one_after_the_other_their_seconds_and_steps_add_up() -> None:
    moves = [build_move(0, 10), build_move(1, 20, copy_s=5)]
    assert schedule(moves, ONE, max_parallel=4) == pytest.approx(35 + 2 * STEPS_S)


def test_at_once_the_longest_one_counts() -> None:
    moves = [build_move(0, 10), build_move(1, 20, dest="d1")]
    assert schedule(moves, TWO, max_parallel=4) == pytest.approx(20 + STEPS_S)


def test_a_slot_is_used_again_as_soon_as_its_move_is_over() -> None:
    moves = [build_move(0, 30), build_move(1, 5, dest="d1"), build_move(2, 6, dest="d1"), build_move(3, 7, dest="d1")]
    assert schedule(moves, TWO, max_parallel=2) == pytest.approx(max(30 + STEPS_S, 18 + 3 * STEPS_S))


def test_nothing_takes_no_time() -> None:
    assert schedule([], ONE, max_parallel=1) == 0


def test_a_move_without_seconds_leaves_the_end_unknown() -> None:
    assert schedule([build_move(0, 10), build_move(1, None)], ONE, max_parallel=1) is None
    unforeseen = build_move(1, 1).model_copy(update={"forecast": None})
    assert schedule([build_move(0, 10), unforeseen], ONE, max_parallel=1) is None


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
    moves = [build_move(0, 1), build_move(1, 1, dest="d1"), build_move(2, 1)]
    assert sharing(moves, limits, max_parallel) == expected


def test_of_no_moves_one_has_the_way_to_itself() -> None:
    assert sharing([], ONE, max_parallel=4) == 1
