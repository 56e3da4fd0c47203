"""One whole machine: power on, power off, reboot, cut; commands reach it by ssh only, as any other machine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.lab import net
from infra.lab.host import LISTED, read_identity
from infra.lab.machine.files import write_seed
from infra.lab.machine.image import KERNEL, base_link
from infra.lab.proc import LabError, kill, lab_env, run, start, wait_gone
from infra.lab.spec import HostSpec, MachineSpec
from infra.lab.state import LabDir, LabState

BOOT_S = 240  # two busy cores; an idle pair needs some 15 s

# The kernel is pid 1 of a PID namespace: when it is killed, everything that runs in the machine ends with it.
# To reboot it executes its argv[0] anew, with all that it had open (Linux 6.1, arch/um/os-Linux/main.c): its tap device
# would be busy with itself, and the machine come up without a network. So that name is this script's, which closes all.
_START = """\
#!/bin/bash
for fd in /proc/self/fd/*; do
  fd=${{fd##*/}}
  if [ "$fd" -gt 2 ] && [ "$fd" != 255 ]; then eval "exec $fd>&-"; fi
done
read -r line </proc/self/stat
echo "$line" >{files}/pid1.new
mv {files}/pid1.new {files}/pid1
rm -rf {uml}
exec -a "$0" {kernel} {arguments}
"""


class Machine:
    """A whole machine of the lab. Its methods act at once; those that start it return when it has answered."""

    def __init__(self, directory: LabDir, state: LabState, number: int) -> None:
        self.spec: HostSpec = state.spec.hosts[number - 1]
        self.name: str = self.spec.name
        self.number = number
        self.address = net.address(state.index, number)
        self.files = directory.host(self.name)
        self._directory = directory
        self._state = state
        self._machines = state.spec.machines or MachineSpec()
        self._env = {**lab_env(state.token), "TMPDIR": "/dev/shm"}  # its memory is a file there, without a name

    @property
    def mac(self) -> str:
        """Give the hardware address of its network card."""
        return net.mac(self._state.token, 100 + self.number)

    @property
    def uri(self) -> str:
        """Give the libvirt URI for the outside: qemu+ssh with the lab's own keys."""
        return f"qemu+ssh://root@{self.name}/system?command={self._directory.path}/ssh"

    @property
    def peer_uri(self) -> str:
        """Give the libvirt URI for the lab's other machines."""
        return f"qemu+ssh://root@{self.name}/system"

    # -- power

    @property
    def is_up(self) -> bool:
        """Tell whether it has power; it may still be starting."""
        return read_identity(self.files) is not None

    @property
    def pid1(self) -> int:
        """Give the process id, as seen from outside, of its kernel."""
        if (identity := read_identity(self.files)) is None:
            raise LabError(f"machine {self.name} has no power; power_on() or `up` starts it")
        return identity[0]

    def press_power(self) -> None:
        """Give it power, unless it has: it starts from its own disk as it left it. Does not wait."""
        if self.is_up:
            return
        net.make_tap(self._state.index, self.number, self._state.token)
        (self.files / "pid1").unlink(missing_ok=True)
        script = self.files / "start.sh"
        uml = self._directory.path / "uml" / self.name
        words = " ".join(self._arguments())
        script.write_text(_START.format(files=self.files, uml=uml, kernel=KERNEL, arguments=words))
        script.chmod(0o755)
        start(["unshare", "--pid", "--fork", "--kill-child", script], log=self.console, env=self._env)
        self._wait(lambda: self.is_up, 20, "its kernel did not start")

    def _arguments(self) -> list[str]:
        seed = self.files / "seed.tar"
        if not seed.exists():
            write_seed(self._directory, self._state, self.number)
        tap = net.link_name(self._state.index, self.number)
        return [
            f"mem={self._machines.memory_mib}M",
            f"ubda={self.files}/disk.cow,{base_link(self._directory)}",
            f"ubdbr={seed}",
            "root=/dev/ubda rw init=/sbin/lab-init quiet",
            f"umid={self.name} uml_dir={self._directory.path}/uml",
            f"vec0:transport=tap,ifname={tap},mac={self.mac}",
            "con=null con0=null,fd:2 ssl=null",
        ]

    def power_on(self) -> None:
        """Give it power and wait until it answers."""
        self.press_power()
        self.wait_up()

    def power_off(self, *, timeout_s: float = 120) -> None:
        """Shut it down in good order, as `systemctl poweroff` does, and wait until it has no power."""
        self.run(["systemctl", "poweroff"], check=False)
        self._wait(lambda: not self.is_up, timeout_s, "it does not power off")
        self._unplug()

    def power_cut(self) -> None:
        """Cut the power: everything in it ends at once, and what it had not written is lost."""
        if (identity := read_identity(self.files)) is not None:
            kill(*identity)
            wait_gone(*identity)
        self._unplug()

    def reboot(self) -> None:
        """Reboot it in good order, and wait until it has come back."""
        before = self.boot_id()
        self.run(["systemctl", "reboot"], check=False)
        self._wait(lambda: self._answers() and self.boot_id() != before, BOOT_S, "it does not come back")
        self.wait_up()

    def _unplug(self) -> None:
        net.remove_device(net.link_name(self._state.index, self.number), net.mac(self._state.token, self.number))
        (self.files / "pid1").unlink(missing_ok=True)

    def wait_up(self, timeout_s: float = BOOT_S) -> None:
        """Wait until systemd has started everything and libvirtd answers."""
        self._wait(self._answers, timeout_s, "sshd does not answer")
        self.run(["systemctl", "is-system-running", "--wait"], check=False, timeout=timeout_s)
        self.virsh("version", timeout=timeout_s)

    def _answers(self) -> bool:
        try:
            return self.run(["true"], check=False, timeout=30).returncode == 0
        except LabError:
            return False

    def boot_id(self) -> str:
        """Give what differs from one start to the next; empty when it does not answer."""
        try:
            return self.run(["cat", "/proc/sys/kernel/random/boot_id"], check=False, timeout=30).stdout.strip()
        except LabError:
            return ""

    @property
    def console(self) -> Path:
        """Give the file of what it says on its console."""
        return self.files / "console.log"

    # -- commands

    @property
    def enter(self) -> list[str]:
        """Give the words to put before a quoted command to run it in the machine."""
        return [str(self._directory.path / "ssh"), self.name, "--"]

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float | None = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine as root."""
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)
        return run([*self.enter, quoted], check=check, input=input, timeout=timeout, env=self._env)

    def sh(self, script: str, *, check: bool = True, timeout: float | None = 120) -> str:
        """Run a script in the machine; give what it prints."""
        return self.run(["sh", "-ec", script], check=check, timeout=timeout).stdout.strip()

    def read(self, path: str) -> str | None:
        """Read a file of the machine, to the byte; None when it is not there."""
        done = self.run(["sh", "-c", f"[ ! -e {path} ] || {{ cat {path} && echo .; }}"])
        return done.stdout[:-2] if done.stdout else None

    def virsh(self, *args: str, input: str | None = None, timeout: float | None = 120) -> str:
        """Run virsh in the machine on its own libvirtd; give what it prints."""
        argv = ["virsh", "-q", "-c", "qemu:///system", *args]
        return self.run(argv, input=input, timeout=timeout).stdout.strip()

    def list_domains(self) -> dict[str, str]:
        """Read the domains and their states, in virsh's words."""
        lines = self.virsh("list", "--all").splitlines()
        return {found[1]: found[2] for line in lines if (found := LISTED.match(line))}

    # -- link

    def link_down(self) -> None:
        """Unplug its cable."""
        net.set_link(self._state.index, self.number, up=False)

    def link_up(self) -> None:
        """Plug its cable in again."""
        net.set_link(self._state.index, self.number, up=True)

    def _wait(self, is_done: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_done():
            if time.monotonic() > deadline:
                raise LabError(f"machine {self.name}: {what} within {timeout_s:.0f} s; see {self.console}")
            time.sleep(0.1)
