"""Conditions that real fleets are found in, made on a host of the lab and unmade at the end of the block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.lab.host import LabHost

_FIREWALL = """
table inet vmferry_lab
delete table inet vmferry_lab
table inet vmferry_lab {{
    chain input {{
        type filter hook input priority 0
        tcp dport {first}-{last} drop
    }}
}}
"""
# Short answers (keepalive) pass; TCP sends what was dropped again and again, and it is dropped again.
_SWALLOW = """
table inet vmferry_lab_swallow
delete table inet vmferry_lab_swallow
table inet vmferry_lab_swallow {{
    chain input {{
        type filter hook input priority 0
        ip saddr {address} tcp sport 16509 meta length > {longer_than} drop
    }}
}}
"""
_KEY = "/etc/ssh/ssh_host_ed25519_key"
_CPU_MAP = "/usr/share/libvirt/cpu_map"
_FORGET = """
cp -r "$1" /run/vmferry-lab-cpu_map
sed -i "/x86_$2\\.xml/d" /run/vmferry-lab-cpu_map/index.xml
mount --bind /run/vmferry-lab-cpu_map "$1"
"""


# "started": QEMU runs and answers, and has not been told yet what comes to it.
_HOOK = """\
#!/bin/sh
cat >/dev/null
if [ "$2" = started ] && [ -e "/run/vmferry-lab-stop-$1" ]; then
    kill -STOP "$(cat "/run/libvirt/qemu/$1.pid")"
fi
"""
_HOOK_PATH = "/etc/libvirt/hooks/qemu"


@contextmanager
def stoppable_starts(host: LabHost) -> Iterator[None]:
    """Let `stop_at_start` work on this host; libvirtd looks for hooks only when it starts."""
    path = host.outer_path(_HOOK_PATH)
    path.parent.mkdir(exist_ok=True)
    path.write_text(_HOOK)
    path.chmod(0o755)
    host.stop_libvirtd()
    host.start_libvirtd()
    try:
        yield
    finally:
        path.unlink()
        if host.is_up:
            host.stop_libvirtd()
            host.start_libvirtd()


@contextmanager
def stop_at_start(host: LabHost, guest: str) -> Iterator[None]:
    """Stop the guest's QEMU on this host as soon as it has been started, as one that starts very slowly.

    At the end of the block it goes on.
    """
    mark = f"/run/vmferry-lab-stop-{guest}"
    host.run(["touch", mark])
    try:
        yield
    finally:
        host.run(["rm", "-f", mark])
        host.run(["sh", "-c", f'kill -CONT "$(cat /run/libvirt/qemu/{guest}.pid)"'], check=False)


def is_stopped(host: LabHost, guest: str) -> bool:
    """Whether the guest's QEMU on this host is stopped by a signal."""
    look = f'grep -q "^State:.T" "/proc/$(cat /run/libvirt/qemu/{guest}.pid)/status"'
    return host.run(["sh", "-c", look], check=False).returncode == 0


@contextmanager
def closed_ports(host: LabHost, first: int, last: int) -> Iterator[None]:
    """Let the host's firewall drop what arrives on these TCP ports."""
    host.run(["nft", "-f", "-"], input=_FIREWALL.format(first=first, last=last))
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "vmferry_lab"])


@contextmanager
def swallowed_answers(host: LabHost, peer: LabHost, *, longer_than: int = 160) -> Iterator[None]:
    """Let the host lose every answer of another one's libvirtd (TCP 16509) that is longer than a keepalive's.

    Begun while memory flows, the first such answer is that to Finish: a peer-to-peer move asks nothing meanwhile. That
    to Prepare is shorter than 160 bytes (measured), a keepalive's has 80.
    """
    host.run(["nft", "-f", "-"], input=_SWALLOW.format(address=peer.address, longer_than=longer_than))
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "vmferry_lab_swallow"])


@contextmanager
def unplugged_bridge(host: LabHost, bridge: str) -> Iterator[None]:
    """Take a guest bridge off its network: it is there and up, but not on the network of the others of its name."""
    host.unplug_bridge(bridge)
    try:
        yield
    finally:
        host.plug_bridge(bridge)


@contextmanager
def other_host_key(host: LabHost) -> Iterator[None]:
    """Let the host's sshd answer with a key that nobody knows, as a reinstalled host does, or an impostor."""
    key = host.outer_path(_KEY)
    old = key.read_bytes()
    host.run(["sh", "-ec", f"rm {_KEY}; ssh-keygen -q -t ed25519 -N '' -f {_KEY} </dev/null"])
    host.restart_sshd()
    try:
        yield
    finally:
        key.write_bytes(old)
        host.run(["sh", "-ec", f"ssh-keygen -y -f {_KEY} >{_KEY}.pub"])
        host.restart_sshd()


@contextmanager
def unknown_cpu_model(host: LabHost, model: str) -> Iterator[None]:
    """Let the host's libvirt not know a CPU model, as an older release would not."""
    host.run(["sh", "-euc", _FORGET, "forget", _CPU_MAP, model])
    host.stop_libvirtd()
    host.start_libvirtd()
    try:
        yield
    finally:
        host.run(["umount", _CPU_MAP])
        host.run(["rm", "-r", "/run/vmferry-lab-cpu_map"])
        host.stop_libvirtd()
        host.start_libvirtd()


@contextmanager
def second_address(host: LabHost) -> Iterator[str]:
    """Give the host another address, as a host listed twice in an inventory has."""
    network, _, last = host.address.rpartition(".")
    address = f"{network}.{int(last) + 100}"
    host.run(["ip", "addr", "add", f"{address}/24", "dev", "eth0"])
    try:
        yield address
    finally:
        host.run(["ip", "addr", "del", f"{address}/24", "dev", "eth0"])
