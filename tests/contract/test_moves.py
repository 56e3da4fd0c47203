"""Contract of Hypervisor: moving, as vmferry moves (peer to peer, arriving paused)."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.contract.contract_fleet import (
    DEST,
    LOCAL,
    SHARED,
    SOURCE,
    FleetUnderTest,
    WatcherGone,
    ignore,
    once,
    plan_of,
    wait_for,
    words,
)
from vmferry.errors import HostBusy, OutcomeUnknown, VmferryError
from vmferry.model.host import HostFacts
from vmferry.model.migration import JobStats, MigrationMode
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState

BOTH = (MigrationMode.LIVE, MigrationMode.NON_LIVE)
MOVED = ("shut off (migrated)", "paused (user)")


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("disk", [None, SHARED])
def test_a_vm_arrives_paused_and_the_source_keeps_its_definition(
    fleet: FleetUnderTest, mode: MigrationMode, disk: str | None
) -> None:
    uuid = fleet.make_vm("contract", disk=disk)
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, mode=mode), ignore)
    assert words(fleet, uuid) == MOVED
    sightings = [fleet.world.hypervisor(host).look(uuid) for host in (SOURCE, DEST)]
    assert [(s.is_persistent, s.has_job) for s in sightings] == [(True, False), (True, False)]


def test_a_vm_that_arrived_is_resumed_and_its_source_undefined(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", disk=SHARED)
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid), ignore)
    fleet.world.hypervisor(DEST).resume(uuid)
    fleet.world.hypervisor(SOURCE).undefine(uuid)
    assert words(fleet, uuid)[0] == "absent"
    assert fleet.world.hypervisor(DEST).look(uuid).state is DomainState.RUNNING


def test_a_transient_vm_stays_transient_and_leaves_nothing_behind(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_persistent=False)
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid), ignore)
    assert words(fleet, uuid) == ("absent", "paused (user)")
    assert fleet.world.hypervisor(DEST).look(uuid).is_persistent is False


@pytest.mark.parametrize("mode", BOTH)
def test_a_paused_vm_arrives_paused(fleet: FleetUnderTest, mode: MigrationMode) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.PAUSED)
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, mode=mode), ignore)
    assert words(fleet, uuid) == MOVED


def test_an_old_definition_of_the_same_vm_is_replaced(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    source, dest = fleet.world.hypervisor(SOURCE), fleet.world.hypervisor(DEST)
    xml = source.read_xml(uuid, is_inactive=True)
    dest.define(xml.replace("</name>", "</name><title>stale</title>"))
    source.migrate(plan_of(fleet, uuid), ignore)
    assert "stale" not in dest.read_xml(uuid, is_inactive=True)


def test_the_destination_takes_the_xml_that_it_is_given(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    source, dest = fleet.world.hypervisor(SOURCE), fleet.world.hypervisor(DEST)
    live, persistent = (
        source.read_xml(uuid, is_inactive=is_inactive).replace("</name>", f"</name><title>{title}</title>")
        for is_inactive, title in ((False, "given live"), (True, "given persistent"))
    )
    source.migrate(plan_of(fleet, uuid, dest_xml=live, dest_persistent_xml=persistent), ignore)
    assert "given live" in dest.read_xml(uuid, is_inactive=False)
    assert "given persistent" in dest.read_xml(uuid, is_inactive=True)


def test_progress_is_told_and_the_last_sample_returned(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    samples: list[JobStats] = []
    plan = plan_of(fleet, uuid, bandwidth_mib_s=16)
    final = fleet.world.hypervisor(SOURCE).migrate(plan, samples.append)
    assert samples
    assert final.data_processed_bytes >= max(s.data_processed_bytes for s in samples) > 0
    assert final.downtime_ms is not None


def _refuses(fleet: FleetUnderTest, uuid: UUID, before: tuple[str, str]) -> None:
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid), ignore)
    assert words(fleet, uuid) == before


def test_another_vm_of_the_same_name_at_the_destination_refuses_the_move(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    xml = fleet.world.hypervisor(SOURCE).read_xml(uuid, is_inactive=True)
    fleet.world.hypervisor(DEST).define(xml.replace(str(uuid), "00000000-0000-4000-8000-000000000002"))
    _refuses(fleet, uuid, ("running (booted)", "absent"))


def test_a_vm_that_is_shut_off_is_not_migrated(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    before = words(fleet, uuid)
    _refuses(fleet, uuid, before)


def test_a_local_disk_refuses_the_move(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", disk=LOCAL)
    _refuses(fleet, uuid, ("running (booted)", "absent"))


def test_a_vm_that_is_not_there_is_not_migrated(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    plan = plan_of(fleet, uuid)
    fleet.world.hypervisor(SOURCE).destroy(uuid)
    fleet.world.hypervisor(SOURCE).undefine(uuid)
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert words(fleet, uuid) == ("absent", "absent")


def test_a_destination_without_power_leaves_the_vm_running(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    plan = plan_of(fleet, uuid)
    fleet.cut_power(DEST)
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert fleet.world.hypervisor(SOURCE).look(uuid).words() == "running (booted)"


def test_a_move_in_flight_is_seen_at_both_hosts(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    seen: list[Sighting] = []
    look = once(lambda: seen.extend(fleet.world.hypervisor(host).look(uuid) for host in (SOURCE, DEST)))
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, bandwidth_mib_s=4), look)
    source, dest = seen
    assert (source.state, source.has_job) == (DomainState.RUNNING, True)
    assert (dest.is_reachable, dest.words()) == (True, "paused (migrating)")


def test_the_destination_can_be_read_while_a_vm_arrives(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    seen: list[HostFacts] = []
    read = once(lambda: seen.append(fleet.world.hypervisor(DEST).read_host()))
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, bandwidth_mib_s=4), read)
    vm = seen[0].find_vm(str(uuid))
    assert vm is not None
    assert (vm.state, vm.has_active_job, vm.is_persistent) == (DomainState.PAUSED, True, False)


def test_an_aborted_move_leaves_the_vm_running_at_the_source(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    abort = once(lambda: fleet.world.hypervisor(SOURCE).abort_job(uuid))
    with pytest.raises(OutcomeUnknown):
        fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, bandwidth_mib_s=1), abort)
    wait_for(fleet, lambda: words(fleet, uuid)[1] == "absent")
    seen = fleet.world.hypervisor(SOURCE).look(uuid)
    assert (seen.state, seen.has_job) == (DomainState.RUNNING, False)


def test_a_second_move_of_the_same_vm_is_refused_and_the_first_goes_on(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    plan = plan_of(fleet, uuid, bandwidth_mib_s=4)

    def move_again() -> None:
        with pytest.raises(VmferryError):
            fleet.world.hypervisor(SOURCE).migrate(plan, ignore)

    fleet.world.hypervisor(SOURCE).migrate(plan, once(move_again))
    assert words(fleet, uuid) == MOVED


def test_a_resume_of_an_incoming_vm_waits_and_takes_effect_when_it_has_arrived(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    resume = once(lambda: fleet.world.hypervisor(DEST).resume(uuid))
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, bandwidth_mib_s=4), resume)
    assert words(fleet, uuid) == ("shut off (migrated)", "running (unpaused)")


def test_a_resume_of_an_incoming_vm_gives_up_after_half_a_minute(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)

    def resume() -> None:
        with pytest.raises(HostBusy):
            fleet.world.hypervisor(DEST).resume(uuid)

    with pytest.raises(OutcomeUnknown):
        plan = plan_of(fleet, uuid, bandwidth_mib_s=1, deadline_s=20)
        fleet.world.hypervisor(SOURCE).migrate(plan, once(resume))
    wait_for(fleet, lambda: words(fleet, uuid)[1] == "absent")
    assert fleet.world.hypervisor(SOURCE).look(uuid).state is DomainState.RUNNING


def test_a_move_past_its_deadline_is_aborted(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    with pytest.raises(OutcomeUnknown):
        plan = plan_of(fleet, uuid, bandwidth_mib_s=1, deadline_s=3)
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    wait_for(fleet, lambda: words(fleet, uuid)[1] == "absent")
    assert fleet.world.hypervisor(SOURCE).look(uuid).state is DomainState.RUNNING


def _abandon() -> None:
    raise WatcherGone


def test_a_move_goes_on_without_its_watcher_and_is_adopted(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    source = fleet.world.hypervisor(SOURCE)
    with pytest.raises(WatcherGone):
        source.migrate(plan_of(fleet, uuid, bandwidth_mib_s=4), once(_abandon))
    assert source.look(uuid).has_job
    assert source.watch_job(uuid, ignore, timeout_s=0.5) is False
    samples: list[JobStats] = []
    assert source.watch_job(uuid, samples.append, timeout_s=90) is True
    assert samples
    wait_for(fleet, lambda: words(fleet, uuid) == MOVED)


def test_a_vm_without_a_job_is_not_waited_for(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    assert fleet.world.hypervisor(SOURCE).watch_job(uuid, ignore, timeout_s=5) is True


@pytest.mark.parametrize(
    ("blow", "after"),
    [
        ("kill QEMU at the destination", "running"),
        ("kill libvirtd at the destination", "running"),
        ("cut the destination's power", "running"),
        ("kill libvirtd at the source", "running"),
        ("kill QEMU at the source", "shut off (crashed)"),
    ],
)
def test_what_dies_in_the_memory_phase_leaves_what_was_measured(fleet: FleetUnderTest, blow: str, after: str) -> None:
    uuid = fleet.make_vm("contract", is_busy=True)
    strike = {
        "kill QEMU at the destination": lambda: fleet.kill_qemu(DEST, uuid),
        "kill libvirtd at the destination": lambda: fleet.kill_libvirtd(DEST),
        "cut the destination's power": lambda: fleet.cut_power(DEST),
        "kill libvirtd at the source": lambda: fleet.kill_libvirtd(SOURCE),
        "kill QEMU at the source": lambda: fleet.kill_qemu(SOURCE, uuid),
    }[blow]
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid, bandwidth_mib_s=1), once(strike))
    if blow == "cut the destination's power":
        fleet.power_on(DEST)
    for host in (SOURCE, DEST):
        fleet.start_libvirtd(host)
    wait_for(fleet, lambda: words(fleet, uuid)[1] == "absent")
    wait_for(fleet, lambda: words(fleet, uuid)[0].startswith(after))
    assert fleet.world.hypervisor(SOURCE).look(uuid).has_job is False
