"""Counters of a host and all of its running VMs: one bulk call, and two for the host itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import libvirt

from vmferry.adapters.libvirt_facts import ask_softly, read_memory
from vmferry.model.usage import HostCounters, VmCounters

_STATS = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
# ACTIVE: RUNNING leaves out paused VMs, whose memory is taken all the same.
# NOWAIT (libvirt 4.5): one VM whose monitor is blocked would let the statistics of all wait.
_FLAGS = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | getattr(
    libvirt, "VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT", 0
)


def read_counters(connection: libvirt.virConnect, host: str) -> HostCounters:
    """Read the counters; what a host or a VM cannot tell is None. Raises libvirt.libvirtError."""
    answers = connection.getAllDomainStats(_STATS, _FLAGS)
    vms = [_vm(domain, stats) for domain, stats in answers]
    total_kib, available_kib = read_memory(connection)
    cpu = ask_softly(connection, "CPU time", connection.getCPUStats, libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
    return HostCounters(
        host=host,
        at=datetime.now(UTC),
        cpus=connection.getInfo()[2],
        busy_ns=_busy_ns(cpu),
        memory_total_kib=total_kib,
        memory_available_kib=available_kib,
        vms=tuple(sorted((vm for vm in vms if vm is not None), key=lambda vm: vm.name)),
    )


def _busy_ns(cpu: dict[str, int] | None) -> int | None:
    """Return the time that all CPUs worked: not idle, and not waiting for disks."""
    return None if not cpu or "user" not in cpu else cpu["user"] + cpu.get("kernel", 0)


def _vm(domain: libvirt.virDomain, stats: dict[str, Any]) -> VmCounters | None:
    """Return a VM's counters; None when it ended meanwhile, or libvirt tells no CPU time."""
    if "cpu.time" not in stats:
        return None
    return VmCounters(
        uuid=UUID(bytes=domain.UUID()),
        name=domain.name(),
        boot=str(domain.ID()),  # libvirt's number of this start, told with the answer: no further call
        vcpus=max(1, int(stats.get("vcpu.current", 1))),
        cpu_ns=int(stats["cpu.time"]),
        memory_kib=int(stats.get("balloon.current", stats.get("balloon.maximum", 0))),
        resident_kib=stats.get("balloon.rss"),
        disk_bytes=_sum(stats, "block", ("rd.bytes", "wr.bytes")),
        net_bytes=_sum(stats, "net", ("rx.bytes", "tx.bytes")),
    )


def _sum(stats: dict[str, Any], group: str, fields: tuple[str, ...]) -> int | None:
    """Return the sum over all devices of a group; None where libvirt did not list the group this time."""
    count = stats.get(f"{group}.count")
    if count is None:
        return None
    return sum(int(stats.get(f"{group}.{number}.{field}", 0)) for number in range(count) for field in fields)
