"""Power on whole machines: only a host that is provably empty switches itself off, and it really does."""

from __future__ import annotations

import pytest

from flows.sleep_hosts import sleep_hosts
from infra.lab import MachineLab
from tests.whole.test_whole_machines import guest
from vmferry.adapters.world import RealWorld
from vmferry.errors import LeftBehind
from vmferry.model.power import PowerEnd

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]


@pytest.fixture
def idle_vm(machines: MachineLab) -> str:
    """A VM that is shut off on kvm2: the one of the story above, or a new one."""
    if not machines.where("whole1"):
        machines.add_guest(guest().model_copy(update={"host": "kvm2"}))
    return "whole1"


def test_a_host_with_one_vm_left_is_never_switched_off(machines: MachineLab, world: RealWorld, idle_vm: str) -> None:
    world.journal.cordon("kvm2", "night")
    with pytest.raises(LeftBehind, match=r"1 VMs: whole1 \(shut off\)"):
        sleep_hosts(["kvm2"], wake_test=True)
    assert machines.hosts["kvm2"].is_up
    world.journal.uncordon("kvm2")


def test_an_emptied_host_passes_its_wake_test_and_then_really_sleeps(
    machines: MachineLab, world: RealWorld, idle_vm: str
) -> None:
    world.journal.cordon("kvm1", "night")
    with pytest.raises(LeftBehind, match="vmferry power test kvm1"):
        sleep_hosts(["kvm1"])
    before = machines.hosts["kvm1"].boot_id()
    tested = sleep_hosts(["kvm1"], wake_test=True)
    assert [one.end for one in tested.outcomes] == [PowerEnd.ON]
    assert machines.hosts["kvm1"].boot_id() not in ("", before)
    world.journal.cordon("kvm1", "night")
    assert [one.end for one in sleep_hosts(["kvm1"]).outcomes] == [PowerEnd.OFF]
    assert not machines.hosts["kvm1"].is_up
