"""One move by virDomainMigrateToURI3: the blocking call in a thread of its own, its job watched meanwhile."""

from __future__ import annotations

import threading

import libvirt

from vmferry.adapters.libvirt_calls import text_of
from vmferry.adapters.libvirt_flags import migration_flags, migration_parameters
from vmferry.adapters.libvirt_job import JobWatch
from vmferry.adapters.libvirt_wheel import LibvirtWheel
from vmferry.adapters.steering import Steering
from vmferry.errors import OutcomeUnknown
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.ports import OnOrder, OnProgress
from vmferry.settings import Settings


class Migration:
    """Drives one virDomainMigrateToURI3 on a connection of its own and watches it on the control connection.

    `more_flags` are added to those of the plan; with them it is no move that begins, and nobody steers it.
    """

    def __init__(
        self,
        plan: MigrationPlan,
        *,
        control: libvirt.virConnect,
        moving: libvirt.virConnect,
        settings: Settings,
        on_order: OnOrder | None = None,
        more_flags: int = 0,
    ) -> None:
        self._plan = plan
        self._moving = moving
        self._more_flags = more_flags
        wheel = LibvirtWheel(plan, control, settings)
        steering = None if more_flags else Steering(plan, wheel, on_order)
        self._watch = JobWatch(plan, control, settings, wheel, steering)
        self._ended = threading.Event()
        self._error: libvirt.libvirtError | None = None

    def run(self, on_progress: OnProgress) -> JobStats:
        """Move; return the job's final statistics, or raise OutcomeUnknown: the caller looks at both hosts."""
        watch = self._watch
        with watch.listening():
            threading.Thread(target=self._move, name=f"move-{self._plan.vm}", daemon=True).start()
            watch.follow(on_progress, self._ended.is_set)
        if self._error is not None:
            # What libvirt says of a job that we aborted ("Broken pipe", …) only hides the reason.
            why = watch.abort_reason or _with_way_out(text_of(self._error))
            raise OutcomeUnknown(
                f"vm {self._plan.vm}: {why}", vm=self._plan.vm, host=self._plan.source
            ) from self._error
        final = watch.completed or watch.last
        return final.model_copy(update={"stopped_at_s": watch.stopped_at_s})

    def _move(self) -> None:
        """Block in libvirt; it releases the GIL."""
        plan = self._plan
        try:
            domain = self._moving.lookupByUUID(plan.uuid.bytes)
            flags = migration_flags(plan) | self._more_flags
            domain.migrateToURI3(plan.peer_uri, migration_parameters(plan), flags)
        except libvirt.libvirtError as error:
            self._error = error
        finally:
            self._ended.set()
            self._watch.wake()


def _with_way_out(text: str) -> str:
    """Add what an operator does about QEMU's refusal of post-copy, which does not name its cause."""
    if "Postcopy is not supported" not in text:
        return text
    return f"{text}; where QEMU is not root both hosts need `sysctl vm.unprivileged_userfaultfd=1`"
