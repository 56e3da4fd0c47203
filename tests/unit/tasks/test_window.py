"""The sliding window on threads: moves are let go by events, nothing is timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextvars import ContextVar

import pytest

from tasks import _wiring
from tasks.window import Bounds, Rerouted, WindowResult, in_thread, run_window
from tests.unit.builders import NOW
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.errors import Frozen, PermanentError
from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, HostTraits, VmTraits
from vmferry.model.evacuation import Move
from vmferry.model.host import Inventory, Limits
from vmferry.model.migration import MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.model.operation import RunLimits
from vmferry.planning.causes import Avoided
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.stopping import Stop, stoppable

WAIT_S = 20
Kind = OutcomeKind


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    """Three hosts that may all take part in four moves at a time."""
    hosts = SimulatedFleet.of("a", "b", "c").inventory.hosts
    wide = Limits(outgoing=4, incoming=4)
    fleet = SimulatedFleet(Inventory(hosts=tuple(host.model_copy(update={"limits": wide}) for host in hosts)))
    with _wiring.use(fleet.world(journal=SqlJournal("sqlite://"))):
        yield


def build_moves(count: int) -> tuple[Move, ...]:
    return tuple(
        Move(
            vm=f"vm-{number}",
            uuid=f"uuid-{number}",
            source="a",
            dest="b" if number % 2 else "c",
            mode=MigrationMode.LIVE,
            mode_reason="",
            dest_reason="",
            order=number,
            memory_kib=1,
            vcpus=1,
        )
        for number in range(count)
    )


def outcome_of(move: Move, kind: Kind = Kind.MOVED) -> MigrationOutcome:
    return MigrationOutcome(
        run=move.uuid,
        vm=move.vm,
        source=move.source,
        dest=move.dest,
        mode=move.mode,
        kind=kind,
        started_at=NOW,
        ended_at=NOW,
    )


class Road:
    """A window on a thread of its own; the test sees which moves have begun and decides how each ends."""

    def __init__(self, count: int, max_parallel: int) -> None:
        self._begun = [threading.Event() for _ in range(count)]
        self._ends: list[Future[MigrationOutcome]] = [Future() for _ in range(count)]
        self.moves = build_moves(count)
        self.running = self.most = 0
        self.journal = _wiring.world().journal
        self._lock = threading.Lock()
        self._result: Future[WindowResult] = Future()
        self._thread = threading.Thread(target=self._run, args=(max_parallel,), daemon=True)
        self._thread.start()

    def _run(self, max_parallel: int) -> None:
        self._result.set_result(run_window(self.moves, max_parallel, self._move))

    def _move(self, move: Move) -> MigrationOutcome:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self._begun[move.order].set()
        try:
            return self._ends[move.order].result(WAIT_S)
        finally:
            with self._lock:
                self.running -= 1

    def begun(self) -> set[int]:
        return {number for number, event in enumerate(self._begun) if event.is_set()}

    def wait_for(self, *numbers: int) -> None:
        for number in numbers:
            assert self._begun[number].wait(WAIT_S), f"move {number} does not begin"

    def wait_until_running(self, count: int) -> None:
        end = time.monotonic() + WAIT_S
        while self.running != count:
            assert time.monotonic() < end, f"{self.running} moves run, not {count}"
            time.sleep(0.001)

    def end(self, *numbers: int, kind: Kind = Kind.MOVED, error: Exception | None = None) -> None:
        for number in numbers:
            if error is not None:
                self._ends[number].set_exception(error)
            else:
                self._ends[number].set_result(outcome_of(self.moves[number], kind))

    def result(self) -> WindowResult:
        return self._result.result(WAIT_S)


def test_a_slow_move_never_holds_up_the_others() -> None:
    road = Road(5, max_parallel=2)
    road.wait_for(0, 1)
    for number in (1, 2, 3, 4):  # move 0 takes as long as all others one after the other
        road.wait_for(number)
        road.end(number)
    road.end(0)
    assert {outcome.vm for outcome in road.result().outcomes} == {move.vm for move in road.moves}
    assert road.most == 2
    assert (road.result().failures, road.result().not_started) == ({}, ())


def test_moves_begin_in_their_order_and_never_more_than_allowed() -> None:
    road = Road(6, max_parallel=3)
    road.wait_for(0, 1, 2)
    assert road.begun() == {0, 1, 2}
    road.end(1)
    road.wait_for(3)
    assert road.begun() == {0, 1, 2, 3}
    road.end(0, 2, 3, 4, 5)
    assert len(road.result().outcomes) == 6
    assert road.most == 3


@pytest.mark.parametrize("kind", [Kind.ROLLED_BACK, Kind.MOVED])
def test_a_move_that_was_rolled_back_stops_no_other(kind: Kind) -> None:
    road = Road(3, max_parallel=1)
    road.wait_for(0)
    road.end(0, kind=kind)
    road.end(1, 2)
    assert [outcome.kind for outcome in road.result().outcomes] == [kind, Kind.MOVED, Kind.MOVED]


def test_a_move_that_could_not_begin_is_told_and_stops_no_other() -> None:
    road = Road(3, max_parallel=1)
    road.wait_for(0)
    road.end(0, error=PermanentError("vm vm-0: another run holds it"))
    road.end(1, 2)
    result = road.result()
    assert [outcome.vm for outcome in result.outcomes] == ["vm-1", "vm-2"]
    assert result.failures == {"vm-0": "vm vm-0: another run holds it"}
    assert result.not_started == ()


def test_a_held_move_lets_the_running_ones_end_and_no_further_one_begin() -> None:
    road = Road(5, max_parallel=2)
    road.wait_for(0, 1)
    road.end(0, kind=Kind.HELD)
    road.wait_until_running(1)
    time.sleep(0.2)  # the window takes note of the end just after the move has returned
    road.end(1)
    result = road.result()
    assert {outcome.vm: outcome.kind for outcome in result.outcomes} == {"vm-0": Kind.HELD, "vm-1": Kind.MOVED}
    assert result.not_started == ("vm-2", "vm-3", "vm-4")
    assert road.begun() == {0, 1}


def test_no_moves_are_no_work() -> None:
    assert run_window((), 4, outcome_of) == WindowResult(outcomes=(), failures={}, not_started=())


def test_a_host_takes_part_in_no_more_moves_than_its_limits_allow() -> None:
    fleet = SimulatedFleet.of("a", "b", "c")  # two outgoing, two incoming
    with _wiring.use(fleet.world(journal=SqlJournal("sqlite://"))):
        road = Road(4, max_parallel=4)
        road.wait_for(0, 1)
        road.end(0, 1, 2, 3)
        assert len(road.result().outcomes) == 4
    assert road.most == 2


# a request to stop


def test_a_request_to_stop_lets_running_moves_end_and_no_further_one_begin() -> None:
    both, stop = threading.Barrier(2), Stop()

    def move(item: Move) -> MigrationOutcome:
        both.wait(WAIT_S)
        if item.order == 0:
            stop.ask("SIGINT")
        both.wait(WAIT_S)  # the window has heard it while both still run
        return outcome_of(item)

    with stoppable(stop):
        result = run_window(build_moves(5), 2, move)
    assert sorted(outcome.vm for outcome in result.outcomes) == ["vm-0", "vm-1"]
    assert result.not_started == ("vm-2", "vm-3", "vm-4")


def test_the_result_of_a_single_move_is_kept_when_it_was_to_stop() -> None:
    stop = Stop()

    def move(word: str) -> str:
        stop.ask("SIGTERM")
        return word.upper()

    with stoppable(stop):
        assert in_thread(move, "moved") == "MOVED"
    assert stop.is_underway


def test_the_error_of_a_single_move_is_passed_on() -> None:
    def fail(_word: str) -> str:
        raise PermanentError("vm web: it failed")

    with pytest.raises(PermanentError, match="it failed"):
        in_thread(fail, "x")


def test_a_move_sees_the_context_of_its_flow_run() -> None:
    flow: ContextVar[str] = ContextVar("flow", default="none")
    token = flow.set("evacuate-host")
    try:
        seen: list[str] = []

        def move(item: Move) -> MigrationOutcome:
            seen.append(flow.get())
            return outcome_of(item)

        run_window(build_moves(3), 2, move)
        seen.append(in_thread(lambda _: flow.get(), None))
    finally:
        flow.reset(token)
    assert seen == ["evacuate-host"] * 4


# bounds


def test_a_frozen_fleet_lets_running_moves_end_and_no_further_one_begin() -> None:
    road = Road(4, max_parallel=1)
    road.wait_for(0)
    road.journal.freeze("audit")
    road.end(0)
    result = road.result()
    assert [outcome.vm for outcome in result.outcomes] == ["vm-0"]
    assert result.not_started == ("vm-1", "vm-2", "vm-3") and "audit" in result.stopped


def test_a_freeze_that_only_a_host_tells_ends_the_run_too() -> None:
    road = Road(3, max_parallel=1)
    road.wait_for(0)
    road.end(0, error=Frozen("vm vm-0: not moved: the fleet is frozen: audit"))
    result = road.result()
    assert result.not_started == ("vm-0", "vm-1", "vm-2") and result.failures == {}
    assert all("audit" in result.reasons[vm] for vm in result.not_started)


def test_moves_to_where_one_failed_go_another_way_or_are_left_with_the_reason() -> None:
    """b does not answer: of the two that wait for it one goes to c, for the other there is no way."""

    def reroute(moves: Sequence[Move], waiting: Sequence[Move], avoid: Avoided) -> Rerouted:
        assert not {m.uuid for m in moves} & {m.uuid for m in waiting}
        assert all(avoid.why_not(move.uuid, "a", "b") for move in moves)
        return {m.uuid: m.model_copy(update={"dest": "c"}) if m.vm == "vm-3" else "no room" for m in moves}

    seen: list[tuple[str, str]] = []

    def move(item: Move) -> MigrationOutcome:
        seen.append((item.vm, item.dest))
        failed = item.dest == "b"
        reason = "b: no answer in 5 s" if failed else ""
        return outcome_of(item, Kind.ROLLED_BACK if failed else Kind.MOVED).model_copy(update={"reason": reason})

    result = run_window(build_moves(6)[1:], 1, move, Bounds(reroute=reroute))
    assert seen == [("vm-1", "b"), ("vm-2", "c"), ("vm-3", "c"), ("vm-4", "c")]
    assert result.reasons == {"vm-5": "no room"}


def test_a_waiting_move_that_must_make_room_for_another_goes_elsewhere_too() -> None:
    """vm-1 cannot be on b and takes the room on c that vm-2 was to have; vm-3 waits for b, vm-4 for c, as before."""

    def reroute(moves: Sequence[Move], waiting: Sequence[Move], avoid: Avoided) -> Rerouted:
        (failed,) = moves
        assert avoid.why_not(failed.uuid, "a", "b") and [m.vm for m in waiting] == ["vm-2", "vm-3", "vm-4"]
        return {failed.uuid: failed.model_copy(update={"dest": "c"}),
                waiting[0].uuid: waiting[0].model_copy(update={"dest": "b"})}  # fmt: skip

    seen: list[tuple[str, str]] = []

    def move(item: Move) -> MigrationOutcome:
        seen.append((item.vm, item.dest))
        failed = seen[-1] == ("vm-1", "b")
        reason = "something odd" if failed else ""
        return outcome_of(item, Kind.ROLLED_BACK if failed else Kind.MOVED).model_copy(update={"reason": reason})

    limits = RunLimits(retries=1, backoff_s=0)
    result = run_window(build_moves(5)[1:], 1, move, Bounds(limits=limits, reroute=reroute))
    assert seen[0] == ("vm-1", "b")
    assert sorted(seen[1:]) == [("vm-1", "c"), ("vm-2", "b"), ("vm-3", "b"), ("vm-4", "c")]
    assert {outcome.kind for outcome in result.outcomes} == {Kind.MOVED}


def test_vms_that_must_not_meet_never_run_beside_each_other_on_the_way() -> None:
    """vm-0 goes to b, from where vm-1 goes to c: they start one after the other, though there are slots for both."""
    moves = build_moves(2)
    moves = (
        moves[0].model_copy(update={"dest": "b"}),
        moves[1].model_copy(update={"source": "b", "dest": "c"}),
    )
    vms = {move.uuid: VmTraits(name=move.vm, home=move.source) for move in moves}
    start = FleetState({move.uuid: (move.source,) for move in moves}, {h: HostTraits() for h in "abc"}, vms)
    apart = Constraint(kind=ConstraintKind.SPREAD, name="apart", vms=("vm-*",))
    lock, running, met = threading.Lock(), set[str](), list[set[str]]()

    def move(item: Move) -> MigrationOutcome:
        with lock:
            running.add(item.vm)
            met.append(set(running))
        time.sleep(0.05)
        with lock:
            running.remove(item.vm)
        return outcome_of(item)

    result = run_window(moves, 2, move, Bounds(on_the_way=OnTheWay((apart,), start)))
    assert len(result.outcomes) == 2
    assert met == [{"vm-1"}, {"vm-0"}]
    stays = run_window(moves[:1], 2, move, Bounds(on_the_way=OnTheWay((apart,), start)))
    assert stays.not_started == ("vm-0",) and "vm-0, vm-1 share host b" in stays.reasons["vm-0"]
