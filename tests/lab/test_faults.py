"""Destinations that fail in the middle: the VM runs at the source, nothing stays at the destination.

Every fault is made on a real lab while memory or disks flow. Source: the fault table in `libvirt-facts.md`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from infra.lab import DiskKind, GuestSpec, GuestState, Lab, LabHost
from vmferry.adapters.world import RealWorld
from vmferry.errors import Held, LeftBehind, PreflightBlocked
from vmferry.model.journal import RunState
from vmferry.model.migration import OutcomeKind

pytestmark = pytest.mark.lab

LINK_MIB_S = 8  # with the guest below, memory flows for more than ten seconds


def add_slow_guest(lab: Lab, name: str) -> None:
    """Add a guest whose memory needs long for a capped link, and cap it."""
    lab.add_guest(GuestSpec(name=name, memory_mib=192, dirty_mib_s=80, working_set_mib=110, disk=DiskKind.NOLOCK))
    wait_until(lambda: has_touched_memory(lab, name), "the guest has touched its memory")
    lab.set_rate(name, 0.4)
    lab.hosts["kvm1"].cap_link(LINK_MIB_S)


def has_touched_memory(lab: Lab, name: str) -> bool:
    """Whether half of the working set was written, so that a move has something to carry."""
    beat = lab.heartbeats(name).get("kvm1")
    return beat is not None and (beat.passes > 0 or beat.ticks * beat.rate_pages > 20_000)


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, f"not seen within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)


def is_moving(lab: Lab, guest: str) -> bool:
    """Whether memory flows: the copy waits at the destination and the source's job counts."""
    job = lab.hosts["kvm1"].run(["virsh", "domjobinfo", guest], check=False).stdout
    return lab.where(guest).get("kvm2") == "paused" and "Data processed:" in job


def break_during_move(lab: Lab, guest: str, fault: Callable[[], None]) -> BaseException:
    """Start a live move, break something while memory flows, return what the flow raised."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future: Future[object] = pool.submit(migrate_vm, vm=guest, dest="kvm2")
        wait_until(lambda: is_moving(lab, guest) or future.done(), "a running migration")
        assert not future.done(), future.result()
        fault()
        error = future.exception()
    assert error is not None, "the move succeeded in spite of the fault"
    return error


def assert_runs_at_source_only(lab: Lab, guest: str) -> None:
    with lab.watch(guest) as watch:
        time.sleep(1)
    assert watch.alive_on("kvm1") and not watch.alive_on("kvm2")
    assert lab.where(guest) == {"kvm1": "running"}
    assert watch.errors == 0


def test_the_destinations_qemu_is_killed(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "qkill")
    error = break_during_move(fleet, "qkill", lambda: fleet.hosts["kvm2"].kill_qemu("qkill"))
    assert isinstance(error, LeftBehind)
    assert_runs_at_source_only(fleet, "qkill")
    assert not world.journal.unsettled()


@pytest.mark.parametrize("way", [LabHost.stop_libvirtd, LabHost.kill_libvirtd])
def test_the_destinations_libvirtd_stops(fleet: Lab, world: RealWorld, way: Callable[[LabHost], None]) -> None:
    add_slow_guest(fleet, "lstop")
    error = break_during_move(fleet, "lstop", lambda: way(fleet.hosts["kvm2"]))
    assert isinstance(error, Held), "while the destination is silent nothing is decided"
    assert "vmferry recover" in str(error)
    assert fleet.hosts["kvm1"].list_domains()["lstop"] == "running"
    fleet.hosts["kvm2"].start_libvirtd()
    outcomes = recover_runs()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.ROLLED_BACK]
    assert_runs_at_source_only(fleet, "lstop")


def test_the_link_goes_down_and_comes_back(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "link")

    def cut_for_a_while() -> None:
        fleet.hosts["kvm2"].link_down()
        threading.Timer(45, fleet.hosts["kvm2"].link_up).start()

    error = break_during_move(fleet, "link", cut_for_a_while)
    assert isinstance(error, LeftBehind | Held)
    wait_until(lambda: fleet.hosts["kvm2"].run(["true"], check=False).returncode == 0, "the host is back")
    if isinstance(error, Held):
        time.sleep(10)
        assert [outcome.kind for outcome in recover_runs()] == [OutcomeKind.ROLLED_BACK]
    assert_runs_at_source_only(fleet, "link")


def test_a_full_disk_at_the_destination_is_found_before_the_copy(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(
        GuestSpec(name="big", disk=DiskKind.LOCAL, disk_mib=128, disk_data_mib=100, state=GuestState.SHUTOFF)
    )
    with pytest.raises(PreflightBlocked, match=r"kvm3 has \d+ MiB free"):
        migrate_vm(vm="big", dest="kvm3")
    assert fleet.where("big") == {"kvm1": "shut off"} and not world.journal.recent(1)


def test_a_disk_that_fills_during_the_copy_leaves_nothing(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(
        GuestSpec(name="fill", disk=DiskKind.LOCAL, disk_mib=64, disk_data_mib=36, state=GuestState.SHUTOFF)
    )
    fleet.hosts["kvm1"].cap_link(LINK_MIB_S)
    images = fleet.hosts["kvm3"].outer_path("/var/lib/libvirt/images")
    hog = "/var/lib/libvirt/images/hog"
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(migrate_vm, vm="fill", dest="kvm3")
        wait_until(lambda: bool(world.journal.unsettled()), "the run is open")
        staged = "find /var/lib/libvirt/images -path '*/.vmferry-*' -name fill.raw"
        wait_until(
            lambda: bool(fleet.hosts["kvm3"].run(["sh", "-c", staged], check=False).stdout.strip()) or future.done(),
            "the copy has begun",
        )
        fleet.hosts["kvm3"].run(["dd", "if=/dev/zero", f"of={hog}", "bs=1M"], check=False)
        error = future.exception()
    fleet.hosts["kvm3"].run(["rm", "-f", hog])
    assert isinstance(error, LeftBehind) and "No space left" in str(error), error
    assert fleet.where("fill") == {"kvm1": "shut off"}
    listed = fleet.hosts["kvm3"].run(["ls", "-A", "/var/lib/libvirt/images"]).stdout.split()
    assert not [name for name in listed if "fill" in name or "vmferry" in name], images
    assert fleet.hosts["kvm1"].outer_path("/var/lib/libvirt/images/fill.raw").exists()
    assert world.journal.recent(1)[0].state is RunState.CLOSED


def test_an_image_of_another_vm_is_never_overwritten(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="mine", disk=DiskKind.LOCAL, state=GuestState.SHUTOFF))
    foreign = fleet.hosts["kvm2"].outer_path("/var/lib/libvirt/images/mine.raw")
    foreign.write_bytes(b"somebody's data")
    try:
        with pytest.raises(PreflightBlocked, match="never overwrites"):
            migrate_vm(vm="mine", dest="kvm2")
        assert foreign.read_bytes() == b"somebody's data"
        assert fleet.where("mine") == {"kvm1": "shut off"}
    finally:
        foreign.unlink()
