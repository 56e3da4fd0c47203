"""Two vmferry processes want the same VM, or the same host, at once: one wins, the other says who holds it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from infra.lab import DiskKind, GuestSpec, Lab
from tests.lab.test_crash import VMFERRY
from vmferry.adapters.world import RealWorld
from vmferry.domxml.marks import marks_of

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
    ways = ("is on kvm2 already", "kvm2: running", "source", "vm both is already moving in run")
    told = re.search(HOLDER, said) or any(words in said for words in ways)
    assert told, results
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
