"""Placement constraints in BtrPlace's words, and the state that they are checked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model


class ConstraintKind(StrEnum):
    """BtrPlace's names; what each promises stands with its checker in `vmferry.planning.constraints`."""

    SPREAD = "spread"
    GATHER = "gather"
    AMONG = "among"
    SPLIT = "split"
    FENCE = "fence"
    BAN = "ban"
    ROOT = "root"
    LONELY = "lonely"
    QUARANTINE = "quarantine"
    OFFLINE = "offline"
    ONLINE = "online"
    MAX_ONLINE = "maxOnline"
    PRESERVE = "preserve"
    OVERBOOK = "overbook"


class Level(StrEnum):
    """What `spread` keeps apart: hosts, or racks, or sites."""

    HOST = "host"
    RACK = "rack"
    SITE = "site"


class Constraint(Model):
    """One constraint; `vms` are names, UUIDs or patterns (`web-*`), `hosts` names of the inventory.

    `groups` are hosts for `among`, VMs for `split`. A soft one may be broken rather than leave a VM behind, and
    the plan tells. A continuous one holds at every instant of the schedule, where a VM that moves counts on both
    hosts; a discrete one holds at the end.
    """

    kind: ConstraintKind
    name: str
    vms: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    level: Level = Level.HOST
    is_hard: bool = True
    is_continuous: bool = True
    limit: int | None = Field(default=None, description="maxOnline: hosts in use, at most")
    memory_mib: int = Field(default=0, description="preserve: stays free on each host")
    vcpus: int = Field(default=0, description="preserve: stays free on each host")
    ratio: float | None = Field(default=None, description="overbook: vCPUs per CPU of the host, at most")
    origin: str = ""  # where it was said: file:line, `domain web1`, `this run`

    def words(self) -> str:
        """Return `spread web-apart (inventory.yaml:12)`."""
        return f"{self.kind} {self.name}" + (f" ({self.origin})" if self.origin else "")


class PlacementWish(Model):
    """What a domain says of itself in its metadata: VMs that give a group constraint the same `name` are the group."""

    kind: ConstraintKind
    name: str = ""
    hosts: tuple[str, ...] = ()
    level: Level = Level.HOST
    is_hard: bool = True
    is_continuous: bool = True


@dataclass(frozen=True)
class HostTraits:
    """What constraints ask of a host; `free_kib` without any VM that the state holds."""

    rack: str | None = None
    site: str = "default"
    cpus: int = 0
    free_kib: int = 0
    free_vcpus: float = 0.0


@dataclass(frozen=True)
class VmTraits:
    """What constraints ask of a VM; `home` is where it was before the plan."""

    name: str
    home: str
    memory_kib: int = 0
    vcpus: int = 0


@dataclass(frozen=True)
class FleetState:
    """Who is where at one instant; a VM that moves is on both hosts. VMs are named by UUID.

    `is_end` tells that discrete constraints hold now too. `at_start` is the state before: what was broken already and
    is no worse is no fault of a continuous constraint.
    """

    where: Mapping[str, tuple[str, ...]]
    hosts: Mapping[str, HostTraits]
    vms: Mapping[str, VmTraits]
    is_end: bool = True
    at_start: FleetState | None = field(default=None, repr=False)

    @property
    def before(self) -> FleetState | None:
        """The state that an instant on the way is compared with; None at an end, which stands for itself."""
        return None if self.is_end else self.at_start

    def moved(self, places: Mapping[str, tuple[str, ...]], *, is_end: bool = True) -> FleetState:
        """Return the state with some VMs elsewhere, compared with this one."""
        return replace(self, where={**self.where, **places}, is_end=is_end, at_start=self.at_start or self)


class Violation(Model):
    """One constraint that does not hold, and why, with names."""

    constraint: Constraint
    text: str

    def words(self) -> str:
        """Return the constraint and what breaks it."""
        soft = "" if self.constraint.is_hard else ", soft"
        return f"{self.constraint.words()}{soft}: {self.text}"
