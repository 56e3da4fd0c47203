"""One host's entry: short forms filled in, and what no type can say checked."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any
from urllib.parse import urlsplit

from vmferry.inventory.optimization import check_energy
from vmferry.inventory.problems import Problem, did_you_mean

Entry = dict[str, Any]
Found = list[Problem]

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")
# virDomainVirtType of libvirt (src/conf/domain_conf.c): the domain types that a migration by QEMU can have.
HYPERVISORS = ("kvm", "qemu")
# Drivers of libvirt's remote transport (libvirt.org/uri.html); plain `qemu://` with a host is TLS.
_TRANSPORTS = ("ssh", "libssh", "libssh2", "tls", "tcp", "unix", "ext")
_SCHEMES = ("qemu", *(f"qemu+{transport}" for transport in _TRANSPORTS))


def fill_entry(name: str, entry: Entry) -> Entry:
    """Return the entry with its defaults: address from the name, URIs from the address; wrong types stay."""
    filled = dict(entry)
    ssh = entry.get("ssh", {})
    if isinstance(ssh, str):
        ssh = {"address": ssh}
    if isinstance(ssh, dict):
        ssh = {"address": name} | ssh
    filled["ssh"] = ssh
    uri = _default_uri(ssh) if isinstance(ssh, dict) else f"qemu+ssh://root@{name}/system"
    address = ssh.get("address") if isinstance(ssh, dict) else None
    migration_address = address if isinstance(address, str) else name
    return {"uri": uri, "peer_uri": uri, "migration_address": migration_address} | filled


def _default_uri(ssh: Entry) -> str:
    """qemu+ssh://user@address:port/system, the port only where it is not 22; IPv6 addresses in brackets."""
    address, port = str(ssh["address"]), ssh.get("port", 22)
    shown = f"[{address}]" if ":" in address else address
    return f"qemu+ssh://{ssh.get('user', 'root')}@{shown}{'' if port == 22 else f':{port}'}/system"


def check_name(name: str) -> str | None:
    """Return what is wrong with a host's name; it is used in commands, file names and reports."""
    if len(name) <= 253 and _HOSTNAME.fullmatch(name):
        return None
    return (
        f"{name!r} is not a host name: letters, digits, dots and dashes, no dash at either end, parts of at "
        "most 63 characters; rename the entry and put the address under `ssh: {address: …}`"
    )


def check_entry(filled: Entry, place: tuple[str, ...]) -> Found:
    """Check what types cannot say; fields of a wrong type are skipped, pydantic reports them."""
    found: Found = []

    def note(text: str | None, *path: str) -> None:
        if text:
            found.append(Problem(path=(*place, *path), text=text))

    ssh = filled.get("ssh")
    if isinstance(ssh, dict):
        note(_check_address(ssh.get("address")), "ssh", "address")
        note(_check_user(ssh.get("user")), "ssh", "user")
    note(_check_address(filled.get("migration_address")), "migration_address")
    note(_check_uri(filled.get("uri")), "uri")
    note(_check_uri(filled.get("peer_uri")) or _check_peer(filled.get("peer_uri")), "peer_uri")
    for field in ("site", "rack"):
        note("is empty; write a name, or remove the line" if filled.get(field) == "" else None, field)
    found += check_energy(filled.get("energy"), place)
    return found + _check_hypervisors(filled, place) + _check_storage(filled.get("storage"), place)


def is_loopback(address: str) -> bool:
    """Whether an address means "this machine" wherever it is used."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address.lower().rstrip(".") in ("localhost", "localhost.localdomain")
    return ip.is_loopback or ip.is_unspecified


def _check_address(address: object) -> str | None:
    if not isinstance(address, str):
        return None
    if is_loopback(address):
        return (
            f"{address!r} means another machine on every host; write the address under which "
            "the other hosts reach this one"
        )
    try:
        ipaddress.ip_address(address)
    except ValueError:
        if not _HOSTNAME.fullmatch(address) or re.fullmatch(r"[\d.]+", address):
            return f"{address!r} is neither a host name nor an IP address; write for example kvm1.example.org"
    return None


def _check_user(user: object) -> str | None:
    if isinstance(user, str) and not _USER.fullmatch(user):
        return f"{user!r} is not a user name; write for example user: root"
    return None


def _check_uri(uri: object) -> str | None:
    """Refuse what is not a system connection to QEMU (reference 9.3: a user session is unreliable)."""
    if not isinstance(uri, str):
        return None
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"{uri!r} is not a URI ({error}); write for example qemu+ssh://root@kvm1/system"
    if parts.password is not None:
        return "holds a password; remove it and use ssh keys"
    if parts.scheme not in _SCHEMES:
        return (
            f"{uri!r} does not begin with one of {', '.join(_SCHEMES)}; write for example qemu+ssh://root@kvm1/system"
        )
    if parts.path.rstrip("/") == "/session":
        return (
            f"{uri!r} is a user session, from or to which migration is unreliable (reference 9.3); "
            f"write {uri.replace('/session', '/system', 1)}"
        )
    if parts.path.rstrip("/") != "/system":
        return f"{uri!r} does not end in /system; write for example qemu+ssh://root@{host or 'kvm1'}/system"
    return None


def _check_peer(uri: object) -> str | None:
    if not isinstance(uri, str):
        return None
    host = urlsplit(uri).hostname
    if not host:
        return f"{uri!r} names no host; the other hosts need one: qemu+ssh://root@kvm1/system"
    if is_loopback(host):
        return f"{uri!r} leads every host to itself; write the address under which the others reach this one"
    return None


def _check_hypervisors(filled: Entry, place: tuple[str, ...]) -> Found:
    hypervisors = filled.get("hypervisors")
    if not isinstance(hypervisors, list):
        return []
    if not hypervisors:
        text = "is empty; write hypervisors: [kvm], or remove the line"
        return [Problem(path=(*place, "hypervisors"), text=text)]
    return [
        Problem(
            path=(*place, "hypervisors", str(n)),
            text=f"{value!r} is not a hypervisor that vmferry moves; {did_you_mean(value, HYPERVISORS)}",
        )
        for n, value in enumerate(hypervisors)
        if isinstance(value, str) and value not in HYPERVISORS
    ]


def _check_storage(storage: object, place: tuple[str, ...]) -> Found:
    found: Found = []
    paths: set[str] = set()
    groups: set[str] = set()
    for n, item in enumerate(storage if isinstance(storage, list) else ()):
        here = (*place, "storage", str(n))
        path, group = (item.get("path"), item.get("shared")) if isinstance(item, dict) else (None, None)
        if isinstance(path, str):
            found += [Problem(path=(*here, "path"), text=text) for text in _wrong_path(path, paths)]
            paths.add(posixpath.normpath(path))
        if isinstance(group, str):
            found += [Problem(path=(*here, "shared"), text=text) for text in _wrong_group(group, groups)]
            groups.add(group)
    return found


def _wrong_path(path: str, seen: set[str]) -> list[str]:
    normal = posixpath.normpath(path)
    if not path.startswith("/") or ".." in path.split("/") or not normal.strip("/"):
        return [f"{path!r} must be an absolute directory below /, without ..; write for example /srv/images"]
    return [f"{path!r} is listed twice; keep one of them"] if normal in seen else []


def _wrong_group(group: str, seen: set[str]) -> list[str]:
    if not group:
        return ["is empty; name the group of hosts that see the same content, or remove the line"]
    return [f"group {group!r} is at two paths of this host; keep one"] if group in seen else []
