"""Read a host and its domains through an open libvirt connection; reads only."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from vmferry.adapters.libvirt_words import state_words
from vmferry.domxml.read import parse_vm
from vmferry.errors import InvalidInput
from vmferry.model.host import Host, HostFacts, Machine
from vmferry.model.vm import Vm

logger = logging.getLogger("vmferry.libvirt")

# Page cache that can be had back at once: part of "cached" is shared memory and tmpfs, which cannot.
_RECLAIMABLE_CACHE = 0.5


def read_facts(connection: libvirt.virConnect, host: Host) -> HostFacts:
    """Read versions, capabilities, memory, networks and all domains of one host."""
    capabilities = etree.fromstring(connection.getCapabilities().encode())
    node = connection.getInfo()
    total_kib, available_kib = _memory(connection)
    return HostFacts(
        name=host.name,
        uuid=UUID(_text(capabilities, "host/uuid")),
        hostname=connection.getHostname(),
        uri=connection.getURI(),
        libvirt_version=connection.getLibVersion(),
        qemu_version=connection.getVersion(),
        arch=_text(capabilities, "host/cpu/arch"),
        domain_types=_domain_types(capabilities),
        machines=_machines(capabilities),
        cpus=node[2],
        memory_total_kib=total_kib,
        memory_available_kib=available_kib,
        networks=tuple(sorted(n.name() for n in connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE))),
        vms=_read_vms(connection),
        read_at=datetime.now(UTC),
    )


def _text(root: etree._Element, path: str) -> str:
    return (root.findtext(path) or "").strip()


def _memory(connection: libvirt.virConnect) -> tuple[int, int]:
    """Return (total, available) KiB; `getFreeMemory` is not used: it counts the page cache as taken."""
    stats = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    cached = int(stats.get("cached", 0) * _RECLAIMABLE_CACHE)
    return stats["total"], stats["free"] + stats.get("buffers", 0) + cached


def _domain_types(capabilities: etree._Element) -> tuple[str, ...]:
    found = {str(d.get("type")) for d in capabilities.findall("guest/arch/domain")}
    return tuple(sorted(found))


def _machines(capabilities: etree._Element) -> tuple[Machine, ...]:
    """Return the machine types of the host's own architecture, aliases resolved."""
    arch = _text(capabilities, "host/cpu/arch")
    machines = {}
    for guest in capabilities.iterfind("guest/arch"):
        for machine in guest.iter("machine") if guest.get("name") == arch else ():
            name = (machine.text or "").strip()
            machines[name] = Machine(
                name=name,
                canonical=machine.get("canonical", name),
                max_vcpus=int(machine.get("maxCpus", "255")),
            )
    return tuple(machines[name] for name in sorted(machines))


def _read_vms(connection: libvirt.virConnect) -> tuple[Vm, ...]:
    """Read all domains, running or not, by name; one that vanishes meanwhile is left out."""
    vms = []
    for domain in connection.listAllDomains(0):
        try:
            vms.append(read_vm(domain))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return tuple(sorted(vms, key=lambda vm: vm.name))


def read_vm(domain: libvirt.virDomain) -> Vm:
    """Read one domain; XML that cannot be understood gives a Vm with `problems`, never an error."""
    state, reason = state_words(*domain.state(0))
    facts: dict[str, Any] = {
        "state": state,
        "state_reason": reason,
        "is_persistent": bool(domain.isPersistent()),
        "is_autostart": bool(domain.isPersistent() and domain.autostart()),
        "has_managed_save": bool(domain.isPersistent() and domain.hasManagedSaveImage(0)),
        "snapshots": domain.snapshotNum(0),
        "checkpoints": len(domain.listAllCheckpoints(0)),
        "has_active_job": has_job(domain),
    }
    try:
        return parse_vm(domain.XMLDesc(0), **facts)
    except InvalidInput as error:
        return Vm(name=domain.name(), uuid=UUID(domain.UUIDString()), domain_type="", problems=error.problems, **facts)


def has_job(domain: libvirt.virDomain) -> bool:
    """Whether a migration, save, dump or backup job runs on the domain.

    The destination of a running migration refuses the question ("migration statistics are available only on the
    source host", qemuDomainGetJobStatsInternal): that is a job too.
    """
    if not domain.isActive():
        return False
    try:
        return bool(domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            return True
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            return False  # it has just ended
        raise
