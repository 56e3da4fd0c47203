"""Preflight's judgements."""

from __future__ import annotations

from enum import StrEnum

from vmferry.model.base import Model
from vmferry.model.forecast import Forecast


class Severity(StrEnum):
    """What a finding does to the move."""

    BLOCK = "block"
    WARN = "warn"
    IGNORE = "ignore"


class Finding(Model):
    """One judgement of one rule; `message` says who, what, numbers with units and the next command."""

    rule: str
    severity: Severity
    message: str
    source: str  # reference chapter §, libvirt symbol, measurement
    is_lifted: bool = False  # a block that the operator has lifted for this run: it only warns


class PreflightReport(Model):
    """All findings for one VM and one destination, in the order of the rules."""

    vm: str
    source: str
    dest: str
    mode: str
    findings: tuple[Finding, ...] = ()
    forecast: Forecast | None = None  # of a dry run that nothing forbids

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The findings that forbid the move."""
        return tuple(f for f in self.findings if f.severity is Severity.BLOCK)

    @property
    def lifted(self) -> tuple[Finding, ...]:
        """The blocks that were lifted for this run."""
        return tuple(f for f in self.findings if f.is_lifted)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings an operator should read."""
        return tuple(f for f in self.findings if f.severity is Severity.WARN)
