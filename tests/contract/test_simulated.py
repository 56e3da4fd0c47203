"""What only the simulated fleet has: faults on demand, in the states that were measured, and a recorder."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.contract.contract_fleet import DEST, LOCAL, SHARED, SOURCE, ignore, plan_of, wait_for, words
from tests.contract.simulated_fleet import SimulatedUnderTest
from vmferry.adapters.simulated import Blow, Fault, Harm, SimulatedCrash, SimulatedFleet
from vmferry.errors import OutcomeUnknown, PermanentError, TransientError, VmferryError
from vmferry.ports import HostTools, Hypervisor, Journal, World

CANCELED, LEFT = "running (migration canceled)", "paused (migrating)"
UNTOUCHED = ("running (booted)", "absent")


@pytest.fixture
def under_test() -> SimulatedUnderTest:
    """Return a fleet of two hosts."""
    return SimulatedUnderTest()


def test_the_simulated_adapters_have_the_shape_of_the_ports(under_test: SimulatedUnderTest) -> None:
    world: World = under_test.world
    journal: Journal = world.journal
    hypervisor: Hypervisor = under_test.fleet.hypervisor(SOURCE)
    tools: HostTools = under_test.fleet.tools(SOURCE)
    assert (hypervisor.host, tools.host, journal.unsettled()) == (SOURCE, SOURCE, ())


# `What a move leaves behind when something dies` (libvirt-facts), with VIR_MIGRATE_PAUSED.
@pytest.mark.parametrize(
    ("blow", "phase", "target", "after"),
    [
        (Blow.CRASH_BEFORE, "memory", "", ("shut off (migrated)", "paused (user)")),
        (Blow.LIBVIRTD_RESTARTED, "memory", SOURCE, UNTOUCHED),
        (Blow.LIBVIRTD_RESTARTED, "switch-over", SOURCE, (LEFT, "absent")),
        (Blow.LIBVIRTD_RESTARTED, "memory", DEST, UNTOUCHED),
        (Blow.QEMU_KILLED, "memory", DEST, UNTOUCHED),
        (Blow.QEMU_KILLED, "memory", SOURCE, ("shut off (crashed)", "absent")),
        (Blow.LINK_DOWN, "memory", SOURCE, UNTOUCHED),
        (Blow.POWER_CUT, "memory", DEST, UNTOUCHED),
        (Blow.POWER_CUT, "memory", SOURCE, ("shut off", "absent")),
        (Blow.FINISH_REQUEST_LOST, "switch-over", "", (CANCELED, "absent")),
        (Blow.FINISH_REPLY_LOST, "switch-over", "", (CANCELED, "paused (user)")),
        (Blow.FINISH_FAILED, "switch-over", "", (CANCELED, "shut off (failed)")),
        (Blow.ABORTED, "memory", "", UNTOUCHED),
        (Blow.STALLED, "memory", "", UNTOUCHED),
    ],
)
def test_a_fault_leaves_the_states_that_were_measured(
    under_test: SimulatedUnderTest, blow: Blow, phase: str, target: str, after: tuple[str, str]
) -> None:
    uuid = under_test.make_vm("contract")
    fault = Fault(does=blow, op="migrate", phase=phase, target=target, peer=DEST)
    under_test.fleet.inject(fault)
    with pytest.raises((OutcomeUnknown, SimulatedCrash)):
        under_test.world.hypervisor(SOURCE).migrate(plan_of(under_test, uuid), ignore)
    under_test.world.clock.sleep(60)
    under_test.fleet.heal()
    assert words(under_test, uuid) == after
    assert under_test.fleet.double_runs == ()


def test_the_lost_finish_takes_as_long_as_it_was_measured(under_test: SimulatedUnderTest) -> None:
    uuid = under_test.make_vm("contract")
    under_test.fleet.inject(Fault(does=Blow.FINISH_REQUEST_LOST, op="migrate", phase="switch-over"))
    before = under_test.world.clock.now()
    with pytest.raises(OutcomeUnknown):
        under_test.world.hypervisor(SOURCE).migrate(plan_of(under_test, uuid), ignore)
    assert 37 <= (under_test.world.clock.now() - before).total_seconds() < 45


@pytest.mark.parametrize(
    ("blow", "error", "state"),
    [
        (Blow.TRANSIENT, TransientError, "running (booted)"),
        (Blow.PERMANENT, PermanentError, "running (booted)"),
        (Blow.LOST_ANSWER, OutcomeUnknown, "paused (user)"),
        (Blow.CRASH_BEFORE, SimulatedCrash, "running (booted)"),
        (Blow.CRASH_AFTER, SimulatedCrash, "paused (user)"),
    ],
)
def test_a_fault_strikes_before_or_after_the_effect(
    under_test: SimulatedUnderTest, blow: Blow, error: type[BaseException], state: str
) -> None:
    uuid = under_test.make_vm("contract")
    under_test.fleet.inject(Fault(does=blow, op="suspend"))
    with pytest.raises(error):
        under_test.world.hypervisor(SOURCE).suspend(uuid)
    assert words(under_test, uuid)[0] == state
    assert [o.answer for o in under_test.fleet.log if o.op == "suspend"] != ["ok"]


def test_a_fault_strikes_the_nth_call_only(under_test: SimulatedUnderTest) -> None:
    under_test.fleet.inject(Fault(does=Blow.TRANSIENT, host=SOURCE, op="read_host", nth=2))
    under_test.world.hypervisor(DEST).read_host()
    under_test.world.hypervisor(SOURCE).read_host()
    with pytest.raises(TransientError):
        under_test.world.hypervisor(SOURCE).read_host()
    under_test.world.hypervisor(SOURCE).read_host()


def test_a_look_never_raises_whatever_strikes(under_test: SimulatedUnderTest) -> None:
    uuid = under_test.make_vm("contract")
    for blow in (Blow.TRANSIENT, Blow.LOST_ANSWER, Blow.POWER_CUT):
        under_test.fleet.inject(Fault(does=blow, op="look"))
        assert under_test.world.hypervisor(SOURCE).look(uuid).is_reachable is False
        under_test.fleet.heal()


def test_every_touch_point_of_a_scenario_has_its_faults(under_test: SimulatedUnderTest) -> None:
    uuid = under_test.make_vm("contract")
    under_test.world.hypervisor(SOURCE).migrate(plan_of(under_test, uuid), ignore)
    touched = [(o.op, o.phase) for o in under_test.fleet.operations()]
    assert touched[-4:] == [("migrate", ""), *(("migrate", p) for p in ("memory", "switch-over", "arrived"))]
    struck = {fault.seq for fault in under_test.fleet.faults()}
    assert struck == {o.seq for o in under_test.fleet.operations()}


def moved(under_test: SimulatedUnderTest) -> UUID:
    """Move a VM up to its paused arrival with a lost reply, so that both hosts hold it."""
    uuid = under_test.make_vm("contract")
    under_test.fleet.inject(Fault(does=Blow.FINISH_REPLY_LOST, op="migrate", phase="switch-over"))
    with pytest.raises(OutcomeUnknown):
        under_test.world.hypervisor(SOURCE).migrate(plan_of(under_test, uuid), ignore)
    return uuid


def test_two_running_copies_are_noticed(under_test: SimulatedUnderTest) -> None:
    uuid = moved(under_test)
    under_test.world.hypervisor(DEST).resume(uuid)
    assert [p.harm for p in under_test.fleet.problems()] == [Harm.DOUBLE_RUN]
    assert under_test.fleet.running_on(uuid) == (SOURCE, DEST)
    under_test.world.hypervisor(DEST).destroy(uuid)
    assert len(under_test.fleet.double_runs) == 1


def test_a_disk_lock_that_works_across_hosts_prevents_the_second_copy(under_test: SimulatedUnderTest) -> None:
    uuid = under_test.make_vm("contract", disk=SHARED)
    under_test.fleet.inject(Fault(does=Blow.FINISH_REPLY_LOST, op="migrate", phase="switch-over"))
    with pytest.raises(OutcomeUnknown):
        under_test.world.hypervisor(SOURCE).migrate(plan_of(under_test, uuid), ignore)
    with pytest.raises(PermanentError, match="lock"):
        under_test.world.hypervisor(DEST).resume(uuid)
    assert under_test.fleet.double_runs == ()


def test_a_host_that_boots_starts_what_is_marked_autostart_even_if_it_has_moved(
    under_test: SimulatedUnderTest,
) -> None:
    uuid = under_test.make_vm("contract")
    source, dest = under_test.world.hypervisor(SOURCE), under_test.world.hypervisor(DEST)
    source.set_autostart(uuid, True)
    source.migrate(plan_of(under_test, uuid), ignore)
    dest.resume(uuid)
    under_test.cut_power(SOURCE)
    under_test.power_on(SOURCE)
    assert under_test.fleet.running_on(uuid) == (SOURCE, DEST)


def test_a_stopped_vm_a_lost_one_and_a_lost_definition_are_noticed(under_test: SimulatedUnderTest) -> None:
    uuid = under_test.make_vm("contract")
    under_test.world.hypervisor(SOURCE).destroy(uuid)
    under_test.world.hypervisor(SOURCE).undefine(uuid)
    assert {p.harm for p in under_test.fleet.problems()} == {Harm.STOPPED, Harm.LOST, Harm.DEFINITION_LOST}
    assert under_test.fleet.down() == (uuid,)


def test_what_a_fault_did_is_an_incident_and_not_a_problem(under_test: SimulatedUnderTest) -> None:
    uuid = under_test.make_vm("contract")
    under_test.cut_power(SOURCE)
    assert [p.harm for p in under_test.fleet.incidents] == [Harm.STOPPED]
    assert under_test.fleet.problems() == ()
    assert under_test.fleet.down() == (uuid,)


def test_a_file_that_is_lost_or_in_use_is_noticed(under_test: SimulatedUnderTest) -> None:
    under_test.make_vm("contract", disk=SHARED)
    under_test.world.tools(DEST).remove_file(f"{SHARED}/contract.raw")
    assert [p.harm for p in under_test.fleet.problems()] == [Harm.FILE_IN_USE, Harm.FILE_LOST]


def test_a_file_under_the_staged_name_that_is_overwritten_is_noticed(under_test: SimulatedUnderTest) -> None:
    under_test.write_file(SOURCE, f"{LOCAL}/one.raw", b"one")
    under_test.write_file(DEST, f"{LOCAL}/one.raw", b"precious")
    entry = under_test.world.inventory.find(DEST)
    assert entry is not None
    under_test.world.tools(SOURCE).copy_file(f"{LOCAL}/one.raw", entry, f"{LOCAL}/one.raw")
    assert [p.harm for p in under_test.fleet.problems()] == [Harm.FILE_OVERWRITTEN]


def test_a_full_disk_breaks_a_copy_off_and_leaves_its_half(under_test: SimulatedUnderTest) -> None:
    under_test.fleet.add_file(SOURCE, f"{LOCAL}/one.raw")
    under_test.fleet.inject(Fault(does=Blow.DISK_FULL, op="copy_file", target=DEST))
    entry = under_test.world.inventory.find(DEST)
    assert entry is not None
    staging = f"{LOCAL}/.vmferry-contract/one.raw"
    with pytest.raises(VmferryError, match="no space"):
        under_test.world.tools(SOURCE).copy_file(f"{LOCAL}/one.raw", entry, staging)
    source, dest = under_test.world.tools(SOURCE), under_test.world.tools(DEST)
    assert dest.checksum(staging) != source.checksum(f"{LOCAL}/one.raw")


def test_more_memory_than_a_host_has_is_noticed_and_not_refused() -> None:
    fleet = SimulatedFleet.of(SOURCE, DEST, memory_mib=1024)
    under_test = SimulatedUnderTest()
    under_test.fleet, under_test.world = fleet, fleet.world(journal=under_test.world.journal)
    fleet.add_vm(DEST, "resident", memory_mib=1024)
    uuid = fleet.add_vm(SOURCE, "contract", memory_mib=512)
    under_test.world.hypervisor(SOURCE).migrate(plan_of(under_test, uuid), ignore)
    wait_for(under_test, lambda: words(under_test, uuid)[1] == "paused (user)")
    assert [p.harm for p in fleet.problems()] == [Harm.OVERCOMMITTED]
