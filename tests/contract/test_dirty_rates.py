"""Contract of Hypervisor.measure_dirty_rates: what QEMU's page sampling shows, all VMs in one window."""

from __future__ import annotations

from uuid import uuid4

from tests.contract.contract_fleet import SOURCE, FleetUnderTest
from vmferry.model.vm import DomainState

MIB_KIB = 1024


def test_a_restless_vm_and_a_quiet_one_are_told_apart_in_one_window(fleet: FleetUnderTest) -> None:
    """Three windows: one of so small a VM is four samples of 2 MiB, and chance may miss them."""
    restless, quiet = fleet.make_vm("restless", is_restless=True), fleet.make_vm("quiet")
    begun = fleet.world.clock.now()
    windows = [fleet.world.hypervisor(SOURCE).measure_dirty_rates([restless, quiet], 1) for _ in range(3)]
    seconds = (fleet.world.clock.now() - begun).total_seconds()
    assert all(rate.detail == "" for found in windows for rate in found.values())
    fast, slow = (sum(found[uuid].mib_s or 0 for found in windows) for uuid in (restless, quiet))
    assert 6 <= fast <= 60 and slow < fast, "pages are counted, not writes: 8 MiB a window, not 40"
    assert 3 <= seconds < 3 + 15


def test_resident_memory_is_that_of_qemu(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("resident", is_busy=True)
    rate = fleet.world.hypervisor(SOURCE).measure_dirty_rates([uuid], 1)[uuid]
    assert 24 * MIB_KIB < rate.resident_kib < 128 * MIB_KIB


def test_what_cannot_be_measured_spoils_no_other(fleet: FleetUnderTest) -> None:
    running, missing = fleet.make_vm("running"), uuid4()
    off = fleet.make_vm("off", state=DomainState.SHUTOFF)
    found = fleet.world.hypervisor(SOURCE).measure_dirty_rates([missing, off, running], 1)
    assert set(found) == {missing, off, running}
    assert found[running].mib_s is not None
    assert found[missing].mib_s is None and "Domain not found" in found[missing].detail
    assert found[off].mib_s is None and "domain is not running" in found[off].detail


def test_a_paused_vm_writes_nothing(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("paused", is_restless=True, state=DomainState.PAUSED)
    assert fleet.world.hypervisor(SOURCE).measure_dirty_rates([uuid], 1)[uuid].mib_s == 0


def test_nothing_asked_takes_no_time(fleet: FleetUnderTest) -> None:
    begun = fleet.world.clock.now()
    assert fleet.world.hypervisor(SOURCE).measure_dirty_rates([], 1) == {}
    assert (fleet.world.clock.now() - begun).total_seconds() < 1
