"""One running migration: the blocking call, progress, stall, and who steers it.

Sources: `libvirt-facts.md` and sections 3 to 5 of `libvirt-measurements.md`.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import libvirt

from vmferry.adapters.libvirt_calls import text_of
from vmferry.adapters.libvirt_flags import migration_flags, migration_parameters
from vmferry.adapters.libvirt_wheel import LibvirtWheel
from vmferry.adapters.libvirt_words import job_stats
from vmferry.adapters.steering import Steering
from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.ports import OnOrder, OnProgress
from vmferry.settings import Settings

logger = logging.getLogger("vmferry.libvirt")

# libvirt's own keepalive ends a move over a dead link within 30 s; what is still there then does not end by itself.
_STALL_S = 120.0
_ABORT_S = 60.0


class Migration:
    """Drives one virDomainMigrateToURI3 on a connection of its own and watches it on the control connection."""

    def __init__(
        self,
        plan: MigrationPlan,
        *,
        control: libvirt.virConnect,
        moving: libvirt.virConnect,
        settings: Settings,
        on_order: OnOrder | None = None,
    ) -> None:
        self._plan = plan
        self._control = control
        self._moving = moving
        self._settings = settings
        self._wheel = LibvirtWheel(plan, control, settings)
        self._steering = Steering(plan, self._wheel, on_order)
        self._ended = threading.Event()
        self._wake = threading.Event()  # set when there is something to look at before the next sample is due
        self._error: libvirt.libvirtError | None = None
        self._last = JobStats()
        self._completed: JobStats | None = None
        self._stopped_at_s: float | None = None
        self._stall = ""

    def run(self, on_progress: OnProgress) -> JobStats:
        """Move; return the job's final statistics, or raise OutcomeUnknown: the caller looks at both hosts."""
        callbacks = self._listen()
        try:
            threading.Thread(target=self._move, name=f"move-{self._plan.vm}", daemon=True).start()
            self._watch(on_progress)
        finally:
            self._unlisten(callbacks)
        if self._error is not None:
            # What libvirt says of a job that we aborted ("Broken pipe", …) only hides the reason.
            why = self._abort_reason or text_of(self._error)
            raise OutcomeUnknown(
                f"vm {self._plan.vm}: {why}", vm=self._plan.vm, host=self._plan.source
            ) from self._error
        final = self._completed or self._last
        return final.model_copy(update={"stopped_at_s": self._stopped_at_s})

    def _move(self) -> None:
        """Block in libvirt; it releases the GIL."""
        try:
            domain = self._moving.lookupByUUID(self._plan.uuid.bytes)
            domain.migrateToURI3(self._plan.peer_uri, migration_parameters(self._plan), migration_flags(self._plan))
        except libvirt.libvirtError as error:
            self._error = error
        finally:
            self._ended.set()
            self._wake.set()

    def _watch(self, on_progress: OnProgress) -> None:
        """Sample the job until the call returns, at once when an iteration begins; steer, and abort what stalls."""
        started = moved_at = time.monotonic()
        aborted_at: float | None = None
        while True:
            self._wake.wait(self._settings.progress_interval_s)
            self._wake.clear()
            if self._ended.is_set():
                return
            sample, now = self._sample(), time.monotonic()
            if sample is not None:
                if sample.data_processed_bytes > self._last.data_processed_bytes:
                    moved_at = now
                self._last = sample
            self._steering.take(self._last, now - started)
            self._check_stall(now - moved_at)
            if sample is not None:
                on_progress(sample)
            if self._abort_reason:
                aborted_at = aborted_at or now
                self._check_abort(now - aborted_at)

    @property
    def _abort_reason(self) -> str:
        return self._steering.abort_reason or self._stall

    def _check_stall(self, still_s: float) -> None:
        """Abort a job that sends nothing; a timer of its own, because such a job begins no iteration either."""
        if still_s <= _STALL_S or self._abort_reason:
            return
        self._stall = f"no byte was sent for {still_s:.0f} s"
        logger.warning("vm %s: %s; aborting the move", self._plan.vm, self._stall)
        try:
            self._wheel.abort()
        except VmferryError as error:
            logger.warning("vm %s: abort refused: %s", self._plan.vm, error)

    def _check_abort(self, waited_s: float) -> None:
        if waited_s > _ABORT_S:
            raise OutcomeUnknown(
                f"vm {self._plan.vm}: {self._abort_reason}; the abort did not end it within {_ABORT_S:.0f} s",
                vm=self._plan.vm,
                host=self._plan.source,
            )

    def _sample(self) -> JobStats | None:
        try:
            return job_stats(self._control.lookupByUUID(self._plan.uuid.bytes).jobStats())
        except libvirt.libvirtError:
            return None  # before the job begins, after it ended, or the connection is gone: the move itself will tell

    def _listen(self) -> list[int]:
        """Register for the moment the source's CPUs stop, each iteration, and the final statistics."""
        events = (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._on_iteration),
            (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._on_completed),
        )
        try:
            domain = self._control.lookupByUUID(self._plan.uuid.bytes)
            return [self._control.domainEventRegisterAny(domain, event, act, None) for event, act in events]
        except libvirt.libvirtError as error:
            logger.debug("no events: %s", text_of(error))
            return []

    def _unlisten(self, callbacks: list[int]) -> None:
        for callback in callbacks:
            try:
                self._control.domainEventDeregisterAny(callback)
            except libvirt.libvirtError as error:
                logger.debug("events: %s", text_of(error))

    def _on_lifecycle(self, _c: Any, _domain: Any, event: int, detail: int, _opaque: Any) -> None:
        stopped = (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
        # When we suspended it, it stands still from then on, not only from the switch-over.
        is_again = self._stopped_at_s is not None and self._steering.is_suspended
        if (event, detail) == stopped and not is_again:
            self._stopped_at_s = time.monotonic()

    def _on_iteration(self, _c: Any, _domain: Any, _iteration: int, _opaque: Any) -> None:
        self._wake.set()  # no call to libvirt from its own event loop: the watching thread samples

    def _on_completed(self, _c: Any, _domain: Any, raw: dict[str, Any], _opaque: Any) -> None:
        self._completed = job_stats(raw)
