"""How many connections carry a move's memory, compressed or not: what two hosts can do, and what is asked of them.

Sources: qemuMigrationSrcIsAllowed and qemuMigrationParamsFromFlags of libvirt; migration/migration.c of QEMU;
docs/decisions/0017 for what pays.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.facts import Link
from vmferry.model.transport import Compression, Encryption
from vmferry.rules.case import Case, Side
from vmferry.rules.encryption import Way

# (libvirt, QEMU), as libvirt encodes versions. VIR_MIGRATE_PARALLEL; multifd over TLS; VIR_MIGRATE_ZEROCOPY; the
# methods zlib and zstd of libvirt (150ae3e62b), which QEMU had before.
_PARALLEL = (5_002_000, 4_000_000)
_PARALLEL_TLS = (5_002_000, 5_002_000)
_ZERO_COPY = (8_005_000, 7_001_000)
_MULTIFD_COMPRESSION = (9_004_000, 5_000_000)
# QEMU without the method `mt` (removed; its successor are the methods of parallel connections).
_NO_MT_QEMU = 9_001_000


def link_mbit_s(case: Case) -> int | None:
    """Return the speed of the slower end of the way to the destination, Mbit/s; None where an end is not known."""
    path = case.pair.path_mtu if case.pair is not None else None
    here = case.source.carriers.get(path.device) if path is not None else None
    arrival = case.dest.arrival_link
    there = case.dest.carriers.get(arrival.name) if arrival is not None else None
    ends: list[Link | None] = [here, there]
    speeds = [link.speed_mbit_s for link in ends if link is not None and link.speed_mbit_s]
    return min(speeds) if len(speeds) == len(ends) else None


def impossible(case: Case, way: Way) -> Iterator[str]:
    """Say what of the source's `transport:` cannot be had between these hosts."""
    wish = case.source.host.transport
    if (wish.connections or 1) > 1 and (why := no_connections(case.source, case.dest, way)):
        yield f"connections: {wish.connections}: {why}"
    if wish.compression is not None and (why := no_compression(case, way, wish.compression)):
        yield f"compression: {wish.compression}: {why}"
    if wish.zero_copy and (why := _no_zero_copy(case, way)):
        yield f"zero_copy: true: {why}"


def no_connections(source: Side, dest: Side, way: Way) -> str:
    """Say why there are no parallel connections between two hosts; empty when there may be."""
    if way.encryption is Encryption.TUNNELLED:
        return "memory is tunnelled through the libvirt connection, which is one stream"
    return _too_old(source, dest, _PARALLEL_TLS if way.encryption is Encryption.TLS else _PARALLEL)


def no_compression(case: Case, way: Way, method: Compression) -> str:
    """Say why memory is not compressed so; empty when it may be."""
    wish = case.source.host.transport
    if method.is_of_connections:
        if (wish.connections or 1) < 2:
            return f"{method} is of parallel connections; write connections: 2 too"
        return no_connections(case.source, case.dest, way) or _too_old(case.source, case.dest, _MULTIFD_COMPRESSION)
    if (wish.connections or 1) > 1:
        return f"{method} is not of parallel connections, zlib and zstd are; remove connections, or change the method"
    if method is Compression.MT:
        for side in (case.source, case.dest):
            if side.facts.qemu_version >= _NO_MT_QEMU:
                return f"QEMU {_version(side.facts.qemu_version)} of {side.name} has it no longer; use zstd"
    return ""


def _no_zero_copy(case: Case, way: Way) -> str:
    wish = case.source.host.transport
    if way.encryption is not Encryption.NONE:
        return "memory that is encrypted is copied; it needs `encryption: none` on a network of plain_networks"
    if wish.compression is not None:
        return f"memory that is compressed is copied; remove compression: {wish.compression}"
    if wish.connections == 1:
        return "it is of parallel connections; write connections: 2 or more"
    return _too_old(case.source, case.dest, _ZERO_COPY)


def _too_old(source: Side, dest: Side, since: tuple[int, int]) -> str:
    for side in (source, dest):
        have = (("libvirt", side.facts.libvirt_version), ("QEMU", side.facts.qemu_version))
        for (name, version), needed in zip(have, since, strict=True):
            if version < needed:
                return f"{side.name} has {name} {_version(version)}, it needs {_version(needed)} on both hosts"
    return ""


def _version(number: int) -> str:
    """Return 9.0.0 for 9000000."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
