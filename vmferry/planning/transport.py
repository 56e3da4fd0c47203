"""Choose how the memory of a VM travels between two hosts, and say why."""

from __future__ import annotations

from vmferry.model.convergence import Policy
from vmferry.model.transport import Encryption, Transport
from vmferry.rules.case import Case
from vmferry.rules.connections import impossible, link_mbit_s, no_connections
from vmferry.rules.encryption import Way, choose_way

# What one connection was seen to carry, Mbit/s: a core encrypts, or copies, no faster (docs/decisions/0017).
_ONE_CONNECTION_MBIT_S = {Encryption.TLS: 5_000, Encryption.NONE: 10_000}
# Each connection keeps a core busy at either end; guests need the others.
_CPUS_PER_CONNECTION = 4
_MOST_CONNECTIONS = 8
# A smaller VM is over before more connections pay: a second or two at 10 Gbit/s.
_SMALL_KIB = 2 << 20
_OF_ZERO_COPY = 2


def choose_transport(case: Case, policy: Policy | None = None) -> Transport:
    """Return what both hosts can do and the inventory allows; through the libvirt connection always works.

    What the inventory asks for and cannot be had is refused by rule `transport-asked`; here it is left out. `policy`
    matters as post-copy knows no parallel connections.
    """
    way = choose_way(case.source, case.dest)
    plain = Transport(encryption=way.encryption, tls_name=way.tls_name, reason=way.reason)
    if case.is_offline or any(True for _ in impossible(case, way)):
        return plain
    wish = case.source.host.transport
    is_postcopy = policy is not None and str(policy.name) == "post-copy"
    connections, why = (None, "post-copy uses one connection") if is_postcopy else _connections(case, way)
    method = wish.compression
    if method is not None and (method.is_of_connections != (connections is not None)):
        method, why = None, f"{why}, so no {wish.compression}"
    return plain.model_copy(
        update={
            "connections": connections,
            "compression": method,
            "is_zero_copy": wish.zero_copy and connections is not None,
            "reason": "; ".join(part for part in (way.reason, why) if part),
        }
    )


def _connections(case: Case, way: Way) -> tuple[int | None, str]:
    """Return how many parallel connections carry the memory, None for the one plain stream, and why."""
    wish = case.source.host.transport
    if wish.connections is not None:
        return (wish.connections if wish.connections > 1 else None), f"connections: {wish.connections} is asked for"
    if wish.zero_copy:
        return _OF_ZERO_COPY, "zero_copy is asked for, which is of parallel connections"
    if wish.compression is not None or no_connections(case.source, case.dest, way):
        return None, ""
    speed = link_mbit_s(case)
    wanted = (speed or 0) // _ONE_CONNECTION_MBIT_S[way.encryption]
    if speed is None or wanted < 2 or case.vm.memory_kib < _SMALL_KIB:
        return None, ""
    cores = min(side.facts.cpus for side in (case.source, case.dest)) // _CPUS_PER_CONNECTION
    connections = min(wanted, cores, _MOST_CONNECTIONS)
    if connections < 2:
        return None, f"a link of {speed // 1000} Gbit/s, but no cores for more than one connection"
    return connections, f"one connection does not fill the link of {speed // 1000} Gbit/s"
