"""One libvirt host of the lab: run things in it, and break it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.lab import net
from infra.lab.hostfiles import TREES
from infra.lab.proc import LabError, kill, lab_env, run, start, start_time, wait_gone
from infra.lab.spec import HostSpec
from infra.lab.state import LabDir, LabState

LISTED = re.compile(r"^\s*(?:\d+|-)\s+(\S+)\s+(\S.*?)\s*$")


def read_identity(files: Path) -> tuple[int, int] | None:
    """Give (pid, start time) of a host's pid 1, from the host's directory, when it lives."""
    try:
        line = (files / "pid1").read_text()
    except FileNotFoundError:
        return None
    pid, started = int(line.split()[0]), int(line.rpartition(")")[2].split()[19])
    return (pid, started) if start_time(pid) == started else None


class LabHost:
    """A host made of namespaces. Its methods act at once and return when the effect is there."""

    def __init__(self, directory: LabDir, state: LabState, number: int) -> None:
        self.spec: HostSpec = state.spec.hosts[number - 1]
        self.name: str = self.spec.name
        self.number = number
        self.address = net.address(state.index, number)
        self.files = directory.host(self.name)
        self._directory = directory
        self._state = state
        self._env = lab_env(state.token)

    @property
    def uri(self) -> str:
        """Give the libvirt URI for the outside: qemu+ssh with the lab's own keys."""
        return f"qemu+ssh://root@{self.name}/system?command={self._directory.path}/ssh"

    @property
    def peer_uri(self) -> str:
        """Give the libvirt URI for the lab's other hosts."""
        return f"qemu+ssh://root@{self.name}/system"

    # -- the host itself

    def _identity(self) -> tuple[int, int] | None:
        return read_identity(self.files)

    @property
    def is_up(self) -> bool:
        """Tell whether the host has power and has come up."""
        if (identity := self._identity()) is None:
            return False
        try:
            return Path(f"/proc/{identity[0]}/comm").read_text() == "tini\n"
        except OSError:
            return False

    @property
    def pid1(self) -> int:
        """Give the process id, as seen from outside, of the host's pid 1."""
        if (identity := self._identity()) is None:
            raise LabError(f"host {self.name} has no power; host.power_on() or `up` starts it")
        return identity[0]

    def boot(self) -> None:
        """Make the namespaces, connect the link and start sshd; libvirtd is left to start_libvirtd."""
        if self._identity() is not None and not self.is_up:
            self.power_cut()  # half way up when somebody killed the setup
        if not self.is_up:
            (self.files / "pid1").unlink(missing_ok=True)
            argv = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
            start([*argv, "sh", self.files / "setup.sh"], log=self.files / "setup.log", env=self._env)
            self._wait(lambda: self.is_up, f"{self.files}/setup.log")
        self._connect()
        self.start_sshd()

    def _connect(self) -> None:
        """Connect the link, unless this very boot of the host has it; an `up` may have been killed before."""
        mark, identity = self.files / "connected", str(self._identity())
        if not mark.exists() or mark.read_text() != identity:
            net.make_link(self._state.index, self.number, self._state.token, self.pid1)
            self._add_bridges()
            self.cap_link(self._read_cap())
            mark.write_text(identity)

    def _add_bridges(self) -> None:
        for bridge in self.spec.bridges:
            which = self._state.spec.guest_bridges.index(bridge)
            net.make_guest_bridge(self._state.index, self.number, self._state.token, self.pid1, which, bridge)

    def power_on(self) -> None:
        """Start a host that has no power, with the persistent domains and local disks it had."""
        self.boot()
        self.start_libvirtd()

    def power_cut(self, *, silent: bool = False) -> None:
        """Cut the power: everything in the host ends at once.

        The kernel still closes the host's connections, so peers notice at once. With silent the link is
        taken down first: peers hear nothing, as with a real power cut.
        """
        if silent:
            self.link_down()
        if (identity := self._identity()) is not None:
            kill(*identity)
            wait_gone(*identity)
        net.remove_device(net.link_name(self._state.index, self.number), net.mac(self._state.token, self.number))
        for which in range(len(self._state.spec.guest_bridges)):
            uplink = net.uplink_name(self._state.index, self.number, which)
            net.remove_device(uplink, net.mac(self._state.token, self.number, which))
        (self.files / "pid1").unlink(missing_ok=True)

    # -- commands

    def run(
        self, argv: Sequence[str | Path], *, check: bool = True, input: str | None = None, timeout: float | None = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside the host, as root, in its /."""
        return run([*self.enter, *argv], check=check, input=input, timeout=timeout, env=self._env)

    def begin(self, argv: Sequence[str | Path]) -> None:
        """Start a program inside the host and do not wait for it; what it says goes to begun.log."""
        start([*self.enter, *argv], log=self.files / "begun.log", env=self._env)

    @property
    def enter(self) -> list[str]:
        """Give the words to put before a command to run it inside the host."""
        return ["nsenter", "-t", str(self.pid1), "-m", "-u", "-i", "-n", "-p", "--"]

    def virsh(self, *args: str, input: str | None = None, timeout: float | None = 120) -> str:
        """Run virsh inside the host on its own libvirtd; give what it prints."""
        argv = ["virsh", "-q", "-c", "qemu:///system", *args]
        return self.run(argv, input=input, timeout=timeout).stdout.strip()

    def list_domains(self, *, timeout: float = 15) -> dict[str, str]:
        """Read the domains and their states, in virsh's words (running, paused, shut off, …)."""
        lines = self.virsh("list", "--all", timeout=timeout).splitlines()
        return {found[1]: found[2] for line in lines if (found := LISTED.match(line))}

    # -- daemons

    def _pid_inside(self, pidfile: str) -> int | None:
        """Read a pid file of the host; None when the process is gone or not the one it says."""
        text = self.run(["sh", "-c", f'pid=$(cat {pidfile}) && kill -0 "$pid" && echo "$pid"'], check=False)
        return int(text.stdout) if text.stdout.strip().isdigit() else None

    def _signal(self, pidfile: str, number: signal.Signals, *, wait: bool) -> None:
        pid = self._pid_inside(pidfile)
        if pid is None:
            raise LabError(f"host {self.name}: nothing runs under {pidfile}")
        self.run(["kill", f"-{int(number)}", str(pid)])
        if wait:
            self._wait(lambda: self._pid_inside(pidfile) is None, pidfile)

    def start_sshd(self) -> None:
        """Start sshd unless it runs."""
        if self._pid_inside("/run/sshd.pid") is None:
            self.run(["/usr/sbin/sshd", "-E", "/var/log/libvirt/sshd.log"])

    def restart_sshd(self) -> None:
        """Stop sshd and start it again, with the keys and the configuration it finds then."""
        self.stop_sshd()
        self.start_sshd()

    def stop_sshd(self) -> None:
        """Stop accepting ssh connections; those that are open live on, as with systemd."""
        self._signal("/run/sshd.pid", signal.SIGTERM, wait=True)

    def start_libvirtd(self) -> None:
        """Start libvirtd unless it runs, and wait until it answers."""
        if self._pid_inside("/run/libvirtd.pid") is None:
            listen = ["--listen"] if self._state.spec.listen_tcp else []
            self.run(["/usr/sbin/libvirtd", "-d", "-p", "/run/libvirtd.pid", *listen])
        self.virsh("version", timeout=30)

    def stop_libvirtd(self) -> None:
        """Stop libvirtd in good order; guests run on. A running migration job is waited for."""
        self._signal("/run/libvirtd.pid", signal.SIGTERM, wait=True)

    def kill_libvirtd(self) -> None:
        """Kill libvirtd; guests run on."""
        self._signal("/run/libvirtd.pid", signal.SIGKILL, wait=True)

    def freeze_libvirtd(self) -> None:
        """Stop libvirtd from answering, without closing anything."""
        self._signal("/run/libvirtd.pid", signal.SIGSTOP, wait=False)

    def thaw_libvirtd(self) -> None:
        """Let a frozen libvirtd go on."""
        self._signal("/run/libvirtd.pid", signal.SIGCONT, wait=False)

    def kill_qemu(self, guest: str) -> None:
        """Kill a guest's QEMU on this host."""
        self._signal(f"/run/libvirt/qemu/{guest}.pid", signal.SIGKILL, wait=True)

    # -- link

    def link_down(self) -> None:
        """Unplug the host's cable; it also loses the machine that runs vmferry."""
        net.set_link(self._state.index, self.number, up=False)

    def link_up(self) -> None:
        """Plug the cable in again."""
        net.set_link(self._state.index, self.number, up=True)

    def unplug_bridge(self, bridge: str) -> None:
        """Take a guest bridge off its network: it stays up, but the other hosts' bridges of that name are elsewhere."""
        which = self._state.spec.guest_bridges.index(bridge)
        net.set_uplink(self._state.index, self.number, which, up=False)

    def plug_bridge(self, bridge: str) -> None:
        """Put a guest bridge back on its network."""
        which = self._state.spec.guest_bridges.index(bridge)
        net.set_uplink(self._state.index, self.number, which, up=True)

    def cap_link(self, mib_s: float | None) -> None:
        """Limit the link to so many MiB/s in each direction; None lifts the limit."""
        (self.files / "link.json").write_text(json.dumps(mib_s))
        net.cap_link(self._state.index, self.number, self.pid1, mib_s)

    def _read_cap(self) -> float | None:
        try:
            text = (self.files / "link.json").read_text()
        except FileNotFoundError:
            return self.spec.link_mib_s
        return float(text) if text != "null" else None

    # -- files

    def outer_path(self, inside: str) -> Path:
        """Give where a path of the host's own trees lies on the machine, also while it has no power."""
        for own, prefix in TREES.items():
            if Path(inside).is_relative_to(prefix):
                return self.files / own / Path(inside).relative_to(prefix)
        raise LabError(f"{inside} is not one of the host's own trees: {', '.join(TREES.values())}")

    def _wait(self, is_done: Callable[[], bool], hint: str, *, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_done():
            if time.monotonic() > deadline:
                raise LabError(f"host {self.name} did not get there in {timeout_s} s; see {hint}")
            time.sleep(0.01)
