"""The lines that a share writes into configuration files, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vmferry.model.sharing import NfsVersion, ShareFacts, ShareRequest

EXPORTS = "/etc/exports"
EXPORTS_D = "/etc/exports.d"
ETAB = "/var/lib/nfs/etab"  # what is exported now, line by line: directory, tab, client(options)
FSTAB = "/etc/fstab"
NFS_CONF_D = "/etc/nfs.conf.d"
# firewalld's service `mountd` opens this one. On the RHEL family mountd takes it by itself, elsewhere any port.
MOUNTD_PORT = 20048
_EXPORT_OPTIONS = "rw,no_root_squash,no_subtree_check"
# nolock: QEMU's image locks and those of NFS must not meet (reference 9.4); the protocol's version 4 cannot do without.
# bg: a host that starts while the server is away goes on starting, and mounts when the server is back.
_MOUNT_OPTIONS = {
    NfsVersion.V3: ("rw", "hard", "proto=tcp", "vers=3", "nolock"),
    NfsVersion.V4: ("rw", "hard", "proto=tcp", "vers=4.2"),
}


def own_exports(directory: str) -> str:
    """Return our file in exports.d for a shared directory."""
    return f"{EXPORTS_D}/vmferry{re.sub(r'[^A-Za-z0-9]+', '-', directory).rstrip('-')}.exports"


def own_mountd() -> str:
    """Return our file in nfs.conf.d."""
    return f"{NFS_CONF_D}/vmferry.conf"


def export_line(request: ShareRequest, addresses: dict[str, str]) -> str:
    """Return the entry of the exports file: exactly the two hosts, each by the address it comes from."""
    clients = dict.fromkeys(addresses[host] for host in request.clients)
    return " ".join([request.directory, *(f"{client}({_EXPORT_OPTIONS})" for client in clients)])


def mount_source(request: ShareRequest, server_address: str) -> str:
    """Return what is mounted."""
    address = f"[{server_address}]" if ":" in server_address else server_address
    return f"{address}:{request.directory}"


def fstab_line(request: ShareRequest, server_address: str) -> str:
    """Return the line that mounts it again after a reboot."""
    options = ",".join((*_MOUNT_OPTIONS[request.nfs], "bg", "_netdev"))
    return f"{mount_source(request, server_address)} {request.mount_at} nfs {options} 0 0"


def mount_argv(request: ShareRequest, server_address: str) -> tuple[str, ...]:
    """Return the command that mounts it now: one try, in the foreground."""
    options = ",".join((*_MOUNT_OPTIONS[request.nfs], "retry=0"))
    return (
        *("timeout", "60", "mount", "-t", "nfs", "-o", options),
        *(mount_source(request, server_address), request.mount_at),
    )


def is_exported(request: ShareRequest, addresses: Mapping[str, str], facts: ShareFacts) -> bool:
    """Whether the server says that it shares the directory with both hosts, as it should."""
    return all(
        any(
            words[0] == request.directory
            and words[1].startswith(f"{addresses[host]}(")
            and {"rw", "no_root_squash"} <= set(words[1].partition("(")[2].rstrip(")").split(","))
            for words in (line.split() for line in facts.exported)
            if len(words) == 2
        )
        for host in request.clients
    )
