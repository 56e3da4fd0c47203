"""Destinations that are silent, full or taken. What dies in the middle of a move: tests/lab/test_fault_matrix.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

import pytest

from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from infra.lab import DiskKind, GuestSpec, GuestState, Lab
from vmferry.adapters.world import RealWorld
from vmferry.errors import Held, PreflightBlocked
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
        future: Future[object] = pool.submit(copy_context().run, migrate_vm, vm=guest, dest="kvm2")
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


def test_while_the_destination_is_silent_nothing_is_decided(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "lstop")
    error = break_during_move(fleet, "lstop", fleet.hosts["kvm2"].stop_libvirtd)
    assert isinstance(error, Held)
    assert "vmferry recover" in str(error)
    assert fleet.hosts["kvm1"].list_domains()["lstop"] == "running"
    fleet.hosts["kvm2"].start_libvirtd()
    outcomes = recover_runs()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.ROLLED_BACK]
    assert_runs_at_source_only(fleet, "lstop")


def test_a_full_disk_at_the_destination_is_found_before_the_copy(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(
        GuestSpec(name="big", disk=DiskKind.LOCAL, disk_mib=128, disk_data_mib=100, state=GuestState.SHUTOFF)
    )
    with pytest.raises(PreflightBlocked, match=r"kvm3 has \d+ MiB free"):
        migrate_vm(vm="big", dest="kvm3")
    assert fleet.where("big") == {"kvm1": "shut off"} and not world.journal.recent(1)


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
