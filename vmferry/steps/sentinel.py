"""Where libvirt itself lets the VM run: keep the source from running again when the destination's answer is lost.

libvirt resumes a source that has not heard of the destination's success, 34 to 40 s later (`libvirt-facts.md`, "Finish
reply lost"); without an image lock between the hosts there are two running copies then. Whoever sees both hosts knows
better, and ends the source's remains meanwhile: what libvirt itself does when the answer comes.
"""

from __future__ import annotations

import logging
from datetime import datetime

from vmferry.errors import VmferryError
from vmferry.model.journal import Mark
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState
from vmferry.ports import OnProgress, World
from vmferry.steps.look import Pair, look_once
from vmferry.steps.names import StepName

logger = logging.getLogger("vmferry.steps")

_STILL_S = 1.0  # nothing is sent any more: libvirt's own answer takes tenths of a second
_APART_S = 0.5
_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)


def watchful(plan: MigrationPlan, world: World, on_progress: OnProgress) -> OnProgress:
    """Return `on_progress` with eyes on both hosts, where libvirt lets the VM run; else as it is."""
    return on_progress if plan.switch is Switch.GUARDED else _Sentinel(plan, world, on_progress)


class _Sentinel:
    """Called with every sample of the job; looks only when nothing is sent any more."""

    def __init__(self, plan: MigrationPlan, world: World, on_progress: OnProgress) -> None:
        self._plan = plan
        self._world = world
        self._on_progress = on_progress
        self._sent_bytes = -1
        self._moved_at = self._looked_at = world.clock.now()
        self._has_seen = False
        self._is_over = False

    def __call__(self, stats: JobStats) -> None:
        self._on_progress(stats)
        now = self._world.clock.now()
        if stats.data_processed_bytes != self._sent_bytes:
            self._sent_bytes, self._moved_at = stats.data_processed_bytes, now
        if self._is_over or stats.is_postcopy or not self._is_due(now):
            return
        self._looked_at = now
        seen, self._has_seen = self._has_seen, has_left_remains(look_once(self._plan, self._world))
        if seen and self._has_seen:
            self._end_remains()

    def _is_due(self, now: datetime) -> bool:
        still_s = (now - self._moved_at).total_seconds()
        return still_s >= _STILL_S and (now - self._looked_at).total_seconds() >= _APART_S

    def _end_remains(self) -> None:
        """Write it down, then end the source's QEMU; what cannot be written down is not done."""
        plan = self._plan
        self._is_over = True
        text = f"{plan.dest} runs the VM and {plan.source} has not heard of it: its paused remains there are ended"
        logger.warning("run %s vm %s: %s", plan.run, plan.vm, text)
        try:
            self._world.journal.write(plan.run, StepName.MOVE, Mark.NOTE, note=text)
            self._world.hypervisor(plan.source).destroy(plan.uuid)
        except VmferryError as error:
            logger.warning("run %s vm %s: not ended: %s", plan.run, plan.vm, error)


def has_left_remains(pair: Pair) -> bool:
    """Whether the destination runs the VM with all of its memory while the source waits, paused by the move."""
    source, dest = pair.source, pair.dest
    is_waiting = source.is_reachable and (source.state, source.reason) == (DomainState.PAUSED, "migrating")
    is_whole = dest.is_reachable and dest.state in _RUNNING and dest.reason == "migrated" and not dest.has_job
    return is_waiting and is_whole
