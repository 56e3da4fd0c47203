"""libvirt's numbers in virsh's words (`virsh domstate --reason`), and job statistics as a model.

Newer constants exist in libvirt-python only where the C library it was built against has them: `getattr`.
"""

from __future__ import annotations

from typing import Any

import libvirt

from vmferry.model.migration import JobStats
from vmferry.model.vm import DomainState

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PMSUSPENDED,
}
# tools/virsh-domain-monitor.c, virshDomain*Reason.
_REASONS = {
    DomainState.RUNNING: {
        "BOOTED": "booted",
        "MIGRATED": "migrated",
        "RESTORED": "restored",
        "FROM_SNAPSHOT": "from snapshot",
        "UNPAUSED": "unpaused",
        "MIGRATION_CANCELED": "migration canceled",
        "SAVE_CANCELED": "save canceled",
        "WAKEUP": "event wakeup",
        "CRASHED": "crashed",
        "POSTCOPY": "post-copy",
        "POSTCOPY_FAILED": "post-copy failed",
    },
    DomainState.PAUSED: {
        "USER": "user",
        "MIGRATION": "migrating",
        "SAVE": "saving",
        "DUMP": "dumping",
        "IOERROR": "I/O error",
        "WATCHDOG": "watchdog",
        "FROM_SNAPSHOT": "from snapshot",
        "SHUTTING_DOWN": "shutting down",
        "SNAPSHOT": "creating snapshot",
        "CRASHED": "crashed",
        "STARTING_UP": "starting up",
        "POSTCOPY": "post-copy",
        "POSTCOPY_FAILED": "post-copy failed",
        "API_ERROR": "api error",
    },
    DomainState.SHUTOFF: {
        "SHUTDOWN": "shutdown",
        "DESTROYED": "destroyed",
        "CRASHED": "crashed",
        "MIGRATED": "migrated",
        "SAVED": "saved",
        "FAILED": "failed",
        "FROM_SNAPSHOT": "from snapshot",
        "DAEMON": "daemon",
    },
    DomainState.CRASHED: {"PANICKED": "panicked"},
}
_PREFIX = {
    DomainState.RUNNING: "VIR_DOMAIN_RUNNING_",
    DomainState.PAUSED: "VIR_DOMAIN_PAUSED_",
    DomainState.SHUTOFF: "VIR_DOMAIN_SHUTOFF_",
    DomainState.CRASHED: "VIR_DOMAIN_CRASHED_",
}


def _reason_numbers() -> dict[tuple[DomainState, int], str]:
    numbers: dict[tuple[DomainState, int], str] = {}
    for state, words in _REASONS.items():
        for name, word in words.items():
            number = getattr(libvirt, _PREFIX[state] + name, None)
            if number is not None:
                numbers[(state, number)] = word
    return numbers


_REASON_WORDS = _reason_numbers()


def state_words(state: int, reason: int) -> tuple[DomainState, str]:
    """Return state and reason in virsh's words; an unknown reason is the empty string (virsh: "unknown")."""
    name = _STATES.get(state, DomainState.NOSTATE)
    return name, _REASON_WORDS.get((name, reason), "")


def job_stats(raw: dict[str, Any]) -> JobStats:
    """Turn virDomainGetJobStats' parameters into a sample; memory and disk bytes are added."""
    return JobStats(
        elapsed_ms=raw.get("time_elapsed", 0),
        data_total_bytes=raw.get("data_total", 0),
        data_processed_bytes=raw.get("data_processed", 0),
        data_remaining_bytes=raw.get("data_remaining", 0),
        memory_bps=raw.get("memory_bps", 0),
        dirty_rate_pages_s=raw.get("memory_dirty_rate", 0),
        iteration=raw.get("memory_iteration", 0),
        throttle_percent=raw.get("auto_converge_throttle", 0),
        downtime_ms=raw.get("downtime"),
        disk_total_bytes=raw.get("disk_total", 0),
        disk_processed_bytes=raw.get("disk_processed", 0),
        disk_remaining_bytes=raw.get("disk_remaining", 0),
        disk_bps=raw.get("disk_bps", 0),
    )
