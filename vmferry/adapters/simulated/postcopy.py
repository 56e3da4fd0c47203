"""Post-copy of a simulated move: what both sides show while the VM runs at the destination and its memory follows.

Reasons and ends as measured on libvirt 9.0, QEMU 7.2 (`libvirt-measurements.md`, section 5, "Post-copy").
"""

from __future__ import annotations

from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.texts import read_text
from vmferry.model.migration import JobStats
from vmferry.model.vm import DomainState

SWITCH_S = 0.2  # until the VM runs at the destination
RESUME_S = 0.8
# What the adapter waits for a byte in post-copy before it lets go (vmferry.adapters.libvirt_job).
STILL_S = 60.0


def split(guest: SimDomain, incoming: SimDomain) -> None:
    """Let the VM run at the destination; the source keeps what was not sent."""
    guest.state, guest.reason = DomainState.PAUSED, "post-copy"
    incoming.state, incoming.reason = DomainState.RUNNING, "post-copy"


def break_off(*sides: SimDomain) -> None:
    """Mark what is left of a VM whose post-copy broke off; a QEMU that is gone stays as it is."""
    for side in sides:
        if side.is_active:
            side.reason = "post-copy failed"


def is_whole(*sides: SimDomain) -> bool:
    """Whether both QEMUs live, so that a broken post-copy can go on."""
    return all(side.is_active for side in sides)


def has_locks(host: SimHost, guest: SimDomain) -> bool:
    """Whether one of the VM's images has a lock that works across hosts."""
    spaces = [host.locate(path)[0] for path in read_text(guest.xml()).disks]
    return any(space.is_shared and space.has_locks for space in spaces)


def with_rest(stats: JobStats, sent_bytes: float, rest_bytes: float) -> JobStats:
    """Return the sample of a job in post-copy, of which so much was sent and so much is left."""
    return stats.model_copy(
        update={
            "is_postcopy": True,
            "data_processed_bytes": round(sent_bytes),
            "data_remaining_bytes": round(rest_bytes),
        }
    )
