"""What can be done to a simulated job, and how long one may stand still."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmferry.adapters.simulated.moves import Flight
from vmferry.adapters.simulated.postcopy import STILL_S
from vmferry.adapters.simulated.precopy import Precopy
from vmferry.model.migration import JobStats

if TYPE_CHECKING:
    from vmferry.adapters.simulated.migration import SimulatedMigration


class SimulatedWheel:
    """`vmferry.adapters.steering.Wheel` of one flight."""

    def __init__(self, host: SimulatedMigration, flight: Flight) -> None:
        self._host = host
        self._flight = flight

    def set_max_downtime(self, limit_ms: int) -> None:
        """Raise the limit."""
        self._host.steer("set_max_downtime", self._flight, lambda precopy: precopy.set_limit(limit_ms))

    def lift_cap(self) -> None:
        """Use all of the link."""
        self._host.steer("lift_cap", self._flight, Precopy.lift_cap)

    def set_cap(self, mib_s: int) -> None:
        """Set the bandwidth."""
        self._host.steer("set_cap", self._flight, lambda precopy: precopy.set_cap(mib_s))

    def suspend(self) -> None:
        """Stop the VM's CPUs."""
        self._host.suspend(self._flight.plan.uuid)

    def start_postcopy(self) -> None:
        """Switch to post-copy."""
        self._host.start_postcopy(self._flight)

    def abort(self) -> None:
        """Cancel the job."""
        self._host.cancel(self._flight)


class Stillness:
    """How long no byte was sent in post-copy."""

    def __init__(self) -> None:
        self._sent_bytes = -1
        self._since_s = 0.0

    def is_too_long(self, stats: JobStats, now: float) -> bool:
        """Take a sample; whether whoever watches lets go now."""
        if stats.data_processed_bytes != self._sent_bytes:
            self._sent_bytes, self._since_s = stats.data_processed_bytes, now
        return stats.is_postcopy and now - self._since_s > STILL_S
