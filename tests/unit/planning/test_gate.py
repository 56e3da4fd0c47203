"""The gate before each start: time, blackouts, canaries, the cap, the breaker, the freeze."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.model.evacuation import Move
from vmferry.model.forecast import Forecast
from vmferry.model.migration import MigrationMode
from vmferry.model.operation import Blackout, Cause, Place, RunLimits, Span
from vmferry.planning.gate import STEPS_S, Ended, Gate, Permit, Say, counting, expected_s, in_turn

NOW = datetime(2026, 1, 10, 22, 0, tzinfo=UTC)  # a Saturday


def build_move(number: int, seconds: float | None = 58.0, dest: str = "kvm2", priority: int = 0) -> Move:
    return Move(
        vm=f"vm-{number}",
        uuid=f"uuid-{number}",
        source="kvm1",
        dest=dest,
        mode=MigrationMode.LIVE,
        mode_reason="",
        dest_reason="",
        order=number,
        priority=priority,
        memory_kib=1 << 20,
        vcpus=1,
        forecast=Forecast(seconds=seconds) if seconds is not None else None,
    )


def build_ended(number: int, cause: str = "", place: Place = Place.UNKNOWN, **given: object) -> Ended:
    fields: dict[str, object] = {
        "vm": f"vm-{number}",
        "uuid": f"uuid-{number}",
        "source": "kvm1",
        "dest": "kvm2",
        "started_at": NOW + timedelta(minutes=number),
        "ended_at": NOW + timedelta(minutes=number, seconds=30),
        "cause": Cause(place=place, text=cause) if cause else None,
    }
    return Ended.model_validate(fields | given)


def gate_of(*ended: Ended, **limits: object) -> Gate:
    return Gate(RunLimits.model_validate(limits), ended=ended)


def said(permit: Permit) -> tuple[Say, bool]:
    return permit.say, permit.ends_run


def test_without_bounds_every_move_may_start() -> None:
    assert gate_of().permit(build_move(0), NOW).say is Say.START


# the window


def test_a_move_starts_only_when_its_forecast_end_lies_inside_the_window() -> None:
    gate = gate_of(closes_at=NOW + timedelta(seconds=60))
    assert gate.permit(build_move(0, seconds=60 - STEPS_S), NOW).say is Say.START
    late = gate.permit(build_move(0, seconds=60 - STEPS_S + 1), NOW)
    assert said(late) == (Say.NEVER, False)  # a shorter one may still start
    assert "lies outside of the window" in late.reason


def test_a_move_whose_time_nobody_knows_is_taken_for_as_long_as_its_deadline() -> None:
    move = build_move(0, seconds=None)
    assert expected_s(move) > 120
    assert gate_of(closes_at=NOW + timedelta(seconds=100)).permit(move, NOW).say is Say.NEVER
    assert gate_of(closes_at=NOW + timedelta(seconds=1000)).permit(move, NOW).say is Say.START


# blackouts


def test_a_vm_waits_for_the_end_of_its_blackout_and_others_do_not() -> None:
    end = NOW + timedelta(minutes=10)
    gate = Gate(RunLimits(), {"uuid-0": (Span(begins_at=NOW, ends_at=end, text="backup"),)})
    waits = gate.permit(build_move(0), NOW)
    assert (waits.say, waits.until, waits.reason) == (Say.WAIT, end, "blackout backup")
    assert gate.permit(build_move(1), NOW).say is Say.START
    assert gate.permit(build_move(0), end).say is Say.START


def test_a_move_may_not_run_into_a_blackout() -> None:
    span = Span(begins_at=NOW + timedelta(seconds=30), ends_at=NOW + timedelta(minutes=10))
    gate = Gate(RunLimits(), {"uuid-0": (span,)})
    assert gate.permit(build_move(0, seconds=58), NOW).until == span.ends_at
    assert gate.permit(build_move(0, seconds=28), NOW).say is Say.START


def test_a_vm_whose_blackout_leaves_no_time_before_the_windows_end_does_not_start_and_is_told_why() -> None:
    span = Span(begins_at=NOW, ends_at=NOW + timedelta(minutes=10), text="backup")
    gate = Gate(RunLimits(closes_at=NOW + timedelta(minutes=10)), {"uuid-0": (span,)})
    never = gate.permit(build_move(0), NOW)
    assert said(never) == (Say.NEVER, False) and "blackout backup" in never.reason


# canaries


def test_the_rest_waits_until_the_canary_has_moved_well() -> None:
    gate = gate_of(canaries=1)
    assert gate.permit(build_move(0), NOW).say is Say.START
    gate = gate.start(build_move(0))
    assert gate.permit(build_move(1), NOW).say is Say.WAIT
    assert gate.end(build_ended(0)).permit(build_move(1), NOW).say is Say.START


def test_named_canaries_go_first_whatever_their_order() -> None:
    limits = RunLimits(canary_vms=("vm-2",))
    assert [m.vm for m in in_turn([build_move(n) for n in range(3)], limits)] == ["vm-2", "vm-0", "vm-1"]
    gate = Gate(limits)
    assert gate.permit(build_move(0), NOW).say is Say.WAIT
    assert gate.permit(build_move(2), NOW).say is Say.START
    assert gate.end(build_ended(2)).permit(build_move(0), NOW).say is Say.START


def test_a_canary_that_fails_ends_the_run() -> None:
    permit = gate_of(build_ended(0, "it broke"), canaries=1).permit(build_move(1), NOW)
    assert said(permit) == (Say.NEVER, True)
    assert permit.reason == "the canary vm-0 did not move: it broke"


def test_after_the_canaries_a_failure_is_one_like_any_other() -> None:
    gate = gate_of(build_ended(0), build_ended(1, "it broke"), canaries=1)
    assert gate.permit(build_move(2), NOW).say is Say.START


# breaker, cap, freeze


def test_the_breaker_opens_after_so_many_failures() -> None:
    failures = [build_ended(n, f"cause {n}") for n in range(3)]
    assert gate_of(*failures[:2], max_failures=3).tripped() == ""
    permit = gate_of(*failures, max_failures=3).permit(build_move(9), NOW)
    assert said(permit) == (Say.NEVER, True) and "3 moves failed" in permit.reason


def test_the_breaker_opens_when_one_cause_comes_again() -> None:
    gate = gate_of(build_ended(0, "x"), build_ended(1, "y"), build_ended(2, "x"), max_same_cause=2)
    assert gate.tripped() == "circuit breaker: 2 moves failed for the same cause: x"


def test_the_breaker_opens_when_a_vm_stood_still_for_too_long_even_if_it_moved() -> None:
    gate = gate_of(build_ended(0, downtime_ms=500), max_downtime_ms=400)
    assert gate.tripped() == "circuit breaker: vm-0 stood still for 500 ms, more than 400 ms"
    assert gate_of(build_ended(0, downtime_ms=400), max_downtime_ms=400).tripped() == ""


def test_of_a_vms_own_objective_and_the_runs_the_stricter_one_counts() -> None:
    ended = (build_ended(0, downtime_ms=300), build_ended(1, downtime_ms=300))
    for own, of_run, is_open in ((200, None, True), (400, None, False), (200, 400, True), (400, 200, True)):
        gate = Gate(RunLimits(max_downtime_ms=of_run), objectives={"uuid-1": own}, ended=ended)
        assert bool(gate.tripped()) is is_open, (own, of_run)
    assert "vm-1 stood still" in Gate(RunLimits(), objectives={"uuid-1": 200}, ended=ended).tripped()


def test_moves_that_a_broken_destination_takes_along_are_one_failure() -> None:
    together = [
        build_ended(n, "kvm2 is gone", Place.DEST, started_at=NOW, ended_at=NOW + timedelta(seconds=60 + n))
        for n in range(3)
    ]
    assert [ended.vm for ended in counting(together)] == ["vm-0"]
    later = build_ended(5, "kvm2 is gone", Place.DEST)
    assert [ended.vm for ended in counting([*together, later])] == ["vm-0", "vm-5"]


def test_a_move_that_somebody_ended_is_no_failure() -> None:
    assert gate_of(build_ended(0, "cancelled by SIGINT", Place.ASKED), max_failures=1).tripped() == ""


def test_a_capped_run_starts_no_more_than_so_many_moves() -> None:
    gate = gate_of(build_ended(0), build_ended(1, "x"), max_moves=3).start(build_move(2))
    permit = gate.permit(build_move(3), NOW)
    assert said(permit) == (Say.NEVER, True) and permit.reason == "the cap of 3 moves per run is reached"


def test_a_frozen_fleet_takes_no_moves() -> None:
    permit = Gate(RunLimits(), frozen="the fleet is frozen: audit").permit(build_move(0), NOW)
    assert said(permit) == (Say.NEVER, True) and permit.reason == "the fleet is frozen: audit"


def test_another_try_waits_for_its_back_off() -> None:
    until = NOW + timedelta(seconds=30)
    permit = gate_of().wait_for("uuid-0", until).permit(build_move(0), NOW)
    assert (permit.say, permit.until) == (Say.WAIT, until)


def test_higher_priorities_start_first() -> None:
    moves = [build_move(0), build_move(1, priority=5), build_move(2, priority=5), build_move(3, priority=9)]
    turned = in_turn(moves, RunLimits())
    assert [m.vm for m in turned] == ["vm-3", "vm-1", "vm-2", "vm-0"]
    assert [m.order for m in turned] == [0, 1, 2, 3]


# whatever the bounds


bounds = st.builds(
    RunLimits,
    closes_at=st.none() | st.integers(0, 3600).map(lambda s: NOW + timedelta(seconds=s)),
    canaries=st.integers(0, 3),
    max_moves=st.none() | st.integers(1, 8),
    max_failures=st.none() | st.integers(1, 3),
    max_same_cause=st.none() | st.integers(1, 3),
    max_downtime_ms=st.none() | st.integers(100, 400),
)
spans = st.tuples(st.integers(0, 3000), st.integers(1, 1200)).map(
    lambda p: Span(begins_at=NOW + timedelta(seconds=p[0]), ends_at=NOW + timedelta(seconds=sum(p)))
)
blackouts = st.dictionaries(st.integers(0, 9).map(lambda n: f"uuid-{n}"), st.lists(spans, max_size=2).map(tuple))
lengths = st.lists(st.integers(1, 900), min_size=1, max_size=10)


@given(bounds, blackouts, lengths, st.randoms(use_true_random=False))
@examples(300)
def test_whatever_happens_no_move_breaks_a_bound_and_the_run_comes_to_an_end(
    limits: RunLimits, dark: dict[str, tuple[Blackout, ...]], seconds: list[int], chance: random.Random
) -> None:
    """A world of its own: moves last as foretold, some fail; nothing here asks the gate what it should have said."""
    gate, now = Gate(limits, dark), NOW
    waiting = [build_move(n, float(s)) for n, s in enumerate(seconds)]
    ends: dict[str, datetime] = {}
    started: list[tuple[Move, datetime]] = []
    for _ in range(200):
        permits = {move.uuid: gate.permit(move, now) for move in waiting}
        waiting = [move for move in waiting if permits[move.uuid].say is not Say.NEVER]
        ready = next((move for move in waiting if permits[move.uuid].say is Say.START and len(ends) < 2), None)
        if ready is not None:
            check_start(ready, now, limits, dark, started, gate.ended)
            gate, waiting = gate.start(ready), [m for m in waiting if m is not ready]
            started.append((ready, now))
            ends[ready.uuid] = now + timedelta(seconds=expected_s(ready))
        elif ends:
            uuid, now = min(ends.items(), key=lambda item: (item[1], item[0]))
            del ends[uuid]
            gate = gate.end(ending(uuid, started, now, chance))
        elif waiting:
            times = [permits[m.uuid].until for m in waiting]
            assert all(times), "nothing runs, and a move waits for no time"
            now = min(time for time in times if time is not None)
        else:
            return
    raise AssertionError("the run does not end")


def ending(uuid: str, started: list[tuple[Move, datetime]], now: datetime, chance: random.Random) -> Ended:
    move, began = next(item for item in started if item[0].uuid == uuid)
    cause = Cause(place=Place.UNKNOWN, text=chance.choice("ab")) if chance.random() < 0.3 else None
    return Ended(
        vm=move.vm,
        uuid=uuid,
        source=move.source,
        dest=move.dest,
        started_at=began,
        ended_at=now,
        downtime_ms=chance.randrange(0, 500),
        cause=cause,
    )


def check_start(
    move: Move,
    now: datetime,
    limits: RunLimits,
    dark: dict[str, tuple[Blackout, ...]],
    started: list[tuple[Move, datetime]],
    ended: tuple[Ended, ...],
) -> None:
    end = now + timedelta(seconds=expected_s(move))
    assert limits.closes_at is None or end <= limits.closes_at
    for span in dark.get(move.uuid, ()):
        assert isinstance(span, Span)
        assert end <= span.begins_at or now >= span.ends_at
    assert limits.max_moves is None or len(started) < limits.max_moves
    failed, good = [e for e in ended if e.cause], [e for e in ended if not e.cause]
    assert limits.max_downtime_ms is None or all((e.downtime_ms or 0) <= limits.max_downtime_ms for e in ended)
    if len(good) < limits.canaries:
        assert len(started) - len(ended) < limits.canaries - len(good) and not failed
    apart = [e for e in failed if not any(o is not e and o.dest == e.dest and o.cause == e.cause for o in failed)]
    assert limits.max_failures is None or len(apart) < limits.max_failures


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_canaries_run_than_are_needed(count: int) -> None:
    gate = gate_of(canaries=count)
    for number in range(count):
        assert gate.permit(build_move(number), NOW).say is Say.START
        gate = gate.start(build_move(number))
    assert gate.permit(build_move(9), NOW).say is Say.WAIT
