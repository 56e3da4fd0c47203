"""The phases of a simulated move, what happens in them, and how each fault ends it.

The rows of ENDINGS are the fault table measured on libvirt 9.0, QEMU 7.2 (`What a move leaves behind when
something dies`), for peer-to-peer moves with VIR_MIGRATE_PAUSED; reasons are in virsh's words.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from vmferry.adapters.simulated.faults import Blow


class Phase(IntEnum):
    """How far a move is."""

    START = 0
    MEMORY = 1  # half of the memory is over
    SWITCH = 2  # both sides paused(migration), Finish not answered
    ARRIVED = 3  # destination paused(user), source still paused(migration)
    POSTCOPY = 4  # destination running(post-copy), source paused(post-copy)
    OVER = 5


PHASE_WORDS = {
    Phase.MEMORY: "memory",
    Phase.SWITCH: "switch-over",
    Phase.ARRIVED: "arrived",
    Phase.POSTCOPY: "post-copy",
}


class Beat(StrEnum):
    """One change that a move makes to the world."""

    MEMORY = "half of the memory is over"
    PASS = "all that was dirty is sent: the dirty bitmap is read again"
    SWITCH = "source stops its CPUs"
    ARRIVE = "destination is paused(user) and persistent"
    SPLIT = "the VM runs at the destination, a part of its memory is at the source"
    FETCHED = "all of its memory is at the destination"
    BREAK_OFF = "the stream is dead, both sides keep what they have"
    BREAK = "destination cannot finish and keeps the definition"
    LEAVE = "source's QEMU ends: migrated"
    KEEP = "source goes on as before"
    STRAND = "source's job ends, its CPUs stay stopped"
    DROP = "destination's incoming QEMU ends"


class End(StrEnum):
    """Which side a fault strikes."""

    SOURCE = "source"
    DEST = "dest"
    BOTH = "both"


Ending = tuple[str, tuple[tuple[float, Beat], ...]]
_RPC = "internal error: client socket is closed (ERR 1)"
_EOF = "Cannot recv data: End of file while reading data (ERR 38)"
_STREAM = "operation failed: job 'migration out' failed: Unable to write to socket (ERR 9)"
_DEAD = "operation failed: domain is not running (ERR 9)"
_LOST = "operation failed: job 'migration out' failed in post-copy phase (ERR 9)"
_FALL_BACK = ((0.0, Beat.DROP), (0.0, Beat.KEEP))

ENDINGS: dict[tuple[Blow, End, Phase], Ending] = {
    (Blow.LINK_DOWN, End.BOTH, Phase.MEMORY): (_RPC, ((27.0, Beat.DROP), (27.0, Beat.KEEP))),
    (Blow.LINK_DOWN, End.BOTH, Phase.SWITCH): (_RPC, ((37.0, Beat.DROP), (37.0, Beat.KEEP))),
    (Blow.LINK_DOWN, End.BOTH, Phase.ARRIVED): (_RPC, ((34.0, Beat.KEEP),)),
    (Blow.FINISH_REQUEST_LOST, End.BOTH, Phase.SWITCH): (_RPC, ((37.0, Beat.DROP), (37.0, Beat.KEEP))),
    (Blow.FINISH_REPLY_LOST, End.BOTH, Phase.SWITCH): (_RPC, ((0.1, Beat.ARRIVE), (34.0, Beat.KEEP))),
    (Blow.FINISH_FAILED, End.BOTH, Phase.SWITCH): (
        "internal error: unable to execute QEMU command 'cont' (ERR 1)",
        ((0.1, Beat.BREAK), (0.2, Beat.KEEP)),
    ),
    (Blow.ABORTED, End.BOTH, Phase.MEMORY): (
        "operation aborted: migration out job: canceled by client (ERR 78)",
        ((0.3, Beat.DROP), (0.3, Beat.KEEP)),
    ),
    (Blow.STALLED, End.BOTH, Phase.MEMORY): ("", ((1e9, Beat.SWITCH), (1e9, Beat.ARRIVE), (1e9, Beat.LEAVE))),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.MEMORY): (_DEAD, ((0.2, Beat.DROP),)),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.SWITCH): (_DEAD, ((0.2, Beat.DROP),)),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.ARRIVED): (_DEAD, ()),
    (Blow.QEMU_KILLED, End.DEST, Phase.MEMORY): (_STREAM, _FALL_BACK),
    (Blow.QEMU_KILLED, End.DEST, Phase.SWITCH): (_STREAM, _FALL_BACK),
    (Blow.QEMU_KILLED, End.DEST, Phase.ARRIVED): ("", ((0.1, Beat.LEAVE),)),
    (Blow.LIBVIRTD_KILLED, End.SOURCE, Phase.MEMORY): (_EOF, _FALL_BACK),
    (Blow.LIBVIRTD_KILLED, End.SOURCE, Phase.SWITCH): (_EOF, ((0.0, Beat.DROP), (0.0, Beat.STRAND))),
    (Blow.LIBVIRTD_KILLED, End.SOURCE, Phase.ARRIVED): (_EOF, ((0.0, Beat.STRAND),)),
    (Blow.LIBVIRTD_KILLED, End.DEST, Phase.MEMORY): (_RPC, ((0.3, Beat.DROP), (0.3, Beat.KEEP))),
    (Blow.LIBVIRTD_KILLED, End.DEST, Phase.SWITCH): (_RPC, ((0.3, Beat.DROP), (0.3, Beat.KEEP))),
    (Blow.LIBVIRTD_KILLED, End.DEST, Phase.ARRIVED): (_RPC, ((0.3, Beat.KEEP),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.MEMORY): (_EOF, ((0.1, Beat.DROP),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.SWITCH): (_EOF, ((0.1, Beat.DROP),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.ARRIVED): (_EOF, ()),
    (Blow.POWER_CUT, End.DEST, Phase.MEMORY): (_RPC, ((0.0, Beat.DROP), (0.1, Beat.KEEP))),
    (Blow.POWER_CUT, End.DEST, Phase.SWITCH): (_RPC, ((0.0, Beat.DROP), (0.1, Beat.KEEP))),
    (Blow.POWER_CUT, End.DEST, Phase.ARRIVED): (_RPC, ((0.1, Beat.KEEP),)),
    (Blow.LINK_DOWN, End.BOTH, Phase.POSTCOPY): (_RPC, ((25.0, Beat.BREAK_OFF),)),
    (Blow.STALLED, End.BOTH, Phase.POSTCOPY): ("", ((1e9, Beat.FETCHED), (1e9, Beat.LEAVE))),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.POSTCOPY): (_DEAD, ((0.1, Beat.BREAK_OFF),)),
    (Blow.QEMU_KILLED, End.DEST, Phase.POSTCOPY): (_LOST, ((0.1, Beat.BREAK_OFF),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.POSTCOPY): (_EOF, ((0.1, Beat.BREAK_OFF),)),
    (Blow.POWER_CUT, End.DEST, Phase.POSTCOPY): (_LOST, ((0.1, Beat.BREAK_OFF),)),
}
# In post-copy the QEMUs go on without their libvirtd, to the same end; only the call ends.
GOES_ON = {(Blow.LIBVIRTD_KILLED, End.SOURCE): _EOF, (Blow.LIBVIRTD_KILLED, End.DEST): _RPC}
