"""Read all domains of a host with few calls: over a distance it is the number of calls that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import libvirt

from vmferry.adapters.libvirt_calls import text_of
from vmferry.adapters.libvirt_words import state_words
from vmferry.domxml.read import parse_vm
from vmferry.errors import HostBusy, InvalidInput, OutcomeUnknown
from vmferry.model.vm import DomainState, Vm

_CHECKPOINTS_SINCE = 5_006_000
# libvirt refuses a plain undefine of a domain with NVRAM, and a plain one of a domain with a TPM deletes its state.
_KEEP = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)


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


def undefine_inactive(domain: libvirt.virDomain, host: str) -> None:
    """Remove the persistent definition of a domain that is shut off; one without a definition is left alone.

    Raises OutcomeUnknown when it is active, HostBusy with the way out when a job holds it although nothing runs. That
    happens when its QEMU dies in post-copy: libvirt keeps the job for a resume that can never come
    (qemuMigrationJobContinue after qemuProcessStop, seen with 9.0.0), until it starts again.
    """
    name = domain.name()
    if domain.isActive():
        raise OutcomeUnknown(
            f"vm {name}: is active on {host}, its definition is not removed; look with `virsh list --all` there",
            vm=name,
            host=host,
        )
    if not domain.isPersistent():
        return
    try:
        domain.undefineFlags(_KEEP)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_TIMEOUT or domain.isActive():
            raise
        raise HostBusy(
            f"vm {name}: libvirt on {host} keeps a job of it although it does not run there, so its definition "
            f"there cannot be removed ({text_of(error)}); start libvirt anew on {host}, VMs run on meanwhile: "
            "`systemctl try-restart libvirtd virtqemud`, then `vmferry recover`",
            vm=name,
            host=host,
        ) from error
