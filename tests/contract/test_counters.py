"""Contract of Hypervisor.read_counters: what libvirt's bulk statistics tell of a host and its running VMs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.contract.contract_fleet import DEST, SHARED, SOURCE, FleetUnderTest, ignore, plan_of
from vmferry.errors import HostUnreachable
from vmferry.model.usage import SubjectKind
from vmferry.model.vm import DomainState
from vmferry.planning.usage import samples_between

MIB_KIB = 1024


def test_running_vms_are_counted_and_those_that_are_shut_off_are_not(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("running", disk=SHARED)
    fleet.make_vm("off", state=DomainState.SHUTOFF)
    counters = fleet.world.hypervisor(SOURCE).read_counters()
    (vm,) = counters.vms
    assert (vm.uuid, vm.name, vm.vcpus, vm.memory_kib) == (uuid, "running", 1, 64 * MIB_KIB)
    assert vm.resident_kib is not None and 0 < vm.resident_kib < 1024 * MIB_KIB
    assert vm.disk_bytes is not None and vm.net_bytes is not None
    assert counters.host == SOURCE and counters.cpus >= 1
    assert counters.memory_total_kib >= counters.memory_available_kib > 0


def test_a_vm_that_works_is_told_from_one_that_does_not(fleet: FleetUnderTest) -> None:
    busy, quiet = fleet.make_vm("busy", is_restless=True), fleet.make_vm("quiet", state=DomainState.PAUSED)
    first = fleet.world.hypervisor(SOURCE).read_counters()
    fleet.world.clock.sleep(5)
    second = fleet.world.hypervisor(SOURCE).read_counters()
    used = {now.uuid: now.cpu_ns - old.cpu_ns for old, now in zip(first.vms, second.vms, strict=True)}
    seconds = (second.at - first.at).total_seconds()
    assert 0 < used[busy] / 1e9 < 2 * seconds, "a guest of the lab writes 40 MiB/s with a hundredth of a CPU"
    assert used[quiet] < used[busy] / 2, "QEMU itself wakes up now and then"
    assert first.busy_ns is not None and second.busy_ns is not None and second.busy_ns > first.busy_ns


def test_counters_of_two_moments_give_a_sample_per_host_and_vm(fleet: FleetUnderTest) -> None:
    fleet.make_vm("busy", is_restless=True)
    first = fleet.world.hypervisor(SOURCE).read_counters()
    fleet.world.clock.sleep(2)
    second = fleet.world.hypervisor(SOURCE).read_counters()
    assert samples_between(first, second) == (), "two seconds are noise"
    stretched = first.model_copy(update={"at": second.at - timedelta(seconds=60)})
    kinds = [item.subject.kind for item in samples_between(stretched, second)]
    assert kinds == [SubjectKind.HOST, SubjectKind.VM]


def test_a_vm_that_moved_begins_anew_so_that_its_past_is_not_counted_twice(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("wanderer")
    before = {vm.uuid: vm for vm in fleet.world.hypervisor(SOURCE).read_counters().vms}
    fleet.world.hypervisor(SOURCE).migrate(plan_of(fleet, uuid), ignore)
    assert fleet.world.hypervisor(SOURCE).read_counters().vms == ()
    after = {vm.uuid: vm for vm in fleet.world.hypervisor(DEST).read_counters().vms}
    assert set(before) == set(after) == {uuid}


def test_a_host_without_libvirtd_is_unreachable(fleet: FleetUnderTest) -> None:
    fleet.kill_libvirtd(SOURCE)
    with pytest.raises(HostUnreachable):
        fleet.world.hypervisor(SOURCE).read_counters()
