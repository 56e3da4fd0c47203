"""Consolidation and balance: asked for, decided, reported."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.migration import MigrationOutcome
from vmferry.model.plan import FleetPlan, Purpose, Reserve
from vmferry.model.worth import Worth, WorthPolicy


class ConsolidationRequest(Model):
    """What an operator asks for; empty `hosts` means that every host may be emptied."""

    hosts: tuple[str, ...] = ()
    worth: WorthPolicy = WorthPolicy()
    cpu_percent: float = Field(
        default=80.0, gt=0, le=100, description="of a host's CPUs that VMs may be expected to use"
    )
    reserve: Reserve = Reserve.NONE  # hosts that are emptied count as switched off
    lift: tuple[str, ...] = ()


class BalanceRequest(Model):
    """What an operator asks for; empty `hosts` means all."""

    hosts: tuple[str, ...] = ()
    threshold_percent: float = Field(default=20.0, gt=0, le=100, description="points above the fleet's mean")
    lasting_s: int = Field(default=1800, ge=300, le=86400, description="an imbalance counts when it lasted so long")
    share_percent: float = Field(default=80.0, gt=0, le=100, description="of that time in which it must be seen")
    min_gain: float = Field(default=0.005, ge=0, le=1, description="least fall of unevenness by one move")
    max_moves: int = Field(default=10, ge=1, le=1000)
    vm_cooldown_h: float = Field(default=12.0, ge=0)
    lift: tuple[str, ...] = ()


class HotHost(Model):
    """A host that was busier than the others for long enough."""

    host: str
    resource: str  # CPU or memory
    percent: float  # reached or passed for the share of time that was asked for
    mean_percent: float  # of all hosts in the same time


class Balance(Model):
    """Whether the fleet is out of balance, with the figures."""

    hot: tuple[HotHost, ...]
    reason: str

    @property
    def is_needed(self) -> bool:
        """Whether a host must be relieved."""
        return bool(self.hot)


class Decision(Model):
    """What is done tonight, and why not more; `plan` has no moves when nothing is worth doing."""

    purpose: Purpose
    plan: FleetPlan
    worth: Worth | None = None
    balance: Balance | None = None
    left_alone: dict[str, str] = Field(default_factory=dict, description="host or VM → why it is not touched")
    assumed: tuple[str, ...] = ()  # hosts whose watts the inventory does not tell

    @property
    def reason(self) -> str:
        """One line: what the moves bring, or why nothing is done."""
        told = self.worth.reason if self.worth is not None else self.balance.reason if self.balance is not None else ""
        if self.plan.moves or self.worth is not None:
            return told
        return told if self.balance is not None and not self.balance.hot else f"{told}; no move would help enough"

    @property
    def emptied(self) -> tuple[str, ...]:
        """The hosts that the moves empty, in the order in which they are worth it."""
        return self.worth.emptied if self.worth is not None else ()


class OptimizationReport(Model):
    """What a run did. `emptied` was read from the hosts afterwards: nothing is left there, running or not."""

    purpose: Purpose
    run: str
    is_dry_run: bool = False
    reason: str
    decision: Decision
    outcomes: tuple[MigrationOutcome, ...] = ()
    not_started: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    switch_off: tuple[str, ...] = ()  # of them: what the reserve does not need
    reserve: tuple[str, ...] = ()  # of them: what stays on
    cordoned: tuple[str, ...] = ()
    power: str = ""  # what became of the hosts to be switched off
    cancelled: str = ""
    started_at: datetime
    ended_at: datetime
