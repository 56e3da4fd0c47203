"""Storage on whole machines: bare hosts become a shared-storage pair (reference 9.4).

The tests are one story in its order, in one lab: a boot takes 20 s and more, installing packages a minute.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from flows.share_storage import share_storage
from flows.unshare_storage import unshare_storage
from infra.lab import DiskKind, GuestSpec, GuestState, MachineLab
from vmferry.adapters.world import RealWorld
from vmferry.errors import InvalidInput, PermanentError, VmferryError
from vmferry.model.sharing import ShareState

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

IMAGES, SHARED = "/var/lib/libvirt/images", "/var/lib/libvirt/shared-images"
IMAGE = f"{IMAGES}/whole1.raw"
FILES = ("/etc/fstab", "/etc/exports", "/etc/nfs.conf.d/vmferry.conf")
HOSTS = {"server": "kvm3", "source": "kvm1", "dest": "kvm2"}


def guest() -> GuestSpec:
    return GuestSpec(
        name="whole1",
        host="kvm1",
        memory_mib=32,
        dirty_mib_s=0.1,
        working_set_mib=1,
        disk=DiskKind.LOCAL,
        disk_mib=16,
        disk_data_mib=2,
        state=GuestState.SHUTOFF,
    )


def files(lab: MachineLab) -> dict[tuple[str, str], str | None]:
    """Return the configuration files that a share may touch, to the byte."""
    return {(name, path): host.read(path) for name, host in lab.hosts.items() for path in FILES}


def firewall(lab: MachineLab) -> str:
    return lab.hosts["kvm3"].sh("firewall-cmd --permanent --list-all")


def packages(lab: MachineLab, host: str) -> str:
    return lab.hosts[host].sh("dpkg-query -W -f '${db:Status-Status} ${Package}\\n' | grep ' nfs-' || true")


@pytest.fixture(scope="module")
def before(machines: MachineLab) -> dict[tuple[str, str], str | None]:
    """What the bare hosts' files are; the guest is there, shut off."""
    machines.add_guest(guest())
    machines.hosts["kvm2"].run(["sh", "-c", "printf '# no newline at the end' >>/etc/fstab"])
    return files(machines)


def test_a_machine_is_a_whole_debian(machines: MachineLab) -> None:
    for machine in machines.hosts.values():
        assert machine.sh("systemctl is-system-running") == "running"
        assert machine.sh("uname -r").startswith("6.")
        assert machine.list_domains() == {}


def test_no_package_source_ends_with_everything_taken_back(
    machines: MachineLab, world: RealWorld, before: dict[tuple[str, str], str | None]
) -> None:
    server = machines.hosts["kvm3"]
    server.sh("mv /etc/apt/sources.list.d/lab.list /root; rm -rf /var/lib/apt/lists/*")
    with pytest.raises(PermanentError, match=r"kvm3: .*install.*nfs-kernel-server.*taken back"):
        share_storage(**HOSTS, vms=["whole1"])
    server.sh("mv /root/lab.list /etc/apt/sources.list.d")
    assert files(machines) == before
    assert packages(machines, "kvm3") == ""
    assert world.shares.shares() == ()


def test_images_that_would_be_hidden_are_listed_and_nothing_is_touched(
    machines: MachineLab, world: RealWorld, before: dict[tuple[str, str], str | None]
) -> None:
    machines.hosts["kvm2"].sh(f"touch {IMAGES}/precious.qcow2")
    with pytest.raises(InvalidInput, match=r"host kvm2: 1 files .* would be hidden by the mount: precious.qcow2"):
        share_storage(**HOSTS, vms=["whole1"])
    machines.hosts["kvm2"].sh(f"rm {IMAGES}/precious.qcow2")
    assert files(machines) == before


def test_bare_hosts_become_a_shared_storage_pair_and_a_vm_moves_live(
    machines: MachineLab, world: RealWorld, before: dict[tuple[str, str], str | None]
) -> None:
    image = machines.hosts["kvm1"].sh(f"sha256sum <{IMAGE}")
    outcome = share_storage(**HOSTS, vms=["whole1"])
    assert (outcome.state, outcome.booted, outcome.moved) == (ShareState.SHARED, ("whole1",), "whole1")
    assert machines.where("whole1") == {"kvm2": "running"}
    inodes = {machines.hosts[host].sh(f"stat -c %i {IMAGE}") for host in ("kvm1", "kvm2")}
    assert inodes == {machines.hosts["kvm3"].sh(f"stat -c %i {SHARED}/whole1.raw")}
    for host in ("kvm1", "kvm2"):
        assert "nolock" in machines.hosts[host].sh(f"findmnt -no OPTIONS {IMAGES}")
    ticks, lost = machines.beats("whole1", "kvm2")
    assert ticks > 0
    assert lost == 0
    old = machines.hosts["kvm1"].sh(f"umount -l {IMAGES}; cat {IMAGE}.vmferry-shared-* | sha256sum; mount {IMAGES}")
    assert old == image
    assert "nfs" in firewall(machines)


def test_a_second_run_changes_nothing(machines: MachineLab, world: RealWorld) -> None:
    before = files(machines)
    outcome = share_storage(**HOSTS, vms=["whole1"])
    assert (outcome.state, outcome.changed, outcome.plan.steps) == (ShareState.SHARED, False, ())
    assert files(machines) == before
    assert machines.where("whole1") == {"kvm2": "running"}


def test_a_share_that_a_vm_runs_from_is_not_taken_back(machines: MachineLab, world: RealWorld) -> None:
    before = files(machines)
    with pytest.raises(InvalidInput, match="vm whole1 runs from"):
        unshare_storage(f"kvm3:{SHARED}")
    assert files(machines) == before


def test_a_machine_that_dies_in_the_middle_of_a_move_is_settled_when_it_is_back(
    machines: MachineLab, world: RealWorld
) -> None:
    """The destination's power is cut while memory travels: the VM goes on where it ran, in one copy."""
    source, dest = machines.hosts["kvm2"], machines.hosts["kvm1"]
    with ThreadPoolExecutor(max_workers=1) as pool:
        move = pool.submit(contextvars.copy_context().run, lambda: migrate_vm(vm="whole1", dest="kvm1", source="kvm2"))
        deadline = time.monotonic() + 300
        while "whole1" not in dest.list_domains():
            assert time.monotonic() < deadline
            assert not move.done(), move.result()
        dest.power_cut()
        with contextlib.suppress(VmferryError):
            move.result()
    assert source.list_domains() == {"whole1": "running"}
    dest.power_on()
    with contextlib.suppress(VmferryError):
        recover_runs()
    assert world.journal.unsettled() == ()
    assert machines.where("whole1") == {"kvm2": "running"}
    assert machines.beats("whole1", "kvm2")[1] == 0


def test_after_a_reboot_of_each_host_exports_and_mounts_are_back(machines: MachineLab, world: RealWorld) -> None:
    machines.hosts["kvm2"].virsh("destroy", "whole1")
    machines.hosts["kvm3"].reboot()
    assert SHARED in machines.hosts["kvm3"].sh("exportfs -s")
    for host in ("kvm1", "kvm2"):
        machines.hosts[host].reboot()
        wait = f"for try in $(seq 60); do findmnt -no SOURCE {IMAGES} && break; sleep 1; done"
        assert machines.hosts[host].sh(wait) == f"{machines.hosts['kvm3'].address}:{SHARED}"
    assert share_storage(**HOSTS, vms=["whole1"]).changed is False


def test_a_mount_that_is_busy_leaves_it_shared_on_both_hosts(machines: MachineLab, world: RealWorld) -> None:
    before = files(machines)
    busy = machines.hosts["kvm1"].sh(f"cd {IMAGES}; sleep 3600 >/dev/null 2>&1 & echo $!")
    with pytest.raises(PermanentError, match=r"host kvm1: .*umount.*busy"):
        unshare_storage(f"kvm3:{SHARED}")
    machines.hosts["kvm1"].sh(f"kill {busy}")
    assert files(machines) == before
    for host in ("kvm1", "kvm2"):
        assert machines.hosts[host].sh(f"findmnt -no SOURCE {IMAGES}").endswith(f":{SHARED}")
    assert [record.state for record in world.shares.shares()] == [ShareState.SHARED]


def test_unshare_restores_the_files_exactly_and_brings_the_image_to_its_vm(
    machines: MachineLab, world: RealWorld, before: dict[tuple[str, str], str | None]
) -> None:
    image = machines.hosts["kvm3"].sh(f"sha256sum <{SHARED}/whole1.raw")
    outcome = unshare_storage(f"kvm3:{SHARED}")
    assert outcome.state is ShareState.UNDONE
    assert files(machines) == before
    assert "nfs" not in firewall(machines)
    assert [packages(machines, host) for host in machines.hosts] == ["", "", ""]
    assert machines.hosts["kvm2"].sh(f"findmnt -n {IMAGES} || sha256sum <{IMAGE}") == image
    machines.hosts["kvm2"].virsh("start", "whole1")
    assert machines.where("whole1") == {"kvm2": "running"}
    machines.hosts["kvm2"].virsh("destroy", "whole1")
