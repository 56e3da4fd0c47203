"""A re-plan changes only what it must."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.planning.timetables import build_job, hosts, requests, sized
from vmferry.errors import InvalidInput
from vmferry.model.timetable import TimetableRequest
from vmferry.planning.replan import Progress, replan
from vmferry.planning.timetable import plan_timetable
from vmferry.planning.timetable_check import check_timetable

ROOMY = hosts("a", "b", "c", "d", room={"memory": 10})


def build_request(count: int = 4) -> TimetableRequest:
    return TimetableRequest(jobs=tuple(sized(f"v{n}", "a", "b", 2) for n in range(count)), sites=ROOMY, tries=5)


def test_a_vm_whose_move_failed_goes_elsewhere_and_nothing_else_changes() -> None:
    request = build_request()
    after = replan(
        request,
        Progress(at_s=5, done=frozenset({"u-v0"}), running={"u-v1": 3.0}, banned=frozenset({("u-v2", "b")}),
                 choices={"u-v2": ("b", "c", "d")}),
    )  # fmt: skip
    assert after.changed == {"u-v2": "b"}
    assert {job.uuid: job.dest for job in after.request.jobs} == {"u-v1": "b", "u-v2": "c", "u-v3": "b"}
    table = plan_timetable(after.request)
    assert check_timetable(after.request, table) == ()
    assert table.of("u-v1").seconds == 3  # type: ignore[union-attr]


def test_all_that_were_to_go_to_a_lost_host_are_shared_out_and_the_rest_is_told() -> None:
    request = TimetableRequest(
        jobs=(sized("x", "a", "b", 6), sized("y", "a", "b", 6), sized("z", "a", "b", 6), sized("w", "a", "c", 4)),
        sites=ROOMY,
    )
    everywhere = {f"u-{vm}": ("c", "d") for vm in "xyz"}
    after = replan(request, Progress(at_s=0, lost=frozenset({"b"}), choices=everywhere))
    assert after.changed == {"u-x": "b", "u-y": "b"}
    assert [(gap.vm, gap.reason) for gap in after.stranded] == [("z", "b is gone, and none of c, d has room")]


def test_a_host_where_the_vm_failed_is_not_chosen_again() -> None:
    banned = frozenset({("u-v0", "b"), ("u-v0", "c")})
    after = replan(build_request(1), Progress(at_s=1, banned=banned, choices={"u-v0": ("b", "c")}))
    assert [gap.reason for gap in after.stranded] == ["its move to b has failed, and none of c has room"]


def test_moves_that_wait_for_one_that_will_not_be_made_are_told_too() -> None:
    request = TimetableRequest(
        jobs=(
            build_job("x", "a", "b"),
            build_job("y", "a", "c", after=("u-x",)),
            build_job("z", "a", "c", after=("u-y",)),
        ),
        sites=ROOMY,
    )
    after = replan(request, Progress(at_s=0, lost=frozenset({"b"})))
    assert {gap.vm for gap in after.stranded} == {"x", "y", "z"}
    assert not after.request.jobs


def test_the_window_is_counted_from_now() -> None:
    request = build_request().model_copy(update={"closes_s": 100.0, "opens_s": 20.0})
    after = replan(request, Progress(at_s=30))
    assert (after.request.opens_s, after.request.closes_s) == (0, 70)


def test_what_the_request_does_not_know_is_refused_all_at_once() -> None:
    with pytest.raises(InvalidInput) as raised:
        replan(build_request(), Progress(at_s=0, done=frozenset({"no"}), running={"u-v1": 1}, lost=frozenset({"mars"})))
    assert raised.value.problems == ("no move of no is planned", "no host mars")


@examples(60)
@given(requests(), st.data())
def test_after_one_failure_no_other_vm_gets_another_destination(request: TimetableRequest, data: st.DataObject) -> None:
    waiting = [job for job in request.jobs if not job.is_running]
    if not waiting:
        return
    failed = data.draw(st.sampled_from(waiting))
    names = tuple(site.host for site in request.sites)
    progress = Progress(
        at_s=2.0, running={job.uuid: 1.0 for job in request.jobs if job.is_running},
        banned=frozenset({(failed.uuid, failed.dest)}), choices={failed.uuid: names},
    )  # fmt: skip
    after = replan(request, progress)
    before = {job.uuid: job.dest for job in request.jobs}
    assert {job.uuid for job in after.request.jobs if job.dest != before[job.uuid]} <= {failed.uuid}
    assert check_timetable(after.request, plan_timetable(after.request)) == ()
