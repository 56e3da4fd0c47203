"""One VM's move: asked for, planned, running, ended."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.convergence import DEFAULT_POLICY, PolicyName
from vmferry.model.disks import CopyMethod, FileCopy, LiveDisk
from vmferry.model.findings import Finding
from vmferry.model.forecast import Forecast
from vmferry.model.transport import Encryption, Switch, Transport
from vmferry.model.vm import DomainState


class MigrationMode(StrEnum):
    """Table 9.1 of the reference chapter."""

    LIVE = "live"
    NON_LIVE = "non-live"
    OFFLINE = "offline"


class DomainChanges(Model):
    """Typed adjustments of the destination's domain XML, applied to the live and the persistent definition."""

    disk_sources: dict[str, str] = Field(default_factory=dict, description="disk target → path on the destination")
    bridges: dict[str, str] = Field(default_factory=dict, description="bridge → bridge on the destination")
    networks: dict[str, str] = Field(default_factory=dict, description="libvirt network → network there")
    title: str | None = None
    description: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be changed."""
        return self == DomainChanges()


class MigrationRequest(Model):
    """What an operator asks for; `source` None means: find out where the VM is."""

    vm: str
    dest: str
    source: str | None = None
    mode: MigrationMode | None = None  # None: choose, and say why
    changes: DomainChanges = DomainChanges()
    xml: str | None = Field(default=None, description="the destination's domain XML (virsh migrate --xml)")
    persistent_xml: str | None = Field(default=None, description="its persistent XML (--persistent-xml)")
    bandwidth_mib_s: int | None = Field(default=None, ge=1)
    copy_method: CopyMethod | None = None  # None: the fastest that both hosts can do
    policy: PolicyName | None = None  # None: the source host's `convergence` of the inventory
    lift: tuple[str, ...] = Field(default=(), description="rules whose blocks only warn in this run")


class MigrationPlan(Model):
    """Everything the steps need, decided before anything is touched; stored in the journal."""

    run: str
    vm: str
    uuid: UUID
    source: str
    dest: str
    mode: MigrationMode
    mode_reason: str
    state_before: DomainState
    is_persistent: bool
    is_autostart: bool
    memory_kib: int
    # What the VM takes on the destination from the start of its run, QEMU's overhead included; 0 when it is shut off.
    reserved_kib: int
    reserved_vcpus: int = 0
    reserved_hugepages_kib: int = 0
    changes: DomainChanges = DomainChanges()
    given_xml: str | None = None  # virsh migrate --xml
    given_persistent_xml: str | None = None  # virsh migrate --persistent-xml
    # Filled just before the act from a fresh read, never stored: they hold secrets. None: libvirt takes the source's.
    dest_xml: str | None = Field(default=None, exclude=True)
    dest_persistent_xml: str | None = Field(default=None, exclude=True)
    files: tuple[FileCopy, ...] = ()  # copied by vmferry before the switch-over
    disks: tuple[LiveDisk, ...] = ()  # mirrored by QEMU while the VM runs
    copy_method: CopyMethod | None = None
    encryption: Encryption
    transport: Transport = Transport()  # how memory travels; its encryption is `encryption`
    switch: Switch = Switch.GUARDED
    switch_reason: str = ""
    forecast: Forecast | None = None
    peer_uri: str
    migration_uri: str
    bandwidth_mib_s: int | None = None
    policy: PolicyName = DEFAULT_POLICY  # runs of older journals have none
    deadline_s: float  # a move that has not ended by then is aborted; the VM stays where it runs
    restart: bool = False  # stop-and-start: it runs, is shut down first, moves offline, and is started there
    stop_timeout_s: float = 300.0  # how long it may take to shut down
    stop_force: bool = False  # whether it is switched off when it has not shut down by then
    goes_back: bool = False  # to where it came from just now: that host is closed for all but it
    warnings: tuple[Finding, ...] = ()

    @property
    def must_run_after(self) -> bool:
        """Whether the VM ran before and so must run afterwards."""
        return self.state_before in (DomainState.RUNNING, DomainState.BLOCKED)


class JobStats(Model):
    """One sample of a migration job (virDomainGetJobStats)."""

    elapsed_ms: int = 0
    data_total_bytes: int = 0
    data_processed_bytes: int = 0
    data_remaining_bytes: int = 0
    memory_bps: int = 0
    dirty_rate_pages_s: int = 0
    iteration: int = 0
    throttle_percent: int = 0  # CPU time that QEMU takes from the VM under auto-converge
    downtime_ms: int | None = None
    # Of the totals above: what belongs to disks that are mirrored; the rest is memory.
    disk_total_bytes: int = 0
    disk_processed_bytes: int = 0
    disk_remaining_bytes: int = 0
    disk_bps: int = 0
    is_postcopy: bool = False  # the VM runs at the destination, the rest of its memory follows
    seconds_left: float | None = None  # as the convergence engine predicts it; None: not known, or never
    # time.monotonic() of this process when the source's CPUs were stopped for the switch-over (an event).
    stopped_at_s: float | None = None

    @property
    def percent(self) -> float:
        """Share of the data that is over, 0 to 100; falls when the guest dirties memory."""
        if self.data_total_bytes <= 0:
            return 0.0
        return 100.0 * (1 - min(1.0, self.data_remaining_bytes / self.data_total_bytes))


class OutcomeKind(StrEnum):
    """How a run ended."""

    MOVED = "moved"
    ROLLED_BACK = "rolled back"
    HELD = "held"


class MigrationOutcome(Model):
    """What is true of a VM after its run; both hosts were looked at."""

    run: str
    vm: str
    source: str
    dest: str
    mode: MigrationMode
    kind: OutcomeKind
    reason: str = ""
    next_commands: tuple[str, ...] = ()
    started_at: datetime
    ended_at: datetime
    bytes_sent: int = 0
    downtime_ms: int | None = None  # as QEMU reports it, plus our own pause in a guarded switch-over
    max_downtime_ms: int | None = None  # the VM's downtime objective, or the run's; None: it had none
    move_seconds: float | None = None  # from the start of the migrate call to the VM running at the destination
    copy_seconds: float | None = None  # of the disks that vmferry itself copied
    forecast: Forecast | None = None
    silent: tuple[str, ...] = ()  # probes of the guest that were answered before the move and are not any more
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration of the whole run."""
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def is_downtime_above(self) -> bool:
        """Whether the VM stood still for longer than its objective allows; False where it had none."""
        limit, stood = self.max_downtime_ms, self.downtime_ms
        return limit is not None and stood is not None and stood > limit
