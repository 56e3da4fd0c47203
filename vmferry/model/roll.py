"""Rolling over hosts: evacuate, work, reboot, health gate, return, next."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict, Field

from vmferry.model.base import Model
from vmferry.model.convergence import PolicyName
from vmferry.model.operation import RunLimits, WayOut
from vmferry.model.returning import Returning


class CommandDone(Model):
    """How a command on a host ended, and the last of what it said."""

    exit_code: int
    output: str = ""


class BootFacts(Model):
    """What tells one boot of a host from another, and the units that have failed in it."""

    boot_id: str
    failed_units: tuple[str, ...] = ()


class WorkKind(StrEnum):
    """What is done to a host while it is empty."""

    NONE = "none"
    COMMAND = "command"  # over ssh on the host
    DEPLOYMENT = "deployment"  # a Prefect deployment, which is given the host's name
    HUMAN = "human"  # the run waits until somebody says that it is done


class WorkOptions(Model):
    """The operator's own work on a host that is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Work")

    kind: WorkKind = Field(default=WorkKind.NONE, title="Kind", json_schema_extra={"position": 1})
    command: list[str] = Field(
        default=[],
        title="Command",
        description="Program and arguments, each a line; run on the host as its ssh user. It must bear repeating.",
        json_schema_extra={"position": 2},
    )
    deployment: str = Field(
        default="",
        title="Deployment",
        description="FLOW/DEPLOYMENT of Prefect; it gets the parameter `host` and must end Completed.",
        json_schema_extra={"position": 3},
    )
    timeout_s: float = Field(default=3600.0, gt=0, le=604800, title="Time-out, s", json_schema_extra={"position": 4})
    reboot: bool = Field(
        default=False,
        title="Reboot",
        description="systemctl reboot after the work; the host must come back with a new boot id.",
        json_schema_extra={"position": 5},
    )
    reboot_timeout_s: float = Field(
        default=1200.0, gt=0, le=86400, title="Time-out of the reboot, s", json_schema_extra={"position": 6}
    )
    health_timeout_s: float = Field(
        default=300.0,
        ge=0,
        le=86400,
        title="Time to become healthy, s",
        description="So long after the work the host may take until it passes the health gate.",
        json_schema_extra={"position": 7},
    )

    def problems(self) -> tuple[str, ...]:
        """Return what is missing."""
        found = []
        if self.kind is WorkKind.COMMAND and not self.command:
            found.append("work: a command is to be run, and none is given")
        if self.kind is WorkKind.DEPLOYMENT and "/" not in self.deployment:
            found.append(f"work: {self.deployment!r} is no deployment; write FLOW/DEPLOYMENT")
        return tuple(found)


class RollRequest(Model):
    """What an operator asks for; `at_once` hosts at most are empty at the same time."""

    hosts: tuple[str, ...]
    at_once: int = Field(default=1, ge=1, le=64)
    work: WorkOptions = WorkOptions()
    returning: Returning = Returning.AUTO
    modes: dict[str, WayOut] = Field(default_factory=dict)
    policy: PolicyName | None = None
    max_parallel: int = Field(default=4, ge=1, le=64)
    limits: RunLimits = RunLimits()
    reason: str = "rolling maintenance"
    ticket: str = ""
    lift: tuple[str, ...] = ()


class HostStage(StrEnum):
    """How far a host of a roll has come; each follows on the one before."""

    WAITING = "waiting"
    EMPTY = "empty"
    WORKED = "worked on"
    REBOOTED = "rebooted"
    HEALTHY = "healthy"
    DONE = "done"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return list(HostStage).index(self)


class HostRoll(Model):
    """One host of a roll. `before` is JSON of the HostFacts that its health is compared with."""

    host: str
    stage: HostStage = HostStage.WAITING
    reason: str = ""  # why it has come no further; empty: nothing is wrong
    before: str = ""
    boot_before: BootFacts | None = None
    moved: int = 0
    returned: int = 0
    output: str = ""  # the last of what the work said
    notes: tuple[str, ...] = ()


class RollReport(Model):
    """What a roll did; it stops at the first host that is not well."""

    id: str
    hosts: tuple[HostRoll, ...]
    stopped: str = ""  # why, empty: all hosts are done
    started_at: datetime
    ended_at: datetime

    @property
    def is_done(self) -> bool:
        """Whether every host is done."""
        return all(host.stage is HostStage.DONE for host in self.hosts)

    @property
    def headline(self) -> str:
        """One line that tells the truth."""
        done = sum(host.stage is HostStage.DONE for host in self.hosts)
        words = f"{done} of {len(self.hosts)} hosts done"
        return f"{words}; stopped: {self.stopped}" if self.stopped else words


class SavedRoll(Model):
    """A roll as the journal keeps it."""

    request: RollRequest
    hosts: tuple[HostRoll, ...]
