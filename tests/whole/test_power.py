"""Power on whole machines: only a host that is provably empty switches itself off, and it really does.

The tests are one night in its order: a wake test, consolidation, a host that does not wake, the morning.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.consolidate_fleet import consolidate_fleet
from flows.return_vms import return_vms
from flows.sample_usage import sample_usage
from flows.sleep_hosts import sleep_hosts
from flows.wake_hosts import wake_hosts
from infra.lab import DiskKind, GuestSpec, MachineLab
from tests.whole.test_whole_machines import guest
from vmferry.adapters.world import RealWorld
from vmferry.errors import LeftBehind
from vmferry.model.host import Inventory, Optimization, TakesPart
from vmferry.model.optimization import OptimizationReport
from vmferry.model.power import PowerEnd
from vmferry.model.returning import Returning, ReturnReport

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", autouse=True)
def idle_vm(machines: MachineLab) -> None:
    """A VM that is shut off on kvm2."""
    machines.add_guest(guest().model_copy(update={"host": "kvm2"}))


def with_host(inventory: Inventory, name: str, **update: object) -> Inventory:
    """Return the inventory with one host's entry changed."""
    hosts = tuple(h.model_copy(update=update) if h.name == name else h for h in inventory.hosts)
    return inventory.model_copy(update={"hosts": hosts})


def test_a_host_with_one_vm_left_is_never_switched_off(machines: MachineLab, world: RealWorld) -> None:
    world.journal.cordon("kvm2", "night")
    with pytest.raises(LeftBehind, match=r"1 VMs: whole1 \(shut off\)"):
        sleep_hosts(["kvm2"], wake_test=True)
    assert machines.hosts["kvm2"].is_up
    world.journal.uncordon("kvm2")


def test_an_empty_host_may_sleep_once_it_has_passed_its_wake_test(machines: MachineLab, world: RealWorld) -> None:
    world.journal.cordon("kvm1", "night")
    with pytest.raises(LeftBehind, match="vmferry power test kvm1"):
        sleep_hosts(["kvm1"])
    before = machines.hosts["kvm1"].boot_id()
    tested = sleep_hosts(["kvm1"], wake_test=True)
    assert [one.end for one in tested.outcomes] == [PowerEnd.ON]
    assert machines.hosts["kvm1"].boot_id() not in ("", before)
    assert world.journal.cordons() == ()


def test_at_night_a_host_is_emptied_and_really_sleeps(machines: MachineLab, world: RealWorld) -> None:
    """kvm3 takes no part; the counters of the hosts are read twice, as if they were ninety minutes apart."""
    night = GuestSpec(name="night1", memory_mib=32, dirty_mib_s=0.1, working_set_mib=1, disk=DiskKind.NONE)
    machines.add_guest(night)
    for host in machines.hosts:
        counters = world.hypervisor(host).read_counters()
        world.usage.take(counters.model_copy(update={"at": counters.at - timedelta(minutes=90)}))
    sample_usage()
    apart = with_host(world.inventory, "kvm3", takes_part=TakesPart(consolidation=False))
    world.inventory = apart.model_copy(update={"optimization": Optimization(spare_hosts=0)})
    report = consolidate_fleet(hosts=["kvm1"])
    assert isinstance(report, OptimizationReport)
    assert (report.emptied, report.switch_off, report.cordoned) == (("kvm1",),) * 3
    assert not machines.hosts["kvm1"].is_up
    assert machines.where("night1") == {"kvm2": "running"}
    assert machines.beats("night1", "kvm2")[1] == 0


def test_a_host_that_does_not_wake_is_told_and_the_fleet_stays_as_it_was(
    machines: MachineLab, world: RealWorld
) -> None:
    entry = world.inventory.find("kvm1")
    assert entry is not None
    assert entry.power is not None
    world.inventory = with_host(
        world.inventory, "kvm1", power=entry.power.model_copy(update={"on": ("true",), "boot_s": 10})
    )
    with pytest.raises(LeftBehind, match="host kvm1: was switched on and is not fit for VMs after 10 s"):
        wake_hosts()
    assert [cordon.host for cordon in world.journal.cordons()] == ["kvm1"]
    assert machines.where("whole1") == {"kvm2": "shut off"}
    assert machines.where("night1") == {"kvm2": "running"}


def test_in_the_morning_the_host_is_woken_and_its_vms_return(machines: MachineLab, world: RealWorld) -> None:
    woken = wake_hosts()
    assert [(one.host, one.end) for one in woken.outcomes] == [("kvm1", PowerEnd.ON)]
    assert machines.hosts["kvm1"].is_up
    assert world.journal.cordons() == ()
    report = return_vms("kvm1", returning=Returning.AUTO)
    assert isinstance(report, ReturnReport)
    assert report.home == ("night1",)
    assert machines.where("night1") == {"kvm1": "running"}
    assert machines.beats("night1", "kvm1")[1] == 0
