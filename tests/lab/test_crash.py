"""vmferry itself is killed in the middle of a live move; recovery brings the VM to one running copy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from infra.lab import Lab
from tests.lab.test_faults import add_slow_guest, is_moving, wait_until
from vmferry.adapters.world import RealWorld
from vmferry.model.migration import OutcomeKind

pytestmark = pytest.mark.lab
VMFERRY = Path(sys.executable).with_name("vmferry")


def start(lab: Lab, *args: str) -> subprocess.Popen[str]:
    """Start the command line as an operator does, against the session's Prefect server."""
    environment = os.environ | {
        "VMFERRY_INVENTORY": str(lab.inventory_path),
        "PREFECT_API_URL": PREFECT_API_URL.value(),
    }
    return subprocess.Popen(
        [VMFERRY, *args], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill_in_the_middle(lab: Lab, guest: str) -> None:
    lab.hosts["kvm1"].cap_link(2)
    process = start(lab, "migrate", guest, "--to", "kvm2")
    try:
        wait_until(lambda: is_moving(lab, guest) or process.poll() is not None, "a running migration")
        assert process.poll() is None, process.communicate()[0]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def settled(world: RealWorld) -> str:
    """What recovery noted of the newest run."""
    run = world.journal.recent(1)[0].run
    return "\n".join(row.note for row in world.journal.rows(run) if row.step == "settle")


def test_a_move_whose_client_was_killed_is_watched_to_its_end(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "kill9")
    with fleet.watch("kill9") as watch:
        kill_in_the_middle(fleet, "kill9")
        assert fleet.where("kill9") == {"kvm1": "running", "kvm2": "paused"}
        recovery = start(fleet, "recover")
        wait_until(lambda: "WATCH" in settled(world) or recovery.poll() is not None, "the job is watched")
        fleet.hosts["kvm1"].cap_link(None)
        output = recovery.communicate(timeout=240)[0]
        time.sleep(1)
    assert recovery.returncode == 0, output
    assert fleet.where("kill9") == {"kvm2": "running"}, output
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert world.journal.recent(1)[0].outcome is OutcomeKind.MOVED and not world.journal.unsettled()
    assert "WATCH" in settled(world) and "RESUME_DEST" in settled(world)


def test_a_second_move_of_the_same_vm_is_told_who_holds_it(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "twice")
    fleet.hosts["kvm1"].cap_link(2)
    first = start(fleet, "migrate", "twice", "--to", "kvm2")
    wait_until(lambda: is_moving(fleet, "twice") or first.poll() is not None, "a running migration")
    second = start(fleet, "migrate", "twice", "--to", "kvm3")
    output = second.communicate(timeout=120)[0]
    assert is_moving(fleet, "twice"), "the first move was to be still running"
    recovery = start(fleet, "recover")
    assert "is left alone" in recovery.communicate(timeout=120)[0] and recovery.returncode == 0
    assert is_moving(fleet, "twice"), "recovery touched a run that another process works on"
    fleet.hosts["kvm1"].cap_link(None)
    assert first.communicate(timeout=120) and first.returncode == 0
    assert second.returncode == 3 and "moves in run" in output, output
    assert fleet.where("twice") == {"kvm2": "running"}


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_embedded_server_does_not_outlive_a_killed_client(fleet: Lab, world: RealWorld) -> None:
    environment = os.environ | {"VMFERRY_INVENTORY": str(fleet.inventory_path)}
    environment.pop("PREFECT_API_URL", None)
    process = subprocess.Popen([VMFERRY, "recover"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and "embedded Prefect server" in process.stderr.readline()
    wait_until(lambda: bool(children(process.pid)), "the server has been started")
    servers = children(process.pid)
    process.kill()
    process.wait()
    process.stderr.close()
    wait_until(lambda: not any(is_alive(server) for server in servers), "the server has ended", timeout_s=30)


def test_an_interrupt_finishes_the_running_move(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "ctrlc")
    fleet.hosts["kvm1"].cap_link(2)
    with fleet.watch("ctrlc") as watch:
        process = start(fleet, "migrate", "ctrlc", "--to", "kvm2")
        wait_until(lambda: is_moving(fleet, "ctrlc") or process.poll() is not None, "a running migration")
        for _ in range(2):  # the second one does no harm
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        assert process.poll() is None, process.communicate()[0]
        fleet.hosts["kvm1"].cap_link(None)
        output = process.communicate(timeout=120)[0]
        time.sleep(1)
    assert "running moves are finished first" in output
    assert fleet.where("ctrlc") == {"kvm2": "running"}, output
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert not world.journal.unsettled()
