"""A guest that dirties memory faster than its link carries it: plain pre-copy never ends, each policy ends as it says.

The guest's own heartbeat shows how long it stood still, and whether a page was lost.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskKind, GuestSpec, Lab
from tests.lab.test_crash import start
from tests.lab.test_faults import has_touched_memory, is_moving, wait_until
from vmferry.adapters.world import RealWorld
from vmferry.errors import LeftBehind
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import MigrationOutcome, OutcomeKind

pytestmark = pytest.mark.lab

LINK_MIB_S = 16
PLAIN_S = 15


def add_restless_guest(lab: Lab, name: str, *, working_set_mib: int = 24) -> None:
    """Add a guest that dirties memory at more than twice the rate of its link, all of its working set touched."""
    lab.add_guest(
        GuestSpec(name=name, memory_mib=64, dirty_mib_s=39, working_set_mib=working_set_mib, disk=DiskKind.NOLOCK)
    )
    wait_until(lambda: has_touched_memory(lab, name), "the guest has touched its memory")
    lab.hosts["kvm1"].cap_link(LINK_MIB_S)


def move(vm: str, policy: PolicyName, **rest: object) -> MigrationOutcome:
    outcome = migrate_vm(vm=vm, dest="kvm2", policy=policy, **rest)
    assert isinstance(outcome, MigrationOutcome)
    return outcome


def iterations(lab: Lab, guest: str) -> int:
    """The iteration of the running job, as virsh shows it."""
    job = lab.hosts["kvm1"].virsh("domjobinfo", guest)
    return next(int(line.split()[1]) for line in job.splitlines() if line.startswith("Iteration:"))


def test_plain_virsh_never_ends_and_the_policies_move_the_same_guest(fleet: Lab, world: RealWorld) -> None:
    add_restless_guest(fleet, "restless1")
    argv = ["virsh", "-q", "migrate", "--live", "--p2p", "--persistent", "restless1", fleet.hosts["kvm2"].peer_uri]
    with ThreadPoolExecutor(max_workers=1) as pool:
        plain = pool.submit(fleet.hosts["kvm1"].run, argv, check=False)
        wait_until(lambda: is_moving(fleet, "restless1") or plain.done(), "virsh moves it")
        time.sleep(PLAIN_S)
        assert not plain.done(), plain.result()
        assert iterations(fleet, "restless1") > 5, "several passes over a working set that never gets smaller"
        fleet.hosts["kvm1"].virsh("domjobabort", "restless1")
        assert plain.result().returncode != 0

    with fleet.watch("restless1") as watch:
        outcome = move("restless1", PolicyName.SUSPEND_IF_NEEDED)
    assert outcome.kind is OutcomeKind.MOVED
    assert outcome.notes[-1].startswith("policy suspend-if-needed: moved after suspend at iteration")
    assert fleet.where("restless1") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    # 24 MiB over the link, and what every guarded switch-over takes.
    assert 1.0 < watch.longest_gap_s < 24 / LINK_MIB_S + 2
    assert outcome.downtime_ms is not None
    assert abs(outcome.downtime_ms / 1000 - watch.longest_gap_s) < 0.5


def test_auto_converge_moves_it_without_a_long_pause(fleet: Lab, world: RealWorld) -> None:
    add_restless_guest(fleet, "restless2")
    with fleet.watch("restless2") as watch:
        outcome = move("restless2", PolicyName.AUTO_CONVERGE)
    assert outcome.kind is OutcomeKind.MOVED
    assert any("CPU throttled by 50 %" in note for note in outcome.notes)
    assert not any("suspend at" in note for note in outcome.notes)
    assert fleet.where("restless2") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert watch.longest_gap_s < 1.5


def test_minimal_downtime_aborts_it_and_the_guest_never_stops(
    fleet: Lab, world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMFERRY_MOVE_TIMEOUT_S", "15")
    add_restless_guest(fleet, "restless3")
    with (
        fleet.watch("restless3") as watch,
        pytest.raises(LeftBehind, match="within 15 s under policy minimal-downtime"),
    ):
        move("restless3", PolicyName.MINIMAL_DOWNTIME)
    assert fleet.where("restless3") == {"kvm1": "running"}
    assert watch.alive_on("kvm1") and watch.longest_gap_s < 1 and watch.errors == 0


def test_minimal_downtime_moves_what_its_ladder_allows(fleet: Lab, world: RealWorld) -> None:
    """7 MiB at 16 MiB/s are 440 ms: above QEMU's own 300 ms, below the ladder's 500."""
    add_restless_guest(fleet, "restless4", working_set_mib=7)
    with fleet.watch("restless4") as watch:
        outcome = move("restless4", PolicyName.MINIMAL_DOWNTIME)
    assert outcome.kind is OutcomeKind.MOVED
    assert "moved after downtime limit" in outcome.notes[-1]
    assert fleet.where("restless4") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0 and watch.longest_gap_s < 1.5


def test_vmferry_killed_right_after_its_suspend_leaves_a_guest_that_recovery_lets_run(
    fleet: Lab, world: RealWorld
) -> None:
    add_restless_guest(fleet, "restless5", working_set_mib=48)
    with fleet.watch("restless5") as watch:
        process = start(fleet, "migrate", "restless5", "--to", "kvm2", "--policy", "suspend-if-needed")
        try:
            wait_until(
                lambda: fleet.where("restless5").get("kvm1") == "paused" or process.poll() is not None,
                "the guest was suspended",
                timeout_s=90,
            )
            assert process.poll() is None, process.communicate()[0]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        recovery = start(fleet, "recover")
        output = recovery.communicate(timeout=120)[0]
        time.sleep(1)
    assert recovery.returncode == 0, output
    assert list(fleet.where("restless5").values()) == ["running"], output
    assert watch.overlap_s == 0 and watch.errors == 0
    assert not world.journal.unsettled()
