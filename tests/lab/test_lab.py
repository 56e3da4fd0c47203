"""The lab itself, for real: it comes up, moves guests, breaks on request, and leaves nothing behind."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.lab import (
    DiskFormat,
    DiskKind,
    GuestSpec,
    GuestState,
    HostSpec,
    Lab,
    LabError,
    LabSpec,
    Watch,
    net,
    proc,
    take_down,
)
from infra.lab.hostfiles import BEATS
from infra.lab.state import LabState, lab_dir
from tests.labs import lab_name

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
FAST = 20.0  # seconds for what takes two or three on an idle machine


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two hosts, a guest on each kind of shared storage."""
    hosts = (HostSpec(name="kvm1", bridges=("br0",)), HostSpec(name="kvm2", local_size_mib=32))
    guests = (
        GuestSpec(name="onshared", disk=DiskKind.SHARED, dirty_mib_s=10, working_set_mib=16),
        GuestSpec(name="onnolock", disk=DiskKind.NOLOCK, dirty_mib_s=10, working_set_mib=16),
    )
    name = lab_name("pair")
    try:
        yield Lab.up(LabSpec(name=name, hosts=hosts, guests=guests))
    finally:
        take_down(name)


def traces(name: str, state: LabState | None) -> list[str]:
    """List whatever of a lab is still on this machine, looked for in every place we know of."""
    directory = lab_dir(name)
    left = [str(path) for path in (directory.path, directory.path.with_name(f"{name}.lock")) if path.exists()]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            mounts, words = ((entry / "mountinfo").read_text(), (entry / "cmdline").read_text())
        except OSError:
            continue
        if f"{directory.path}/" in mounts:
            left.append(f"{entry} has mounts of the lab: {words}")
        if f"{directory.path}/" in words:
            left.append(f"{entry}: {words}")
    if state is not None:
        left += [f"process {pid}" for pid, _ in proc.find_by_token(state.token)]
        ours = {net.mac(state.token, number) for number in range(256)}
        left += [one.name for one in Path("/sys/class/net").iterdir() if net.read_mac(one.name) in ours]
    return left


def namespaces() -> set[str]:
    """Read the network and mount namespaces that any process is in."""
    found: set[str] = set()
    for link in Path("/proc").glob("[0-9]*/ns/*"):
        if link.name in {"net", "mnt", "pid"}:
            try:
                found.add(str(link.readlink()))
            except OSError:
                continue
    return found


def wait_for_beat(lab: Lab, guest: str, host: str) -> None:
    """Wait until a guest's copy on a host has written a whole heartbeat line lately."""
    deadline = time.monotonic() + FAST
    while (beat := lab.heartbeats(guest).get(host)) is None or beat.age_s > 0.3:
        assert time.monotonic() < deadline, f"{guest} does not beat on {host}: {lab.where(guest)}"
        time.sleep(0.02)


def move(lab: Lab, guest: str, source: str, dest: str, *more: str) -> None:
    """Migrate by plain virsh, inside the source host."""
    flags = ("--live", "--persistent", "--undefinesource", "--p2p")
    lab.hosts[source].virsh("migrate", *flags, *more, guest, lab.hosts[dest].peer_uri)


def test_down_leaves_no_process_namespace_mount_interface_or_file() -> None:
    name = lab_name("gone")
    lab = Lab.up(LabSpec.of(name, hosts=3, guests=2))
    state = lab_dir(name).read_state()
    spaces = {
        str(Path(f"/proc/{host.pid1}/ns/{kind}").readlink())
        for host in lab.hosts.values()
        for kind in ("net", "mnt", "pid")
    }
    assert len(traces(name, state)) > 10
    assert spaces <= namespaces()
    lab.down()
    assert traces(name, state) == []
    deadline = time.monotonic() + 5  # whoever is init on this machine reaps when it likes
    while spaces & namespaces() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not spaces & namespaces()
    assert take_down(name) is False


def begin_up_and_kill_it(name: str, after_s: float) -> None:
    """Start `up` as a program of its own and kill it some time after it has written its record."""
    child = subprocess.Popen(up_argv(name), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + FAST
    while lab_dir(name).read_state() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    child.wait()


def up_argv(name: str) -> list[str]:
    return [sys.executable, "-m", "infra.lab", "up", "--name", name, "--hosts", "2", "--guests", "2"]


def test_down_clears_up_after_an_up_that_was_killed_at_any_moment() -> None:
    name = lab_name("killed")
    for after_s in (0.0, *(random.uniform(0.0, 2.0) for _ in range(4))):
        begin_up_and_kill_it(name, after_s)
        state = lab_dir(name).read_state()
        assert state is not None
        assert take_down(name)
        assert traces(name, state) == [], f"killed {after_s:.3f} s after its first write"


def test_two_labs_live_side_by_side_and_up_is_idempotent() -> None:
    first, second = lab_name("one"), lab_name("two")
    try:
        one = Lab.up(LabSpec.of(first, hosts=1, guests=1))
        two = Lab.up(LabSpec.of(second, hosts=1, guests=1))
        assert one.subnet != two.subnet
        pid1 = one.hosts["kvm1"].pid1
        again = Lab.up(LabSpec.of(first, hosts=1, guests=1))
        assert again.hosts["kvm1"].pid1 == pid1
        one.hosts["kvm1"].kill_libvirtd()
        two.down()
        Lab.up(LabSpec.of(first, hosts=1, guests=1))
        assert one.where("vm1") == {"kvm1": "running"}
        wait_for_beat(one, "vm1", "kvm1")
        with pytest.raises(LabError, match="other hosts"):
            Lab.up(LabSpec.of(first, hosts=2))
    finally:
        take_down(first)
        take_down(second)


@pytest.mark.parametrize("guest", ["onshared", "onnolock"])
def test_a_guest_with_a_disk_moves_there_and_back_without_losing_a_page(pair: Lab, guest: str) -> None:
    wait_for_beat(pair, guest, "kvm1")
    for source, dest in (("kvm1", "kvm2"), ("kvm2", "kvm1")):
        with pair.watch(guest) as seen:
            time.sleep(0.1)
            move(pair, guest, source, dest)
            wait_for_beat(pair, guest, dest)
        assert pair.where(guest) == {dest: "running"}
        assert seen.alive_on(dest) and not seen.alive_on(source, within_s=0.05)
        assert seen.errors == 0
        assert seen.longest_gap_s < 2.0
        assert seen.overlap_s < 0.05
    passes = pair.heartbeats(guest)["kvm1"].passes
    assert passes > 1, "no page has been checked yet"
    ring = pair.directory.path / guest.removeprefix("on") / f"{guest}.raw"
    assert b"BEAT" in ring.read_bytes()[64 * 512 : 96 * 512]


def test_image_locks_reach_the_other_host_on_shared_and_not_on_nolock(pair: Lab) -> None:
    argv = ["qemu-io", "-f", "raw", "-t", "none", "-c", "write 1M 4k"]
    on = {guest: next(iter(pair.where(guest))) for guest in ("onshared", "onnolock")}
    other = {guest: "kvm2" if host == "kvm1" else "kvm1" for guest, host in on.items()}
    refused = pair.hosts[other["onshared"]].run([*argv, "/srv/shared/onshared.raw"], check=False)
    assert "lock" in refused.stderr
    allowed = pair.hosts[other["onnolock"]].run([*argv, "/srv/nolock/onnolock.raw"])
    assert "wrote 4096" in allowed.stdout
    same_host = pair.hosts[on["onnolock"]].run([*argv, "/srv/nolock/onnolock.raw"], check=False)
    assert "lock" in same_host.stderr


def test_a_capped_link_is_slow_in_both_directions_until_uncapped(pair: Lab) -> None:
    def mib_s(source: str, dest: str, mib: int) -> float:
        began = time.monotonic()
        pair.hosts[source].run(["sh", "-c", f"head -c {mib}M /dev/zero | ssh {dest} 'cat >/dev/null'"])
        return mib / (time.monotonic() - began)

    pair.hosts["kvm1"].cap_link(8)
    try:
        assert mib_s("kvm1", "kvm2", 12) < 9.5
        assert mib_s("kvm2", "kvm1", 12) < 9.5
    finally:
        pair.hosts["kvm1"].cap_link(None)
    # One transfer that is faster than any under the cap proves that there is none; a busy machine may need a second.
    assert any(mib_s("kvm1", "kvm2", 64) > 9.5 for _ in range(4))


def test_a_power_cut_ends_everything_and_power_on_brings_persistent_guests_back(pair: Lab) -> None:
    pair.add_guest(GuestSpec(name="auto", host="kvm2", autostart=True, title="comes back"))
    pair.add_guest(GuestSpec(name="passing", host="kvm2", transient=True))
    pair.add_guest(GuestSpec(name="qcow", host="kvm2", disk=DiskKind.LOCAL, disk_format=DiskFormat.QCOW2))
    host = pair.hosts["kvm2"]
    wait_for_beat(pair, "passing", "kvm2")
    host.power_cut()
    assert not host.is_up
    assert pair.where("auto") == {}
    before = pair.heartbeats("passing")["kvm2"].ticks
    host.power_on()
    wait_for_beat(pair, "auto", "kvm2")
    assert pair.where("auto") == {"kvm2": "running"}
    assert pair.where("qcow") == {"kvm2": "shut off"}
    assert pair.where("passing") == {}
    assert pair.heartbeats("passing")["kvm2"].ticks == before
    host.virsh("start", "qcow")
    assert pair.hosts["kvm1"].virsh("-c", host.peer_uri, "domstate", "auto") == "running"
    for guest in ("auto", "passing", "qcow"):
        pair.remove_guest(guest)


def test_guests_come_in_every_state_pinned_and_with_a_network(pair: Lab) -> None:
    pair.add_guest(GuestSpec(name="pinned", numa_pinned=True, network="br0", state=GuestState.PAUSED))
    pair.add_guest(GuestSpec(name="off", state=GuestState.SHUTOFF))
    assert pair.where("pinned") == {"kvm1": "paused"}
    assert pair.where("off") == {"kvm1": "shut off"}
    assert pair.hosts["kvm1"].virsh("numatune", "pinned").count("strict") == 1
    assert pair.heartbeats("pinned") == {}
    pair.hosts["kvm1"].virsh("resume", "pinned")
    wait_for_beat(pair, "pinned", "kvm1")
    pair.remove_guest("pinned")
    pair.remove_guest("off")


def test_the_rate_changes_while_the_guest_runs(pair: Lab) -> None:
    host = pair.running_on("onshared")
    pair.set_rate("onshared", 44)
    deadline = time.monotonic() + FAST
    while pair.heartbeats("onshared")[host].rate_pages != 113:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pair.set_rate("onshared", 0)


def test_the_outside_reaches_hosts_by_ssh_and_libvirt_with_the_labs_own_keys(pair: Lab) -> None:
    for host in pair.hosts.values():
        name = subprocess.run(
            [pair.directory.path / "ssh", host.name, "hostname"], capture_output=True, text=True, check=False
        )
        assert name.stdout.strip() == host.name, name.stderr
        listed = subprocess.run(["virsh", "-c", host.uri, "hostname"], capture_output=True, text=True, check=False)
        assert listed.stdout.strip() == host.name, listed.stderr
        groups = host.run(["sh", "-c", "ls -A /sys/fs/cgroup; grep -c cgroup /proc/mounts || true"]).stdout
        assert groups.strip() == "0"
    full = pair.hosts["kvm2"].run(["dd", "if=/dev/zero", "of=/var/lib/libvirt/images/x", "bs=1M"], check=False)
    assert "No space left" in full.stderr
    pair.hosts["kvm2"].run(["rm", "/var/lib/libvirt/images/x"])


def test_a_host_loses_and_regains_its_link_and_daemons(pair: Lab) -> None:
    first, second = pair.hosts["kvm1"], pair.hosts["kvm2"]
    ping = ["timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{second.address}/22"]
    assert first.run(ping, check=False).returncode == 0
    second.link_down()
    assert first.run(ping, check=False).returncode != 0
    second.link_up()
    assert first.run(["timeout", "5", *ping[2:]], check=False).returncode == 0
    second.stop_sshd()
    assert first.run(ping, check=False).returncode != 0
    second.start_sshd()
    second.freeze_libvirtd()
    with pytest.raises(LabError, match="no end after"):
        second.list_domains(timeout=1)
    second.thaw_libvirtd()
    assert "onshared" in {**first.list_domains(), **second.list_domains()}
    second.stop_libvirtd()
    second.start_libvirtd()
    host = pair.running_on("onnolock")
    pair.hosts[host].kill_qemu("onnolock")
    deadline = time.monotonic() + FAST
    while pair.where("onnolock") != {host: "shut off"}:
        assert time.monotonic() < deadline


def test_up_finishes_what_a_killed_up_began() -> None:
    name = lab_name("again")
    try:
        for _ in range(2):
            begin_up_and_kill_it(name, random.uniform(0.0, 1.5))
        together = [subprocess.Popen(up_argv(name), cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [child.wait() for child in together] == [0, 0]
        lab = Lab.load(name)
        assert lab.where_all() == {"vm1": {"kvm1": "running"}, "vm2": {"kvm2": "running"}}
        move(lab, "vm1", "kvm1", "kvm2")
        wait_for_beat(lab, "vm1", "kvm2")
    finally:
        take_down(name)


def test_a_page_that_changes_behind_the_guests_back_is_counted(pair: Lab) -> None:
    guest, socket_path = "watched", f"{BEATS}/gdb.sock"
    pair.add_guest(GuestSpec(name=guest, dirty_mib_s=40, working_set_mib=4))
    host = pair.hosts["kvm1"]
    wait_for_beat(pair, guest, "kvm1")
    host.virsh("qemu-monitor-command", guest, "--hmp", f"gdbserver unix:{socket_path},server=on,wait=off")
    with socket.socket(socket.AF_UNIX) as debugger:
        debugger.connect(str(host.outer_path(socket_path)))
        for body in (b"?", b"M404000,4:efbeadde", b"D"):
            debugger.sendall(b"$" + body + b"#%02x" % (sum(body) % 256))
            time.sleep(0.1)
            debugger.recv(4096)
    deadline = time.monotonic() + FAST
    while pair.heartbeats(guest)["kvm1"].errors != 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pair.remove_guest(guest)


def test_a_watch_tells_two_copies_at_once_from_one_that_moved(tmp_path: Path) -> None:
    def beat(*hosts: str, times: int) -> None:
        for _ in range(times):
            for host in hosts:
                with (tmp_path / host).open("a") as serial:
                    serial.write(".")
            time.sleep(0.02)

    files = {"kvm1": tmp_path / "kvm1", "kvm2": tmp_path / "kvm2"}
    with Watch(files) as moved:
        beat("kvm1", times=10)
        time.sleep(0.4)
        beat("kvm2", times=10)
    assert moved.overlap_s == 0
    assert 0.3 < moved.longest_gap_s < 2
    assert [spell.host for spell in moved.spells] == ["kvm1", "kvm2"]
    with Watch(files) as split:
        beat("kvm1", "kvm2", times=20)
    assert split.overlap_s > 0.2
    assert split.alive_on("kvm1") and split.alive_on("kvm2")
