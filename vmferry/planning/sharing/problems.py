"""What stands against a share; everything at once, before anything is touched."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from vmferry.inventory.problems import did_you_mean
from vmferry.model.host import Host, Inventory, Profile
from vmferry.model.sharing import (
    Firewall,
    NfsMount,
    NfsVersion,
    Packages,
    SharedImage,
    ShareFacts,
    ShareRequest,
)
from vmferry.planning.sharing.lines import export_line, mount_source
from vmferry.planning.sharing.steps import PORTS, SERVICES, wanted_packages

# What exports(5) and fstab(5) take without quoting; a blank or a # in a path has ended badly often enough.
_PATH = re.compile(r"/[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)+")
_NOT_BELOW = ("/etc", "/proc", "/sys", "/dev", "/run", "/boot", "/usr", "/bin", "/sbin", "/lib", "/root")


def request_problems(request: ShareRequest, inventory: Inventory) -> Iterator[str]:
    """Yield what is wrong with a request by itself: hosts and paths."""
    names = inventory.names()
    for role, host in (("server", request.server), ("source", request.source), ("dest", request.dest)):
        if host not in names:
            yield f"{role} {host!r} is not in the inventory; {did_you_mean(host, names)}"
    if request.source == request.dest:
        yield f"source and dest are both {request.source}; name the two hosts that shall share the images"
    yield from _wrong_paths(request)
    if request.server in request.clients and _is_nested(request.directory, request.mount_at):
        yield (
            f"{request.server} would mount {request.directory} at {request.mount_at}: one lies in the other; choose "
            "another --directory"
        )
    if request.prove and request.vms and not request.boot:
        yield "a live move is the proof, and needs a VM that runs: leave --no-boot out, or add --no-prove"
    if len(set(request.vms)) != len(request.vms):
        yield "a VM is named twice"
    if request.nfs is NfsVersion.V4:
        for entry in (inventory.find(name) for name in request.clients):
            if entry is not None and entry.profile is Profile.RHEL8:
                yield (
                    f"host {entry.name}: NFS 4.2 always locks over the network, which the reference (9.4) forbids; use "
                    "--nfs 3, or say `profile: upstream` for the host"
                )


def _wrong_paths(request: ShareRequest) -> Iterator[str]:
    for word, path in (("--directory", request.directory), ("--mount-at", request.mount_at)):
        if not _PATH.fullmatch(path) or posixpath.normpath(path) != path:
            yield (
                f"{word} {path!r}: write an absolute directory at least two levels deep, without ../ and with letters, "
                "digits and . _ + @ - only, for example /var/lib/libvirt/shared-images"
            )
        elif any(path == top or path.startswith(f"{top}/") for top in _NOT_BELOW):
            yield f"{word} {path}: that belongs to the system; choose a directory below /var or /srv"


def _pools(request: ShareRequest, facts: Mapping[str, ShareFacts]) -> Iterator[str]:
    """Yield pools of the same name that lie elsewhere: the mount point's pool could not be called alike on both."""
    pools = [facts[client].pool_at(request.mount_at) for client in request.clients]
    wanted = next((pool for pool in pools if pool is not None), None)
    for host, pool in zip(request.clients, pools, strict=True):
        other = next((p for p in facts[host].pools if wanted is not None and p.name == wanted.name), None)
        if wanted is not None and pool is not None and pool.name != wanted.name:
            yield (
                f"host {host}: its storage pool at {request.mount_at} is called {pool.name}, the other host's "
                f"{wanted.name}: VMs that name a pool could not move; rename one of them"
            )
        elif pool is None and other is not None:
            yield (
                f"host {host}: it has a storage pool {other.name} at {other.target or 'no directory'}, on the other "
                f"host that is the name of the pool at {request.mount_at}; rename one of them"
            )


def _is_nested(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def share_problems(
    request: ShareRequest,
    hosts: Mapping[str, Host],
    facts: Mapping[str, ShareFacts],
    images: tuple[SharedImage, ...],
) -> tuple[str, ...]:
    """Return what the hosts themselves hold against a share."""
    found = [*_packages(request, hosts, facts), *_firewalls(request, hosts, facts)]
    found += [*_exports(request, facts), *_directory(request, facts, images), *_pools(request, facts)]
    for host in request.clients:
        found += _mount(request, hosts, facts[host], images)
    return tuple(found)


def _serves(request: ShareRequest, hosts: Mapping[str, Host], host: str) -> bool:
    return host == request.server or hosts[host].profile is Profile.RHEL8


def _packages(request: ShareRequest, hosts: Mapping[str, Host], facts: Mapping[str, ShareFacts]) -> Iterator[str]:
    for host in request.hosts:
        seen = facts[host]
        wanted = wanted_packages(seen.packages, serves=_serves(request, hosts, host))
        missing = [name for name in wanted if name not in seen.installed]
        if seen.packages is Packages.NONE and missing:
            yield (
                f"host {host}: neither apt-get, dnf nor yum is there, and NFS is not installed; install its packages "
                "by hand (nfs-utils, or nfs-kernel-server and nfs-common), then repeat this"
            )


def _firewalls(request: ShareRequest, hosts: Mapping[str, Host], facts: Mapping[str, ShareFacts]) -> Iterator[str]:
    """Yield what a human must do where the firewall is not firewalld."""
    for host in request.hosts:
        kind = facts[host].firewall
        if not _serves(request, hosts, host) or request.firewall_is_open or kind in _HANDLED:
            continue
        clients = " and ".join(facts[client].address for client in request.clients)
        if kind is Firewall.UFW:
            rules = "; ".join(
                f"ufw allow from {facts[client].address} to any port {port}"
                for client in request.clients
                for port in (111, 2049, 20048)
            )
            yield f"host {host}: ufw is its firewall, which vmferry does not change: {rules}; then --firewall-is-open"
        else:
            yield (
                f"host {host}: it has firewall rules that are not firewalld's; let {clients} reach its ports 111, 2049 "
                f"and 20048, tcp and udp ({', '.join((*SERVICES, *PORTS))}), then repeat this with --firewall-is-open"
            )


_HANDLED = (Firewall.FIREWALLD, Firewall.FIREWALLD_STOPPED, Firewall.NONE)


def _exports(request: ShareRequest, facts: Mapping[str, ShareFacts]) -> Iterator[str]:
    server = facts[request.server]
    ours = export_line(request, {host: facts[host].address for host in request.clients})
    for file in (server.exports, server.own_exports, *server.other_exports):
        for line in (file.text or "").split("\n"):
            words = line.split("#")[0].split()
            if words and words[0].strip('"') == request.directory and line != ours:
                yield (
                    f"host {request.server}: {file.path} shares {request.directory} already, in another way: {line!r}; "
                    "take that line out, or choose another --directory"
                )


def _directory(
    request: ShareRequest, facts: Mapping[str, ShareFacts], images: tuple[SharedImage, ...]
) -> Iterator[str]:
    server = facts[request.server]
    for image in images:
        inner = posixpath.relpath(image.shared_path, request.directory)
        if inner in server.inside:
            yield (
                f"host {request.server}: {image.shared_path} is there already, and is never overwritten; move it away, "
                "or choose another --directory"
            )


def _mount(
    request: ShareRequest, hosts: Mapping[str, Host], facts: ShareFacts, images: tuple[SharedImage, ...]
) -> Iterator[str]:
    source = mount_source(request, hosts[request.server].migration_address)
    if facts.mount is not None and not (facts.mount.source == source and facts.mount.fstype in ("nfs", "nfs4")):
        yield (
            f"host {facts.host}: {facts.mount.source} ({facts.mount.fstype}) is mounted at {request.mount_at}; unmount "
            "it, or choose another --mount-at"
        )
    if facts.mount is not None and facts.mount.source == source and not has_wanted_locks(request, facts.mount):
        yield (
            f"host {facts.host}: {source} is mounted with NFS locks ({','.join(facts.mount.options)}), which KVM does "
            "not support (reference 9.4); unmount it, then repeat this"
        )
    moved = {posixpath.relpath(i.path, request.mount_at) for i in images if i.host == facts.host}
    hidden = [name for name in facts.hidden if name not in moved and not _is_old(name)]
    if hidden:
        shown = ", ".join(hidden[:20]) + (f" and {len(hidden) - 20} more" if len(hidden) > 20 else "")
        yield (
            f"host {facts.host}: {len(hidden)} files in {request.mount_at} would be hidden by the mount: {shown}; "
            "share the images of their VMs too (--vm), move them away, or choose another --mount-at"
        )
    for other in _other_entries(facts, request.mount_at, source):
        yield f"host {facts.host}: /etc/fstab mounts something else at {request.mount_at}: {other!r}; take it out first"


def has_wanted_locks(request: ShareRequest, mount: NfsMount) -> bool:
    """Whether file locks stay on the host, where they are to; version 4 cannot be told so."""
    return request.nfs is NfsVersion.V4 or bool({"nolock", "local_lock=all"} & set(mount.options))


def _is_old(name: str) -> bool:
    """Whether a file is an image that a share or a move has set aside: nothing uses it by that name."""
    return ".vmferry-shared-" in name or ".vmferry-moved-" in name


def _other_entries(facts: ShareFacts, mount_at: str, source: str) -> Iterator[str]:
    for line in (facts.fstab.text or "").split("\n"):
        words = line.split("#")[0].split()
        if len(words) >= 3 and words[1].rstrip("/") == mount_at and words[0] != source:
            yield line
