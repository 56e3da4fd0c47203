"""An evacuation within bounds, on the simulated fleet: window, blackouts, priorities, canary, cap, breaker, freeze."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.evacuate_host import evacuate_host
from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from tests.flows.yard import Yard
from vmferry.adapters.simulated import Blow
from vmferry.model.cancelling import OnCancel
from vmferry.model.journal import RunState
from vmferry.model.migration import OutcomeKind
from vmferry.model.operation import OperationKind, VmHandling, WayOut
from vmferry.model.options import CautionOptions, OnSilence, ProbeOptions, StopOptions, WindowOptions
from vmferry.model.probes import Probe, ProbeKind
from vmferry.model.vm import DomainState
from vmferry.steps.freeze import freeze_fleet, thaw_fleet

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def evacuate(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return evacuate_host("kvm1", return_state=True, **given)


def add_all(yard: Yard, count: int) -> list[str]:
    names = [f"vm{number}" for number in range(count)]
    for name in names:
        yard.add(name, dirty_mib_s=1)
    return names


def wish(yard: Yard, **handling: VmHandling) -> None:
    """Write handling into the inventory's `vms:`."""
    yard.fleet.inventory = yard.fleet.inventory.model_copy(update={"vms": handling})


def started(yard: Yard) -> list[str]:
    """Return the VMs in the order in which their runs were opened."""
    return [record.plan.vm for record in reversed(yard.runs())]


# the window


def test_what_does_not_fit_into_the_window_is_left_and_the_next_window_finishes_it(yard: Yard) -> None:
    add_all(yard, 4)
    forecast_s = 20.0
    state = evacuate(yard, max_parallel=1, window=WindowOptions(length_s=forecast_s))
    assert state.is_failed()
    first = set(started(yard))
    assert 0 < len(first) < 4 and "lies outside of the window" in str(state.message)
    saved = yard.journal.last_operation(OperationKind.EVACUATION, "kvm1")
    assert saved is not None and not saved.is_over
    planned = {move.uuid: move.dest for move in evacuation_of(yard).moves}
    state = evacuate(yard, resume=True)
    assert state.is_completed(), state.message
    assert yard.names_on("kvm1") == set()
    assert len(yard.runs()) == 4 and set(yard.outcomes().values()) == {OutcomeKind.MOVED}
    for record in yard.runs():  # the same plan: each VM is where it was to go from the beginning
        assert planned.get(str(record.plan.uuid), record.plan.dest) == record.plan.dest
    over = yard.journal.last_operation(OperationKind.EVACUATION, "kvm1")
    assert over is not None and over.is_over and over.id == saved.id
    assert yard.is_sound()


def evacuation_of(yard: Yard) -> Any:
    from vmferry.model.saved import SavedEvacuation

    saved = yard.journal.last_operation(OperationKind.EVACUATION, "kvm1")
    assert saved is not None
    return SavedEvacuation.model_validate_json(saved.content)


def test_a_window_that_is_over_is_refused_before_anything_is_touched(yard: Yard) -> None:
    add_all(yard, 1)
    state = evacuate(yard, window=WindowOptions(until=yard.fleet.now() - timedelta(seconds=1)))
    assert state.is_failed() and "nothing was touched" in str(state.message)
    assert (yard.runs(), yard.journal.cordons()) == ((), ())


def test_there_is_nothing_to_go_on_with_where_nothing_was_begun(yard: Yard) -> None:
    state = evacuate(yard, resume=True)
    assert state.is_failed() and "none was begun" in str(state.message)


def test_a_plan_that_does_not_hold_any_more_is_changed_where_it_must_be(yard: Yard) -> None:
    add_all(yard, 3)
    evacuate(yard, caution=CautionOptions(max_moves=1))
    (left,) = {move.dest for move in evacuation_of(yard).moves if move.vm == "vm1"}
    yard.fleet.cut_power(left)
    yard.add("late")
    state = evacuate(yard, resume=True)
    assert state.is_completed(), state.message
    assert yard.names_on("kvm1") == set()
    assert {r.plan.vm for r in yard.runs()} == {"vm0", "vm1", "vm2", "late"}


def test_moves_that_outlast_the_window_are_aborted_where_that_is_asked_for(yard: Yard) -> None:
    uuid = yard.add("slow", memory_mib=8192, dirty_mib_s=1)
    yard.break_at(Blow.STALLED, op="migrate", phase="memory")
    state = evacuate(yard, window=WindowOptions(length_s=90, at_end=OnCancel.ABORT))
    assert state.is_failed()
    assert yard.where(uuid) == ("kvm1",) and yard.state_on("kvm1", uuid) is DomainState.RUNNING
    assert yard.is_sound()


# blackouts and priorities


def test_a_vm_in_its_blackout_waits_and_moves_after_it(yard: Yard) -> None:
    add_all(yard, 2)
    end = yard.fleet.now() + timedelta(minutes=5)
    begin = yard.fleet.now() - timedelta(minutes=5)
    wish(yard, vm0=VmHandling(blackouts=(f"{begin:%Y-%m-%dT%H:%M:%SZ}/{end:%Y-%m-%dT%H:%M:%SZ}",)))
    state = evacuate(yard)
    assert state.is_completed(), state.message
    assert yard.run_of("vm1").plan.vm == started(yard)[0]
    assert yard.fleet.now() >= end
    moved_at = next(o.at for o in yard.fleet.log if o.op == "migrate" and not o.phase and o.subject in uuid_of(yard))
    assert moved_at >= end


def uuid_of(yard: Yard) -> str:
    return str(yard.run_of("vm0").plan.uuid)


def test_a_blackout_that_cannot_be_read_keeps_the_vm_where_it_is(yard: Yard) -> None:
    add_all(yard, 2)
    wish(yard, vm0=VmHandling(blackouts=("at night",)))
    state = evacuate(yard)
    assert yard.names_on("kvm1") == {"vm0"} and "at night" in str(state.message)


def test_higher_priorities_go_first(yard: Yard) -> None:
    add_all(yard, 4)
    wish(yard, vm3=VmHandling(priority=9), vm2=VmHandling(priority=5))
    assert evacuate(yard, max_parallel=1).is_completed()
    assert started(yard)[:2] == ["vm3", "vm2"]


# caution


def test_a_canary_that_fails_keeps_all_others_where_they_are(yard: Yard) -> None:
    add_all(yard, 4)
    yard.break_at(Blow.ABORTED, op="migrate", phase="memory")
    state = evacuate(yard, caution=CautionOptions(canaries=1))
    assert len(yard.runs()) == 1 and len(yard.names_on("kvm1")) == 4
    assert "the canary" in str(state.message) and "3 not started" in str(state.message)


def test_after_a_named_canary_the_rest_follows(yard: Yard) -> None:
    add_all(yard, 4)
    assert evacuate(yard, caution=CautionOptions(canary_vms=["vm2"])).is_completed()
    assert started(yard)[0] == "vm2"
    first = yard.run_of("vm2")
    assert all(r.opened_at >= (first.closed_at or r.opened_at) for r in yard.runs() if r.plan.vm != "vm2")


def test_a_capped_run_leaves_the_rest(yard: Yard) -> None:
    add_all(yard, 4)
    state = evacuate(yard, caution=CautionOptions(max_moves=3))
    assert len(yard.runs()) == 3 and len(yard.names_on("kvm1")) == 1
    assert "the cap of 3 moves per run is reached" in str(state.message)


def test_the_breaker_opens_after_repeats_of_one_cause(yard: Yard) -> None:
    add_all(yard, 6)
    yard.break_at(Blow.ABORTED, op="migrate", phase="memory", times=9)
    caution = CautionOptions(max_same_cause=2, retries=0)
    state = evacuate(yard, max_parallel=1, caution=caution)
    assert list(yard.outcomes().values()) == [OutcomeKind.ROLLED_BACK] * len(yard.runs())
    assert len(yard.runs()) < 6 and "circuit breaker" in str(state.message)
    assert yard.is_sound()


def test_the_breaker_opens_at_a_downtime_above_the_objective(yard: Yard) -> None:
    add_all(yard, 3)
    state = evacuate(yard, max_parallel=1, caution=CautionOptions(max_downtime_ms=1))
    assert len(yard.runs()) == 1 and "stood still for" in str(state.message)


def test_a_vms_own_objective_ends_the_run_after_it_and_the_report_tells(yard: Yard) -> None:
    add_all(yard, 3)
    wish(yard, vm1=VmHandling(max_downtime_ms=1, priority=-1))
    state = evacuate(yard, max_parallel=1)
    assert state.is_completed(), state.message  # it was the last one: nothing was left to stop
    (above,) = [outcome for outcome in state.result().outcomes if outcome.is_downtime_above]
    assert above.vm == "vm1" and above.notes[-1].endswith("more than its downtime objective of 1 ms")


def test_a_vm_that_fails_is_tried_at_another_destination_after_a_while(yard: Yard) -> None:
    yard.add("vm0")
    yard.break_at(Blow.ABORTED, op="migrate", phase="memory")
    began = yard.fleet.now()
    state = evacuate(yard, caution=CautionOptions(backoff_s=60))
    assert state.is_completed(), state.message
    second, first = yard.runs()
    assert (first.outcome, second.outcome) == (OutcomeKind.ROLLED_BACK, OutcomeKind.MOVED)
    assert first.plan.dest != second.plan.dest
    assert yard.fleet.now() - began >= timedelta(seconds=60)
    assert yard.is_sound()


def test_nothing_more_is_sent_to_a_destination_that_broke(yard: Yard) -> None:
    add_all(yard, 6)
    yard.break_at(Blow.TRANSIENT, op="look", host="kvm2", times=99)
    state = evacuate(yard, max_parallel=1, caution=CautionOptions(max_same_cause=None))
    tried = [record.plan.dest for record in reversed(yard.runs())]
    assert tried.count("kvm2") <= 1, tried
    assert state.is_completed(), state.message


# the freeze switch


def test_a_frozen_fleet_takes_no_moves_of_any_flow_and_of_any_vmferry(yard: Yard) -> None:
    add_all(yard, 2)
    with yard.process("other"):
        from tasks import _wiring

        freeze_fleet(_wiring.world(), "audit", "CHG-7")
    assert yard.journal.unfreeze()  # as if the other one had a journal of its own: the hosts know
    for state in (evacuate(yard), moving(yard)):
        assert state.is_failed()
        assert "the fleet is frozen: audit (CHG-7)" in str(state.message)
    assert yard.names_on("kvm1") == {"vm0", "vm1"} and yard.runs() == ()
    with yard.process("other"):
        assert thaw_fleet(_wiring.world()) == (True, ())
    assert evacuate(yard).is_completed()


def moving(yard: Yard) -> State[Any]:
    with yard.process():
        return migrate_vm("vm0", "kvm2", return_state=True)


def test_a_freeze_in_the_middle_lets_running_moves_end_and_nothing_start(yard: Yard) -> None:
    add_all(yard, 3)
    original = yard.fleet.gate.enter

    def enter(operation: Any) -> Any:
        if operation.op == "migrate" and not operation.phase:
            yard.journal.freeze("stop it")
        return original(operation)

    yard.fleet.gate.enter = enter  # type: ignore[method-assign]
    state = evacuate(yard, max_parallel=1)
    assert [r.outcome for r in yard.runs()] == [OutcomeKind.MOVED]
    assert "stop it" in str(state.message) and "2 not started" in str(state.message)


# ways out


def test_a_vm_that_is_to_stay_stays_and_the_run_is_done(yard: Yard) -> None:
    add_all(yard, 2)
    state = evacuate(yard, modes={"vm1": WayOut.LEAVE})
    assert state.is_completed(), state.message
    assert yard.names_on("kvm1") == {"vm1"}


def restart(yard: Yard, **given: Any) -> State[Any]:
    return evacuate(yard, modes={"old": WayOut.STOP_AND_START}, dests=["kvm2"], **given)


def test_a_vm_that_may_be_stopped_is_shut_down_moved_and_started(yard: Yard) -> None:
    old = yard.add_local("old", DomainState.RUNNING)  # a local disk: no live move under this profile
    state = restart(yard)
    assert state.is_completed(), state.message
    assert yard.where(old) == ("kvm2",) and yard.fleet.running_on(old) == ("kvm2",)
    assert yard.fleet.down() == () and yard.is_sound()


def test_a_vm_whose_guest_does_not_listen_stays_and_runs(yard: Yard) -> None:
    old = yard.add_local("old", DomainState.RUNNING)
    yard.fleet.hosts["kvm1"].domains[old].shutdown_s = None
    state = restart(yard, stop=StopOptions(timeout_s=30))
    assert state.is_failed() and "did not shut down within 30 s; it was not forced off" in str(state.message)
    assert yard.fleet.running_on(old) == ("kvm1",) and yard.is_sound()


def test_a_guest_that_goes_down_late_is_started_again_where_it_was(yard: Yard) -> None:
    old = yard.add_local("old", DomainState.RUNNING)
    yard.fleet.hosts["kvm1"].domains[old].shutdown_s = 35
    state = restart(yard, stop=StopOptions(timeout_s=30))
    assert state.is_failed()
    assert yard.fleet.running_on(old) == ("kvm1",) and yard.is_sound()


def test_only_who_is_told_to_forces_a_vm_off(yard: Yard) -> None:
    old = yard.add_local("old", DomainState.RUNNING)
    yard.fleet.hosts["kvm1"].domains[old].shutdown_s = None
    state = restart(yard, stop=StopOptions(timeout_s=30, force=True))
    assert state.is_completed(), state.message
    assert yard.fleet.running_on(old) == ("kvm2",)


@pytest.mark.parametrize(
    ("op", "blow"),
    [
        ("shut_down", Blow.CRASH_BEFORE),
        ("shut_down", Blow.CRASH_AFTER),
        ("define", Blow.CRASH_AFTER),
        ("undefine", Blow.CRASH_AFTER),
        ("start", Blow.CRASH_AFTER),
    ],
)
def test_a_vm_that_was_stopped_runs_again_whenever_its_vmferry_dies(yard: Yard, op: str, blow: Blow) -> None:
    old = yard.add_local("old", DomainState.RUNNING)
    yard.break_at(blow, op=op)
    restart(yard)  # what ends the move's thread is left as the end of the process leaves it
    assert [record.state for record in yard.runs()] == [RunState.OPEN]
    with yard.process("next"):
        state = recover_runs(return_state=True)
    assert state.is_completed(), state.message
    assert len(yard.fleet.running_on(old)) == 1 and yard.fleet.down() == ()
    assert yard.is_sound()


# guests


def asked_of(yard: Yard, name: str) -> None:
    wish(yard, **{name: VmHandling(probes=("tcp 10.0.0.5:443", "ping 10.0.0.6"))})


def test_a_guest_that_goes_silent_is_told_and_ends_a_canary_run(yard: Yard) -> None:
    add_all(yard, 3)
    asked_of(yard, "vm0")
    moved: list[bool] = []

    def answer(probe: Probe) -> str:
        if probe.kind is ProbeKind.PING:
            return "never answered"  # not before either: it is not held against the move
        is_there = "vm0" in yard.names_on("kvm1")
        moved.append(not is_there)
        return "" if is_there else "connection refused"

    yard.fleet.guests = answer
    state = evacuate(yard, caution=CautionOptions(canary_vms=["vm0"]), probes=ProbeOptions(wait_s=10))
    assert state.is_failed() and "the canary vm0 did not move" in str(state.message)
    assert "connection refused" in str(state.message) and "never answered" not in str(state.message)
    assert len(yard.runs()) == 1 and yard.names_on("kvm1") == {"vm1", "vm2"}


def test_a_guest_that_goes_silent_is_moved_back_where_that_is_wanted(yard: Yard) -> None:
    vm = yard.add("vm0")
    asked_of(yard, "vm0")
    yard.fleet.guests = lambda _probe: "" if "vm0" in yard.names_on("kvm1") else "connection refused"
    probes = ProbeOptions(wait_s=10, on_silence=OnSilence.MOVE_BACK)
    state = evacuate(yard, probes=probes, caution=CautionOptions(retries=0))
    assert state.is_failed() and "moved back to kvm1" in str(state.message)
    assert yard.where(vm) == ("kvm1",) and yard.fleet.running_on(vm) == ("kvm1",)
    assert yard.journal.homes() == () and yard.is_sound()


def test_a_guest_that_answers_again_in_time_has_moved_well(yard: Yard) -> None:
    yard.add("vm0")
    asked_of(yard, "vm0")
    asked: list[Probe] = []

    def answer(probe: Probe) -> str:
        asked.append(probe)
        return "not yet" if 2 < len(asked) <= 6 else ""

    yard.fleet.guests = answer
    assert evacuate(yard).is_completed()
    assert len(asked) > 6
