"""What a move will cost, told before it starts."""

from __future__ import annotations

from enum import StrEnum

from vmferry.model.base import Model


class DirtyRate(Model):
    """How fast a running VM writes to its memory (`virsh domdirtyrate-calc`), and how much of it is in use."""

    mib_s: float | None = None  # None: could not be measured; it reads low where rates are high
    resident_kib: int = 0  # memory of its QEMU that is really there: the most that has to be sent
    detail: str = ""  # why it could not be measured


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
    help: str = ""
    basis: str = ""
