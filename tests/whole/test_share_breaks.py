"""A share that breaks on whole machines: each step that fails, a server that dies, a worker that is killed.

The NFS packages are there already (that they are not is in the other story): each test begins with the same hosts, and
ends with them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from flows.recover_runs import recover_runs
from flows.share_storage import share_storage
from infra.lab import MachineLab
from tests.prefect_side import ROOT, PrefectServer
from tests.whole.test_whole_machines import HOSTS, IMAGE, IMAGES, SHARED, files, firewall, guest
from vmferry.adapters.world import RealWorld
from vmferry.errors import Held, PermanentError
from vmferry.model.sharing import ShareState, StepKind

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

Picture = tuple[object, ...]


def picture(lab: MachineLab) -> Picture:
    """Return all that a share may change on the hosts."""
    server, source = lab.hosts["kvm3"], lab.hosts["kvm1"]
    units = server.sh("systemctl is-active nfs-server || systemctl is-enabled nfs-server || true")
    shown = server.sh(f"exportfs -s; ls -AR {SHARED} || true")
    mounts = [lab.hosts[host].sh(f"findmnt -n {IMAGES} || ls -A {IMAGES}") for host in ("kvm1", "kvm2")]
    return files(lab), firewall(lab), units, shown, mounts, source.sh(f"sha256sum <{IMAGE}"), lab.where("whole1")


@pytest.fixture(scope="module")
def before(machines: MachineLab) -> Picture:
    """What the hosts are, with the packages, and a server that does not serve yet."""
    install = "DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends nfs-common"
    wanted = {name: install + (" nfs-kernel-server" if name == "kvm3" else "") for name in machines.hosts}
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(lambda name: machines.hosts[name].sh(wanted[name], timeout=600), wanted))
    machines.hosts["kvm3"].sh("systemctl disable --now nfs-server")
    machines.add_guest(guest())
    return picture(machines)


def wait_for(kind: StepKind, world: RealWorld, is_over: Callable[[], bool]) -> None:
    """Wait until a step of that kind is written down as begun: a moment later its host is at work."""
    deadline = time.monotonic() + 300
    while True:
        records = world.shares.shares()
        if any(record.plan.steps[index].kind is kind for record in records for index in record.begun):
            return
        assert time.monotonic() < deadline
        assert not is_over()
        time.sleep(0.05)


# Host, what breaks it, what mends it, what is told. Somebody else's export is wrong, and stands there before and after.
THEIRS = "/etc/exports.d/theirs.exports"
BREAKS = {
    "a firewall command that is missing": (
        "kvm3",
        "mv /usr/bin/firewall-cmd /root",
        "mv /root/firewall-cmd /usr/bin",
        r"kvm3: `firewall-cmd .* a program is missing: .* taken back",
    ),
    "an export that is refused": (
        "kvm3",
        f"mkdir -p /etc/exports.d; echo '/srv/packages kvm1(no_such_option)' >{THEIRS}",
        f"rm {THEIRS}; rmdir /etc/exports.d",
        r"kvm3: `exportfs -ra`: .*no_such_option.* taken back",
    ),
    "a mount that fails on one host": (
        "kvm2",
        "mv /sbin/mount.nfs /root",
        "mv /root/mount.nfs /sbin",
        r"kvm2: `timeout 60 mount .* taken back",
    ),
}


@pytest.mark.parametrize(("host", "breaks", "mends", "told"), BREAKS.values(), ids=BREAKS)
def test_a_step_that_fails_takes_the_earlier_ones_back(
    machines: MachineLab, world: RealWorld, before: Picture, host: str, breaks: str, mends: str, told: str
) -> None:
    machines.hosts[host].sh(breaks)
    with pytest.raises(PermanentError, match=told):
        share_storage(**HOSTS, vms=["whole1"])
    machines.hosts[host].sh(mends)
    assert picture(machines) == before
    assert world.shares.shares() == ()


def test_a_server_that_dies_in_the_middle_is_settled_when_it_is_back(
    machines: MachineLab, world: RealWorld, before: Picture
) -> None:
    server, clients = machines.hosts["kvm3"], ("kvm1", "kvm2")
    with ThreadPoolExecutor(max_workers=1) as pool:
        share = pool.submit(copy_context().run, lambda: share_storage(**HOSTS, vms=["whole1"]))
        wait_for(StepKind.COPY, world, share.done)
        server.power_cut()
        with pytest.raises(Held, match=r"HELD: .*vmferry unshare kvm3:"):
            share.result()
    assert [record.state for record in world.shares.shares()] == [ShareState.HELD]
    for host in clients:
        assert machines.hosts[host].sh(f"grep {SHARED} /etc/fstab || findmnt -n {IMAGES} || true") == ""
    with pytest.raises(Held, match="kvm3"):
        recover_runs()
    server.power_on()
    recover_runs()
    assert world.shares.shares() == ()
    assert picture(machines) == before


def test_a_worker_that_is_killed_is_settled_by_recover(
    machines: MachineLab, world: RealWorld, prefect: PrefectServer, before: Picture
) -> None:
    words = ["share", "kvm3", "--from", "kvm1", "--to", "kvm2", "--vm", "whole1"]
    slow = {"VMFERRY_CONNECT_TIMEOUT_S": "30", "VMFERRY_CALL_TIMEOUT_S": "240"}
    given = prefect.environment() | slow | {"VMFERRY_INVENTORY": str(machines.inventory_path)}
    worker = subprocess.Popen(
        [sys.executable, "-m", "vmferry.cli", *words], cwd=ROOT, env=given, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(StepKind.MOUNT, world, lambda: worker.poll() is not None)
    finally:
        worker.kill()
        worker.wait()
    assert [record.state for record in world.shares.shares()] == [ShareState.OPEN]
    said = prefect.vmferry("recover", **given)
    assert f"no longer shared: kvm3:{SHARED} at {IMAGES} of kvm1 and kvm2" in said
    assert world.shares.shares() == ()
    assert picture(machines) == before
