"""Counters of a simulated host: its guests work as hard as a test says, since they were started."""

from __future__ import annotations

from datetime import datetime

from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.texts import read_text
from vmferry.model.usage import HostCounters, VmCounters

_OWN_KIB = 42 * 1024  # QEMU's own memory beside the guest's
_NS = 10**9


def host_counters(host: SimHost, now: datetime, seconds: float) -> HostCounters:
    """Read the counters at `seconds` of the fleet's time."""
    running = [domain for domain in host.domains.values() if domain.is_active]
    host.busy_s += sum(domain.work(seconds) for domain in running)
    return HostCounters(
        host=host.name,
        at=now,
        cpus=host.cpus,
        busy_ns=round(host.busy_s * _NS),
        memory_total_kib=host.memory_total_kib,
        memory_available_kib=host.memory_available_kib(),
        vms=tuple(_vm(domain) for domain in sorted(running, key=lambda domain: domain.name)),
    )


def _vm(domain: SimDomain) -> VmCounters:
    return VmCounters(
        uuid=domain.uuid,
        name=domain.name,
        boot=str(domain.id),
        vcpus=read_text(domain.xml()).vcpus,
        cpu_ns=round(domain.cpu_s * _NS),
        memory_kib=domain.memory_kib,
        resident_kib=domain.memory_kib + _OWN_KIB,
        disk_bytes=0,
        net_bytes=0,
    )
