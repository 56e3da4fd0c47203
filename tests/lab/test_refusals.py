"""What an operator gets wrong is refused before anything is touched: named, with numbers, all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from infra.lab import DiskKind, GuestSpec, Lab
from vmferry.adapters.world import RealWorld

pytestmark = pytest.mark.lab
REFUSED = 3


def vmferry(inventory: Path, *args: str) -> tuple[int, str]:
    """Run the command line against the session's Prefect server; return exit code and stderr."""
    environment = os.environ | {"VMFERRY_INVENTORY": str(inventory), "PREFECT_API_URL": PREFECT_API_URL.value()}
    command = [Path(sys.executable).with_name("vmferry"), *args]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def calm(fleet: Lab, world: RealWorld) -> Lab:
    """A lab with one running guest, and the promise that nothing was opened in the journal."""
    fleet.add_guest(GuestSpec(name="calm", disk=DiskKind.SHARED))
    return fleet


def assert_untouched(lab: Lab, world: RealWorld) -> None:
    assert lab.where("calm") == {"kvm1": "running"}
    assert not world.journal.recent(1) and not world.journal.cordons()


def test_wrong_hosts_are_named_all_at_once(calm: Lab, world: RealWorld) -> None:
    code, said = vmferry(calm.inventory_path, "evacuate", "kvm1", "--to", "kvm1", "--to", "kvm7", "--to", "nohost")
    assert code == REFUSED
    assert "kvm7" in said and "nohost" in said and "kvm1 is both source and destination" in said
    assert_untouched(calm, world)


def test_a_vm_that_does_not_exist_is_told_with_the_hosts_searched(calm: Lab, world: RealWorld) -> None:
    code, said = vmferry(calm.inventory_path, "migrate", "nobody", "--to", "kvm2")
    assert code == REFUSED and "no VM nobody: searched kvm1, kvm2, kvm3" in said
    assert_untouched(calm, world)


def test_source_and_destination_must_differ(calm: Lab, world: RealWorld) -> None:
    code, said = vmferry(calm.inventory_path, "migrate", "calm", "--to", "kvm1")
    assert code == REFUSED and "is on kvm1 already" in said
    assert_untouched(calm, world)


def test_a_destination_without_room_is_refused_with_numbers(calm: Lab, world: RealWorld) -> None:
    available = next(f for f in (world.hypervisor("kvm2").read_host(),)).memory_available_kib
    calm.add_guest(GuestSpec(name="huge", memory_mib=available // 1024 + 64))
    code, said = vmferry(calm.inventory_path, "migrate", "huge", "--to", "kvm2")
    assert code == REFUSED and "kvm2 has" in said and "MiB" in said and "choose" in said
    assert calm.where("huge") == {"kvm1": "running"}
    assert_untouched(calm, world)


def test_an_unreachable_host_is_told_and_hides_no_other(calm: Lab, world: RealWorld) -> None:
    calm.hosts["kvm3"].power_cut(silent=True)
    try:
        code, said = vmferry(calm.inventory_path, "migrate", "calm", "--to", "kvm3")
        assert code == REFUSED and "kvm3 was not read" in said, said
        assert_untouched(calm, world)
        code, said = vmferry(calm.inventory_path, "evacuate", "kvm3")
        assert code == REFUSED and "an evacuation needs its list of VMs" in said, said
        code, said = vmferry(calm.inventory_path, "migrate", "calm", "--to", "kvm2")
        assert code == 0, said
    finally:
        calm.hosts["kvm3"].power_on()


def test_every_fault_of_an_inventory_is_told_with_its_line(calm: Lab, world: RealWorld, tmp_path: Path) -> None:
    broken = tmp_path / "inventory.yaml"
    broken.write_text(
        "hosts:\n"
        "  kvm1: {uri: qemu+ssh://root@kvm1/system}\n"
        "  kvm1: {uri: qemu+ssh://root@kvm1/system}\n"
        "  kvm2:\n"
        "    uri: qemu:///session\n"
        "    limit: {outgoing: 2}\n"
    )
    code, said = vmferry(broken, "evacuate", "kvm1")
    assert code == REFUSED
    assert "inventory.yaml:3: host kvm1" in said
    assert "inventory.yaml:5: host kvm2" in said and "session" in said
    assert "inventory.yaml:6: host kvm2" in said and "limits" in said
    assert_untouched(calm, world)
