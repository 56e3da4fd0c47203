"""Two vmferry processes want the same VM, or the same host, at once: one wins, the other says who holds it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.audit_fleet import audit_fleet
from infra.lab import DiskKind, GuestSpec, Lab
from tests.lab.test_crash import VMFERRY
from tests.lab.test_faults import add_slow_guest, is_moving, wait_until
from vmferry.adapters.world import RealWorld
from vmferry.domxml.marks import marks_of
from vmferry.errors import UnsafeError

pytestmark = pytest.mark.lab
# user@host:pid:start … since … until …
HOLDER = rf"\S+@{re.escape(socket.gethostname())}:(\d+):\d+ .*since [-\d: ]+ UTC"


def start(lab: Lab, state: Path, *args: str) -> subprocess.Popen[str]:
    """Start a vmferry whose journal lies in `state`: another directory is another installation."""
    environment = os.environ | {
        "VMFERRY_INVENTORY": str(lab.inventory_path),
        "VMFERRY_STATE_DIR": str(state),
        "PREFECT_API_URL": PREFECT_API_URL.value(),
    }
    command = [VMFERRY, *args]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Return exit codes and outputs, the best first."""
    found = [(process, process.communicate(timeout=400)[0]) for process in processes]
    return sorted((process.returncode, " ".join(output.split())) for process, output in found)


def marks(lab: Lab, guest: str, host: str) -> int:
    """Count the marks in both definitions of a guest."""
    xmls = (lab.hosts[host].virsh("dumpxml", guest), lab.hosts[host].virsh("dumpxml", "--inactive", guest))
    return sum(len(marks_of(xml)) for xml in xmls)


@pytest.mark.parametrize("second", ["state", "other"], ids=["one journal", "two installations"])
def test_two_that_move_one_vm_at_once(fleet: Lab, world: RealWorld, tmp_path: Path, second: str) -> None:
    fleet.add_guest(GuestSpec(name="both", memory_mib=64, disk=DiskKind.SHARED))
    with fleet.watch("both") as watch:
        moves = [start(fleet, tmp_path / state, "migrate", "both", "--to", "kvm2") for state in ("state", second)]
        (won, _), (lost, said) = results = ended(*moves)
        time.sleep(1)
    assert won == 0 and lost in (3, 4), results
    assert re.search(HOLDER, said) or "is on kvm2 already" in said or "source" in said, results
    assert fleet.where("both") == {"kvm2": "running"} and watch.overlap_s == 0 and watch.errors == 0
    assert marks(fleet, "both", "kvm2") == 0 and not world.journal.unsettled()


@pytest.mark.parametrize("second", ["state", "other"], ids=["one journal", "two installations"])
def test_two_that_empty_one_host_at_once(fleet: Lab, world: RealWorld, tmp_path: Path, second: str) -> None:
    for name in ("first", "second"):
        fleet.add_guest(GuestSpec(name=name, memory_mib=64, disk=DiskKind.SHARED))
    evacuations = [start(fleet, tmp_path / state, "evacuate", "kvm1", "--to", "kvm2") for state in ("state", second)]
    (won, told), (lost, said) = ended(*evacuations)
    assert (won, lost) == (0, 3), (told, said)
    assert re.search(rf"host kvm1: {HOLDER} until [-\d: ]+ UTC: one at a time .* `vmferry recover`", said), said
    assert fleet.where("first") == fleet.where("second") == {"kvm2": "running"}, told
    late = start(fleet, tmp_path / "third", "migrate", "first", "--to", "kvm1")
    (code, refused), *_ = ended(late)
    assert code == 3 and "kvm1 is closed for arrivals" in refused, refused  # whoever asks


def test_a_move_whose_vmferry_died_is_held_for_its_journal_and_touched_by_nobody_else(
    fleet: Lab, world: RealWorld, tmp_path: Path
) -> None:
    add_slow_guest(fleet, "orphan")
    fleet.hosts["kvm1"].cap_link(2)
    first = start(fleet, tmp_path / "state", "migrate", "orphan", "--to", "kvm2")
    try:
        wait_until(lambda: is_moving(fleet, "orphan") or first.poll() is not None, "a running migration", 240)
        assert first.poll() is None, first.communicate()[0]
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    others = [start(fleet, tmp_path / "other", *args) for args in (("recover",), ("migrate", "orphan", "--to", "kvm3"))]
    (recovered, _), (refused, said) = ended(*others)
    assert (recovered, refused) == (0, 3)
    holder = re.search(rf"vm-marked: .*{HOLDER} until", said)
    assert holder and int(holder[1]) == first.pid, said
    # It moves, or waits for its own vmferry, that was to look at both hosts before it lets it run.
    assert fleet.where("orphan").get("kvm2") == "paused", "another installation touched it"
    fleet.hosts["kvm1"].cap_link(None)
    (code, said), *_ = ended(start(fleet, tmp_path / "state", "recover"))
    assert code == 0 and fleet.where("orphan") == {"kvm2": "running"}, said
    assert marks(fleet, "orphan", "kvm2") == 0


def test_a_vm_that_a_migration_left_paused_is_an_alarm(fleet: Lab, world: RealWorld) -> None:
    add_slow_guest(fleet, "left")
    fleet.hosts["kvm1"].cap_link(2)
    # Driven by its client, which is stopped at the switch-over: libvirt leaves the source paused (migrating) for ever.
    uri = fleet.hosts["kvm2"].peer_uri
    command = [*fleet.hosts["kvm1"].enter, "virsh", "migrate", "--live", "left", uri]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: is_moving(fleet, "left") or client.poll() is not None, "a running migration", 240)
        client.send_signal(signal.SIGSTOP)
        fleet.hosts["kvm1"].cap_link(None)
        state = ["virsh", "domstate", "--reason", "left"]
        wait_until(lambda: "migrating" in fleet.hosts["kvm1"].run(state).stdout, "the switch-over")
        time.sleep(3)
    finally:
        client.kill()
        client.wait()
    wait_until(lambda: "kvm2" not in fleet.where("left"), "the incoming copy ends with its client")
    with pytest.raises(UnsafeError, match=r"ALARM: vm left .*kvm1 \(paused, migrating\).* belongs to nobody"):
        audit_fleet()
