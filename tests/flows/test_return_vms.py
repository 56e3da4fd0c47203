"""return-vms on the simulated fleet: homes that count, swaps, what is left with its reason."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import State

from flows.evacuate_host import evacuate_host
from flows.migrate_vm import migrate_vm
from flows.return_vms import return_vms
from tests.flows.yard import Yard
from vmferry.adapters.simulated import Blow, SimulatedFleet
from vmferry.model.constraint import Constraint, ConstraintKind
from vmferry.model.returning import Returning
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def evacuate(yard: Yard, host: str = "kvm1", **given: Any) -> None:
    with yard.process():
        state = evacuate_host(host, return_state=True, **given)
    assert state.is_completed(), state.message


def bring_home(yard: Yard, host: str = "kvm1", **given: Any) -> State[Any]:
    with yard.process("vmferry-2"):
        return return_vms(host, return_state=True, **given)


def test_every_vm_is_home_again_in_its_original_state(yard: Yard) -> None:
    running = yard.add("running", is_autostart=True)
    paused = yard.add("paused", state=DomainState.PAUSED)
    off = yard.add("off", state=DomainState.SHUTOFF)
    evacuate(yard, reason="new fans")
    assert {home.vm: home.home for home in yard.journal.homes()} == dict.fromkeys(("off", "paused", "running"), "kvm1")
    state = bring_home(yard)
    assert state.is_failed() and "paused since it arrived" in str(state.message)
    assert yard.where(paused) != ("kvm1",)  # QEMU 7.2 might die: only who has let it run may say so
    state = bring_home(yard, vms=["paused"])
    assert state.is_completed(), state.message
    assert [yard.where(vm) for vm in (running, paused, off)] == [("kvm1",)] * 3
    states = [yard.state_on("kvm1", vm) for vm in (running, paused, off)]
    assert states == [DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUTOFF]
    assert domain(yard, running).is_autostart and not domain(yard, paused).is_autostart
    assert yard.journal.homes() == () and yard.journal.cordons() == ()
    assert yard.is_sound()


def domain(yard: Yard, uuid: UUID, host: str = "kvm1") -> Any:
    found = yard.fleet.domain(host, uuid)
    assert found is not None
    return found


def test_a_home_that_somebody_changed_meanwhile_is_not_used_and_the_others_return(yard: Yard) -> None:
    moved, edited, good = yard.add("moved"), yard.add("edited"), yard.add("good")
    evacuate(yard, dests=["kvm2"])
    with yard.process():
        assert migrate_vm("moved", "kvm3", return_state=True).is_completed()
    changed = domain(yard, edited, "kvm2")
    changed.persistent_xml = changed.persistent_xml.replace("<vcpu>1<", "<vcpu>2<").replace(
        "<memory", "<title>x</title><memory", 1
    )
    state = bring_home(yard)
    assert state.is_failed()
    assert "moved: run" in str(state.message) and "edited: its definition was changed on kvm2" in str(state.message)
    assert [yard.where(vm) for vm in (moved, edited, good)] == [("kvm3",), ("kvm2",), ("kvm1",)]


def test_a_vm_that_was_taken_further_still_has_its_first_home(yard: Yard) -> None:
    vm = yard.add("wanderer")
    evacuate(yard, dests=["kvm2"])
    evacuate(yard, "kvm2", dests=["kvm3"])
    assert bring_home(yard).is_completed()
    assert yard.where(vm) == ("kvm1",)


def small_yard(yard: Yard) -> Yard:
    """Three hosts with room for one large VM each, and a little."""
    yard.fleet = SimulatedFleet.of("kvm1", "kvm2", "kvm3", memory_mib=6144)
    return yard


def test_two_vms_that_sit_in_each_others_homes_are_exchanged_by_a_hop(yard: Yard) -> None:
    small_yard(yard)
    one = yard.add("one", memory_mib=4096)
    evacuate(yard, dests=["kvm3"])  # one belongs on kvm1 and is on kvm3
    other = yard.add("other", "kvm2", memory_mib=4096)
    with yard.process():
        yard.journal.uncordon("kvm1")
        from tasks import _wiring
        from vmferry.steps.host_marks import open_host

        open_host("kvm1", _wiring.world())
    evacuate(yard, "kvm2", dests=["kvm1"])  # other belongs on kvm2 and fills kvm1
    with yard.process():
        yard.journal.uncordon("kvm2")
        open_host("kvm2", _wiring.world())
    state = bring_home(yard)
    assert state.is_completed(), state.message
    assert (yard.where(one), yard.where(other)) == (("kvm1",), ("kvm2",))
    assert yard.journal.homes() == () and yard.is_sound()


def must_hold(yard: Yard, *constraints: Constraint) -> None:
    """Write hard constraints into the inventory."""
    yard.fleet.inventory = yard.fleet.inventory.model_copy(update={"constraints": constraints})


def apart(*vms: str) -> Constraint:
    return Constraint(kind=ConstraintKind.SPREAD, name="apart", vms=vms)


def test_who_may_not_share_the_home_keeps_a_vm_away_until_it_has_left(yard: Yard) -> None:
    one, free = yard.add("db1"), yard.add("free")
    evacuate(yard, dests=["kvm2"])
    two = yard.add("db2", "kvm1")
    must_hold(yard, apart("db1", "db2"))
    state = bring_home(yard)
    assert state.is_failed()
    assert "db1: on kvm1 it would break what must hold: spread apart: " in str(state.message)
    assert [yard.where(vm) for vm in (one, two, free)] == [("kvm2",), ("kvm1",), ("kvm1",)]
    with yard.process():
        assert migrate_vm("db2", "kvm3", return_state=True).is_completed()
    assert bring_home(yard).is_completed()
    assert [yard.where(vm) for vm in (one, two)] == [("kvm1",), ("kvm3",)]
    assert yard.is_sound()


def test_constraints_that_contradict_each_other_are_refused_before_the_home_is_opened(yard: Yard) -> None:
    vm, _ = yard.add("db1"), yard.add("db2")
    evacuate(yard, dests=["kvm2"])
    must_hold(yard, apart("db1", "db2"), Constraint(kind=ConstraintKind.GATHER, name="close", vms=("db1", "db2")))
    state = bring_home(yard)
    assert state.is_failed() and "contradict each other about vm db1, db2" in str(state.message)
    assert yard.where(vm) == ("kvm2",) and [cordon.host for cordon in yard.journal.cordons()] == ["kvm1"]


def test_a_home_that_strangers_have_filled_is_refused_with_their_names(yard: Yard) -> None:
    small_yard(yard)
    big, little = yard.add("big", memory_mib=4096), yard.add("little", memory_mib=512)
    evacuate(yard)
    yard.add("stranger", "kvm1", memory_mib=4096)
    state = bring_home(yard)
    assert state.is_failed()
    assert "stranger (4096 MiB)" in str(state.message) and "1 home again, 1 not" in str(state.message)
    assert yard.where(little) == ("kvm1",) and yard.where(big) != ("kvm1",)
    assert yard.is_sound()


def test_a_host_that_is_closed_for_another_reason_stays_closed(yard: Yard) -> None:
    vm = yard.add("wanderer")
    evacuate(yard, reason="new fans")
    yard.journal.uncordon("kvm1")
    yard.journal.cordon("kvm1", "smells of smoke")
    state = bring_home(yard)
    assert state.is_failed() and "smells of smoke" in str(state.message)
    assert yard.where(vm) != ("kvm1",)


def test_never_only_tells_and_asking_without_an_answer_moves_nothing(yard: Yard) -> None:
    vm = yard.add("wanderer")
    evacuate(yard)
    away = yard.where(vm)
    assert bring_home(yard, returning=Returning.NEVER).is_completed()
    state = bring_home(yard, returning=Returning.ASK, ask_minutes=0.01)
    # The server fails a paused run in its own words when the run does not say it before the server's clock does.
    assert state.is_failed() and any(words in str(state.message) for words in ("nobody has said", "never resumed"))
    assert yard.where(vm) == away


def test_a_move_home_that_fails_is_told_and_can_be_tried_again(yard: Yard) -> None:
    vm = yard.add("wanderer")
    evacuate(yard)
    yard.break_at(Blow.ABORTED, op="migrate", phase="memory")
    assert bring_home(yard).is_failed()
    assert bring_home(yard).is_completed()
    assert yard.where(vm) == ("kvm1",) and yard.is_sound()


def test_wrong_names_are_all_told(yard: Yard) -> None:
    state = bring_home(yard, "kvm1", vms=["nobody"])
    assert state.is_failed() and "nobody does not belong on kvm1" in str(state.message)
    assert bring_home(yard, "nowhere").is_failed()
