"""What can be done to a running migration job through libvirt, each act bounded in time."""

from __future__ import annotations

from collections.abc import Callable

import libvirt

from vmferry.adapters.libvirt_calls import bounded, translate
from vmferry.errors import OutcomeUnknown
from vmferry.model.migration import MigrationPlan
from vmferry.settings import Settings

# These calls ask QEMU's monitor one thing; the job is not watched meanwhile.
_ACT_S = 10.0
# QEMU_DOMAIN_MIG_BANDWIDTH_MAX of libvirt (src/qemu/qemu_domain.h), in MiB/s: what a domain without a cap has.
_NO_CAP_MIB_S = (2**63 - 1) // 2**20


class LibvirtWheel:
    """`vmferry.adapters.steering.Wheel` on the control connection of the source."""

    def __init__(self, plan: MigrationPlan, control: libvirt.virConnect, settings: Settings) -> None:
        self._plan = plan
        self._control = control
        self._timeout_s = min(_ACT_S, settings.call_timeout_s)

    def set_max_downtime(self, limit_ms: int) -> None:
        """Raise the limit; libvirt puts QEMU's own back when the job has ended."""
        self._act("set the downtime limit", lambda domain: domain.migrateSetMaxDowntime(limit_ms, 0))

    def lift_cap(self) -> None:
        """Remove the bandwidth cap; it would be none too for a later move that gives none."""
        self._act("lift the bandwidth cap", lambda domain: domain.migrateSetMaxSpeed(_NO_CAP_MIB_S, 0))

    def set_cap(self, mib_s: int) -> None:
        """Cap the job; a tunnelled one too, QEMU holds back what it writes."""
        self._act("set the bandwidth cap", lambda domain: domain.migrateSetMaxSpeed(mib_s, 0))

    def suspend(self) -> None:
        """Stop the VM's CPUs at the source: paused (migration)."""
        self._act("suspend", lambda domain: domain.suspend())

    def start_postcopy(self) -> None:
        """Switch the job to post-copy; it was begun with VIR_MIGRATE_POSTCOPY."""
        self._act("start post-copy", lambda domain: domain.migrateStartPostCopy(0))

    def abort(self) -> None:
        """Cancel the job."""
        self._act("abort job", lambda domain: domain.abortJob())

    def _act(self, what: str, act: Callable[[libvirt.virDomain], object]) -> None:
        host = self._plan.source
        try:
            bounded(lambda: act(self._control.lookupByUUID(self._plan.uuid.bytes)), self._timeout_s)
        except libvirt.libvirtError as error:
            raise translate(error, host, f"{what} of {self._plan.vm}", is_write=True) from error
        except TimeoutError as error:
            raise OutcomeUnknown(f"host {host}: {what} of {self._plan.vm}: {error}", host=host) from error
