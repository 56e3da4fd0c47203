"""Which way of encryption a pair of hosts uses for memory: pure, from the inventory and both hosts' facts."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import cast
from urllib.parse import urlsplit

from vmferry.model.host import Host
from vmferry.model.transport import Encryption
from vmferry.rules.case import Side
from vmferry.rules.certificates import certified_name, tls_problems

# Of the libvirt connection's transports, the one that does not encrypt (libvirt.org/uri.html).
_PLAIN_SCHEME = "qemu+tcp"


@dataclass(frozen=True)
class Way:
    """How memory travels between two hosts, and why.

    `problems` keep TLS from being used: where it is required they block, else they are what would have to be mended.
    """

    encryption: Encryption
    reason: str
    problems: tuple[str, ...] = ()
    tls_name: str | None = None  # to be checked instead of the migration address


def choose_way(source: Side, dest: Side) -> Way:
    """Return how memory travels from `source` to `dest`; never AUTO, and never NONE without a network for it.

    Several rules ask it of every VM: it is worked out once for two hosts.
    """
    known = source.of_pairs.get(id(dest))
    if known is None or not isinstance(known[1], Way):
        known = source.of_pairs[id(dest)] = (dest, _choose(source, dest))
    return cast(Way, known[1])


def _choose(source: Side, dest: Side) -> Way:
    wanted = {source.host.encryption, dest.host.encryption}
    who = f"{source.name} and {dest.name}"
    if Encryption.TUNNELLED in wanted:
        both = "both hosts" if len(wanted) == 1 else "one of the hosts"
        return Way(Encryption.TUNNELLED, f"the inventory says tunnelled for {both}")
    if Encryption.TLS in wanted:
        problems = tls_problems(source, dest)
        return Way(Encryption.TLS, "the inventory says tls", problems, _tls_name(dest))
    if wanted == {Encryption.NONE} and (network := plain_network(source.host, dest.host)):
        return Way(Encryption.NONE, f"the inventory says none for both hosts, and allows it on {network}")
    problems = tls_problems(source, dest)
    if not problems:
        return Way(Encryption.TLS, f"{who} have certificates that they trust", (), _tls_name(dest))
    why = f"no TLS: {problems[0]}" if has_begun(source, dest) else f"{who} have no certificates for TLS"
    return Way(Encryption.TUNNELLED, why, problems)


def has_begun(source: Side, dest: Side) -> bool:
    """Whether somebody has put certificates on either host: then it is meant, and told when it does not work."""
    facts = (source.facts.system.tls, dest.facts.system.tls)
    return any(tls is not None and tls.is_begun for tls in facts)


def plain_network(source: Host, dest: Host) -> str | None:
    """Return the network of `plain_networks` of both hosts that holds both migration addresses; None without one."""
    addresses = (source.migration_address, dest.migration_address)
    for network in source.plain_networks:
        if network in dest.plain_networks and all(is_inside(address, network) for address in addresses):
            return network
    return None


def is_inside(address: str, network: str) -> bool:
    """Whether an IP address lies in a network; a name does not: what it stands for may change."""
    try:
        return ip_address(address) in ip_network(network)
    except ValueError:
        return False


def is_plain_tunnel(way: Way, source: Side, dest: Side) -> bool:
    """Whether the tunnel is the libvirt connection without encryption, and no network is allowed for it."""
    is_plain = urlsplit(dest.host.peer_uri).scheme == _PLAIN_SCHEME
    return way.encryption is Encryption.TUNNELLED and is_plain and plain_network(source.host, dest.host) is None


def _tls_name(dest: Side) -> str | None:
    name = certified_name(dest)
    return None if name == dest.host.migration_address else name
