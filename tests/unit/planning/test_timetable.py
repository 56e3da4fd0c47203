"""Timetables: never over-committed at any instant, hops only where nothing else helps, bad input refused whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given

from tests.examples import examples
from tests.unit.planning.timetables import build_job, hosts, requests, sized
from vmferry.errors import InvalidInput
from vmferry.model.timetable import Job, Pace, Timetable, TimetableRequest, Trunk
from vmferry.planning.timetable import plan_timetable
from vmferry.planning.timetable_check import check_timetable


def planned(*jobs: Job, sites: object = None, **more: object) -> Timetable:
    request = TimetableRequest.model_validate({"jobs": jobs, "sites": sites or hosts("a", "b", "c")} | more)
    table = plan_timetable(request)
    assert check_timetable(request, table) == ()
    return table


@examples(150)
@given(requests())
def test_no_instant_is_over_committed_whatever_is_asked(request: TimetableRequest) -> None:
    table = plan_timetable(request)
    assert check_timetable(request, table) == ()
    assert {m.uuid for m in table.moves} | {u.uuid for u in table.untimed} == {job.uuid for job in request.jobs}


@examples(40)
@given(requests())
def test_the_exact_solver_breaks_no_promise_and_makes_nothing_longer(request: TimetableRequest) -> None:
    polished = request.model_copy(update={"polish": True})
    table = plan_timetable(polished)
    assert check_timetable(polished, table) == ()
    assert len(table.untimed) == len((plain := plan_timetable(request)).untimed)
    assert table.untimed or table.makespan_s <= plain.makespan_s


@examples(30)
@given(requests())
def test_the_same_input_gives_the_same_bytes(request: TimetableRequest) -> None:
    first = plan_timetable(request).model_dump_json()
    again = TimetableRequest.model_validate_json(request.model_dump_json())
    assert all(plan_timetable(again).model_dump_json() == first for _ in range(3))


@examples(30)
@given(requests())
def test_with_endless_room_there_is_never_a_hop(request: TimetableRequest) -> None:
    roomy = tuple(site.model_copy(update={"room": {"memory": 10**6}}) for site in request.sites)
    table = plan_timetable(request.model_copy(update={"sites": roomy}))
    assert not any(move.is_hop for move in table.moves)


def test_room_is_taken_at_the_start_and_freed_only_at_the_end() -> None:
    table = planned(
        sized("x", "a", "b", 4), sized("y", "b", "c", 4),
        sites=(*hosts("a", room={"memory": 0}), *hosts("b", room={"memory": 0}), *hosts("c", room={"memory": 4})),
    )  # fmt: skip
    assert table.of("u-x").starts_s == table.of("u-y").ends_s  # type: ignore[union-attr]


def test_a_swap_without_room_goes_by_one_hop_of_the_smaller_one() -> None:
    everywhere = ("a", "b", "c")
    table = planned(
        sized("big", "a", "b", 8, hops=everywhere), sized("small", "b", "a", 8, hops=everywhere),
        sized("tiny", "b", "a", 1, hops=everywhere),
        sites=(*hosts("a", room={"memory": 1}), *hosts("b", room={"memory": 0}), *hosts("c", room={"memory": 8})),
    )  # fmt: skip
    assert [move.vm for move in table.moves if move.is_hop] in (["big"], ["small"])
    assert not table.untimed


def test_a_swap_that_no_third_host_can_help_is_refused_with_the_reason() -> None:
    table = planned(sized("x", "a", "b", 4), sized("y", "b", "a", 4), sites=hosts("a", "b", room={"memory": 0}))
    assert {gap.vm for gap in table.untimed} == {"x", "y"}
    assert "room on b never becomes free: y wait for room elsewhere" in table.untimed[0].reason


def test_an_order_that_needs_no_hop_is_found_where_the_obvious_one_is_stuck() -> None:
    """The long move to b would take the room that lets the short one out of its way first."""
    table = planned(
        sized("long", "a", "b", 3, seconds=50), sized("short", "c", "b", 2, seconds=1),
        sized("out", "b", "c", 4, seconds=1),
        sites=(*hosts("a", room={"memory": 0}), *hosts("b", room={"memory": 3}), *hosts("c", room={"memory": 2})),
    )  # fmt: skip
    assert not table.untimed
    assert not any(move.is_hop for move in table.moves)


def test_a_move_that_would_end_after_the_window_is_not_scheduled_and_told() -> None:
    table = planned(build_job("x", "a", "b", 10), build_job("y", "a", "b", 50), closes_s=20)
    assert [move.vm for move in table.moves] == ["x"]
    assert "takes 50 s and would end after its window, which closes at 20 s" in table.untimed[0].reason


def test_a_window_lets_nothing_start_before_it_opens() -> None:
    table = planned(build_job("x", "a", "b", opens_s=30), build_job("y", "a", "b"), opens_s=5)
    assert table.of("u-x").starts_s == 30  # type: ignore[union-attr]
    assert table.of("u-y").starts_s == 5  # type: ignore[union-attr]


def test_a_slower_pace_is_taken_where_it_ends_the_whole_sooner() -> None:
    """Half of a move is handshakes: two at once at half the speed are over sooner than one after the other."""
    paces = (Pace(seconds=10, mib_s=60), Pace(seconds=14, mib_s=43))
    jobs = [build_job(name, "a", "b").model_copy(update={"paces": paces}) for name in ("x", "y")]
    table = planned(*jobs, sites=(*hosts("a", out_mib_s=100), *hosts("b")))
    assert table.makespan_s == 14


def test_a_link_that_several_hosts_share_is_kept() -> None:
    uplink = Trunk(name="uplink", mib_s=100, sources=("a", "c"), dests=("b",))
    table = planned(
        build_job("x", "a", "b", mib_s=80),
        build_job("y", "c", "b", mib_s=80),
        trunks=(uplink,),
        sites=hosts("a", "b", "c"),
    )
    assert table.makespan_s == 20
    assert "uplink" in table.bound_by


def test_what_waits_for_another_starts_after_its_end_and_a_group_runs_one_at_a_time() -> None:
    table = planned(
        build_job("x", "a", "b"), build_job("y", "a", "c", after=("u-x",)),
        build_job("g1", "b", "c", alone_in="g"), build_job("g2", "c", "a", alone_in="g"),
    )  # fmt: skip
    assert table.of("u-y").starts_s == 10  # type: ignore[union-attr]
    assert {table.of("u-g1").starts_s, table.of("u-g2").starts_s} == {0, 10}  # type: ignore[union-attr]


def test_every_problem_of_a_request_is_named_at_once() -> None:
    circle = [build_job("x", "a", "b", after=("u-y",)), build_job("y", "a", "b", after=("u-x",))]
    wrong = [
        build_job("to-itself", "a", "a"), build_job("lost", "a", "nowhere"), sized("less", "a", "b", -4),
        build_job("late", "a", "b", opens_s=9, closes_s=3), build_job("lonely", "a", "b", after=("u-none",)),
    ]  # fmt: skip
    request = TimetableRequest(jobs=(*circle, *wrong, wrong[0]), sites=(*hosts("a", "b"), *hosts("a")), closes_s=0)
    with pytest.raises(InvalidInput) as raised:
        plan_timetable(request)
    told = "; ".join(raised.value.problems)
    for part in ("moves from a to itself", "no host nowhere", "-4 of memory", "its window ends at 3 s", "u-none",
                 "host a is named 2 times", "u-to-itself has 2 moves", "the window ends at 0 s",
                 "each waits"):  # fmt: skip
        assert part in told


def test_moves_without_any_host_are_refused_and_no_moves_take_no_time() -> None:
    with pytest.raises(InvalidInput, match="there are moves, but no hosts"):
        plan_timetable(TimetableRequest(jobs=(build_job("x", "a", "b"),), sites=()))
    assert plan_timetable(TimetableRequest(jobs=(), sites=())).makespan_s == 0


def test_the_checker_sees_what_is_wrong() -> None:
    request = TimetableRequest(
        jobs=(sized("x", "a", "b", 4), sized("y", "a", "b", 4), build_job("z", "a", "b", after=("u-x",), mib_s=9)),
        sites=(*hosts("a", room={"memory": 0}, outgoing=1, out_mib_s=5), *hosts("b", room={"memory": 5})),
        closes_s=12,
    )
    table = plan_timetable(request.model_copy(update={"closes_s": None, "sites": hosts("a", "b")}))
    at_once = tuple(move.model_copy(update={"starts_s": 3.0}) for move in table.moves)
    told = "; ".join(check_timetable(request, table.model_copy(update={"moves": at_once})))
    for part in ("b is over-committed at 3 s", "more than 1 moves leave a", "outside its window", "starts before",
                 "the last move ends at 13 s"):  # fmt: skip
        assert part in told


def test_constraints_are_asked_at_every_instant() -> None:
    def never_both_on_b(places: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
        if "b" in places["u-x"] and "b" in places["u-y"]:
            yield "x and y are both on b"

    request = TimetableRequest(jobs=(build_job("x", "a", "b"), build_job("y", "b", "c")), sites=hosts("a", "b", "c"))
    assert check_timetable(request, plan_timetable(request), never_both_on_b) == ("x and y are both on b",)
    apart = request.model_copy(
        update={"jobs": (request.jobs[0].model_copy(update={"after": ("u-y",)}), request.jobs[1])}
    )
    assert check_timetable(apart, plan_timetable(apart), never_both_on_b) == ()
