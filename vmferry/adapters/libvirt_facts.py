"""Read a host and its domains through an open libvirt connection; reads only."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import libvirt
from lxml import etree

from vmferry.adapters.libvirt_calls import text_of
from vmferry.adapters.libvirt_capabilities import Capabilities, hugepages, parse_firmware
from vmferry.adapters.libvirt_domains import read_vms
from vmferry.domxml.values import text_at
from vmferry.model.facts import Firmware, HugePages, Pool
from vmferry.model.host import Host, HostFacts

logger = logging.getLogger("vmferry.libvirt")
T = TypeVar("T")

# Page cache that can be had back at once: part of "cached" is shared memory and tmpfs, which cannot.
_RECLAIMABLE_CACHE = 0.5
# Two lists instead of one question per pool.
_POOLS = (
    (libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, True),
    (libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE, False),
)


def read_facts(connection: libvirt.virConnect, host: Host) -> HostFacts:
    """Read versions, capabilities, memory, networks, pools, firmware and all domains of one host.

    What a host cannot tell (no storage driver, an older libvirt) is left unknown; a lost connection is an error.
    """
    capabilities = Capabilities(connection.getCapabilities())
    total_kib, available_kib = read_memory(connection)
    return HostFacts(
        name=host.name,
        uuid=capabilities.uuid,
        hostname=connection.getHostname(),
        uri=connection.getURI(),
        libvirt_version=connection.getLibVersion(),
        qemu_version=connection.getVersion(),
        arch=capabilities.arch,
        domain_types=capabilities.domain_types,
        machines=capabilities.machines,
        cpus=connection.getInfo()[2],
        memory_total_kib=total_kib,
        memory_available_kib=available_kib,
        networks=_networks(connection),
        pools=read_pools(connection),
        hugepages=read_hugepages(connection, capabilities),
        firmware=read_firmware(connection, capabilities),
        cpu=capabilities.cpu,
        qemu_uid=capabilities.qemu_uid,
        vms=read_vms(connection),
        read_at=datetime.now(UTC),
    )


def ask_softly(connection: libvirt.virConnect, what: str, ask: Callable[..., T], *arguments: object) -> T | None:
    """Return None where this libvirt has no answer: no such driver or call, a daemon of its own that is down.

    With modular daemons the error of a secondary daemon looks like a lost connection; the connection itself tells.
    """
    try:
        return ask(*arguments)
    except libvirt.libvirtError as error:
        if not connection.isAlive():
            raise
        logger.debug("libvirt at %s does not tell %s: %s", connection.getURI(), what, text_of(error))
        return None


def read_memory(connection: libvirt.virConnect) -> tuple[int, int]:
    """Return (total, available) KiB; `getFreeMemory` is not used: it counts the page cache as taken."""
    stats = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    cached = int(stats.get("cached", 0) * _RECLAIMABLE_CACHE)
    return stats["total"], stats["free"] + stats.get("buffers", 0) + cached


def _networks(connection: libvirt.virConnect) -> tuple[str, ...]:
    flag = libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE
    found = ask_softly(connection, "networks", connection.listAllNetworks, flag) or ()
    return tuple(sorted(network.name() for network in found))


def read_pools(connection: libvirt.virConnect) -> tuple[Pool, ...]:
    """Read the storage pools by name; one that vanishes meanwhile is left out."""
    found = []
    for flag, is_active in _POOLS:
        for pool in ask_softly(connection, "storage pools", connection.listAllStoragePools, flag) or ():
            xml = ask_softly(connection, f"storage pool {pool.name()}", pool.XMLDesc, 0)
            if xml is not None:
                found.append(_pool(xml, is_active=is_active))
    return tuple(sorted(found, key=lambda pool: pool.name))


def _pool(xml: str, *, is_active: bool) -> Pool:
    root = etree.fromstring(xml.encode())
    return Pool(
        name=text_at(root, "name") or "",
        kind=root.get("type", ""),
        target=text_at(root, "target/path"),
        is_active=is_active,
        available_bytes=_bytes(text_at(root, "available")) if is_active else None,
    )


def _bytes(text: str | None) -> int | None:
    """Return a number that libvirt prints in bytes; it says 0 for an idle pool, which is not asked."""
    return int(text) if text and text.isdecimal() else None


def read_hugepages(connection: libvirt.virConnect, capabilities: Capabilities) -> tuple[HugePages, ...] | None:
    """Read the pools of huge pages; None where the free ones cannot be told.

    Asked node by node: libvirt refuses a range with a gap in it.
    """
    totals = capabilities.hugepage_totals
    if not totals:
        return ()
    free: Counter[int] = Counter()
    for cell in capabilities.cells:
        counts = ask_softly(connection, "huge pages", connection.getFreePages, list(totals), cell, 1)
        if counts is None or cell not in counts:
            return None
        free.update(counts[cell])
    return hugepages(totals, free)


def read_firmware(connection: libvirt.virConnect, capabilities: Capabilities) -> Firmware | None:
    """Read what may boot here, for every machine type that has an alias; None where libvirt does not tell."""
    kind = "kvm" if "kvm" in capabilities.domain_types else "qemu"
    aliases = [machine.name for machine in capabilities.machines if machine.name != machine.canonical]
    asked: list[str | None] = [*aliases] or [None]  # None: libvirt's default machine type
    found = [
        ask_softly(connection, "firmware", connection.getDomainCapabilities, None, capabilities.arch, machine, kind)
        for machine in asked
    ]
    told = [xml for xml in found if xml is not None]
    return parse_firmware(told) if told else None
