"""The operator's own commands on a host, its reboot, and what tells one boot from another."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.adapters.ssh_shell import Completed, Script, SshShell
from vmferry.errors import HostUnreachable, OutcomeUnknown
from vmferry.model.roll import BootFacts, CommandDone

_KEPT = 4000  # last characters of what a command said
READ_BOOT = Script(
    "read-boot",
    r"""cat /proc/sys/kernel/random/boot_id
timeout 10 systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null
exit 0
""",
)


def parse_boot(done: Completed) -> BootFacts:
    """Return the boot's id, and the units that have failed; none of those where there is no systemd."""
    lines = done.stdout.splitlines()
    return BootFacts(
        boot_id=lines[0].strip() if lines else "",
        failed_units=tuple(sorted(line.split()[0].lstrip("●*") for line in lines[1:] if line.strip())),
    )


class SshBoot:
    """The part of `vmferry.ports.HostTools` that works on the host itself."""

    host: str
    _shell: SshShell

    def run_command(self, argv: Sequence[str], timeout_s: float) -> CommandDone:
        """Run the operator's command and wait for its end."""
        done = self._shell.run(argv, timeout_s=timeout_s, is_write=True)
        said = f"{done.stdout}\n{done.stderr}".strip()
        return CommandDone(exit_code=done.exit_code, output=said[-_KEPT:])

    def read_boot(self) -> BootFacts:
        """Return what tells this boot from others, and which units have failed in it."""
        return parse_boot(self._shell.run_script(READ_BOOT, [], timeout_s=30.0))

    def reboot(self) -> None:
        """Ask the host to reboot; the connection ends with it, which is no error."""
        try:
            self._shell.run(["systemctl", "reboot"], timeout_s=30.0, is_write=True)
        except (OutcomeUnknown, HostUnreachable):
            pass
        finally:
            self._shell.close()
