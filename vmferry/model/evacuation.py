"""A host's evacuation: asked for, planned, reported."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from vmferry.model.approval import Approval
from vmferry.model.base import Model
from vmferry.model.convergence import PolicyName
from vmferry.model.explanation import Explanation
from vmferry.model.findings import Finding
from vmferry.model.forecast import Forecast
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationMode, MigrationOutcome
from vmferry.model.operation import Incoming, RunLimits, WayOut
from vmferry.model.options import ProbeOptions, StopOptions
from vmferry.model.timetable import Slot
from vmferry.model.transport import Switch


class EvacuationRequest(Model):
    """What an operator asks for; empty `dests` means every other host of the inventory."""

    host: str
    dests: tuple[str, ...] = ()
    modes: dict[str, WayOut] = Field(default_factory=dict, description="vm → way out, where auto is not wanted")
    stop: StopOptions = StopOptions()
    probes: ProbeOptions = ProbeOptions()
    policy: PolicyName | None = None  # None: the host's `convergence` of the inventory
    policies: dict[str, PolicyName] = Field(default_factory=dict, description="vm → policy, where it is to differ")
    reason: str = "evacuation"
    ticket: str = ""
    incoming: Incoming = Incoming.WAIT
    limits: RunLimits = RunLimits()
    max_parallel: int = Field(default=4, ge=1, le=64)
    lift: tuple[str, ...] = Field(default=(), description="rules whose blocks only warn in this run")


class Move(Model):
    """One planned migration; `order` counts from 0 in the order of starting."""

    vm: str
    uuid: str
    source: str
    dest: str
    mode: MigrationMode
    mode_reason: str
    policy: PolicyName | None = None  # None: the source's `convergence` of the inventory
    dest_reason: str
    order: int
    priority: int = 0  # higher ones start first
    memory_kib: int  # taken on the destination from the start, huge pages included; 0 for a VM that is shut off
    hugepages_kib: int = 0  # what of it are huge pages
    vcpus: int
    copy_bytes: int = 0  # disk bytes allocated that an offline move copies
    restart: bool = False  # it runs: it is shut down, moved offline and started there
    transport: str = ""  # in words; empty: not known, or nothing but files travels
    switch: Switch | None = None
    forecast: Forecast | None = None  # while other moves of the plan use the same way
    slot: Slot | None = None  # when it is expected to run; None: no timetable was made
    warnings: tuple[Finding, ...] = ()


class Stranded(Model):
    """A VM that no destination can take, with the findings per host tried."""

    vm: str
    uuid: str
    reasons: dict[str, tuple[Finding, ...]]
    explanation: Explanation | None = None  # of those that only room or constraints keep from a place

    def summary(self) -> str:
        """One line: the distinct reasons, and the hosts they hold for."""
        by_text: dict[str, list[str]] = {}
        for host, findings in self.reasons.items():
            for finding in findings:
                by_text.setdefault(f"{finding.rule}: {finding.message}", []).append(host)
        return "; ".join(f"{text} ({', '.join(hosts)})" for text, hosts in by_text.items())


class EvacuationPlan(Model):
    """Moves in order and stranded VMs; moves ∪ stranded = all domains of the host."""

    host: str
    moves: tuple[Move, ...]
    stranded: tuple[Stranded, ...]
    snapshot: FleetSnapshot
    lifted: tuple[str, ...] = ()
    seconds: float | None = None  # forecast of all moves; None: not made, or one of them is not known to end
    approvals: tuple[Approval, ...] = ()  # who agreed to it
    bound_seconds: float | None = None  # no order of the same moves is over sooner
    bound_by: str = ""  # why not


class EvacuationReport(Model):
    """What an evacuation did; `left` is what `virsh list --all` of the host still shows at the end."""

    host: str
    run: str
    is_dry_run: bool = False
    outcomes: tuple[MigrationOutcome, ...] = ()
    stranded: tuple[Stranded, ...] = ()
    not_started: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    cancelled: str = ""  # by what; empty: it was not
    approvals: tuple[Approval, ...] = ()  # who agreed to the plan
    stopped: str = ""  # which of the run's own bounds kept further moves from starting; empty: none did
    tried: tuple[MigrationOutcome, ...] = ()  # failed and was tried again: its last try is among `outcomes`
    staying: tuple[str, ...] = ()  # of those that are left: these were to stay
    started_at: datetime
    ended_at: datetime

    @property
    def is_empty(self) -> bool:
        """Whether no domain is left on the host, running or not."""
        return not self.left

    @property
    def is_done(self) -> bool:
        """Whether nothing is left but what was to stay."""
        return set(self.left) <= set(self.staying)
