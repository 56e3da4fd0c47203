"""Contract of both ports towards a host that does not answer: told in time, and never as "nothing is there"."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.contract_fleet import DEST, SHARED, SOURCE, FleetUnderTest, peer_of, plan_of
from vmferry.errors import HostUnreachable, VmferryError
from vmferry.model.facts import GuestCpu
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState

CPU = GuestCpu(xml="<cpu/>", arch="x86_64", machine=None, domain_type="qemu")


@pytest.mark.parametrize("how", ["power cut", "cable unplugged"])
def test_a_host_that_does_not_answer_is_a_sighting_and_an_error(fleet: FleetUnderTest, how: str) -> None:
    uuid = fleet.make_vm("contract")
    if how == "power cut":
        fleet.cut_power(SOURCE)
    else:
        fleet.isolate(SOURCE)
    hypervisor = fleet.world.hypervisor(SOURCE)
    sighting = hypervisor.look(uuid)
    assert sighting == Sighting(host=SOURCE, is_reachable=False, detail=sighting.detail)
    assert sighting.detail
    with pytest.raises(HostUnreachable):
        hypervisor.read_host()
    with pytest.raises(VmferryError):
        hypervisor.suspend(uuid)
    tools = fleet.world.tools(SOURCE)
    reads: tuple[Callable[[], object], ...] = (
        lambda: tools.probe_peers([peer_of(fleet, DEST)]),
        tools.read_system,
        lambda: hypervisor.compare_cpus([CPU]),
    )
    for read in reads:
        with pytest.raises(HostUnreachable):
            read()
    with pytest.raises(VmferryError):
        tools.make_markers([SHARED], ".vmferry-marker-contract")


def test_a_connection_that_was_good_is_noticed_to_be_lost(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    hypervisor, tools = fleet.world.hypervisor(SOURCE), fleet.world.tools(SOURCE)
    assert hypervisor.look(uuid).is_reachable
    assert tools.free_bytes([SHARED])
    fleet.isolate(SOURCE)
    assert hypervisor.look(uuid).is_reachable is False
    with pytest.raises(HostUnreachable):
        tools.free_bytes([SHARED])


def test_a_host_that_comes_back_is_read_again(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    hypervisor = fleet.world.hypervisor(SOURCE)
    assert hypervisor.look(uuid).state is DomainState.RUNNING
    fleet.cut_power(SOURCE)
    assert hypervisor.look(uuid).is_reachable is False
    fleet.power_on(SOURCE)
    sighting = hypervisor.look(uuid)
    assert (sighting.state, sighting.is_persistent) == (DomainState.SHUTOFF, True)


def test_ssh_answers_while_libvirtd_is_dead(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    fleet.kill_libvirtd(SOURCE)
    assert fleet.world.hypervisor(SOURCE).look(uuid).is_reachable is False
    assert fleet.world.tools(SOURCE).free_bytes([SHARED])
    with pytest.raises(HostUnreachable):
        fleet.world.tools(SOURCE).virsh_list()
    reach = fleet.world.tools(DEST).probe_peers([peer_of(fleet, SOURCE)])[SOURCE]
    assert (reach.ping.is_ok, reach.libvirt.is_ok) == (True, False)
    assert fleet.world.tools(SOURCE).read_system().os.is_known
    fleet.start_libvirtd(SOURCE)
    assert fleet.world.hypervisor(SOURCE).look(uuid).state is DomainState.RUNNING


def test_nothing_is_moved_from_a_host_that_does_not_answer(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    plan = plan_of(fleet, uuid)
    fleet.isolate(SOURCE)
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).migrate(plan, lambda _: None)
    assert fleet.world.hypervisor(DEST).look(uuid).state is DomainState.ABSENT
