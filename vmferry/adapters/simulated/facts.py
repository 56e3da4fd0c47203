"""HostFacts of a simulated host, as the real adapter would read them."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.domxml.read import parse_vm
from vmferry.model.host import HostFacts, Machine
from vmferry.model.vm import Vm


def host_facts(host: SimHost, now: datetime) -> HostFacts:
    """Read a host; `bridges` and `storage_free_bytes` stay empty, as the port says."""
    return HostFacts(
        name=host.name,
        uuid=host.uuid,
        hostname=host.name,
        uri="qemu:///system",
        libvirt_version=host.libvirt_version,
        qemu_version=host.qemu_version,
        arch=host.arch,
        domain_types=host.domain_types,
        machines=tuple(Machine(name=name, canonical=real) for name, real in host.machines.items()),
        cpus=host.cpus,
        memory_total_kib=host.memory_total_kib,
        memory_available_kib=host.memory_available_kib(),
        networks=tuple(sorted(host.networks)),
        pools=host.offer.pools,
        hugepages=host.offer.hugepages,
        firmware=host.offer.firmware,
        cpu=host.offer.cpu,
        vms=tuple(_vm(domain) for domain in sorted(host.domains.values(), key=lambda d: d.name)),
        read_at=now,
    )


def _vm(domain: SimDomain) -> Vm:
    return _parsed(domain.xml()).model_copy(
        update={
            "name": domain.name,
            "uuid": domain.uuid,
            "memory_kib": domain.memory_kib,
            "state": domain.state,
            "state_reason": domain.reason,
            "is_persistent": domain.persistent_xml is not None,
            "is_autostart": domain.is_autostart,
            "has_managed_save": domain.has_managed_save,
            "snapshots": domain.snapshots,
            "checkpoints": domain.checkpoints,
            "has_active_job": domain.job is not None,
        }
    )


@lru_cache(maxsize=8192)
def _parsed(xml: str) -> Vm:
    """Parse a domain XML once: a large fleet is read many times, and its XML rarely changes."""
    return parse_vm(xml)
