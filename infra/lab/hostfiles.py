"""The files of one host: its /etc, its keys, and the script that makes its namespaces into a host."""

from __future__ import annotations

import uuid
from pathlib import Path

from infra.lab import net, tls
from infra.lab.proc import run
from infra.lab.spec import HostSpec, LabSpec
from infra.lab.state import LabDir, LabState
from infra.lab.storage import local_images

# Directories of the host's own, and where they are seen inside.
TREES = {
    "etc-libvirt": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
    "etc-ssh": "/etc/ssh",
    # The whole home, not only .ssh: the machine's own .bashrc would be run by every ssh command (measured: 0.1 s each).
    "root": "/root",
}
FILES = {
    "machine-id": "/etc/machine-id",
    "hostname": "/etc/hostname",
    "hosts": "/etc/hosts",
    "shadow": "/etc/shadow",
}
BEATS = "/var/lib/libvirt/heartbeat"
BOOT = "/var/lib/libvirt/boot/vmferry-guest.img"

QEMU_CONF = """\
stdio_handler = "file"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
"""

SSHD_CONFIG = """\
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100:30:200
MaxSessions 100
PidFile /run/sshd.pid
Subsystem sftp internal-sftp
"""

SETUP = """\
set -eu
# /proc is still the outer one: this is our number as the machine knows us, and our start time.
read -r line </proc/self/stat
echo "$line" >{files}/pid1.new
mv {files}/pid1.new {files}/pid1
mount --make-rprivate /
hostname {name}
# A fresh /sys: the host's own interfaces, and no cgroups.
umount -l /sys
mount -t sysfs sysfs /sys
{binds}
mount -t tmpfs -o mode=755 srv /srv
mkdir /srv/shared /srv/nolock
mount --bind {mounts}/shared /srv/shared
mount --bind {mounts}/nolock-{name} /srv/nolock
# Let go of this lab's and other labs' mounts outside, or they could not be removed.
awk -v base={base}/ 'index($5, base) == 1 {{ print $5 }}' /proc/self/mountinfo | sort -r |
    while read -r where; do umount -l "$where" || true; done
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/libvirt /run/sshd /run/lock
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
cd /
mount -t proc proc /proc
exec tini -s -- sleep infinity
"""


def host_uuid(token: str, name: str) -> str:
    """Derive a host's UUID from its lab's token."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{token}/{name}"))


def write_client(directory: LabDir, state: LabState) -> None:
    """Make all keys of the lab, and the ssh configuration and wrapper for the outside."""
    client = directory.ssh
    client.mkdir(parents=True, exist_ok=True)
    make_key(client / "id_ed25519", "vmferry-lab")
    for host in state.spec.hosts:
        make_key(client / f"host-{host.name}", host.name)
    known = []
    entries = []
    for number, host in enumerate(state.spec.hosts, start=1):
        ip = net.address(state.index, number)
        public = (client / f"host-{host.name}.pub").read_text().split()
        known.append(f"{host.name},{ip} {public[0]} {public[1]}\n")
        entries.append(f"Host {host.name} {ip}\n    HostName {ip}\n    HostKeyAlias {host.name}\n")
    (client / "known_hosts").write_text("".join(known))
    common = (
        f"Host *\n    User root\n    IdentityFile {client}/id_ed25519\n    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {client}/known_hosts\n    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n    BatchMode yes\n    ConnectTimeout 10\n"
    )
    config = directory.path / "ssh_config"
    config.write_text("".join(entries) + common)
    wrapper = directory.path / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec setsid ssh -F {config} "$@"\n')
    wrapper.chmod(0o755)


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair without passphrase, unless it is there."""
    if not path.with_name(path.name + ".pub").exists():
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def write_host(directory: LabDir, state: LabState, host: HostSpec) -> None:
    """Write everything that is one host's own: configuration, keys, names, boot image, setup script."""
    files = directory.host(host.name)
    for tree in TREES:
        (files / tree).mkdir(parents=True, exist_ok=True)
    for tree in ("lib/images", "lib/heartbeat", "lib/boot", "lib/qemu", "root/.ssh"):
        (files / tree).mkdir(parents=True, exist_ok=True)
    (files / "lib/boot/vmferry-guest.img").write_bytes(directory.image.read_bytes())
    (files / "etc-libvirt/qemu.conf").write_text(_qemu_conf(state.spec))
    if state.spec.tls:
        _write_certificates(directory, state, host)
    (files / "etc-libvirt/libvirtd.conf").write_text(_libvirtd_conf(state, host))
    (files / "machine-id").write_text(host_uuid(state.token, host.name + "/machine").replace("-", "") + "\n")
    (files / "hostname").write_text(host.name + "\n")
    names = "".join(
        f"{net.address(state.index, number)} {one.name}\n" for number, one in enumerate(state.spec.hosts, 1)
    )
    (files / "hosts").write_text("127.0.0.1 localhost\n" + names)
    _write_ssh(directory, files, host)
    _write_shadow(files / "shadow")
    (files / "setup.sh").write_text(_setup(directory, state, host))


def _write_certificates(directory: LabDir, state: LabState, host: HostSpec) -> None:
    """Give a new host a certificate for its name and address."""
    pki = directory.host(host.name) / "etc-libvirt/pki"
    if not (pki / "client-cert.pem").exists():  # made last
        number = state.spec.hosts.index(host) + 1
        tls.make_authority(directory.path / "tls")
        tls.issue(directory.path / "tls", pki, [host.name, net.address(state.index, number)])


def _qemu_conf(spec: LabSpec) -> str:
    text = QEMU_CONF + (tls.QEMU_CONF if spec.tls else "")
    if spec.keepalive is not None:
        text += "keepalive_interval = {}\nkeepalive_count = {}\n".format(*spec.keepalive)
    return text


def _libvirtd_conf(state: LabState, host: HostSpec) -> str:
    lines = [
        f'host_uuid = "{host_uuid(state.token, host.name)}"',
        'auth_unix_rw = "none"',
        "listen_tls = 0",
        f"listen_tcp = {int(state.spec.listen_tcp)}",
        'auth_tcp = "none"',
        'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"',
    ]
    return "\n".join(lines) + "\n"


def _write_ssh(directory: LabDir, files: Path, host: HostSpec) -> None:
    """Give the host its own host key, and root the lab's user key and known hosts."""
    client = directory.ssh
    copies = {
        f"host-{host.name}": "etc-ssh/ssh_host_ed25519_key",
        f"host-{host.name}.pub": "etc-ssh/ssh_host_ed25519_key.pub",
        "id_ed25519": "root/.ssh/id_ed25519",
        "id_ed25519.pub": "root/.ssh/authorized_keys",
        "known_hosts": "root/.ssh/known_hosts",
    }
    for source, dest in copies.items():
        path = files / dest
        path.touch(mode=0o600)
        path.write_bytes((client / source).read_bytes())
    (files / "root/.ssh").chmod(0o700)
    (files / "etc-ssh/sshd_config").write_text(SSHD_CONFIG)
    (files / "etc-ssh/ssh_config").write_text("Host *\n    StrictHostKeyChecking yes\n    BatchMode yes\n")


def _write_shadow(path: Path) -> None:
    """Give every account no password: sshd refuses root where the machine has it locked ("!")."""
    users = [line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines() if line]
    path.touch(mode=0o600)
    path.write_text("".join(f"{user}:*:19000:0:99999:7:::\n" for user in users))


def _setup(directory: LabDir, state: LabState, host: HostSpec) -> str:
    files = directory.host(host.name)
    binds = [f"mount --bind {files}/{own} {inside}" for own, inside in TREES.items()]
    # A machine without one of these files has hosts without it too: nothing is made outside.
    binds += [f"[ ! -e {inside} ] || mount --bind {files}/{own} {inside}" for own, inside in FILES.items()]
    if host.local_size_mib is not None:
        outer = local_images(directory, state.spec, host.name)
        binds.append(f"mount --bind {outer} /var/lib/libvirt/images")
    return SETUP.format(
        files=files, name=host.name, binds="\n".join(binds), mounts=directory.mounts, base=directory.path.parent
    )
