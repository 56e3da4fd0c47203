"""A running migration job as libvirt shows it: sampled, steered, told; whoever began it.

Sources: `libvirt-facts.md` and sections 3 to 5 of `libvirt-measurements.md`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from vmferry.adapters.libvirt_calls import text_of
from vmferry.adapters.libvirt_words import job_stats, state_words
from vmferry.adapters.libvirt_yank import yank
from vmferry.adapters.steering import Steering, Wheel
from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Switch
from vmferry.planning.mirroring import whole_job
from vmferry.ports import OnProgress
from vmferry.settings import Settings

logger = logging.getLogger("vmferry.libvirt")

# In post-copy nothing is aborted; whoever watches gives up after so long without a byte, and settlement resumes it.
POSTCOPY_STALL_S = 60.0
_ABORT_S = 60.0
_YANK_S = 10.0  # the abort of a job whose link is sound takes less
# The call of a move whose post-copy broke off returns by itself; one that does not is left behind after this long.
_BROKEN_S = 10.0
BROKEN = "post-copy failed"


class JobWatch:
    """Watches one job on the control connection of its source; `steering` None: it is looked at, never touched."""

    def __init__(
        self,
        plan: MigrationPlan,
        control: libvirt.virConnect,
        settings: Settings,
        wheel: Wheel,
        steering: Steering | None,
    ) -> None:
        self._plan = plan
        self._control = control
        self._settings = settings
        self._wheel = wheel
        self._steering = steering
        self._wake = threading.Event()  # set when there is something to look at before the next sample is due
        self._stall = ""
        self._yanked = ""  # what was done about an abort that changed nothing
        self._has_told_still = False
        self.last = JobStats()
        self.completed: JobStats | None = None
        self.stopped_at_s: float | None = None
        self.reason = ""  # of the source's state, where post-copy may have begun

    def wake(self) -> None:
        """Have the next look taken at once."""
        self._wake.set()

    def follow(self, on_progress: OnProgress, is_over: Callable[[], bool], *, found_at_s: float = 0.0) -> None:
        """Sample until `is_over`, at once when an iteration begins; steer, and abort what stalls.

        `found_at_s`: how long the job had run by now. Raises OutcomeUnknown when an abort has no effect, and when a
        post-copy broke off or stands still.
        """
        began = moved_at = time.monotonic()
        aborted_at: float | None = None
        broken_at: float | None = None
        while True:
            self._wake.wait(self._settings.progress_interval_s)
            self._wake.clear()
            if is_over():
                return
            sample, now = self.sample(), time.monotonic()
            if sample is not None:
                if sample.data_processed_bytes > self.last.data_processed_bytes:
                    moved_at = now
                self.last = sample
            if self._steering is not None:
                self._steering.take(self.last, now - began + found_at_s)
            self._check_still(now - moved_at)
            if sample is not None:
                on_progress(self._told(sample))
            broken_at = (broken_at or now) if self.reason == BROKEN else None
            if broken_at is not None and now - broken_at > _BROKEN_S:
                raise self._unknown("post-copy broke off")
            if self.abort_reason:
                aborted_at = aborted_at or now
                self._end_mirror(now - aborted_at)
                if now - aborted_at > _ABORT_S:
                    raise self._unknown(f"{self.abort_reason}; the abort did not end it within {_ABORT_S:.0f} s")

    @property
    def abort_reason(self) -> str:
        """Why the job was told to end; empty while it was not."""
        reason = (self._steering.abort_reason if self._steering is not None else "") or self._stall
        return reason + self._yanked if reason else ""

    def sample(self) -> JobStats | None:
        """Return what the job shows now; None before it begins, after its end, and while the host is silent."""
        try:
            domain = self._control.lookupByUUID(self._plan.uuid.bytes)
            found = whole_job(job_stats(domain.jobStats()), self._plan)
            if self._plan.switch is Switch.POSTCOPY:
                self.reason = state_words(*domain.state(0))[1]
                found = found.model_copy(update={"is_postcopy": self.reason.startswith("post-copy")})
            return found
        except libvirt.libvirtError:
            return None

    @property
    def _is_postcopy(self) -> bool:
        return self.last.is_postcopy or (self._steering is not None and self._steering.is_postcopy)

    def _told(self, sample: JobStats) -> JobStats:
        left = self._steering.seconds_left if self._steering is not None else None
        return sample if left is None else sample.model_copy(update={"seconds_left": left})

    def _check_still(self, still_s: float) -> None:
        """Abort a job that sends nothing; a timer of its own, because such a job begins no iteration either."""
        if self._is_postcopy:
            if still_s > POSTCOPY_STALL_S:
                raise self._unknown(f"no byte was sent for {still_s:.0f} s in post-copy")
            return
        if still_s <= self._settings.move_stall_s or self.abort_reason or self._steering is None:
            return
        self._stall = f"no byte was sent for {still_s:.0f} s"
        logger.warning("vm %s: %s; aborting the move", self._plan.vm, self._stall)
        try:
            self._wheel.abort()
        except VmferryError as error:
            logger.warning("vm %s: abort refused: %s", self._plan.vm, error)

    def _end_mirror(self, waited_s: float) -> None:
        """Close the connections of disks that are mirrored, where the abort waits for an answer that never comes."""
        if self._plan.disks and waited_s > _YANK_S and not self._yanked:
            self._yanked = f"; the abort changed nothing for {waited_s:.0f} s; {yank(self._plan, self._control)}"

    def _unknown(self, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(f"vm {self._plan.vm}: {why}", vm=self._plan.vm, host=self._plan.source)

    # events

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear of the moment the source's CPUs stop, of each iteration, of the final statistics and of the end."""
        events = (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._on_iteration),
            (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._on_completed),
        )
        callbacks: list[int] = []
        try:
            domain = self._control.lookupByUUID(self._plan.uuid.bytes)
            callbacks = [self._control.domainEventRegisterAny(domain, event, act, None) for event, act in events]
        except libvirt.libvirtError as error:
            logger.debug("no events: %s", text_of(error))
        try:
            yield
        finally:
            self._unlisten(callbacks)

    def _unlisten(self, callbacks: list[int]) -> None:
        for callback in callbacks:
            try:
                self._control.domainEventDeregisterAny(callback)
            except libvirt.libvirtError as error:
                logger.debug("events: %s", text_of(error))

    def _on_lifecycle(self, _c: Any, _domain: Any, event: int, detail: int, _opaque: Any) -> None:
        stopped = (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
        # When we suspended it, it stands still from then on, not only from the switch-over.
        is_suspended = self._steering is not None and self._steering.is_suspended
        if (event, detail) == stopped and not (self.stopped_at_s is not None and is_suspended):
            self.stopped_at_s = time.monotonic()
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self.wake()

    def _on_iteration(self, _c: Any, _domain: Any, _iteration: int, _opaque: Any) -> None:
        self.wake()  # no call to libvirt from its own event loop: the watching thread samples

    def _on_completed(self, _c: Any, _domain: Any, raw: dict[str, Any], _opaque: Any) -> None:
        self.completed = job_stats(raw)
        self.wake()
