"""How fast the VMs of a host write to their memory: QEMU's page sampling, all VMs in one window.

Only page sampling (flags 0): `VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP` ended a VM under TCG (measured, QEMU 7.2).
QEMU samples 512 pages per GiB, so one changed sample stands for 2 MiB: 20 MiB in the window are read as 20 ± 6.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import libvirt

from vmferry.adapters.libvirt_calls import is_connection_lost, text_of
from vmferry.model.forecast import DirtyRate

# libvirt 7.2.0: virDomainStartDirtyRateCalc, VIR_DOMAIN_STATS_DIRTYRATE.
_SINCE = 7_002_000
_TOO_OLD = "libvirt {} is older than 7.2.0 and cannot measure it"
_MEASURED = 2  # VIR_DOMAIN_DIRTYRATE_MEASURED
_LOOK_S = 0.05
_GRACE_S = 3.0  # QEMU hashes its samples twice: a loaded host needs longer than the window
_DIRTY = getattr(libvirt, "VIR_DOMAIN_STATS_DIRTYRATE", 0)
_NOWAIT = getattr(libvirt, "VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT", 0)


def measure_dirty_rates(connection: libvirt.virConnect, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
    """Return an answer for every VM that was asked for; one that cannot be measured spoils no other.

    Raises libvirt.libvirtError when the connection is lost.
    """
    version = connection.getLibVersion()
    words = f"{version // 10**6}.{version // 1000 % 1000}.{version % 1000}"
    start = getattr(libvirt.virDomain, "startDirtyRateCalc", None)
    too_old = _TOO_OLD.format(words) if version < _SINCE or start is None else ""
    domains: dict[UUID, libvirt.virDomain] = {}
    problems: dict[UUID, str] = {}
    rss: dict[UUID, int] = {}
    for uuid in uuids:
        try:
            domain = connection.lookupByUUID(uuid.bytes)
            rss[uuid] = int(domain.memoryStats().get("rss", 0))
            if too_old:
                problems[uuid] = too_old
                continue
            domain.startDirtyRateCalc(seconds, 0)
            domains[uuid] = domain
        except libvirt.libvirtError as error:
            if is_connection_lost(error):
                raise
            problems[uuid] = text_of(error)
    found = _wait(connection, domains, seconds) if domains else {}
    return {uuid: _answer(found.get(uuid), rss.get(uuid, 0), problems.get(uuid, "")) for uuid in uuids}


def _wait(
    connection: libvirt.virConnect, domains: dict[UUID, libvirt.virDomain], seconds: int
) -> dict[UUID, dict[str, Any]]:
    """Let the window pass, then look until all are measured or the grace is over."""
    ends_s = time.monotonic() + seconds
    time.sleep(seconds)
    while True:
        # NOWAIT: one VM whose monitor is blocked would let the statistics of all wait.
        answers = connection.domainListGetStats(list(domains.values()), _DIRTY, _NOWAIT)
        seen = {UUID(bytes=domain.UUID()): stats for domain, stats in answers}
        is_over = all(stats.get("dirtyrate.calc_status") == _MEASURED for stats in seen.values())
        if is_over or time.monotonic() > ends_s + _GRACE_S:
            return seen
        time.sleep(_LOOK_S)


def _answer(stats: dict[str, Any] | None, rss_kib: int, problem: str) -> DirtyRate:
    if problem or stats is None:
        return DirtyRate(resident_kib=rss_kib, detail=problem or "the VM ended meanwhile")
    rate = stats.get("dirtyrate.megabytes_per_second")
    if stats.get("dirtyrate.calc_status") != _MEASURED or rate is None:
        return DirtyRate(resident_kib=rss_kib, detail="QEMU did not end its measurement in time")
    return DirtyRate(mib_s=float(rate), resident_kib=rss_kib)
