"""Bringing VMs home: asked for, planned stage by stage, reported."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.convergence import PolicyName
from vmferry.model.evacuation import Move
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.operation import RunLimits


class Returning(StrEnum):
    """Whether VMs go home after an evacuation."""

    NEVER = "never"  # they stay where they are; who belongs where is only told
    ASK = "ask"  # a person looks at the plan first
    AUTO = "auto"


class ReturnRequest(Model):
    """What an operator asks for; empty `vms` means all that belong on the host."""

    host: str
    vms: tuple[str, ...] = ()
    policy: PolicyName | None = None
    reason: str = "return"
    closed_for: tuple[str, ...] = ()  # reasons for which the host may be closed, beside those its VMs left for
    max_parallel: int = Field(default=4, ge=1, le=64)
    limits: RunLimits = RunLimits()
    lift: tuple[str, ...] = ()


class Refused(Model):
    """A VM that is not brought home, and why."""

    vm: str
    uuid: str
    home: str
    why: str


class ReturnStage(Model):
    """Moves that may run at the same time; the next stage is planned when they are over, on what is true then.

    `is_hop` tells of moves that only make room: their VMs go home in a later stage.
    """

    moves: tuple[Move, ...] = ()
    is_hop: bool = False
    refused: tuple[Refused, ...] = ()


class ReturnReport(Model):
    """What became of the VMs that belong on a host; `home` are those that are there now."""

    host: str
    run: str
    is_dry_run: bool = False
    planned: tuple[Move, ...] = ()
    outcomes: tuple[MigrationOutcome, ...] = ()
    home: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    cancelled: str = ""
    started_at: datetime
    ended_at: datetime

    @property
    def is_held(self) -> bool:
        """Whether a human must look at a VM."""
        return any(outcome.kind is OutcomeKind.HELD for outcome in self.outcomes)

    @property
    def headline(self) -> str:
        """One line that tells the truth."""
        if self.is_dry_run:
            return f"{self.host}: dry run, nothing was touched: {len(self.planned)} to return, {len(self.refused)} not"
        parts = [f"{len(self.home)} home again"]
        parts += [f"{len(self.refused)} not"] if self.refused else []
        held = sum(outcome.kind is OutcomeKind.HELD for outcome in self.outcomes)
        parts += [f"{held} HELD for a human"] if held else []
        parts += [f"cancelled by {self.cancelled}"] if self.cancelled else []
        return f"{self.host}: {', '.join(parts)}"
