"""The own files of one machine: names, keys, address, libvirt's identity; a tar on its second disk brings them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from infra.lab import net
from infra.lab.hostfiles import BOOT, SSHD_CONFIG, host_uuid
from infra.lab.spec import HostSpec
from infra.lab.state import LabDir, LabState

NIC = "vec0"
_WANTS = "etc/systemd/system/multi-user.target.wants"
_NET = """\
ip link set lo up
ip link set {nic} up
ip addr replace {address}/24 dev {nic}
"""
_QEMU = """\
security_driver = "none"
cgroup_controllers = []
"""


def write_seed(directory: LabDir, state: LabState, number: int) -> Path:
    """Write the tar of machine `number`; give its path."""
    host = state.spec.hosts[number - 1]
    path = directory.host(host.name) / "seed.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as seed:
        for name, (content, mode) in sorted(_files(directory, state, number).items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            seed.addfile(entry, io.BytesIO(content))
        for name, target in _links(host).items():
            link = tarfile.TarInfo(f"{_WANTS}/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            seed.addfile(link)
    return path


def _links(host: HostSpec) -> dict[str, str]:
    return {"firewalld.service": "/lib/systemd/system/firewalld.service"} if host.firewalld else {}


def _files(directory: LabDir, state: LabState, number: int) -> dict[str, tuple[bytes, int]]:
    host, client = state.spec.hosts[number - 1], directory.ssh
    uuid = host_uuid(state.token, host.name)
    names = "".join(
        f"{net.address(state.index, each)} {one.name}\n" for each, one in enumerate(state.spec.hosts, start=1)
    )
    text = {
        "etc/hostname": host.name + "\n",
        "etc/hosts": "127.0.0.1 localhost\n" + names,
        "etc/machine-id": host_uuid(state.token, host.name + "/machine").replace("-", "") + "\n",
        "etc/lab-net": _NET.format(nic=NIC, address=net.address(state.index, number)),
        "etc/ssh/sshd_config": SSHD_CONFIG.replace("PidFile /run/sshd.pid\n", ""),
        "etc/ssh/ssh_config": "Host *\n    StrictHostKeyChecking yes\n    BatchMode yes\n",
        "etc/libvirt/libvirtd.conf": f'host_uuid = "{uuid}"\nauth_unix_rw = "none"\n',
        "etc/libvirt/qemu.conf": _QEMU,
        "etc/default/locale": "LC_ALL=C.UTF-8\n",
    }
    found = {name: (content.encode(), 0o644) for name, content in text.items()}
    found["etc/ssh/ssh_host_ed25519_key"] = (_read(client / f"host-{host.name}"), 0o600)
    found["etc/ssh/ssh_host_ed25519_key.pub"] = (_read(client / f"host-{host.name}.pub"), 0o644)
    found["root/.ssh/id_ed25519"] = (_read(client / "id_ed25519"), 0o600)
    found["root/.ssh/authorized_keys"] = (_read(client / "id_ed25519.pub"), 0o600)
    found["root/.ssh/known_hosts"] = (_read(client / "known_hosts"), 0o600)
    found[BOOT.lstrip("/")] = (_read(directory.image), 0o644)
    return found


def _read(path: Path) -> bytes:
    return path.read_bytes()
