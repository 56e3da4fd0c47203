"""QEMU's pre-copy of one VM's memory: passes, dirty bitmap, the test for the switch-over, throttling.

As in QEMU 7.2 (migration.c, ram.c): the test uses the capped bandwidth, the last pass is sent uncapped; a guest
dirties so many bytes per second of a working set that it comes round to again.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmferry.model.convergence import FIRST_LIMIT_MS, Throttle

MIB = 2**20
_MOST_THROTTLE = 99
_BAD_SYNCS = 2  # ram.c, mig_throttle_on: dirtied more than half of what was sent, twice


@dataclass
class Precopy:
    """What QEMU knows at `now_s`; `left_bytes` are those of this pass, `dirtied_bytes` those of the next."""

    now_s: float
    left_bytes: float
    rate_bytes_s: float
    link_bytes_s: float
    dirty_bytes_s: float
    working_set_bytes: float
    throttle: Throttle | None = None
    limit_ms: int = FIRST_LIMIT_MS
    iteration: int = 1
    sent_bytes: float = 0.0
    dirtied_bytes: float = 0.0
    slowed_percent: int = 0
    is_stopped: bool = False
    _sent_before: float = 0.0
    _bad_syncs: int = 0

    def go(self, now_s: float) -> None:
        """Let time pass; never beyond the end of the pass by more than rounding."""
        seconds = max(0.0, now_s - self.now_s)
        sent = min(self.left_bytes, seconds * self.rate_bytes_s)
        self.left_bytes -= sent
        self.sent_bytes += sent
        if not self.is_stopped:
            written = seconds * self.dirty_bytes_s * (100 - self.slowed_percent) / 100
            self.dirtied_bytes = min(self.working_set_bytes, self.dirtied_bytes + written)
        self.now_s = max(self.now_s, now_s)

    def pass_ends_s(self) -> float:
        """Return when all of this pass is sent."""
        return self.now_s + self.left_bytes / self.rate_bytes_s

    def sync(self) -> bool:
        """Read the dirty bitmap; whether the rest is small enough to stop the VM and send it."""
        self.sent_bytes += self.left_bytes  # what rounding has left
        sent, self._sent_before = self.sent_bytes - self._sent_before, self.sent_bytes
        self.left_bytes, self.dirtied_bytes = self.dirtied_bytes, 0.0
        self.iteration += 1
        self._slow_down(sent)
        return self.left_bytes <= self.rate_bytes_s * self.limit_ms / 1000

    def last_pass_s(self) -> float:
        """Return how long the VM stands still while the rest is sent."""
        return self.left_bytes / self.link_bytes_s

    def set_limit(self, limit_ms: int) -> None:
        """Set the downtime limit."""
        self.limit_ms = limit_ms

    def lift_cap(self) -> None:
        """Use all of the link."""
        self.rate_bytes_s = self.link_bytes_s

    def set_cap(self, mib_s: int) -> None:
        """Use so much of the link from now on."""
        self.rate_bytes_s = min(self.link_bytes_s, mib_s * MIB)

    def stop(self) -> None:
        """Stop the VM's CPUs: nothing is dirtied any more."""
        self.is_stopped = True

    def _slow_down(self, sent: float) -> None:
        """Take CPU time from the VM where the policy asked for it at the start."""
        if self.throttle is None or self.left_bytes <= sent / 2:
            return
        self._bad_syncs += 1
        if self._bad_syncs >= _BAD_SYNCS:
            self._bad_syncs = 0
            more = self.throttle.increment if self.slowed_percent else self.throttle.initial
            self.slowed_percent = min(_MOST_THROTTLE, self.slowed_percent + more)
