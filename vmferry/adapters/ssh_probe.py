"""What one ssh stream carries from one host to another, measured in about a second."""

from __future__ import annotations

import re

from vmferry.adapters.ssh_program import SSH_OPTIONS, ssh_target
from vmferry.adapters.ssh_shell import Script, SshShell
from vmferry.errors import HostUnreachable
from vmferry.model.host import Host

_MIB = 2**20
# The receiver holds the watch, so that handshakes do not count: with it at the sender a link of 32 MiB/s was read
# as 7 to 16 on a loaded host. Slices, because busy cores hold a stream up for tenths of a second. The first one does
# not count: a link's burst makes it faster (33 of 32 MiB/s), TCP's slow start slower (25 of 64). Of the others the
# second best does: a slice may also find what piled up before it began (66 of 64 MiB/s).
_SLICES = 5
_FEWEST = 3  # the first one, and two of which the lesser counts
# dd tells what arrived when `timeout` interrupts it; the sender ends with the connection.
_PROBE = Script(
    "probe-link",
    """set -u
slice="LC_ALL=C timeout -s INT $1 dd of=/dev/null bs=64k iflag=fullblock"
head -c "$3" /dev/zero | ssh "${@:4}" "for i in $2; do $slice; done"
exit "${PIPESTATUS[1]}"
""",
)
_MOST_BYTES_S = 2**31  # should a dd not end, no link sends for longer than this one
_COUNTED = re.compile(r"^(\d+) bytes.*?, ([\d.e+-]+) s", re.MULTILINE)


def measure_link(shell: SshShell, source: str, dest: Host, seconds: float, *, timeout_s: float) -> float:
    """Return MiB/s, from a stream of so many seconds. Raises HostUnreachable when there is no way."""
    times = " ".join(str(number) for number in range(_SLICES + 1))
    argv = [f"{seconds / (_SLICES + 1):.3f}", times, str(int(seconds * _MOST_BYTES_S)), *SSH_OPTIONS, *ssh_target(dest)]
    done = shell.run_script(_PROBE, argv, timeout_s=seconds + timeout_s)
    rates = [int(count) / float(took) for count, took in _COUNTED.findall(done.stderr) if float(took) > 0]
    if len(rates) < _FEWEST:
        raise HostUnreachable(
            f"host {source}: the link to {dest.name} was not measured: {done.complaint}; "
            f"try `ssh {dest.ssh.user}@{dest.ssh.address} true` there",
            host=dest.name,
        )
    return sorted(rates[1:])[-2] / _MIB
