"""Read all domains of a host with few calls: over a distance it is the number of calls that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import libvirt

from vmferry.adapters.libvirt_words import state_words
from vmferry.domxml.read import parse_vm
from vmferry.errors import InvalidInput
from vmferry.model.vm import DomainState, Vm

_CHECKPOINTS_SINCE = 5_006_000


@dataclass(frozen=True)
class _Marked:
    """UUIDs of the domains that libvirt lists under a flag: one call each, however many domains there are."""

    active: frozenset[str]
    persistent: frozenset[str]
    autostart: frozenset[str]
    managed_save: frozenset[str]
    with_snapshots: frozenset[str]
    with_checkpoints: frozenset[str]

    @classmethod
    def read(cls, connection: libvirt.virConnect) -> _Marked:
        def listed(flag: int) -> frozenset[str]:
            return frozenset(domain.UUIDString() for domain in connection.listAllDomains(flag))

        has_checkpoints = connection.getLibVersion() >= _CHECKPOINTS_SINCE
        return cls(
            active=listed(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE),
            persistent=listed(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
            autostart=listed(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART),
            managed_save=listed(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
            with_snapshots=listed(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT),
            with_checkpoints=listed(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT)
            if has_checkpoints
            else frozenset(),
        )


def read_vms(connection: libvirt.virConnect) -> tuple[Vm, ...]:
    """Read all domains, running or not, by name; one that vanishes meanwhile is left out."""
    states = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
    marked = _Marked.read(connection)
    vms = []
    for domain, stats in states:
        try:
            vms.append(_read_vm(domain, state_words(stats["state.state"], stats.get("state.reason", 0)), marked))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return tuple(sorted(vms, key=lambda vm: vm.name))


def _read_vm(domain: libvirt.virDomain, words: tuple[DomainState, str], marked: _Marked) -> Vm:
    """Read one domain; XML that cannot be understood gives a Vm with `problems`, never an error.

    The CPU of a running VM is that of its live XML: with host-model expanded, and with every feature that QEMU added
    or could not give, which is what the destination is sent (migration cookie) and checks after the start. The
    migratable XML has the CPU as it was asked for (origCPU, qemuDomainDefFormatBufInternal): comparing that calls
    CPUs with check='none' incompatible although they move, even with their own host (tests/contract/test_cpus.py).
    """
    uuid = domain.UUIDString()
    state, reason = words
    facts: dict[str, Any] = {
        "state": state,
        "state_reason": reason,
        "is_persistent": uuid in marked.persistent,
        "is_autostart": uuid in marked.autostart,
        "has_managed_save": uuid in marked.managed_save,
        "snapshots": domain.snapshotNum(0) if uuid in marked.with_snapshots else 0,
        "checkpoints": len(domain.listAllCheckpoints(0)) if uuid in marked.with_checkpoints else 0,
        "has_active_job": uuid in marked.active and _has_running_job(domain),
    }
    try:
        return parse_vm(domain.XMLDesc(0), **facts)
    except InvalidInput as error:
        return Vm(name=domain.name(), uuid=UUID(uuid), domain_type="", problems=error.problems, **facts)


def has_job(domain: libvirt.virDomain) -> bool:
    """Whether a migration, save, dump or backup job runs on the domain."""
    return bool(domain.isActive()) and _has_running_job(domain)


def _has_running_job(domain: libvirt.virDomain) -> bool:
    """Ask an active domain for its job.

    The destination of a running migration refuses the question ("migration statistics are available only on the
    source host", qemuDomainGetJobStatsInternal): that is a job too.
    """
    try:
        return bool(domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            return True
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            return False  # it has just ended
        raise
