"""Contract of Hypervisor: reading, defining and running domains."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.contract.contract_fleet import DEST, SHARED, SOURCE, FleetUnderTest, words
from vmferry.errors import NotFound, PermanentError, UnsafeError
from vmferry.model.vm import DomainState

NOBODY = UUID("00000000-0000-4000-8000-000000000001")
RIVAL = UUID("00000000-0000-4000-8000-000000000002")


def test_a_host_is_read_with_all_of_its_domains(fleet: FleetUnderTest) -> None:
    running = fleet.make_vm("contract-on", disk=SHARED)
    shut_off = fleet.make_vm("contract-off", state=DomainState.SHUTOFF)
    facts = fleet.world.hypervisor(SOURCE).read_host()
    assert [vm.name for vm in facts.vms] == ["contract-off", "contract-on"]
    on, off = facts.find_vm(str(running)), facts.find_vm(str(shut_off))
    assert on is not None
    assert (on.state, on.is_persistent, on.memory_kib) == (DomainState.RUNNING, True, 64 * 1024)
    assert [disk.source for disk in on.disks] == [f"{SHARED}/contract-on.raw"]
    assert off is not None
    assert (off.state, off.is_active) == (DomainState.SHUTOFF, False)


def test_a_host_tells_its_size_and_versions_but_not_what_ssh_tells(fleet: FleetUnderTest) -> None:
    facts = fleet.world.hypervisor(SOURCE).read_host()
    assert facts.name == SOURCE
    assert 0 < facts.memory_available_kib <= facts.memory_total_kib
    assert facts.cpus > 0
    assert facts.libvirt_version >= 6_000_000
    assert facts.qemu_version >= 4_000_000
    assert {machine.name for machine in facts.machines} >= {"pc", "q35"}
    assert (facts.bridges, facts.storage_free_bytes) == ((), {})


def test_two_hosts_have_two_uuids(fleet: FleetUnderTest) -> None:
    source, dest = (fleet.world.hypervisor(host).read_host() for host in (SOURCE, DEST))
    assert source.uuid != dest.uuid


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (DomainState.RUNNING, "running (booted)"),
        (DomainState.PAUSED, "paused"),
        (DomainState.SHUTOFF, "shut off"),
    ],
)
def test_a_look_tells_the_state_in_virshs_words(fleet: FleetUnderTest, state: DomainState, seen: str) -> None:
    uuid = fleet.make_vm("contract", state=state)
    sighting = fleet.world.hypervisor(SOURCE).look(uuid)
    assert sighting.words().startswith(seen)
    assert (sighting.is_reachable, sighting.has_job, sighting.is_persistent) == (True, False, True)


def test_a_look_for_an_unknown_vm_is_absent(fleet: FleetUnderTest) -> None:
    sighting = fleet.world.hypervisor(SOURCE).look(NOBODY)
    assert (sighting.is_reachable, sighting.state) == (True, DomainState.ABSENT)


def test_a_transient_vm_is_seen_as_such(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_persistent=False)
    assert fleet.world.hypervisor(SOURCE).look(uuid).is_persistent is False


def test_reading_or_changing_a_vm_that_is_not_there_is_not_found(fleet: FleetUnderTest) -> None:
    hypervisor = fleet.world.hypervisor(SOURCE)
    acts = (hypervisor.suspend, hypervisor.resume, hypervisor.abort_job)
    for act in acts:
        with pytest.raises(NotFound):
            act(NOBODY)
    with pytest.raises(NotFound):
        hypervisor.read_xml(NOBODY, is_inactive=True)
    with pytest.raises(NotFound):
        hypervisor.set_autostart(NOBODY, True)


def test_undefine_and_destroy_of_a_vm_that_is_not_there_are_no_ops(fleet: FleetUnderTest) -> None:
    fleet.world.hypervisor(SOURCE).undefine(NOBODY)
    fleet.world.hypervisor(SOURCE).destroy(NOBODY)


def test_a_definition_travels_as_text(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    source, dest = fleet.world.hypervisor(SOURCE), fleet.world.hypervisor(DEST)
    dest.define(source.read_xml(uuid, is_inactive=True))
    source.undefine(uuid)
    assert words(fleet, uuid)[0] == "absent"
    seen = dest.look(uuid)
    assert (seen.state, seen.is_persistent) == (DomainState.SHUTOFF, True)


def test_a_definition_of_the_same_vm_is_replaced(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    hypervisor = fleet.world.hypervisor(SOURCE)
    xml = hypervisor.read_xml(uuid, is_inactive=True)
    hypervisor.define(xml.replace("</name>", "</name><title>renewed</title>"))
    assert "renewed" in hypervisor.read_xml(uuid, is_inactive=True)
    assert len(hypervisor.read_host().vms) == 1


def test_a_name_or_a_uuid_of_another_domain_is_refused(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    hypervisor = fleet.world.hypervisor(SOURCE)
    xml = hypervisor.read_xml(uuid, is_inactive=True)
    for rival in (xml.replace(str(uuid), str(RIVAL)), xml.replace(">contract<", ">contract-rival<")):
        with pytest.raises(PermanentError):
            hypervisor.define(rival)
    assert [vm.uuid for vm in hypervisor.read_host().vms] == [uuid]


def test_nonsense_is_not_defined(fleet: FleetUnderTest) -> None:
    with pytest.raises(PermanentError):
        fleet.world.hypervisor(SOURCE).define("<domain")


def test_an_active_vm_is_not_undefined(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    with pytest.raises(UnsafeError):
        fleet.world.hypervisor(SOURCE).undefine(uuid)
    assert fleet.world.hypervisor(SOURCE).look(uuid).is_persistent


def test_undefine_twice_is_the_same_as_once(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", state=DomainState.SHUTOFF)
    for _ in range(2):
        fleet.world.hypervisor(SOURCE).undefine(uuid)
    assert words(fleet, uuid) == ("absent", "absent")


def test_autostart_is_set_and_read(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    hypervisor = fleet.world.hypervisor(SOURCE)
    for flag in (True, False):
        hypervisor.set_autostart(uuid, flag)
        vm = hypervisor.read_host().find_vm(str(uuid))
        assert vm is not None
        assert vm.is_autostart is flag


def test_a_transient_vm_has_no_autostart(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_persistent=False)
    with pytest.raises(PermanentError):
        fleet.world.hypervisor(SOURCE).set_autostart(uuid, True)


def test_suspend_and_resume(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    hypervisor = fleet.world.hypervisor(SOURCE)
    hypervisor.suspend(uuid)
    assert words(fleet, uuid)[0] == "paused (user)"
    hypervisor.suspend(uuid)
    hypervisor.resume(uuid)
    assert words(fleet, uuid)[0] == "running (unpaused)"


def test_only_a_paused_vm_is_resumed(fleet: FleetUnderTest) -> None:
    running, off = fleet.make_vm("contract-on"), fleet.make_vm("contract-off", state=DomainState.SHUTOFF)
    for uuid in (running, off):
        with pytest.raises(PermanentError):
            fleet.world.hypervisor(SOURCE).resume(uuid)


def test_destroy_ends_a_vm_and_keeps_its_definition(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    for _ in range(2):
        fleet.world.hypervisor(SOURCE).destroy(uuid)
    assert words(fleet, uuid)[0] == "shut off (destroyed)"


def test_destroy_of_a_transient_vm_leaves_nothing(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_persistent=False)
    fleet.world.hypervisor(SOURCE).destroy(uuid)
    assert words(fleet, uuid)[0] == "absent"


def test_a_vm_without_a_job_has_none_to_abort(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    with pytest.raises(PermanentError):
        fleet.world.hypervisor(SOURCE).abort_job(uuid)
