"""The copy program's text, and the rules of every ssh from host to host."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from vmferry.adapters.ferry import program
from vmferry.model.host import Host

# In the order in which they need each other.
_MODULES = ("wire", "direct", "extents", "board", "program", "staging", "tls", "link", "original", "send", "receive")

SSH_OPTIONS = (
    "-o", "BatchMode=yes",
    "-o", "StrictHostKeyChecking=yes",
    # Fastest of the ciphers that every OpenSSH since 6.2 has (libvirt-facts, "Disks").
    "-o", "Ciphers=^aes128-gcm@openssh.com",
    "-o", "ServerAliveInterval=5",
    "-o", "ServerAliveCountMax=3",
    "-o", "ConnectTimeout=10",
    # Each stream is a connection of its own: one that is shared has one cipher process for all.
    "-o", "ControlMaster=no",
    "-o", "ControlPath=none",
)  # fmt: skip


def ssh_target(dest: Host) -> list[str]:
    """Return the words that name a host to ssh, after its options."""
    return ["-p", str(dest.ssh.port), "--", f"{dest.ssh.user}@{dest.ssh.address}"]


@cache
def module_texts() -> tuple[tuple[str, str], ...]:
    """Return names and texts of the modules that are sent to hosts."""
    package = files("vmferry.adapters.ferry")
    return tuple((name, package.joinpath(f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES)


def program_payload(call: tuple[str, str], order: dict[str, object]) -> bytes:
    """Return what the program on a host reads first."""
    return program.payload(list(module_texts()), call, order)
