"""The matrix as data: which fault in which phase, and how the settlement table says that it ends.

Source of the ends: `failure-modes.md` 3.0 and `vmferry/planning/settlement.py`. A pair that is not a cell is in
`IMPOSSIBLE`, with the reason: together they are total (tests/lab/test_fault_matrix.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from infra.lab import DiskKind


class Phase(StrEnum):
    """Where in a move the fault strikes."""

    PREPARE = "prepare"  # libvirt's Prepare: the destination's QEMU has been started, no byte has come
    MEMORY = "memory copy"
    SWITCH = "switch-over"  # the source's CPUs are stopped, the rest of the memory flows
    HANDOVER = "hand-over"  # the copy has arrived, paused by our guard; it is about to be let run
    FINISH = "finish"  # it runs at the destination; nothing is verified or tidied up
    MIRROR = "disk mirror"  # disks of a running VM flow
    COPY = "disk copy"  # offline


class Fault(StrEnum):
    """What happens to a move."""

    VMFERRY = "vmferry: kill -9"
    SOURCE_LIBVIRTD = "source's libvirtd: SIGKILL, restart"
    DEST_LIBVIRTD = "destination's libvirtd: SIGKILL, restart"
    SOURCE_QEMU = "source's QEMU: SIGKILL"
    DEST_QEMU = "destination's QEMU: SIGKILL"
    LINK_SHORT = "link down for 1 s"
    LINK_LONG = "link down beyond keepalive"
    REPLY = "replies to the source's libvirtd lost"
    REPLY_VMFERRY = "replies lost, and vmferry: kill -9"
    DISK_FULL = "destination's disk full"
    ABORT = "a human: virsh domjobabort"
    HUMAN = "vmferry: kill -9, finished by a human"


class Ends(StrEnum):
    """How a cell ends."""

    MOVED = "moved"
    STAYS = "rolled back"
    EITHER = "moved or rolled back"  # a race that libvirt or TCP decides
    ANEW_SOURCE = "held; started anew at the source by the command that was told"
    ANEW_DEST = "held; started anew at the destination by the command that was told"


@dataclass(frozen=True)
class Cell:
    """One fault in one phase. `disk` decides who lets the VM run: libvirt itself on SHARED, with proved image locks."""

    phase: Phase
    fault: Fault
    ends: Ends
    disk: DiskKind = DiskKind.NOLOCK
    in_tests: bool = False  # a part of `make test`

    @property
    def name(self) -> str:
        """`memory copy, libvirt's own × link down for 1 s`."""
        return f"{self.place} × {self.fault}"

    @property
    def place(self) -> str:
        """The phase, and whose switch-over it is where that is not vmferry's."""
        return f"{self.phase}, libvirt's own" if self.disk is DiskKind.SHARED else str(self.phase)


# A cut of 1 s: whether libvirt's keepalive (1 × 3 s in the lab) runs out before TCP has sent again, nobody decides.
_M, _S, _E, _AS, _AD = Ends.MOVED, Ends.STAYS, Ends.EITHER, Ends.ANEW_SOURCE, Ends.ANEW_DEST
_NO_QEMU = "the VM is shut off"
_NO_DISK = "no disk is written to at the destination; see disk mirror and disk copy"
_NO_JOB = "the job is over"

# phase → fault → how it ends, or why there is no such cell.
_TABLE: dict[Phase, dict[Fault, Ends | str]] = {
    Phase.PREPARE: {
        Fault.VMFERRY: _M,
        Fault.SOURCE_LIBVIRTD: _S,
        Fault.DEST_LIBVIRTD: _S,
        Fault.SOURCE_QEMU: _AS,
        Fault.DEST_QEMU: _S,
        Fault.LINK_SHORT: _E,
        Fault.LINK_LONG: _S,
        Fault.REPLY: _S,
        Fault.REPLY_VMFERRY: _S,
        Fault.DISK_FULL: _NO_DISK,
        Fault.ABORT: _S,
        Fault.HUMAN: _S,
    },
    Phase.MEMORY: {
        Fault.VMFERRY: _M,
        Fault.SOURCE_LIBVIRTD: _S,
        Fault.DEST_LIBVIRTD: _S,
        Fault.SOURCE_QEMU: _AS,
        Fault.DEST_QEMU: _S,
        Fault.LINK_SHORT: _E,
        Fault.LINK_LONG: _S,
        Fault.REPLY: _S,
        Fault.REPLY_VMFERRY: _S,
        Fault.DISK_FULL: _NO_DISK,
        Fault.ABORT: _S,
        Fault.HUMAN: _S,
    },
    Phase.SWITCH: {
        Fault.VMFERRY: _M,
        Fault.SOURCE_LIBVIRTD: _S,
        Fault.DEST_LIBVIRTD: _S,
        Fault.SOURCE_QEMU: _AS,
        Fault.DEST_QEMU: _S,
        Fault.LINK_SHORT: _E,
        Fault.LINK_LONG: _S,
        Fault.REPLY: _S,
        Fault.REPLY_VMFERRY: _S,
        Fault.DISK_FULL: _NO_DISK,
        Fault.ABORT: _E,  # QEMU hears of it when all is sent
        Fault.HUMAN: _S,
    },
    Phase.HANDOVER: {
        Fault.VMFERRY: _M,
        Fault.SOURCE_LIBVIRTD: _M,
        Fault.DEST_LIBVIRTD: _M,
        Fault.SOURCE_QEMU: "the source's QEMU has ended",
        Fault.DEST_QEMU: _AD,
        Fault.LINK_SHORT: _M,
        Fault.LINK_LONG: _M,
        Fault.REPLY: "the replies have come",
        Fault.REPLY_VMFERRY: "the replies have come",
        Fault.DISK_FULL: _NO_DISK,
        Fault.ABORT: _NO_JOB,
        Fault.HUMAN: _M,
    },
    Phase.FINISH: {
        Fault.VMFERRY: _M,
        Fault.SOURCE_LIBVIRTD: _M,
        Fault.DEST_LIBVIRTD: _M,
        Fault.SOURCE_QEMU: "the source's QEMU has ended",
        Fault.DEST_QEMU: _AD,
        Fault.LINK_SHORT: _M,
        Fault.LINK_LONG: _M,
        Fault.REPLY: "the replies have come",
        Fault.REPLY_VMFERRY: "the replies have come",
        Fault.DISK_FULL: _NO_DISK,
        Fault.ABORT: _NO_JOB,
        Fault.HUMAN: _M,
    },
    Phase.MIRROR: {
        Fault.VMFERRY: _M,
        Fault.SOURCE_LIBVIRTD: _S,
        Fault.DEST_LIBVIRTD: _S,
        Fault.SOURCE_QEMU: _AS,
        Fault.DEST_QEMU: _S,
        Fault.LINK_SHORT: _E,
        Fault.LINK_LONG: _S,
        Fault.REPLY: _S,
        Fault.REPLY_VMFERRY: _S,
        Fault.DISK_FULL: _S,
        Fault.ABORT: _S,
        Fault.HUMAN: _S,
    },
    Phase.COPY: {
        Fault.VMFERRY: _S,
        Fault.SOURCE_LIBVIRTD: _E,
        Fault.DEST_LIBVIRTD: _E,
        Fault.SOURCE_QEMU: _NO_QEMU,
        Fault.DEST_QEMU: _NO_QEMU,
        Fault.LINK_SHORT: _M,
        Fault.LINK_LONG: _E,  # a stream that TCP has kept goes on, one that was given up is tried for the patience only
        Fault.REPLY: "copies do not use libvirt",
        Fault.REPLY_VMFERRY: "copies do not use libvirt",
        Fault.DISK_FULL: _S,
        Fault.ABORT: "libvirt knows no job of it",
        Fault.HUMAN: _S,
    },
}

# Where libvirt itself lets the VM run, because image locks are proved to work between the hosts.
_OWN: dict[tuple[Phase, Fault], Ends] = {
    (Phase.MEMORY, Fault.REPLY): _M,
    (Phase.MEMORY, Fault.REPLY_VMFERRY): _M,
    (Phase.SWITCH, Fault.VMFERRY): _M,
    (Phase.SWITCH, Fault.SOURCE_LIBVIRTD): _S,
    (Phase.SWITCH, Fault.DEST_LIBVIRTD): _S,
    (Phase.SWITCH, Fault.SOURCE_QEMU): _AS,
    (Phase.SWITCH, Fault.DEST_QEMU): _S,
    (Phase.SWITCH, Fault.LINK_SHORT): _E,
    (Phase.SWITCH, Fault.LINK_LONG): _S,
    (Phase.SWITCH, Fault.ABORT): _E,
    (Phase.FINISH, Fault.VMFERRY): _M,
    (Phase.FINISH, Fault.DEST_QEMU): _AD,
    (Phase.FINISH, Fault.LINK_LONG): _M,
}

# One cell for each row of the settlement table and each kind of fault: what `make test` runs.
_IN_TESTS = {
    (Phase.PREPARE, Fault.DEST_LIBVIRTD, DiskKind.NOLOCK),
    (Phase.SWITCH, Fault.VMFERRY, DiskKind.NOLOCK),
    (Phase.SWITCH, Fault.SOURCE_LIBVIRTD, DiskKind.NOLOCK),
    (Phase.SWITCH, Fault.LINK_LONG, DiskKind.NOLOCK),
    (Phase.MEMORY, Fault.SOURCE_QEMU, DiskKind.NOLOCK),
    (Phase.MEMORY, Fault.ABORT, DiskKind.NOLOCK),
    (Phase.MEMORY, Fault.REPLY_VMFERRY, DiskKind.SHARED),
    (Phase.HANDOVER, Fault.HUMAN, DiskKind.NOLOCK),
    (Phase.FINISH, Fault.DEST_QEMU, DiskKind.NOLOCK),
    (Phase.COPY, Fault.VMFERRY, DiskKind.LOCAL),
    (Phase.COPY, Fault.HUMAN, DiskKind.LOCAL),
    (Phase.COPY, Fault.DISK_FULL, DiskKind.LOCAL),
    (Phase.MEMORY, Fault.REPLY, DiskKind.NOLOCK),
    (Phase.MEMORY, Fault.REPLY, DiskKind.SHARED),
    (Phase.FINISH, Fault.LINK_SHORT, DiskKind.NOLOCK),
}
_LOCAL = (Phase.MIRROR, Phase.COPY)


def _cells() -> Iterator[Cell]:
    for phase, faults in _TABLE.items():
        disk = DiskKind.LOCAL if phase in _LOCAL else DiskKind.NOLOCK
        for fault, ends in faults.items():
            if isinstance(ends, Ends):
                yield Cell(phase, fault, ends, disk, (phase, fault, disk) in _IN_TESTS)
        for (own, fault), ends in _OWN.items():
            if own is phase:
                yield Cell(phase, fault, ends, DiskKind.SHARED, (phase, fault, DiskKind.SHARED) in _IN_TESTS)


CELLS = tuple(_cells())
IMPOSSIBLE = {
    (phase, fault): ends for phase, faults in _TABLE.items() for fault, ends in faults.items() if type(ends) is str
}
