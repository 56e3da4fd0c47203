"""Post-copy on real hosts: what never converges is moved by it, and a stream that breaks in the middle goes on.

The guest's own heartbeat shows how long it stood still, and whether a page was lost.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from flows.recover_runs import recover_runs
from infra.lab import DiskKind, GuestSpec, GuestState, Lab
from tests.lab.test_convergence import add_restless_guest, move
from tests.lab.test_crash import settled, start
from tests.lab.test_faults import has_touched_memory, wait_until
from vmferry.adapters.world import RealWorld
from vmferry.errors import Held
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import MigrationOutcome, OutcomeKind

pytestmark = pytest.mark.lab

SLOW_MIB_S = 7  # the rest of the guest below needs some seconds


def is_in_postcopy(lab: Lab, guest: str) -> bool:
    """Whether the VM runs at the destination while a part of its memory is at the source."""
    said = (lab.hosts[h].run(["virsh", "domstate", "--reason", guest], check=False).stdout for h in ("kvm1", "kvm2"))
    return [words.strip() for words in said] == ["paused (post-copy)", "running (post-copy)"]


def add_large_guest(lab: Lab, name: str) -> None:
    """Add a guest whose rest needs several seconds when its post-copy begins."""
    lab.add_guest(GuestSpec(name=name, memory_mib=64, dirty_mib_s=39, working_set_mib=20, disk=DiskKind.SHARED))
    wait_until(lambda: has_touched_memory(lab, name), "the guest has touched its memory")
    lab.hosts["kvm1"].cap_link(SLOW_MIB_S)


def test_a_guest_that_never_converges_is_moved_with_a_short_silence(fleet: Lab, world: RealWorld) -> None:
    add_restless_guest(fleet, "post1")
    with fleet.watch("post1") as watch:
        outcome = move("post1", PolicyName.POST_COPY)
        time.sleep(1)
    assert outcome.kind is OutcomeKind.MOVED
    assert any(note.startswith("policy post-copy: moved after post-copy at iteration") for note in outcome.notes)
    assert fleet.where("post1") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert watch.longest_gap_s < 1.5, "suspended instead, it would stand still for as long as 24 MiB take"


def test_a_guest_that_its_user_paused_arrives_paused(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="post2", disk=DiskKind.SHARED, state=GuestState.PAUSED))
    with fleet.watch("post2") as watch:
        outcome = move("post2", PolicyName.POST_COPY)
    assert outcome.kind is OutcomeKind.MOVED
    assert fleet.hosts["kvm2"].virsh("domstate", "--reason", "post2").strip() == "paused (user)"
    assert fleet.where("post2") == {"kvm2": "paused"}
    assert not watch.spells, "a paused guest beat during its move"


def break_in_postcopy(lab: Lab, guest: str, fault: Callable[[], None]) -> MigrationOutcome | BaseException:
    """Move under post-copy, break something in the middle of it; return what the flow returned or raised."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(copy_context().run, move, guest, PolicyName.POST_COPY)
        wait_until(lambda: is_in_postcopy(lab, guest) or future.done(), "post-copy", timeout_s=120)
        assert not future.done(), future.result()
        fault()
        error = future.exception()
        return future.result() if error is None else error


def test_a_stream_that_breaks_in_post_copy_goes_on_when_the_link_is_back(fleet: Lab, world: RealWorld) -> None:
    """libvirt's connection between the hosts ends after 25 s without an answer: both sides show `post-copy failed`."""
    add_large_guest(fleet, "post3")

    def cut_for_a_while() -> None:
        fleet.hosts["kvm2"].link_down()
        threading.Timer(32, fleet.hosts["kvm2"].link_up).start()

    with fleet.watch("post3") as watch:
        end = break_in_postcopy(fleet, "post3", cut_for_a_while)
        time.sleep(1)
    assert isinstance(end, MigrationOutcome), end
    assert end.kind is OutcomeKind.MOVED and "post-copy failed" in settled(world)
    assert fleet.where("post3") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert not world.journal.unsettled()


def test_vmferry_killed_in_post_copy_leaves_a_move_that_recovery_finishes(fleet: Lab, world: RealWorld) -> None:
    add_large_guest(fleet, "post4")
    with fleet.watch("post4") as watch:
        process = start(fleet, "migrate", "post4", "--to", "kvm2", "--policy", "post-copy")
        try:
            wait_until(lambda: is_in_postcopy(fleet, "post4") or process.poll() is not None, "post-copy", timeout_s=120)
            assert process.poll() is None, process.communicate()[0]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        recovery = start(fleet, "recover")
        output = recovery.communicate(timeout=120)[0]
        time.sleep(1)
    assert recovery.returncode == 0, output
    assert fleet.where("post4") == {"kvm2": "running"}, output
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert world.journal.recent(1)[0].outcome is OutcomeKind.MOVED and not world.journal.unsettled()


def test_memory_that_is_lost_is_told_and_nothing_is_touched_until_a_human_starts_the_vm(
    fleet: Lab, world: RealWorld
) -> None:
    add_large_guest(fleet, "post5")
    end = break_in_postcopy(fleet, "post5", lambda: fleet.hosts["kvm1"].kill_qemu("post5"))
    assert isinstance(end, Held), end
    said = str(end)
    assert "MEMORY LOST" in said and "virsh -c" in said and "destroy" in said and "start" in said
    assert fleet.hosts["kvm2"].virsh("domstate", "--reason", "post5").strip() == "running (post-copy failed)"
    fleet.hosts["kvm2"].virsh("destroy", "post5")
    fleet.hosts["kvm2"].virsh("start", "post5")
    assert [outcome.kind for outcome in recover_as_told(fleet)] == [OutcomeKind.MOVED]
    assert fleet.where("post5") == {"kvm2": "running"}


def recover_as_told(lab: Lab) -> list[MigrationOutcome]:
    """Recover; where libvirt keeps the job of the QEMU that died (it is a race there), do what the message says."""
    try:
        return recover_runs()
    except Held as held:
        assert "start libvirt anew on kvm1" in str(held) and "`vmferry recover`" in str(held), held
    lab.hosts["kvm1"].kill_libvirtd()
    lab.hosts["kvm1"].start_libvirtd()
    return recover_runs()
