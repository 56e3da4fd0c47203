"""What QEMU's page sampling shows of simulated guests: unique pages in the window, in steps of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.model.forecast import DirtyRate

_SINCE = 7_002_000
_OWN_KIB = 42 * 1024  # QEMU's own memory beside the guest's


def dirty_rates(host: SimHost, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
    """Return an answer for every VM asked for."""
    return {uuid: _dirty_rate(host, host.domains.get(uuid), seconds) for uuid in uuids}


def _dirty_rate(host: SimHost, domain: SimDomain | None, seconds: int) -> DirtyRate:
    if domain is None:
        return DirtyRate(detail="Domain not found")
    if not domain.is_active:
        return DirtyRate(detail="Requested operation is not valid: domain is not running")
    resident_kib = domain.memory_kib + _OWN_KIB
    if host.libvirt_version < _SINCE:
        return DirtyRate(resident_kib=resident_kib, detail="libvirt is older than 7.2.0 and cannot measure it")
    unique_mib = min(domain.dirty_mib_s * seconds, domain.working_set_mib) if domain.is_on_cpu else 0.0
    return DirtyRate(mib_s=float(int(unique_mib / seconds)), resident_kib=resident_kib)
