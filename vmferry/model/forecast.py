"""What a move will cost, told before it starts."""

from __future__ import annotations

from enum import StrEnum

from vmferry.model.base import Model
from vmferry.model.transport import Compression, Encryption


class DirtyRate(Model):
    """How fast a running VM writes to its memory (`virsh domdirtyrate-calc`), and how much of it is in use.

    QEMU compares sampled pages before and after a window: it counts pages, not writes. Where all of the working set
    was written within a window the rate is a lower bound, and `working_set_mib` tells how much that is.
    """

    mib_s: float | None = None  # None: could not be measured; it reads low where rates are high
    resident_kib: int = 0  # memory of its QEMU that is really there: the most that has to be sent
    working_set_mib: float | None = None  # None: not seen to end
    detail: str = ""  # why it could not be measured


class PastRate(Model):
    """At which rate the memory of earlier moves really travelled between two hosts."""

    encryption: Encryption
    connections: int | None
    compression: Compression | None
    mib_s: float
    moves: int  # how many it is the best of


class Ending(StrEnum):
    """How a move is expected to end under its policy."""

    CONVERGES = "converges"
    WITH_HELP = "converges with help"  # `Forecast.help` names the step of the ladder
    NEVER = "will not converge"
    UNKNOWN = "unknown"


class Forecast(Model):
    """Seconds and downtime expected of one move; `basis` says what they were computed from."""

    ending: Ending = Ending.UNKNOWN
    seconds: float | None = None  # from the start of the migrate call to the VM running at the destination
    copy_seconds: float = 0.0  # of disks, before that
    downtime_ms: int | None = None
    rate_mib_s: float | None = None  # at which memory is expected to travel
    sent_bytes: int | None = None  # of memory and disks together; None: not known
    help: str = ""
    basis: str = ""

    @property
    def all_seconds(self) -> float | None:
        """Copies and the move together; None where the move is not known."""
        return None if self.seconds is None else self.copy_seconds + self.seconds
