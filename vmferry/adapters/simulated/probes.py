"""What a simulated host sees of another: the answers of `probe_peers`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.state import SimHost
from vmferry.adapters.simulated.system import MIGRATION
from vmferry.model.facts import BridgeQuestion, Link, PathMtu, Peer, PeerReach, Reach, SameNetwork

_OK = Reach(is_ok=True)


def probe_all(ground: Ground, host: SimHost, peers: Sequence[Peer]) -> dict[str, PeerReach]:
    """Try every peer from `host`; the answers by `Peer.host`."""
    owners = {address: other for other in ground.hosts.values() for address in _addresses(other)}
    return {peer.host: _probe(ground, host, owners.get(peer.address), peer) for peer in peers}


def _probe(ground: Ground, host: SimHost, there: SimHost | None, peer: Peer) -> PeerReach:
    way = _way(host)
    has_link = way is not None and there is not None and ground.is_linked(host.name, there.name)
    return PeerReach(
        ping=_OK if has_link else _no(f"{peer.address}: 2 packets transmitted, 0 received, 100% packet loss"),
        libvirt=_libvirt(ground, host, peer.uri),
        ports=_ports(there if has_link else None, peer),
        path_mtu=None if way is None or there is None else _path_mtu(ground, host, there, way, has_link=has_link),
        networks=tuple(_same_network(ground, host, peer, question) for question in peer.bridges),
    )


def _no(detail: str) -> Reach:
    return Reach(is_ok=False, detail=detail)


def _addresses(host: SimHost) -> Iterator[str]:
    yield from (host.name, host.entry.ssh.address, host.entry.migration_address)
    for link in host.system.links:
        yield from _bare(link)


def _bare(link: Link) -> Iterator[str]:
    return (address.partition("/")[0] for address in link.addresses)


def _way(host: SimHost) -> Link | None:
    """Return the device that leads to the other hosts: the migration network's, else any with an address."""
    usable = [link for link in host.system.links if link.is_up and link.addresses]
    return next((link for link in usable if link.name == MIGRATION), usable[0] if usable else None)


def _libvirt(ground: Ground, host: SimHost, uri: str) -> Reach:
    there = next((h for h in ground.hosts.values() if uri in (h.entry.peer_uri, h.entry.uri)), None)
    if there is not None and ground.is_linked(host.name, there.name) and there.is_libvirtd_up:
        return _OK
    return _no(f"error: failed to connect to the hypervisor: {uri}")


def _ports(there: SimHost | None, peer: Peer) -> Reach | None:
    """Nothing listens there before a move: an open port refuses, a filtered one is silent."""
    if not peer.ports:
        return None
    silent = [port for port in peer.ports if there is None or port in there.filtered_ports]
    return _no(f"port {silent[0]} of {peer.address}: no answer within 3 s") if silent else _OK


def _path_mtu(ground: Ground, host: SimHost, there: SimHost, way: Link, *, has_link: bool) -> PathMtu:
    """A full-size packet passes where every device on the way, and the destination's own, takes it."""
    arrival = _way(there)
    limit = min(ground.path_mtu(host.name, there.name), arrival.mtu if arrival else 0)
    is_ok = has_link and way.mtu <= limit
    return PathMtu(
        device=way.name,
        mtu=way.mtu,
        full_size=_OK if is_ok else _no(f"2 packets of {way.mtu} bytes that must not be split: no answer"),
    )


def _same_network(ground: Ground, host: SimHost, peer: Peer, question: BridgeQuestion) -> SameNetwork:
    is_same, detail = _tried(ground, host, ground.hosts.get(peer.host), question)
    return SameNetwork(bridge=question.bridge, dest_bridge=question.dest_bridge, is_same=is_same, detail=detail)


def _tried(ground: Ground, host: SimHost, there: SimHost | None, question: BridgeQuestion) -> tuple[bool | None, str]:
    if not question.targets:
        return None, f"bridge {question.dest_bridge} of the destination has no address to try"
    here = host.system.link(question.bridge)
    if here is None or not here.addresses:
        return None, f"bridge {question.bridge} of {host.name} is missing or has no address to try from"
    far = there.system.link(question.dest_bridge) if there is not None else None
    if there is not None and far is not None and here.is_up and far.is_up and ground.is_linked(host.name, there.name):
        is_one = host.segment(here.name) == there.segment(far.name)
        if is_one and (answered := set(question.targets) & set(_bare(far))):
            if question.mac is not None and question.mac != far.mac:
                return None, f"{min(answered)} is answered on {here.name} by {far.mac}, not by {question.mac}"
            return True, f"{min(answered)} answered on {here.name} as {far.mac}"
    return False, f"{', '.join(question.targets)}: no answer on {question.bridge}"
