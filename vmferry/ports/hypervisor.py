"""libvirt of one host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from vmferry.model.convergence import Order
from vmferry.model.facts import (
    CpuVerdict,
    GuestCpu,
)
from vmferry.model.forecast import DirtyRate
from vmferry.model.host import HostFacts
from vmferry.model.mark import VmMark
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.usage import HostCounters

OnProgress = Callable[[JobStats], None]
# Called before a running job is changed, and makes that durable; what it raises keeps the change from being made.
# Called again with `refusal` when the change was refused.
OnOrder = Callable[[Order], None]


class Hypervisor(Protocol):
    """libvirt of one host. Every call is bounded in time and raises VmferryError subclasses only."""

    host: str

    def read_host(self) -> HostFacts:
        """Read the host and all of its domains; `bridges` and `storage_free_bytes` stay empty (HostTools)."""
        ...

    def read_counters(self) -> HostCounters:
        """Read what the host and its running VMs have used since they were started: one bulk call, reads only."""
        ...

    def compare_cpus(self, cpus: Sequence[GuestCpu]) -> dict[str, CpuVerdict]:
        """Return, by `GuestCpu.key`, whether this host can run each guest CPU; a failed comparison is a verdict too."""
        ...

    def look(self, uuid: UUID) -> Sighting:
        """Tell how the VM stands here; never raises: an unreachable host is a Sighting too."""
        ...

    def read_xml(self, uuid: UUID, *, is_inactive: bool) -> str:
        """Return the domain XML with secrets: the persistent one, or the live migratable one."""
        ...

    def define(self, xml: str) -> None:
        """Define a persistent domain; raises PermanentError when name or UUID belongs to another domain."""
        ...

    def undefine(self, uuid: UUID) -> None:
        """Remove the persistent definition, keeping NVRAM and TPM state; no-op when there is none."""
        ...

    def set_autostart(self, uuid: UUID, is_autostart: bool) -> None:
        """Set the autostart flag of a persistent domain."""
        ...

    def mark(self, uuid: UUID, mark: VmMark) -> tuple[VmMark, ...]:
        """Write a run's mark into the domain's XML, live and persistent; return all marks that are there afterwards.

        May be repeated. Refused while a migration job runs: libvirt changes nothing of such a domain (HostBusy).
        """
        ...

    def unmark(self, uuid: UUID, run: str) -> None:
        """Take a run's mark away; no-op when mark or domain is gone."""
        ...

    def suspend(self, uuid: UUID) -> None:
        """Pause the VM's CPUs."""
        ...

    def resume(self, uuid: UUID) -> None:
        """Let a paused VM run."""
        ...

    def shut_down(self, uuid: UUID) -> None:
        """Ask the guest to shut itself down; no-op when it is off. Returns at once: the guest takes its time."""
        ...

    def start(self, uuid: UUID) -> None:
        """Start a VM that is shut off; no-op when it is active."""
        ...

    def ping_agent(self, uuid: UUID) -> bool:
        """Whether the guest's agent answers; False where it has none, or is not running."""
        ...

    def destroy(self, uuid: UUID) -> None:
        """End the VM's QEMU at once; no-op when it is not active. Only settlement may call it, and who was told to."""
        ...

    def warm_up(self) -> None:
        """Begin to open what a move from here will need, in the background; an error is that of the move, if at all."""
        ...

    def migrate(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder | None = None) -> JobStats:
        """Move the VM from this host, peer to peer; block until libvirt returns. It arrives as `plan.switch` says.

        The plan's policy helps a job that does not converge, each act told to `on_order` first; without `on_order`
        there is nobody to write it down, and nothing but the deadline's abort is done.
        Raises OutcomeUnknown whenever the answer does not prove what happened: the caller looks at both hosts.
        """
        ...

    def when_stopped(self, uuid: UUID, act: Callable[[], None]) -> Callable[[], None] | None:
        """Call `act` when the VM's CPUs are stopped here for a switch-over; return what ends that.

        None where no such event can be had. `act` is called from another thread, perhaps more than once or never, and
        must return at once without asking this host.
        """
        ...

    def watch_job(self, uuid: UUID, on_progress: OnProgress, *, timeout_s: float) -> bool:
        """Wait for a running migration job of this VM to end; False when it still runs after `timeout_s`."""
        ...

    def adopt(self, plan: MigrationPlan, on_progress: OnProgress, on_order: OnOrder, *, timeout_s: float) -> bool:
        """As `watch_job` for a job of this plan that another process began: its policy goes on helping it.

        Over, too, is a post-copy that broke off; False is told, too, of one in which nothing is sent any more.
        """
        ...

    def resume_postcopy(self, plan: MigrationPlan, on_progress: OnProgress) -> None:
        """Let a post-copy that broke off go on (VIR_MIGRATE_POSTCOPY_RESUME); block until libvirt returns.

        Raises OutcomeUnknown whenever the answer does not prove what happened.
        """
        ...

    def measure_dirty_rates(self, uuids: Sequence[UUID], seconds: int) -> dict[UUID, DirtyRate]:
        """Measure how fast running VMs write to their memory, all at the same time; takes `seconds` and a little."""
        ...

    def create_volume(self, pool: str, name: str, *, size_bytes: int, format: str) -> str:
        """Create a volume in an active pool and return its path; raises CopyFailed when there is one of that name."""
        ...

    def delete_volume(self, pool: str, name: str) -> None:
        """Remove a volume; no-op when it is gone."""
        ...

    def refresh_pool(self, pool: str) -> None:
        """Let libvirt look again at what is in a pool."""
        ...

    def abort_job(self, uuid: UUID) -> None:
        """Ask libvirt to cancel the VM's job; a request, the caller looks afterwards."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
